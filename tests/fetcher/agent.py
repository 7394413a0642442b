"""A peer that speaks as an agent's Workload API, with h2's server side, and does what a test tells it to."""

import os
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import PingAckReceived, RequestReceived, StreamEnded

from cofferdam_contracts.endpoints import UnixEndpoint
from cofferdam_contracts.wire.protobuf import BYTES, STRING, Message, encode, listing

HEADERS: Final = ((":status", "200"), ("content-type", "application/grpc"))
_RESPONSE: Final = listing(bundles=Message(key=STRING, value=BYTES))
_PATIENCE_S: Final = 30.0


def message(*bundles: tuple[str, bytes]) -> bytes:
    """Return the encoding of a response."""
    return encode(_RESPONSE, bundles)


def framed(content: bytes, flag: int = 0, size: int | None = None) -> bytes:
    """Return a message as gRPC sends it."""
    return struct.pack(">BI", flag, len(content) if size is None else size) + content


class Caller:
    """The agent's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(_PATIENCE_S)
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.stream = 1
        self.headers: dict[str, str] = {}
        self.pings_answered = 0
        self._has_asked = False

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def read(self) -> bool:
        """Take what the client sent; tell whether it is still there."""
        data = self.socket.recv(65536)
        for event in self.h2.receive_data(data) if data else ():
            if isinstance(event, RequestReceived):
                self.headers = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, StreamEnded):
                self._has_asked = True
            elif isinstance(event, PingAckReceived):
                self.pings_answered += 1
        return bool(data)

    def accept(self) -> None:
        """Wait for the call."""
        self.flush()
        while not self._has_asked:
            assert self.read(), "the client went away"
            self.flush()

    def begin(self, *headers: tuple[str, str]) -> None:
        """Wait for the call, and send the headers of an answer."""
        self.accept()
        self.h2.send_headers(self.stream, headers or HEADERS)
        self.flush()

    def say(self, data: bytes) -> None:
        """Send bytes of the stream, as fast as the client lets us."""
        while data:
            size = min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size, len(data))
            if size:
                self.h2.send_data(self.stream, data[:size])
                data = data[size:]
                self.flush()
            else:
                assert self.read(), "the client went away"

    def wait(self) -> None:
        """Read until the client goes away."""
        try:
            while self.read():
                self.flush()
        except OSError:
            pass


Behaviour = Callable[[Caller], None]


@contextmanager
def agent(*behaviours: Behaviour) -> Iterator[UnixEndpoint]:
    """Serve a behaviour to each connection in turn, the last one to all further ones."""
    errors: list[BaseException] = []
    current: list[socket.socket] = []
    with tempfile.TemporaryDirectory(prefix="agent-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, "socket")
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, behaviours, errors, current), daemon=True)
        thread.start()
        try:
            yield UnixEndpoint(path)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in current:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            thread.join(_PATIENCE_S)
    assert errors == []


def _serve(
    listener: socket.socket,
    behaviours: tuple[Behaviour, ...],
    errors: list[BaseException],
    current: list[socket.socket],
) -> None:
    remaining = list(behaviours)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        current[:] = [connection]
        with connection:
            behave = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            try:
                behave(Caller(connection))
            except OSError:
                pass  # the client went away, as it may
            except AssertionError as error:
                errors.append(error)
            current.clear()
