"""A service for the tests of the client: a socket, and what happens on each connection to it, in order."""

import os
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.bodies import Result, decode_operation, encode_result
from cofferdam_contracts.wire.decoder import Limits, NeedData, Request, RequestDecoder
from cofferdam_contracts.wire.header import HEADER, HEADER_LENGTH, KEEP_ALIVE, response_bytes

_PATIENCE = 10.0
"""Seconds after which a test that waits for something has failed."""

Scene = Callable[["Peer"], None]
"""What happens on a connection before the next scene; the connection is closed after the last one."""


class Peer:
    """The service's end of one connection."""

    def __init__(self, connection: socket.socket, requests: list[bytes]) -> None:
        connection.settimeout(_PATIENCE)
        self.connection = connection
        self.requests = requests

    def read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count and (piece := self.connection.recv(count - len(data))):
            data += piece
        return bytes(data)

    def read_request(self) -> bytes:
        header = self.read(HEADER_LENGTH)
        if header:
            fields = HEADER.unpack(header)
            self.requests.append(header + self.read(fields[10] + fields[11]))
            return self.requests[-1]
        return b""


def respond(*pieces: bytes) -> Scene:
    """Read a request and send a response in pieces."""

    def scene(peer: Peer) -> None:
        peer.read_request()
        for piece in pieces:
            peer.connection.sendall(piece)

    return scene


def hang_up_unread(peer: Peer) -> None:
    """Wait until something of a request is there, and read none of it."""
    poll = select.poll()
    poll.register(peer.connection, select.POLLIN)
    poll.poll(_PATIENCE * 1000)


def hang_up_half_read(peer: Peer) -> None:
    """Read the beginning of a request and no more."""
    peer.read(HEADER_LENGTH)


def hang_up_read(peer: Peer) -> None:
    """Read a request and answer nothing."""
    peer.read_request()


def wait_for_end(peer: Peer) -> None:
    """Keep the connection until the client closes it."""
    with suppress(ConnectionResetError):
        peer.read(1)


def reject_unread(response: bytes) -> Scene:
    """Answer to the header alone, as a service does to a body that is too long."""

    def scene(peer: Peer) -> None:
        peer.read(HEADER_LENGTH)
        peer.connection.sendall(response)

    return scene


class Simulator:
    """A listening socket; every connection gets the next scenes."""

    def __init__(self, path: Path, connections: Iterable[Sequence[Scene]]) -> None:
        self.path = path
        self.requests: list[bytes] = []
        self._connections = connections
        self._errors: list[BaseException] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(os.fspath(path))
        self._listener.listen()
        self._listener.settimeout(_PATIENCE)
        self._thread = threading.Thread(target=self._serve)

    @property
    def endpoint(self) -> str:
        return f"unix:{self.path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.join()
        self._listener.close()
        self.path.unlink()
        if error is None and self._errors:
            raise self._errors[0]

    def _serve(self) -> None:
        try:
            for scenes in self._connections:
                connection, _ = self._listener.accept()
                with connection:
                    peer = Peer(connection, self.requests)
                    for scene in scenes:
                        scene(peer)
        except BaseException as error:  # noqa: BLE001  shown by the test's own thread
            self._errors.append(error)
            # A test that waits for a response sees the connection fail.
            self._listener.close()


Answer = Callable[[Any], Result]
"""What a service answers to the operation it is given: a result, or it raises a `ServiceError`."""


def raise_status(status: Status) -> Answer:
    def answer(_operation: object) -> Result:
        raise ServiceError(status)

    return answer


@contextmanager
def service(path: Path, answers: Mapping[Opcode, Answer]) -> Iterator[Simulator]:
    """Yield a service that answers these operations to whoever connects, until the block ends."""
    stop = threading.Event()

    def serve(peer: Peer) -> None:
        decoder = RequestDecoder(Limits(1 << 20))
        keep = True
        while keep and (data := peer.connection.recv(1 << 16)):
            decoder.feed(data)
            while not isinstance(request := decoder.next_event(), NeedData):
                peer.connection.sendall(_answer(answers, request))
                keep = bool(request.header.flags & KEEP_ALIVE)

    def connections() -> Iterator[list[Scene]]:
        while not stop.is_set():
            yield [serve]

    with Simulator(path, connections()) as simulator:
        try:
            yield simulator
        finally:
            stop.set()
            # The thread waits for one more connection.
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
                last.connect(os.fspath(path))


def _answer(answers: Mapping[Opcode, Answer], request: Request) -> bytes:
    header = request.header
    try:
        result = answers[header.opcode](decode_operation(header.opcode, request.body))
    except ServiceError as error:
        return response_bytes(header, error.status)
    return response_bytes(header, Status.SUCCESS, encode_result(header.opcode, result))
