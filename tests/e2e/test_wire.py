"""What a client sees on the wire, through the real socket: every check in its order, every anomaly."""

import os
import socket
import time
from collections.abc import Iterator

import pytest
from tests.harness import wire
from tests.harness.service import Service
from tests.harness.wire import KEEP_ALIVE, Caller, Request, call, exchange, unix_auth

UID = os.getuid()
PING = Request()
MINE = Caller(UID)
PING_RESPONSE = bytes.fromhex("10a7c05e1e000100000000000000000000000000000002000000000001000000000000000801")

# status, whether the header is the fallback one, request
REFUSED = [
    (17, True, PING.but(magic=1)),
    (17, True, PING.but(header_size=0)),
    (17, True, PING.but(header_size=29)),
    (4, True, PING.but(version_major=2)),
    (4, True, PING.but(version_major=0)),
    (4, True, PING.but(version_minor=1)),
    (17, True, PING.but(reserved1=1)),
    (17, True, PING.but(reserved2=1)),
    (20, True, PING.but(body_len=(1 << 20) + 1)),
    (20, True, PING.but(body_len=0xFFFFFFFF)),
    (2, True, PING.but(content_type=1)),
    (2, True, PING.but(content_type=1, opcode=0x99)),
    (3, True, PING.but(accept_type=1)),
    (12, True, PING.but(auth_type=5)),
    (9, True, PING.but(opcode=0)),
    (9, True, PING.but(opcode=0x1D)),
    (9, True, PING.but(opcode=0x21, provider=9)),
    (6, True, PING.but(provider=6)),
    (6, True, PING.but(provider=255)),
    (13, False, PING.but(auth_type=1, auth=b"x")),
    (13, False, PING.but(auth_type=2, auth=b"x")),
    (13, False, PING.but(auth_type=4, auth=b"x")),
    (11, False, PING.but(auth_type=3, auth=b"")),
    (11, False, PING.but(auth_type=3, auth=b"\0\0\0")),
    (11, False, PING.but(auth_type=3, auth=unix_auth(UID) + b"\0")),
    (11, False, PING.but(auth_type=3, auth=unix_auth(UID + 1))),
    (11, False, PING.but(auth_type=3, auth=unix_auth(UID + 1), provider=4)),
    (5, False, PING.but(provider=4)),
    (1134, False, PING.but(provider=1)),
    (1134, False, MINE.request(wire.SIGN_HASH, provider=0)),
    (19, False, PING.but(opcode=wire.LIST_CLIENTS, body=b"\xff")),
    (21, False, MINE.request(wire.LIST_CLIENTS, b"\xff", provider=0)),
    (7, False, PING.but(body=b"\xff\xff\xff")),
    (7, False, Request(opcode=wire.SIGN_HASH, provider=1, body=b"\xff")),
    (16, False, Request(opcode=wire.SIGN_HASH, provider=1)),
    (16, False, MINE.request(wire.GENERATE_KEY, wire.blob(1, b"x"))),
    (6, False, PING.but(opcode=wire.LIST_OPCODES, body=wire.number(1, 77))),
    (5, False, PING.but(opcode=wire.LIST_OPCODES, body=wire.number(1, 4))),
    (19, False, PING.but(opcode=wire.LIST_KEYS)),
    (19, False, Request(opcode=wire.DESTROY_KEY, provider=1, body=wire.blob(1, b"x"))),
    (1140, False, MINE.destroy("no such key")),
    (10, False, MINE.random((1 << 20) + 1)),
    (10, False, MINE.random(1 << 60)),
]


@pytest.mark.parametrize(("status", "fallback", "request_"), REFUSED)
def test_a_bad_request_gets_its_status_and_header(
    service: Service,
    status: int,
    fallback: bool,
    request_: Request,
) -> None:
    response = call(service.socket_path, request_.but(session=5))
    assert response.status == status
    if fallback:
        assert (response.provider, response.session, response.opcode) == (0, 0, 1)
    else:
        assert (response.provider, response.session, response.opcode) == (request_.provider, 5, request_.opcode)


@pytest.mark.parametrize(
    "request_",
    [
        PING,
        PING.but(flags=1),
        PING.but(flags=0x7FFF),
        PING.but(session=1 << 63),
        PING.but(status=3),
        PING.but(auth=b"ignored"),
        PING.but(auth_type=3, auth=unix_auth(UID)),
        PING.but(body=wire.number(100, 1)),
    ],
)
def test_what_the_reference_ignores_is_ignored(service: Service, request_: Request) -> None:
    response = call(service.socket_path, request_)
    assert (response.status, response.session, response.body) == (0, request_.session, b"\x08\x01")


def test_the_golden_ping(service: Service) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(service.socket_path)
        for byte in PING.to_bytes():
            client.send(bytes((byte,)))
        assert client.recv(100) == PING_RESPONSE
        assert client.recv(100) == b""


@pytest.mark.parametrize("surplus", [b"x", PING.to_bytes(), bytes(100_000)])
def test_what_comes_after_a_request_is_never_answered_and_never_resets(service: Service, surplus: bytes) -> None:
    assert exchange(service.socket_path, PING.to_bytes() + surplus).status == 0


@pytest.mark.parametrize("surplus", [b"x", bytes(100_000)])
def test_a_refusal_is_readable_however_much_was_sent(service: Service, surplus: bytes) -> None:
    assert exchange(service.socket_path, PING.but(magic=1).to_bytes() + surplus).status == 17


@pytest.fixture(scope="module")
def patient() -> Iterator[Service]:
    """Return a service that waits longer for a silent client than a test waits for its answer."""
    with Service(tables={"listener": {"timeout": 600_000}}) as service:
        yield service


@pytest.mark.parametrize("length", [0, 1, 35, 36, 40])
def test_a_request_that_ends_early_is_answered_at_once(patient: Service, length: int) -> None:
    data = PING.but(body_len=10).to_bytes() + bytes(5)
    # Long before the timeout of a silent client.
    assert exchange(patient.socket_path, data[:length], half_close=True).status == 15


@pytest.mark.parametrize(
    "data", [b"", PING.to_bytes()[:20], PING.but(body_len=10).to_bytes(), PING.but(header_size=31).to_bytes()]
)
def test_silence_ends_after_the_listener_timeout(service: Service, data: bytes) -> None:
    began = time.monotonic()
    assert exchange(service.socket_path, data).status == 15
    assert time.monotonic() - began > 0.9


def test_a_header_of_another_size_is_read_before_it_is_refused(service: Service) -> None:
    assert exchange(service.socket_path, PING.but(header_size=31).to_bytes() + b"\0").status == 17


def test_a_body_at_the_limit_is_served(service: Service) -> None:
    body = wire.number(1, wire.SHA_256) + wire.blob(2, bytes((1 << 20) - 6))
    assert len(body) == 1 << 20
    response = call(service.socket_path, Request(opcode=wire.HASH_COMPUTE, provider=1, body=body))
    assert response.status == 0
    assert len(wire.first_blob(response.body)) == 32


def test_the_largest_answer_arrives_whole(service: Service) -> None:
    response = call(service.socket_path, MINE.random(1 << 20))
    assert len(wire.first_blob(response.body)) == 1 << 20


def test_a_connection_stays_open_only_for_who_asks(service: Service) -> None:
    keep = PING.but(flags=KEEP_ALIVE).to_bytes()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(service.socket_path)
        for _ in range(3):
            client.sendall(keep)
            assert client.recv(100) == PING_RESPONSE
        client.sendall(keep * 20 + PING.to_bytes())
        got = b""
        while part := client.recv(65536):
            got += part
        assert got == PING_RESPONSE * 21


def test_pipelined_requests_of_a_kept_connection_are_answered_in_order(service: Service) -> None:
    random = MINE.random(3).but(flags=KEEP_ALIVE).to_bytes()
    ping = PING.but(flags=KEEP_ALIVE).to_bytes()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(service.socket_path)
        client.sendall((random + ping) * 50 + PING.to_bytes())
        got = b""
        while part := client.recv(65536):
            got += part
    opcodes = []
    while got:
        fields = wire.HEADER.unpack_from(got)
        opcodes.append(fields[12])
        got = got[36 + fields[10] :]
    assert opcodes == [wire.GENERATE_RANDOM, wire.PING] * 50 + [wire.PING]


def test_a_slow_reader_gets_everything(service: Service) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(service.socket_path)
        client.sendall(MINE.random(1 << 20).to_bytes())
        got = 0
        while part := client.recv(65536):
            got += len(part)
            time.sleep(0.005)
    assert got > 1 << 20


def test_lists(service: Service) -> None:
    providers = call(service.socket_path, PING.but(opcode=wire.LIST_PROVIDERS)).body
    ids = [dict(wire.fields(entry)).get(7, 0) for number, entry in wire.fields(providers) if isinstance(entry, bytes)]
    assert ids == [1, 0]
    core = wire.first_blob(call(service.socket_path, PING.but(opcode=wire.LIST_OPCODES)).body)
    assert set(core) == {1, 8, 9, 14, 26}
    software = call(service.socket_path, PING.but(opcode=wire.LIST_OPCODES, body=wire.number(1, 1))).body
    assert set(wire.first_blob(software)) == {2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 15, 16, 17, 18, 19, 32}
    authenticators = call(service.socket_path, PING.but(opcode=wire.LIST_AUTHENTICATORS)).body
    assert dict(wire.fields(wire.first_blob(authenticators)))[5] == 3


@pytest.mark.parametrize("name", ["", "a\0b", "../x", "k" * 4096, "ключ"])
def test_any_unicode_is_a_key_name(service: Service, name: str) -> None:
    path = service.socket_path
    assert call(path, MINE.generate(name, wire.P256_SIGN)).status == 0
    assert call(path, MINE.generate(name, wire.P256_SIGN)).status == 1139
    assert call(path, MINE.sign(name, wire.ECDSA_SHA_256, bytes(32))).status == 0
    assert call(path, MINE.sign(name, wire.ECDSA_SHA_256, bytes(31))).status == 1135
    assert call(path, MINE.sign(name, wire.RSA_SIGN_SHA_256, bytes(32))).status == 1133
    assert call(path, MINE.destroy(name)).status == 0
    assert call(path, MINE.destroy(name)).status == 1140


def test_keys_are_listed_as_the_reference_lists_them(service: Service) -> None:
    assert call(service.socket_path, MINE.generate("e", wire.P256_SIGN)).status == 0
    response = call(service.socket_path, MINE.request(wire.LIST_KEYS, provider=0))
    golden = "0a2608011201651a1f0a045a0208021080021a140a0830013801400148011208320622040a021007"
    assert response.body.hex() == golden
    assert call(service.socket_path, MINE.destroy("e")).status == 0
    assert call(service.socket_path, MINE.request(wire.LIST_KEYS, provider=0)).body == b""
