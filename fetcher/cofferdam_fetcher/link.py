"""A connection of the loop's: bytes in, bytes out, nothing that blocks, optionally in TLS."""

import errno
import os
import socket
from collections.abc import Callable
from typing import NamedTuple, Protocol

from cofferdam_fetcher.limits import MAX_UNSENT, READ_SIZE
from cofferdam_fetcher.source import SourceError
from cofferdam_runtime.loop import HANGUP, READ, WRITE, Loop


class Place(NamedTuple):
    """Where to connect to."""

    family: socket.AddressFamily
    address: str | tuple[str, int]
    """A path, or an IP address and a port."""


class Layer(Protocol):
    """What is between the socket and the protocol: no I/O."""

    is_ready: bool
    """Whether data of the protocol can pass."""
    is_ended: bool
    """Whether the peer said that no more will come, though the socket is still open."""

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the socket, empty at their end, and return those for the protocol. Raises `SourceError`."""

    def send(self, data: bytes) -> bytes:
        """Take bytes of the protocol, possibly none, and return those for the socket. Raises `SourceError`."""


class Plain:
    """No layer."""

    is_ready = True
    is_ended = False

    def receive(self, data: bytes) -> bytes:
        """Return the bytes."""
        return data

    def send(self, data: bytes) -> bytes:
        """Return the bytes."""
        return data


class Events(NamedTuple):
    """Whom a link calls back; each may raise `SourceError`."""

    ready: Callable[[], None]
    """The protocol may begin."""
    received: Callable[[bytes], None]
    """Bytes of the protocol; none at the end."""
    failed: Callable[[str], None]
    """The link is closed because of an error."""


class Link:
    """A connection; once closed it calls nobody back any more."""

    def __init__(self, loop: Loop, place: Place, layer: Layer, events: Events) -> None:
        """Begin to connect.

        Raises:
            SourceError: Nobody is there.
        """
        self._loop, self._layer, self._events = loop, layer, events
        self._unsent = b""
        self._is_connected = self._was_ready = False
        self._socket: socket.socket | None = None
        try:
            connection = socket.socket(place.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            raise SourceError(f"there is no socket: {error.strerror}") from None
        status = _connect(connection, place.address)
        if status:
            connection.close()
            raise SourceError(f"cannot connect: {os.strerror(status)}")
        self._socket = connection
        loop.add(connection.fileno(), WRITE, self._on_events)

    def send(self, data: bytes) -> None:
        """Send bytes of the protocol.

        Raises:
            SourceError: Too much waits to be sent.
        """
        self._put(self._layer.send(data))

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _on_events(self, events: int) -> None:
        try:
            if not self._is_connected:
                self._finish_connect()
            elif events & WRITE:
                self._flush()
            if self._socket is not None and events & (READ | HANGUP):
                self._read(self._socket)
        except SourceError as error:
            self.close()
            self._events.failed(str(error))
        except OSError as error:
            self.close()
            self._events.failed(_explained(error))

    def _finish_connect(self) -> None:
        status = 0 if self._socket is None else self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status:
            raise SourceError(f"cannot connect: {os.strerror(status)}")
        self._is_connected = True
        self._put(self._layer.send(b""))
        self._look_ready()

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        received = self._layer.receive(data)
        self._put(self._layer.send(b""))
        self._look_ready()
        if self._socket is not None and received:
            self._events.received(received)
        if self._socket is not None and (self._layer.is_ended or not data):
            self._events.received(b"")

    def _look_ready(self) -> None:
        if self._layer.is_ready and not self._was_ready:
            self._was_ready = True
            self._events.ready()

    def _put(self, data: bytes) -> None:
        self._unsent += data
        if self._socket is not None and self._is_connected:
            self._flush()
        if len(self._unsent) > MAX_UNSENT:
            raise SourceError("it demands answers and does not read them")

    def _flush(self) -> None:
        if self._socket is None:
            return
        if self._unsent:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                raise SourceError(_explained(error)) from None
        self._loop.change(self._socket.fileno(), READ | WRITE if self._unsent else READ)


def _connect(connection: socket.socket, address: str | tuple[str, int]) -> int:
    """Begin to connect, and return why it cannot be; 0 if it is done or under way."""
    try:
        status = connection.connect_ex(address)
    except OSError as error:
        return error.errno or 0
    # A Unix socket says EAGAIN when its backlog is full, and then never gets connected.
    return 0 if status == errno.EINPROGRESS else status


def _explained(error: OSError) -> str:
    """Return what happened to a connection; whether its end is seen by reading or by writing is chance."""
    return (
        "it closed the connection" if isinstance(error, ConnectionError) else f"the connection broke: {error.strerror}"
    )
