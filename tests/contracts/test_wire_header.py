"""Headers, as bytes and as values."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.golden import vector

from cofferdam_contracts.registry import AuthType, Opcode, ProviderId
from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.header import (
    HEADER,
    HEADER_LENGTH,
    KEEP_ALIVE,
    HeaderError,
    RequestHeader,
    ResponseHeader,
    decode_response,
    fallback_response,
    request_bytes,
    response_bytes,
)

UID_1000 = (1000).to_bytes(4, "little")


def header(opcode: Opcode, provider: ProviderId = ProviderId.CORE, session: int = 0) -> RequestHeader:
    return RequestHeader(KEEP_ALIVE, provider, session, AuthType.DIRECT, 7, 9, opcode)


def test_the_header_has_36_bytes() -> None:
    assert HEADER.size == HEADER_LENGTH == 36


@pytest.mark.parametrize(
    ("what", "request_data"),
    [
        ("Ping request", request_bytes(Opcode.PING, 0, b"")),
        ("ListOpcodes request for provider 1", request_bytes(Opcode.LIST_OPCODES, 0, b"\x08\x01")),
        ("ListOpcodes request for Core", request_bytes(Opcode.LIST_OPCODES, 0, b"")),
        ("ListKeys request", request_bytes(Opcode.LIST_KEYS, 0, b"", AuthType.UNIX_PEER_CREDENTIALS, UID_1000)),
        ("PsaGenerateRandom request", request_bytes(Opcode.PSA_GENERATE_RANDOM, 1, b"\x08\x20")),
        (
            "PsaDestroyKey request",
            request_bytes(Opcode.PSA_DESTROY_KEY, 1, b"\x0a\x01e", AuthType.UNIX_PEER_CREDENTIALS, UID_1000),
        ),
    ],
)
def test_requests_are_the_golden_ones(what: str, request_data: bytes) -> None:
    assert request_data == vector(what)


@pytest.mark.parametrize(
    ("what", "response"),
    [
        ("Ping response", response_bytes(header(Opcode.PING), Status.SUCCESS, b"\x08\x01")),
        ("ListClients response AdminOperation", response_bytes(header(Opcode.LIST_CLIENTS), Status.ADMIN_OPERATION)),
        (
            "PsaDestroyKey response, no such key",
            response_bytes(header(Opcode.PSA_DESTROY_KEY, ProviderId.MBED_CRYPTO), Status.PSA_ERROR_DOES_NOT_EXIST),
        ),
        ("fallback error, e.g. wrong version", fallback_response(Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED)),
        ("fallback error, body too big", fallback_response(Status.BODY_SIZE_EXCEEDS_LIMIT)),
    ],
)
def test_responses_are_the_golden_ones(what: str, response: bytes) -> None:
    assert response == vector(what)


def test_a_response_echoes_provider_session_and_opcode_and_nothing_else() -> None:
    response = response_bytes(header(Opcode.PSA_SIGN_HASH, ProviderId.TPM, 0x1122334455667788), 0, b"four")
    assert HEADER.unpack(response[:36]) == (
        0x5EC0A710, 30, 1, 0, 0, 3, 0x1122334455667788, 0, 0, 0, 4, 0, 4, 0, 0, 0,
    )  # fmt: skip
    assert response[36:] == b"four"


@given(
    st.sampled_from(Opcode),
    st.sampled_from(ProviderId),
    st.integers(0, (1 << 64) - 1),
    st.sampled_from(Status),
    st.binary(max_size=50),
)
def test_a_client_reads_what_the_service_writes(
    opcode: Opcode, provider: ProviderId, session: int, status: Status, body: bytes
) -> None:
    body = body if status is Status.SUCCESS else b""
    response = response_bytes(header(opcode, provider, session), status, body)
    assert decode_response(response) == ResponseHeader(provider, session, len(body), opcode, status)


def changed(offset: int, value: bytes) -> bytes:
    response = fallback_response(Status.PSA_ERROR_GENERIC_ERROR)
    return response[:offset] + value + response[offset + len(value) :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        fallback_response(0)[:35],
        changed(0, b"\x11"),
        changed(4, b"\x1f"),
        changed(6, b"\x02"),
        changed(7, b"\x01"),
        changed(19, b"\x01"),
        changed(22, b"\x01"),
        changed(26, b"\x01"),
        changed(34, b"\x01"),
        changed(35, b"\x01"),
    ],
)
def test_a_client_refuses_other_headers(data: bytes) -> None:
    with pytest.raises(HeaderError):
        decode_response(data)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_response_header_or_an_error(data: bytes) -> None:
    try:
        decoded = decode_response(data)
    except HeaderError:
        return
    assert HEADER.unpack(data[:36])[10] == decoded.body_length


@pytest.mark.parametrize(
    ("session", "flags", "auth"),
    [(1 << 64, 0, b""), (-1, 0, b""), (0, 1 << 16, b""), (0, 0, bytes(1 << 16))],
)
def test_a_request_that_does_not_fit_is_an_error(session: int, flags: int, auth: bytes) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        request_bytes(Opcode.PING, 0, b"", 0, auth, session=session, flags=flags)


def test_field_offsets_are_those_of_the_specification() -> None:
    data = request_bytes(0x0A0B0C0D, 5, b"bo", 4, b"a", session=0x1817161514131211, flags=0x0908)
    layout = {
        0: b"\x10\xa7\xc0\x5e", 4: b"\x1e\x00", 6: b"\x01", 7: b"\x00", 8: b"\x08\x09", 10: b"\x05",
        11: bytes(range(0x11, 0x19)), 19: b"\x00", 20: b"\x00", 21: b"\x04", 22: struct.pack("<I", 2),
        26: struct.pack("<H", 1), 28: b"\x0d\x0c\x0b\x0a", 32: b"\x00\x00", 34: b"\x00", 35: b"\x00", 36: b"bo",
        38: b"a",
    }  # fmt: skip
    assert data == b"".join(layout[offset] for offset in sorted(layout))
