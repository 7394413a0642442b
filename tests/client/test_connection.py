"""Connections that are kept, closed, reset and lost, and what is sent again because of that."""

import os
import signal
import socket
import tempfile
import threading
from pathlib import Path
from types import FrameType

import pytest
from tests.client.simulator import (
    Peer,
    Scene,
    Simulator,
    hang_up_half_read,
    hang_up_read,
    hang_up_unread,
    reject_unread,
    respond,
    wait_for_end,
)
from tests.contracts.golden import vector

from cofferdam_client import (
    Client,
    ConnectionFailedError,
    Hash,
    NoAuth,
    ProtocolError,
    ProviderId,
    ServiceStatusError,
    Status,
    UnixPeerCredentials,
    ecc_signing_key,
)
from cofferdam_client.connection import MAX_BODY
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire.bodies import encode_result
from cofferdam_contracts.wire.header import HEADER, HEADER_LENGTH, KEEP_ALIVE, MAGIC


class InterruptedRequestError(Exception):
    """Raised by the signal handler of a test."""


PING = vector("Ping response")
TOO_BIG = vector("fallback error, body too big")
WRONG_VERSION = vector("fallback error, e.g. wrong version")


def response(
    opcode: Opcode, body: bytes = b"", *, provider: int = 1, body_length: int | None = None, version: int = 1
) -> bytes:
    length = len(body) if body_length is None else body_length
    return HEADER.pack(MAGIC, 30, version, 0, 0, provider, 0, 0, 0, 0, length, 0, opcode, 0, 0, 0) + body


GENERATED = response(Opcode.PSA_GENERATE_KEY)
HASHED = response(Opcode.PSA_HASH_COMPUTE, encode_result(Opcode.PSA_HASH_COMPUTE, (b"digest",)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def client_of(simulator: Simulator, timeout: float | None = 10.0) -> Client:
    return Client(simulator.endpoint, provider=ProviderId.MBED_CRYPTO, auth=UnixPeerCredentials(), timeout=timeout)


def test_the_request_is_the_published_one_with_the_flag_that_keeps_the_connection(path: Path) -> None:
    with Simulator(path, [[respond(PING)]]) as simulator, client_of(simulator) as client:
        assert client.ping() == (1, 0)
    (request,) = simulator.requests
    expected = bytearray(vector("Ping request"))
    expected[8:10] = KEEP_ALIVE.to_bytes(2, "little")
    assert request == bytes(expected)


def test_a_service_that_closes_after_each_response_is_connected_to_again(path: Path) -> None:
    with Simulator(path, [[respond(PING)]] * 3) as simulator, client_of(simulator) as client:
        assert [client.ping() for _ in range(3)] == [(1, 0)] * 3
    assert len(simulator.requests) == 3


def test_a_service_that_keeps_the_connection_is_connected_to_once(path: Path) -> None:
    with Simulator(path, [[respond(PING)] * 3 + [wait_for_end]]) as simulator, client_of(simulator) as client:
        assert [client.ping() for _ in range(3)] == [(1, 0)] * 3
        client.close()


def test_a_response_may_come_in_pieces(path: Path) -> None:
    pieces = [PING[place : place + 1] for place in range(len(PING))]
    with Simulator(path, [[respond(*pieces)]]) as simulator, client_of(simulator) as client:
        assert client.ping() == (1, 0)


def test_a_closed_client_can_be_used_again(path: Path) -> None:
    with Simulator(path, [[respond(PING), wait_for_end], [respond(PING)]]) as simulator:
        client = client_of(simulator)
        client.ping()
        client.close()
        assert client.ping() == (1, 0)
        client.close()


@pytest.mark.parametrize("hang_up", [hang_up_unread, hang_up_half_read])
def test_a_key_is_generated_again_when_the_service_did_not_read_the_whole_request(path: Path, hang_up: Scene) -> None:
    connections = [[respond(PING), hang_up], [respond(GENERATED)]]
    with Simulator(path, connections) as simulator, client_of(simulator) as client:
        client.ping()
        client.generate_key("e", ecc_signing_key())
    assert len(simulator.requests) == 2


def test_a_request_that_was_sent_in_part_is_sent_again(path: Path) -> None:
    connections = [[respond(PING), hang_up_half_read], [respond(HASHED)]]
    with Simulator(path, connections) as simulator, client_of(simulator) as client:
        client.ping()
        assert client.hash_compute(bytes(8 << 20), Hash.SHA_256) == b"digest"


def test_a_key_is_not_generated_again_when_the_service_read_the_whole_request(path: Path) -> None:
    with Simulator(path, [[respond(PING), hang_up_read]]) as simulator, client_of(simulator) as client:
        client.ping()
        with pytest.raises(ConnectionFailedError) as caught:
            client.generate_key("e", ecc_signing_key())
    assert caught.value.may_have_run


def test_an_operation_without_effects_is_sent_again_even_then(path: Path) -> None:
    connections = [[respond(PING), hang_up_read], [respond(HASHED)]]
    with Simulator(path, connections) as simulator, client_of(simulator) as client:
        client.ping()
        assert client.hash_compute(b"x", Hash.SHA_256) == b"digest"


@pytest.mark.parametrize(
    ("hang_up", "may_have_run"), [(hang_up_unread, False), (hang_up_half_read, False), (hang_up_read, True)]
)
def test_nothing_is_sent_again_on_a_new_connection(path: Path, hang_up: Scene, *, may_have_run: bool) -> None:
    with (
        Simulator(path, [[hang_up]]) as simulator,
        client_of(simulator) as client,
        pytest.raises(ConnectionFailedError) as caught,
    ):
        client.hash_compute(b"x", Hash.SHA_256)
    assert caught.value.may_have_run is may_have_run


def test_a_request_is_sent_again_only_once(path: Path) -> None:
    connections: list[list[Scene]] = [[respond(PING), hang_up_unread], [hang_up_unread]]
    with Simulator(path, connections) as simulator, client_of(simulator) as client:
        client.ping()
        with pytest.raises(ConnectionFailedError):
            client.ping()


def test_the_response_to_a_request_that_is_too_long_is_read_although_sending_failed(path: Path) -> None:
    with (
        Simulator(path, [[reject_unread(TOO_BIG)]]) as simulator,
        client_of(simulator) as client,
        pytest.raises(ServiceStatusError) as caught,
    ):
        client.hash_compute(bytes(8 << 20), Hash.SHA_256)
    assert caught.value.status is Status.BODY_SIZE_EXCEEDS_LIMIT
    assert caught.value.opcode is Opcode.PSA_HASH_COMPUTE


def test_the_status_of_a_fallback_response_comes_before_its_opcode(path: Path) -> None:
    with (
        Simulator(path, [[respond(WRONG_VERSION)]]) as simulator,
        client_of(simulator) as client,
        pytest.raises(ServiceStatusError, match=r"LIST_KEYS: WIRE_PROTOCOL_VERSION_NOT_SUPPORTED \(4\)"),
    ):
        client.list_keys()


def test_a_status_without_a_name_keeps_its_number(path: Path) -> None:
    unknown = bytearray(WRONG_VERSION)
    unknown[32:34] = (4711).to_bytes(2, "little")
    with (
        Simulator(path, [[respond(bytes(unknown))]]) as simulator,
        client_of(simulator) as client,
        pytest.raises(ServiceStatusError, match=r"unknown status \(4711\)") as caught,
    ):
        client.ping()
    assert caught.value.status == 4711


MALFORMED = {
    "another operation's response": response(Opcode.PSA_HASH_COMPUTE, provider=0),
    "another provider's response": response(Opcode.PING, provider=2),
    "another version": response(Opcode.PING, provider=0, version=2),
    "no magic number": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "a body longer than the limit": response(Opcode.PING, provider=0, body_length=MAX_BODY + 1),
    "the longest body there can be": response(Opcode.PING, provider=0, body_length=(1 << 32) - 1),
    "two responses": PING * 2,
    "a body that is not protobuf": response(Opcode.PING, b"\xff", provider=0),
}


@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_response_is_rejected_and_the_connection_closed(path: Path, malformed: bytes) -> None:
    with Simulator(path, [[respond(malformed)], [respond(PING)]]) as simulator, client_of(simulator) as client:
        with pytest.raises(ProtocolError):
            client.ping()
        assert client.ping() == (1, 0)


@pytest.mark.parametrize("length", [1, HEADER_LENGTH - 1, HEADER_LENGTH, len(PING) - 1])
def test_a_truncated_response_is_a_lost_connection(path: Path, length: int) -> None:
    with (
        Simulator(path, [[respond(PING[:length])]]) as simulator,
        client_of(simulator) as client,
        pytest.raises(ConnectionFailedError, match="in the middle of the response") as caught,
    ):
        client.ping()
    assert caught.value.may_have_run


def test_unrequested_bytes_are_not_taken_for_the_next_response(path: Path) -> None:
    asked, sent = threading.Event(), threading.Event()

    def speak_unasked(peer: Peer) -> None:
        asked.wait(10)
        peer.connection.sendall(response(Opcode.PING, b"\x08\x07", provider=0))
        sent.set()

    connections = [[respond(PING), speak_unasked, wait_for_end], [respond(PING)]]
    with Simulator(path, connections) as simulator, client_of(simulator) as client:
        client.ping()
        asked.set()
        assert sent.wait(10)
        assert client.ping() == (1, 0)


def test_silence_ends_after_the_timeout(path: Path) -> None:
    with Simulator(path, [[hang_up_read, wait_for_end], [respond(PING)]]) as simulator:
        client = client_of(simulator, timeout=0.05)
        with pytest.raises(ConnectionFailedError, match=r"no response within 0\.05 s") as caught:
            client.ping()
        assert caught.value.may_have_run
        client.close()
        with client_of(simulator) as patient:
            assert patient.ping() == (1, 0)


def test_a_service_that_takes_nothing_ends_after_the_timeout(path: Path) -> None:
    given_up = threading.Event()

    def take_nothing(_peer: Peer) -> None:
        given_up.wait(10)

    with (
        Simulator(path, [[take_nothing]]) as simulator,
        client_of(simulator, timeout=0.05) as client,
    ):
        with pytest.raises(ConnectionFailedError) as caught:
            client.hash_compute(bytes(8 << 20), Hash.SHA_256)
        given_up.set()
    assert not caught.value.may_have_run


def test_a_service_that_accepts_nobody_ends_after_the_timeout(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        with pytest.raises(ConnectionFailedError, match="does not accept connections in time"):
            Client(f"unix:{path}", timeout=0.05).ping()


def test_an_interrupted_request_leaves_no_connection_behind(path: Path) -> None:
    """Its response would be taken for that of the next request."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise InterruptedRequestError

    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.get_ident()
    interrupted = threading.Event()

    def answer_late(peer: Peer) -> None:
        peer.read_request()
        signal.pthread_kill(main, signal.SIGUSR1)
        interrupted.wait(10)

    try:
        with Simulator(path, [[answer_late], [respond(PING)]]) as simulator, client_of(simulator) as client:
            with pytest.raises(InterruptedRequestError):
                client.ping()
            interrupted.set()
            assert client.ping() == (1, 0)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_without_a_timeout_a_client_waits(path: Path) -> None:
    with Simulator(path, [[respond(PING)]]) as simulator, client_of(simulator, timeout=None) as client:
        assert client.ping() == (1, 0)


def test_no_service_is_an_error_that_names_the_socket(path: Path) -> None:
    with pytest.raises(ConnectionFailedError, match=f"no service at {path}: No such file"):
        Client(f"unix:{path}", auth=NoAuth()).ping()
    path.write_bytes(b"")
    with pytest.raises(ConnectionFailedError, match="refused"):
        Client(f"unix:{path}", auth=NoAuth()).ping()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
def test_who_may_not_connect_is_told_what_rights_the_socket_has() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        os.chmod(folder, 0o755)  # noqa: S103  somebody else has to pass
        path = f"{folder}/socket"
        listener.bind(path)
        listener.listen()
        os.chown(path, 0, 4711)
        os.chmod(path, 0o660)
        os.seteuid(59001)
        try:
            with pytest.raises(ConnectionFailedError) as caught:
                Client(f"unix:{path}", auth=NoAuth()).ping()
            os.seteuid(0)
            os.chmod(folder, 0o700)
            os.seteuid(59001)
            with pytest.raises(ConnectionFailedError, match="a folder above it does not let you pass"):
                Client(f"unix:{path}", auth=NoAuth()).ping()
        finally:
            os.seteuid(0)
    assert str(caught.value) == (
        f"you may not connect to {path}: the socket is of user root, of group 4711, mode 0660"
    )  # fmt: skip
