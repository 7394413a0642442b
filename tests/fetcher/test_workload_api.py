"""The client of the Workload API against a peer that speaks HTTP/2, well or badly."""

import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from tests.fetcher.agent import HEADERS, Behaviour, Caller, agent, framed, message
from tests.fetcher.turns import Heard, forget, turn

from cofferdam_contracts.endpoints import TcpEndpoint, UnixEndpoint
from cofferdam_fetcher.limits import MAX_DOCUMENT, MAX_MESSAGE, USUAL, Times
from cofferdam_fetcher.source import Source
from cofferdam_fetcher.workload_api import WorkloadApi
from cofferdam_runtime.loop import Loop

FAST = USUAL._replace(first_pause_s=0.01, longest_pause_s=0.02)
A, B = b'{"keys":["a"]}', b'{"keys":["b"]}'
EXAMPLE = message(("spiffe://example.org", A))

OPEN: list[Source] = []


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    yield
    forget(OPEN)


def fine(caller: Caller) -> None:
    """Answer with one bundle, and keep the call open."""
    caller.begin()
    caller.say(framed(EXAMPLE))
    caller.wait()


def saying(*pieces: bytes) -> Behaviour:
    """Return a behaviour that sends bytes of the stream."""

    def behave(caller: Caller) -> None:
        caller.begin()
        for piece in pieces:
            caller.say(piece)
        caller.wait()

    return behave


class Client:
    """A client of one or more behaviours."""

    def __init__(self, endpoint: UnixEndpoint | TcpEndpoint, times: Times = FAST) -> None:
        self.heard = Heard()
        self.loop = Loop()
        self.source = WorkloadApi(self.loop, endpoint, self.heard.reports, times)
        self.source.start()
        OPEN.append(self.source)

    def until(self, done: Callable[["Client"], bool]) -> Heard:
        turn(self.loop, self.source, lambda: done(self))
        return self.heard

    def until_found(self, count: int = 1) -> Heard:
        return self.until(lambda client: len(client.heard.found) >= count)

    def until_failed(self, count: int = 1) -> Heard:
        return self.until(lambda client: len(client.heard.failed) >= count)


def test_the_bundles_of_all_domains_are_found() -> None:
    documents = (("spiffe://example.org", A), ("other.example", B))
    with agent(saying(framed(message(*documents)))) as endpoint:
        heard = Client(endpoint).until_found(2)
    assert heard.found == [("example.org", A), ("other.example", B)]
    assert heard.failed == []


def test_the_call_is_the_one_that_an_agent_expects() -> None:
    seen: list[dict[str, str]] = []

    def behave(caller: Caller) -> None:
        caller.begin()
        seen.append(caller.headers)
        caller.say(framed(EXAMPLE))
        caller.wait()

    with agent(behave) as endpoint:
        Client(endpoint).until_found()
    (headers,) = seen
    assert headers[":path"] == "/SpiffeWorkloadAPI/FetchJWTBundles"
    assert (headers[":method"], headers["workload.spiffe.io"], headers["te"]) == ("POST", "true", "trailers")
    assert headers["content-type"] == "application/grpc"


def test_an_agent_behind_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(TcpEndpoint(*listener.getsockname()))
        client.source.tick()
        connection, _ = listener.accept()
        with connection:
            client.loop.look(1)
            connection.settimeout(0.01)
            caller = Caller(connection)
            caller.begin()
            caller.say(framed(EXAMPLE))
            assert client.until_found().found == [("example.org", A)]


def test_a_rotation_is_found_and_a_redacted_domain_is_told() -> None:
    first = framed(message(("spiffe://example.org", A), ("spiffe://other.example", B)))
    with agent(saying(first, framed(message(("spiffe://example.org", B))))) as endpoint:
        heard = Client(endpoint).until_found(4)
    assert heard.found[2:] == [("other.example", b""), ("example.org", B)]


def test_a_message_may_come_in_any_pieces() -> None:
    def behave(caller: Caller) -> None:
        caller.begin()
        for byte in framed(EXAMPLE):
            caller.h2.send_data(1, bytes([byte]))
            for each in caller.h2.data_to_send():
                caller.socket.sendall(bytes([each]))
        caller.wait()

    with agent(behave) as endpoint:
        assert Client(endpoint).until_found().found == [("example.org", A)]


def test_a_message_may_be_larger_than_the_windows() -> None:
    documents = [(f"spiffe://{number}.example", bytes(MAX_DOCUMENT)) for number in range(3)]
    with agent(saying(*[framed(message(*documents))] * 2)) as endpoint:
        heard = Client(endpoint).until_found(6)
    assert [name for name, _ in heard.found] == ["0.example", "1.example", "2.example"] * 2
    assert heard.failed == []


def test_whoever_was_not_there_is_told_again() -> None:
    with agent(fine) as endpoint:
        client = Client(endpoint)
        client.until_found()
        client.source.repeat()
        assert client.heard.found == [("example.org", A)] * 2


def _with_trailers(*trailers: tuple[str, str]) -> Behaviour:
    def behave(caller: Caller) -> None:
        caller.begin()
        caller.h2.send_headers(1, trailers, end_stream=True)
        caller.flush()
        caller.wait()

    return behave


def _with_headers(*headers: tuple[str, str], end: bool = False) -> Behaviour:
    def behave(caller: Caller) -> None:
        caller.accept()
        caller.h2.send_headers(1, headers, end_stream=end)
        caller.flush()
        caller.wait()

    return behave


def _reset(caller: Caller) -> None:
    caller.begin()
    caller.h2.reset_stream(1, ErrorCodes.REFUSED_STREAM)
    caller.flush()
    caller.wait()


def _go_away(caller: Caller) -> None:
    caller.begin()
    caller.h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM, b"too_many\x1b[31m_pings")
    caller.flush()
    caller.wait()


def _end(caller: Caller) -> None:
    caller.begin()
    caller.h2.end_stream(1)
    caller.flush()
    caller.wait()


def _raw(data: bytes) -> Behaviour:
    def behave(caller: Caller) -> None:
        caller.socket.sendall(data)
        caller.wait()

    return behave


def _close(caller: Caller) -> None:
    caller.begin()


def _frames(kind: int, size: int) -> Behaviour:
    """Return a behaviour that sends frames of one type without end."""
    frame = size.to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 0]) + bytes(size)

    def behave(caller: Caller) -> None:
        caller.begin()
        while True:
            caller.socket.sendall(frame * 64)
            caller.read()

    return behave


def _deaf_frames(caller: Caller) -> None:
    """Demand answers and read none."""
    caller.begin()
    ping = (8).to_bytes(3, "big") + bytes([6, 0, 0, 0, 0, 0]) + bytes(8)
    while True:
        caller.socket.sendall(ping * 64)


def _headers_without_end(caller: Caller) -> None:
    caller.accept()
    frame = (1000).to_bytes(3, "big") + bytes([9, 0, 0, 0, 0, 1]) + bytes(1000)
    caller.socket.sendall((1).to_bytes(3, "big") + bytes([1, 0, 0, 0, 0, 1]) + b"\x88" + frame * 200)
    caller.wait()


def _many_headers(caller: Caller) -> None:
    caller.begin(*HEADERS, *((f"x-{number}", "y" * 1000) for number in range(12)))
    caller.wait()


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "compressed": (saying(framed(EXAMPLE, flag=1)), "compresses messages"),
    "a huge length": (saying(framed(b"", size=MAX_MESSAGE + 1)), f"{MAX_MESSAGE + 1} bytes"),
    "the hugest length": (saying(framed(b"", size=(1 << 32) - 1)), "4294967295 bytes"),
    "no protobuf": (saying(framed(b"\xff")), "not protobuf"),
    "too many domains": (saying(framed(message(*((f"{n}.example", A) for n in range(257))))), "257 trust domains"),
    "a huge document": (saying(framed(message(("example.org", bytes(MAX_DOCUMENT + 1))))), f"{MAX_DOCUMENT + 1} bytes"),
    "an empty document": (saying(framed(message(("example.org", b"")))), "has 0 bytes"),
    "a domain twice": (saying(framed(message(("example.org", A), ("spiffe://example.org", A)))), "two bundles"),
    "no domain": (saying(framed(message(("spiffe://exam\nple", A)))), "no trust domain"),
    "a path": (saying(framed(message(("spiffe://example.org/a", A)))), "no trust domain"),
    "not registered": (
        _with_trailers(("grpc-status", "7"), ("grpc-message", "no%20identity%0Aissued")),
        r"PERMISSION_DENIED, no identity\?issued \(register",
    ),
    "only trailers": (_with_headers(*HEADERS, ("grpc-status", "14"), end=True), "UNAVAILABLE"),
    "a good end": (_with_trailers(("grpc-status", "0")), "ended the call: OK"),
    "an unknown status": (_with_trailers(("grpc-status", "77")), "unknown status '77'"),
    "no status": (_with_trailers(("x", "y")), "unknown status ''"),
    "a status that is no number": (_with_trailers(("grpc-status", "-1")), "unknown status '-1'"),
    "an end": (_end, "without a status"),
    "another content type": (_with_headers((":status", "200"), ("content-type", "text/html")), "text/html"),
    "no content type": (_with_headers((":status", "200")), "content type ''"),
    "another HTTP status": (_with_headers((":status", "502"), ("content-type", "application/grpc")), "502"),
    "reset": (_reset, "reset the stream: REFUSED_STREAM"),
    "goaway": (_go_away, r"ENHANCE_YOUR_CALM: too_many\?\[31m_pings"),
    "closed": (_close, "closed the connection"),
    "HTTP/1.1": (_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "does not keep to HTTP/2"),
    "zeros": (_raw(bytes(1000)), "does not keep to HTTP/2"),
    "a huge frame": (_raw(b"\xff\xff\xff\x04\0\0\0\0\0"), "does not keep to HTTP/2"),
    "pings without end": (_frames(6, 8), "without a message"),
    "pings and no reading": (_deaf_frames, "does not read them|without a message"),
    "unknown frames without end": (_frames(0x42, 16000), "without a message"),
    "headers without end": (_headers_without_end, "does not keep to HTTP/2"),
    "many headers": (_many_headers, "does not keep to HTTP/2"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_the_call_and_the_next_one_succeeds(name: str) -> None:
    behave, error = FAULTS[name]
    with agent(behave, fine) as endpoint:
        heard = Client(endpoint).until_found()
    assert heard.found == [("example.org", A)]
    (text,) = heard.failed
    assert re.search(error, text), text
    assert text.startswith(f"the Workload API at {endpoint.path}: ")
    assert text.isprintable()


def test_messages_without_end_end_the_call() -> None:
    with agent(saying(*[framed(EXAMPLE)] * 200)) as endpoint:
        heard = Client(endpoint).until_failed()
    assert "more than 120 messages" in heard.failed[0]
    assert len(heard.found) <= 120


def _silent(caller: Caller) -> None:
    caller.accept()
    caller.wait()


def _mute(caller: Caller) -> None:
    while caller.socket.recv(65536):
        pass


def _drip(caller: Caller) -> None:
    """Begin a second message and send a byte of it now and then."""
    caller.begin()
    caller.say(framed(EXAMPLE))
    for byte in framed(bytes(1000)):
        caller.say(bytes([byte]))
        time.sleep(0.01)


def _deaf(caller: Caller) -> None:
    """Send bundles, then answer nothing."""
    caller.begin()
    caller.say(framed(EXAMPLE))
    _mute(caller)


SLOW: dict[str, tuple[Behaviour, str]] = {
    "no bundles": (_silent, "sent no bundles"),
    "no HTTP/2": (_mute, "sent no bundles"),
    "a slow message": (_drip, "did not end it"),
    "no answer to a ping": (_deaf, "does not answer"),
}


@pytest.mark.parametrize("name", SLOW)
def test_an_agent_that_is_silent_is_left(name: str) -> None:
    behave, error = SLOW[name]
    times = FAST._replace(first_s=0.1, message_s=0.1, probe_s=0.1, answer_s=0.1)
    with agent(behave) as endpoint:
        heard = Client(endpoint, times).until_failed()
    assert error in heard.failed[0]


def test_an_answer_to_a_ping_confirms_the_bundles() -> None:
    with agent(fine) as endpoint:
        heard = Client(endpoint, FAST._replace(probe_s=0.01)).until_found(4)
    assert heard.found == [("example.org", A)] * 4
    assert heard.failed == []


def test_the_pings_of_an_agent_are_answered() -> None:
    def behave(caller: Caller) -> None:
        caller.begin()
        caller.h2.ping(b"12345678")
        caller.flush()
        while not caller.pings_answered:
            assert caller.read()
        caller.say(framed(EXAMPLE))
        caller.wait()

    with agent(behave) as endpoint:
        assert Client(endpoint).until_found().failed == []


def test_a_lasting_failure_is_told_once_and_each_try_waits() -> None:
    tries: list[float] = []

    def behave(caller: Caller) -> None:
        tries.append(time.monotonic())
        caller.begin()

    with agent(behave) as endpoint:
        client = Client(endpoint, FAST._replace(first_pause_s=0.005, longest_pause_s=0.04))
        client.until(lambda _client: len(tries) >= 8)
    assert len(client.heard.failed) == 1
    # 5, 10, 20, 40, 40, 40 and 40 ms, of which up to a fifth is left out.
    assert tries[7] - tries[0] > 0.8 * 0.195


def test_an_agent_that_comes_later_is_found() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "socket"))
        client = Client(UnixEndpoint(path))
        assert "No such file or directory" in client.until_failed().failed[0]
        with agent(fine) as endpoint:
            os.symlink(endpoint.path, path)
            client.until_found()
            assert client.heard.failed[1:] == []


def test_a_closed_source_holds_nothing() -> None:
    with agent(fine) as endpoint:
        client = Client(endpoint)
        before = len(os.listdir("/proc/self/fd"))
        client.until_found()
        client.source.close()
        assert client.source.tick() > 1000
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the agent's end
