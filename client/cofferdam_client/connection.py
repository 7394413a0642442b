"""One connection to the service: opened when it is needed, and kept as long as the service keeps it.

Some services close the connection after each response and others keep it, so the client checks before each request
whether it is still open. A race remains: the service may close while a request is on its way, and then the question
is whether the operation ran. The kernel answers it in two of three cases:

- Sending failed: the service has not received the whole request, so nothing ran.
- The connection was reset before the first byte of a response: the kernel resets it when a socket is closed while
  unread bytes are in its queue. The service has not read the whole request, so nothing ran.
- The stream ended before the first byte of a response: the service has read the whole request. It may have run.

On a kept connection, one that has served a request before, the client repeats the request on a new connection in the
first two cases, and in the third only if the operation changes nothing. On a new connection none of this is a race, and
nothing is sent twice.
"""

import grp
import os
import pwd
import select
import socket
import stat
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

from cofferdam_client.errors import ConnectionFailedError, ProtocolError
from cofferdam_contracts.wire.header import HEADER_LENGTH, HeaderError, ResponseHeader, decode_response

MAX_BODY: Final = 16 << 20
"""Longest accepted body of a response in bytes; the reference sends at most a little over 1 MiB by default."""
_CHUNK: Final = 64 << 10
_LARGEST_CHUNK: Final = 1 << 20
"""Most bytes to receive in one call, which allocates a buffer for them first."""
_PEEK: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT
# The application may have restored the default action of SIGPIPE, which ends the process.
_SEND: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_TIMEVAL: Final = struct.Struct("@ll")


def may_not_connect(path: str) -> str:
    """Return why the kernel does not let this process connect to a socket at a path: the rights that it would need."""
    try:
        state = os.stat(path)
    except OSError:
        return f"you may not connect to {path}: a folder above it does not let you pass"
    owner, group = _name(pwd.getpwuid, state.st_uid), _name(grp.getgrgid, state.st_gid)
    mode = stat.S_IMODE(state.st_mode)
    return f"you may not connect to {path}: the socket is of user {owner}, of group {group}, mode {mode:04o}"


def _name(find: Callable[[int], Sequence[object]], number: int) -> str:
    """Return the name of a user or group, or its number if it has none."""
    try:
        return str(find(number)[0])
    except KeyError:
        return str(number)


def _reason(path: str, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return may_not_connect(path)
    return f"no service at {path}: {error.strerror or error}"


class _NoResponseError(Exception):
    """Raised when the connection is lost before the first byte of a response."""

    def __init__(self, reason: str, *, may_have_run: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_have_run = may_have_run

    def final(self) -> ConnectionFailedError:
        """Return the error to raise to the application."""
        return ConnectionFailedError(self.reason, may_have_run=self.may_have_run)


class Connection:
    """A connection to the socket at `path`; one exchange may take `timeout` seconds, or any time if it is None."""

    def __init__(self, path: str, timeout: float | None) -> None:
        self._path = path
        self._timeout = timeout
        self._deadline: float | None = None
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the connection; the next exchange opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def exchange(self, request: bytes, *, repeatable: bool) -> tuple[ResponseHeader, bytes]:
        """Send a request and return the header and the body of the response.

        `repeatable` says that running the operation twice has the same effect as running it once.

        Raises:
            ConnectionFailedError: The connection fails, or is lost or silent before the response is complete.
            ProtocolError: The service sends something else than a response.
        """
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout
        try:
            kept = self._kept()
            if kept is not None:
                try:
                    return self._attempt(kept, request)
                except _NoResponseError as lost:
                    if lost.may_have_run and not repeatable:
                        raise
                    self.close()
            return self._attempt(self._connect(), request)
        except _NoResponseError as lost:
            self.close()
            raise lost.final() from lost
        except BaseException:
            # A late response must never be taken for the response to the next request.
            self.close()
            raise

    def _kept(self) -> socket.socket | None:
        """Return the connection if it is usable; close it if it ended or holds bytes that nobody requested."""
        if self._socket is None:
            return None
        try:
            self._socket.recv(1, _PEEK)
        except BlockingIOError:
            return self._socket
        except OSError:
            pass
        self.close()
        return None

    def _connect(self) -> socket.socket:
        self._socket = connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if self._timeout is not None:
                # On a non-blocking Unix socket connect(2) fails at once when the queue is full; this way it waits.
                seconds, fraction = divmod(self._timeout, 1)
                timeout = _TIMEVAL.pack(int(seconds), max(1, int(fraction * 1_000_000)))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            connection.connect(self._path)
        except BlockingIOError as error:
            raise ConnectionFailedError(f"the service at {self._path} does not accept connections in time") from error
        except OSError as error:
            raise ConnectionFailedError(_reason(self._path, error)) from error
        connection.setblocking(False)  # noqa: FBT003  the standard library's signature
        return connection

    def _attempt(self, connection: socket.socket, request: bytes) -> tuple[ResponseHeader, bytes]:
        sent = self._send(connection, request)
        # Receive even if sending failed: a service that rejects a request by its header answers before it closes.
        return self._receive(connection, sent=sent)

    def _send(self, connection: socket.socket, request: bytes) -> bool:
        """Send a request; return whether all of it was sent."""
        rest = memoryview(request)
        while rest:
            try:
                rest = rest[connection.send(rest, _SEND) :]
            except BlockingIOError:
                self._wait(connection, select.POLLOUT, may_have_run=False)
            except OSError:
                return False
        return True

    def _receive(self, connection: socket.socket, *, sent: bool) -> tuple[ResponseHeader, bytes]:
        received = bytearray()
        self._fill(connection, received, HEADER_LENGTH, sent=sent)
        try:
            header = decode_response(bytes(received[:HEADER_LENGTH]))
        except HeaderError as error:
            raise ProtocolError(f"the response has no valid header: {error}") from error
        if header.body_length > MAX_BODY:
            raise ProtocolError(f"the response is {header.body_length} bytes long, more than {MAX_BODY}")
        end = HEADER_LENGTH + header.body_length
        self._fill(connection, received, end, sent=sent)
        if len(received) > end:
            raise ProtocolError("the service sent more bytes than one response")
        return header, bytes(memoryview(received)[HEADER_LENGTH:])

    def _fill(self, connection: socket.socket, received: bytearray, count: int, *, sent: bool) -> None:
        """Receive until there are at least `count` bytes."""
        while len(received) < count:
            try:
                piece = connection.recv(min(max(_CHUNK, count - len(received)), _LARGEST_CHUNK))
            except BlockingIOError:
                self._wait(connection, select.POLLIN, may_have_run=sent)
                continue
            except OSError as error:
                raise self._lost(received, may_have_run=False, why=error.strerror or str(error)) from error
            if not piece:
                raise self._lost(received, may_have_run=sent, why="the service closed the connection")
            received += piece

    def _lost(self, received: bytearray, *, may_have_run: bool, why: str) -> Exception:
        if received:
            return ConnectionFailedError(f"in the middle of the response: {why}", may_have_run=True)
        return _NoResponseError(f"before the response: {why}", may_have_run=may_have_run)

    def _wait(self, connection: socket.socket, event: int, *, may_have_run: bool) -> None:
        poll = select.poll()
        poll.register(connection, event)
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic()) * 1000
        if not poll.poll(left):
            raise ConnectionFailedError(f"no response within {self._timeout:g} s", may_have_run=may_have_run)
