"""The decoder against the reference's table of checks: which status, after how many bytes, for every combination."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.golden import REQUESTS

from cofferdam_contracts.registry import AuthType, Opcode, ProviderId
from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.decoder import NEED_DATA, Limits, NeedData, Request, RequestDecoder, WireError
from cofferdam_contracts.wire.header import HEADER, KEEP_ALIVE, RequestHeader, request_bytes

LIMITS = Limits(body_len=100)
FIELDS = (
    "magic", "header_size", "major", "minor", "flags", "provider", "session", "content_type", "accept_type",
    "auth_type", "body_len", "auth_len", "opcode", "status", "reserved1", "reserved2",
)  # fmt: skip
BODY = b"body"
AUTH = b"auth field"
GOOD = dict(zip(FIELDS, (0x5EC0A710, 30, 1, 0, 0, 1, 0, 0, 0, 3, len(BODY), len(AUTH), 4, 0, 0, 0), strict=True))


def raw(body: bytes = BODY, auth: bytes = AUTH, /, **changes: int) -> bytes:
    """Return a request that is good but for the changed fields of its header."""
    return HEADER.pack(*{**GOOD, **changes}.values()) + body + auth


def decoder() -> RequestDecoder:
    return RequestDecoder(LIMITS)


def decode(data: bytes, chunk: int = 1 << 20) -> tuple[list[Request], Status | None, int]:
    """Return the requests, the error, and how many bytes came before it, feeding so many at a time."""
    stream = decoder()
    found: list[Request] = []
    for begin in range(0, len(data), chunk):
        stream.feed(data[begin : begin + chunk])
        try:
            while not isinstance(event := stream.next_event(), NeedData):
                found.append(event)
        except WireError as error:
            return found, error.status, begin + chunk
    return found, None, len(data)


# Anomalies in the order of their checks: status, bytes that must have come, changes of the header.
EVERYTHING = 36 + len(BODY) + len(AUTH)
ANOMALIES: dict[str, tuple[Status, int, dict[str, int]]] = {
    "magic": (Status.INVALID_HEADER, 4, {"magic": 0x5EC0A711}),
    "header_size": (Status.INVALID_HEADER, 6 + 29, {"header_size": 29}),
    "version": (Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED, 36, {"minor": 1}),
    "reserved": (Status.INVALID_HEADER, 36, {"reserved2": 1}),
    "body_len": (Status.BODY_SIZE_EXCEEDS_LIMIT, 36, {"body_len": 101}),
    "content_type": (Status.CONTENT_TYPE_NOT_SUPPORTED, EVERYTHING, {"content_type": 1}),
    "accept_type": (Status.ACCEPT_TYPE_NOT_SUPPORTED, EVERYTHING, {"accept_type": 1}),
    "auth_type": (Status.AUTHENTICATOR_DOES_NOT_EXIST, EVERYTHING, {"auth_type": 5}),
    "opcode": (Status.OPCODE_DOES_NOT_EXIST, EVERYTHING, {"opcode": 0x1D}),
    "provider": (Status.PROVIDER_DOES_NOT_EXIST, EVERYTHING, {"provider": 6}),
}


def combinations() -> Iterator[tuple[str, ...]]:
    for count in range(1, len(ANOMALIES) + 1):
        yield from itertools.combinations(ANOMALIES, count)


def test_the_first_check_that_fails_decides_whatever_else_is_wrong() -> None:
    for names in combinations():
        changes = {field: value for name in names for field, value in ANOMALIES[name][2].items()}
        status, consumed, _ = ANOMALIES[names[0]]
        assert decode(raw(**changes)) == ([], status, 1 << 20), names
        assert decode(raw(**changes), chunk=1) == ([], status, consumed), names


@pytest.mark.parametrize(
    ("changes", "status", "consumed"),
    [
        # Every row of the table of anomalies that a decoder can see.
        ({"magic": 0}, Status.INVALID_HEADER, 4),
        ({"header_size": 0}, Status.INVALID_HEADER, 6),
        ({"header_size": 29}, Status.INVALID_HEADER, 35),
        ({"header_size": 31}, Status.INVALID_HEADER, 37),
        ({"header_size": 30 + 256}, Status.INVALID_HEADER, 6 + 286),
        ({"header_size": 65535}, Status.INVALID_HEADER, 6 + 65535),
        ({"major": 2}, Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED, 36),
        ({"major": 0}, Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED, 36),
        ({"minor": 1}, Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED, 36),
        ({"reserved1": 1}, Status.INVALID_HEADER, 36),
        ({"reserved2": 255}, Status.INVALID_HEADER, 36),
        ({"body_len": 101}, Status.BODY_SIZE_EXCEEDS_LIMIT, 36),
        ({"body_len": 0xFFFFFFFF}, Status.BODY_SIZE_EXCEEDS_LIMIT, 36),
        ({"content_type": 1}, Status.CONTENT_TYPE_NOT_SUPPORTED, EVERYTHING),
        ({"content_type": 255}, Status.CONTENT_TYPE_NOT_SUPPORTED, EVERYTHING),
        ({"accept_type": 1}, Status.ACCEPT_TYPE_NOT_SUPPORTED, EVERYTHING),
        ({"auth_type": 5}, Status.AUTHENTICATOR_DOES_NOT_EXIST, EVERYTHING),
        ({"auth_type": 255}, Status.AUTHENTICATOR_DOES_NOT_EXIST, EVERYTHING),
        *(({"opcode": n}, Status.OPCODE_DOES_NOT_EXIST, EVERYTHING) for n in (0, 0x1D, 0x21, 0x104, 1 << 31)),
        ({"provider": 6}, Status.PROVIDER_DOES_NOT_EXIST, EVERYTHING),
        ({"provider": 255}, Status.PROVIDER_DOES_NOT_EXIST, EVERYTHING),
        # Consequences of the order of checks, see docs/reference/parsec-protocol.md, "Order of checks".
        ({"content_type": 1, "opcode": 0}, Status.CONTENT_TYPE_NOT_SUPPORTED, EVERYTHING),
        ({"opcode": 0, "provider": 6}, Status.OPCODE_DOES_NOT_EXIST, EVERYTHING),
    ],
)
def test_an_anomaly_has_its_status_as_soon_as_the_reference_gives_it(
    changes: dict[str, int], status: Status, consumed: int
) -> None:
    data = raw(**changes).ljust(consumed, b"\0")
    assert decode(data, chunk=1) == ([], status, consumed)
    assert decode(data[:consumed]) == ([], status, 1 << 20)
    assert decode(data[: consumed - 1]) == ([], None, consumed - 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": 0xFFFF},
        {"session": (1 << 64) - 1},
        {"status": 0xFFFF},
        *({"auth_type": n} for n in range(5)),
        *({"provider": n} for n in range(6)),
        *({"opcode": n} for n in Opcode),
    ],
)
def test_what_the_reference_accepts_is_accepted(changes: dict[str, int]) -> None:
    expected = {**GOOD, **changes}
    ((request,), error, _) = decode(raw(**changes))
    assert error is None
    assert request == Request(
        RequestHeader(
            expected["flags"],
            ProviderId(expected["provider"]),
            expected["session"],
            AuthType(expected["auth_type"]),
            len(BODY),
            len(AUTH),
            Opcode(expected["opcode"]),
        ),
        BODY,
        AUTH,
    )


@pytest.mark.parametrize(("body_len", "auth_len"), [(0, 0), (100, 0), (0, 65535), (100, 65535), (1, 1)])
def test_every_length_up_to_the_limits_is_read(body_len: int, auth_len: int) -> None:
    body, auth = bytes(range(body_len)), b"\xa5" * auth_len
    data = raw(body, auth, body_len=body_len, auth_len=auth_len, auth_type=0)
    for chunk in (1 << 20, 4096, 37):
        ((request,), error, _) = decode(data, chunk)
        assert (request.body, request.auth, error) == (body, auth, None)
    assert decode(data[:-1]) == ([], None, len(data) - 1)


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS)
def test_golden_requests_arrive_whole_byte_by_byte_and_with_more_behind(data: bytes) -> None:
    whole, error, _ = decode(data)
    assert (len(whole), error) == (1, None)
    header = whole[0].header
    assert request_bytes(header.opcode, header.provider, whole[0].body, header.auth_type, whole[0].auth) == data
    assert decode(data, chunk=1) == (whole, None, len(data))
    stream = decoder()
    stream.feed(data + b"mor")
    assert stream.next_event() == whole[0]
    assert stream.leftover == 3
    assert stream.next_event() is NEED_DATA
    assert stream.leftover == 3


def test_a_kept_connection_delivers_one_request_after_the_other() -> None:
    sent = [raw(bytes(n), bytes(n % 3), body_len=n, auth_len=n % 3, flags=KEEP_ALIVE, session=n) for n in range(20)]
    for chunk in (1, 7, 36, 100, 1 << 20):
        found, error, _ = decode(b"".join(sent), chunk)
        assert [request.header.session for request in found] == list(range(20))
        assert [len(request.body) for request in found] == list(range(20))
        assert all(request.header.flags & KEEP_ALIVE for request in found)
        assert error is None


def test_an_error_stays_and_nothing_after_it_is_kept() -> None:
    stream = decoder()
    stream.feed(raw() + raw(body_len=101))
    assert isinstance(stream.next_event(), Request)
    for _ in range(3):
        with pytest.raises(WireError) as caught:
            stream.next_event()
        assert caught.value.status is Status.BODY_SIZE_EXCEEDS_LIMIT
        stream.feed(raw())
    assert stream.leftover == len(BODY + AUTH) + 3 * len(raw())
    assert len(stream._buffer) == 0


@pytest.mark.parametrize("changes", [{"body_len": 100, "auth_len": 65535}, {"header_size": 65535}])
def test_no_more_is_kept_than_the_limits_allow(changes: dict[str, int]) -> None:
    stream = decoder()
    stream.feed(raw(b"", b"", **changes))
    most = 0
    for _ in range(70):
        try:
            stream.next_event()
        except WireError:
            break
        stream.feed(bytes(1000))
        most = max(most, len(stream._buffer))
    assert most <= 36 + 100 + 65535 + 1000


def test_representations_are_free_of_content() -> None:
    ((request,), _, _) = decode(raw(b"hush", b"secret name"[:10]))
    assert "hush" not in repr(request)
    assert "secret" not in repr(request)
    stream = decoder()
    stream.feed(b"hush")
    assert "hush" not in repr(stream)


HEADERS = st.builds(
    lambda values: HEADER.pack(*values),
    st.tuples(
        st.sampled_from([GOOD["magic"], 0]),
        st.sampled_from([30, 30, 30, 29, 31, 0, 300]),
        st.sampled_from([1, 1, 1, 2]),
        st.sampled_from([0, 0, 0, 1]),
        st.integers(0, 0xFFFF),
        st.integers(0, 7),
        st.integers(0, (1 << 64) - 1),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0, 0, 0, 1]),
        st.integers(0, 5),
        st.integers(0, 110),
        st.integers(0, 20),
        st.integers(0, 0x21),
        st.integers(0, 0xFFFF),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0, 0, 0, 1]),
    ),
)
GOOD_REQUESTS = st.builds(
    lambda body, auth, opcode: raw(body, auth, body_len=len(body), auth_len=len(auth), opcode=opcode),
    st.binary(max_size=100),
    st.binary(max_size=20),
    st.sampled_from(Opcode),
)
STREAMS = st.lists(st.one_of(GOOD_REQUESTS, HEADERS, st.binary(max_size=60)), max_size=5).map(b"".join)


@given(STREAMS, st.integers(1, 80))
def test_any_bytes_are_requests_or_one_error_however_they_are_cut(data: bytes, chunk: int) -> None:
    whole, error, _ = decode(data)
    assert decode(data, chunk)[:2] == (whole, error)
    assert sum(36 + len(request.body) + len(request.auth) for request in whole) <= len(data)
