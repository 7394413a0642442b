"""One connection to the service: made when it is needed, kept as long as the service keeps it.

A service that closes after each response is met as well as one that keeps the connection: whether it is still open is
looked at before each request. That leaves a race, a service that closes while a request is on its way, and the
question whether the operation ran. The kernel answers it in two of three cases:

- Sending failed: the service does not have the whole request, so nothing ran.
- The connection was reset before the first byte of a response: the kernel does that when a socket is closed with
  unread bytes in it. The service has not read the whole request, so nothing ran.
- The stream ended before the first byte of a response: the service has read the whole request. It may have run.

A request on a connection that has served one before is sent once more, on a fresh connection, in the first two cases;
in the third only if the operation changes nothing. On a fresh connection none of this is a race, and nothing is sent
twice.
"""

import select
import socket
import struct
import time
from typing import Final

from cofferdam_client.errors import ConnectionFailedError, ProtocolError
from cofferdam_contracts.wire.header import HEADER_LENGTH, HeaderError, ResponseHeader, decode_response

MAX_BODY: Final = 16 << 20
"""Longest body of a response in bytes; the longest the reference sends by default is a little over 1 MiB."""
_CHUNK: Final = 64 << 10
_LARGEST_CHUNK: Final = 1 << 20
"""Bytes asked for at once: room for them is made before they come."""
_PEEK: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT
# A client of this library may have given SIGPIPE its deadly default back.
_SEND: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_TIMEVAL: Final = struct.Struct("@ll")


class _NoResponseError(Exception):
    """Raised when the connection is lost before the first byte of a response."""

    def __init__(self, reason: str, *, may_have_run: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_have_run = may_have_run

    def final(self) -> ConnectionFailedError:
        """Return the error for the caller."""
        return ConnectionFailedError(self.reason, may_have_run=self.may_have_run)


class Connection:
    """A connection to the socket at `path`; `timeout` is the seconds that one exchange may take, None for no limit."""

    def __init__(self, path: str, timeout: float | None) -> None:
        self._path = path
        self._timeout = timeout
        self._deadline: float | None = None
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the connection; the next exchange makes another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def exchange(self, request: bytes, *, repeatable: bool) -> tuple[ResponseHeader, bytes]:
        """Send a request and return the header and the body of the response.

        `repeatable` says that running the operation twice does no more than running it once.

        Raises:
            ConnectionFailedError: There is no service, or it hangs up or is silent.
            ProtocolError: It sends something else than a response.
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
            # Whatever happened: a response that comes late must not be taken for that of the next request.
            self.close()
            raise

    def _kept(self) -> socket.socket | None:
        """Return the connection if it can take a request; drop one that ended or says something unasked."""
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
                # connect(2) of a non-blocking Unix socket fails at once when the queue is full; this one waits.
                seconds, fraction = divmod(self._timeout, 1)
                timeout = _TIMEVAL.pack(int(seconds), max(1, int(fraction * 1_000_000)))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            connection.connect(self._path)
        except BlockingIOError as error:
            raise ConnectionFailedError(f"the service at {self._path} does not accept connections in time") from error
        except OSError as error:
            raise ConnectionFailedError(f"no service at {self._path}: {error.strerror or error}") from error
        connection.setblocking(False)  # noqa: FBT003  the standard library's signature
        return connection

    def _attempt(self, connection: socket.socket, request: bytes) -> tuple[ResponseHeader, bytes]:
        sent = self._send(connection, request)
        # Also when sending failed: a service that refuses a request by its header answers before it hangs up.
        return self._receive(connection, sent=sent)

    def _send(self, connection: socket.socket, request: bytes) -> bool:
        """Send a request; return whether it went out whole."""
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
            raise ProtocolError("there is more than one response")
        return header, bytes(memoryview(received)[HEADER_LENGTH:])

    def _fill(self, connection: socket.socket, received: bytearray, count: int, *, sent: bool) -> None:
        """Receive until there are at least so many bytes."""
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
