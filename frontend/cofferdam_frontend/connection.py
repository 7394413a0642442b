"""One client connection: bytes in, whole requests out; responses in, bytes out.

The service answers one request per connection and closes, because old clients read until the end of the stream. What a
client sent too much is drained first, so that the kernel does not reset the connection under the response. A client
that sets flag 0x8000 keeps the connection for its next request. A connection whose request came whole and whose
response went out whole was never in the epoll at all.

    RECEIVING -> WORKING -> SENDING -> IDLE -> RECEIVING ...     the client keeps the connection
                                    -> DRAINING -> CLOSED        it sent more than it may, or no request
                                    -> CLOSED                    otherwise

Every state may be left for CLOSED when the client hangs up or waits too long; SENDING is skipped when the kernel takes
the whole response. A connection reads at most `SMALL` bytes beyond its request, and takes its turn: after one read
that completed a request, or `_TURN` reads, the other connections are served.
"""

import _socket
import enum
from typing import Final, Protocol

from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.decoder import Limits, NeedData, Request, RequestDecoder, WireError
from cofferdam_contracts.wire.header import HEADER_LENGTH, KEEP_ALIVE, fallback_response
from cofferdam_frontend.budget import SMALL, Budget, Share
from cofferdam_runtime.loop import HANGUP, READ, WRITE, Loop

_CHUNK: Final = 16 * 1024
_TURN: Final = 64
"""Reads in a row, for a body that comes as fast as it is read."""
_DRAIN_LIMIT: Final = 1 << 20
_NOTHING: Final = memoryview(b"")
_FLAGS: Final = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL


@enum.unique
class State(enum.Enum):
    """What a connection waits for."""

    RECEIVING = "the rest of a request"
    IDLE = "another request"
    WORKING = "an answer of an upstream"
    SENDING = "the client to take the response"
    DRAINING = "the client to stop sending"
    CLOSED = "nothing"


class ConnectionOwner(Protocol):
    """What a connection needs of its frontend."""

    loop: Loop
    limits: Limits
    budget: Budget
    draining: bool
    """Whether no connection is kept open any more."""

    def on_request(self, connection: "ClientConnection", request: Request) -> None:
        """Have a request answered: `ClientConnection.respond` is called once, now or later."""

    def on_wait(self, connection: "ClientConnection") -> None:
        """Note that the connection waits for its client from now on, see `ClientConnection.state`."""

    def on_refuse(self, status: Status) -> None:
        """Note that what came was no request, or cannot be kept."""

    def on_close(self, connection: "ClientConnection") -> None:
        """Forget the connection."""


class ClientConnection:
    """A client connection."""

    __slots__ = (
        "_advancing",
        "_decoder",
        "_drained",
        "_keep",
        "_mask",
        "_owner",
        "_pending",
        "_refused",
        "_share",
        "_socket",
        "state",
    )

    def __init__(self, descriptor: int, owner: ConnectionOwner) -> None:
        """Own the descriptor of an accepted connection."""
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
        self._owner = owner
        self._decoder = RequestDecoder(owner.limits)
        self._pending = _NOTHING
        self._mask = -1
        self._keep = False
        self._drained = 0
        self._refused = False
        self._advancing = False
        self._share = Share(owner.budget)
        self.state = State.RECEIVING

    def start(self) -> None:
        """Serve what is there; called once, when the connection was handed over."""
        self._receive()

    def has_room(self, size: int) -> bool:
        """Tell whether a response of this size may wait for the client to take it."""
        return self._owner.budget.fits(size + HEADER_LENGTH)

    def respond(self, response: bytes) -> None:
        """Send the response of the request that was handed to the owner."""
        if self.state is State.CLOSED:
            return
        self._keep = self._keep and not self._owner.draining
        # Within `_advance` that goes on by itself; many requests that came together must not nest.
        if self._send(memoryview(response)) and self.state is State.IDLE and not self._advancing:
            self._next()

    def on_time_out(self) -> None:
        """End a wait that took too long."""
        if self.state is State.RECEIVING:
            self._refuse(Status.CONNECTION_ERROR)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection, whatever it was doing."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        if self._mask >= 0:
            self._owner.loop.remove(self._socket.fileno())
        self._socket.close()
        self._pending = _NOTHING
        if self._share.held:
            self._share.force(0)
        self._owner.on_close(self)

    def _receive(self) -> None:
        size = SMALL
        for _ in range(_TURN):
            try:
                data = self._socket.recv(size, _FLAGS)
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            if not data:
                self._on_end()
                return
            self.state = State.RECEIVING
            self._decoder.feed(data)
            if self._advance() or self.state is not State.RECEIVING:
                break
            size = max(SMALL, min(_CHUNK, self._decoder.missing))
        self._await_request()

    def _advance(self) -> bool:
        """Hand on as many requests as are whole and answered at once; return whether there was any."""
        any_whole = False
        while self.state is State.RECEIVING:
            try:
                event = self._decoder.next_event()
            except WireError as error:
                self._refuse(error.status)
                break
            if isinstance(event, NeedData):
                if not self._share.hold(self._decoder.announced):
                    self._refuse(Status.PSA_ERROR_INSUFFICIENT_MEMORY)
                break
            any_whole = True
            if self._share.held:
                self._share.force(0)
            self.state = State.WORKING
            self._keep = bool(event.header.flags & KEEP_ALIVE)
            self._advancing = True
            self._owner.on_request(self, event)
            self._advancing = False
            if self.state is State.IDLE and self._decoder.leftover:
                self.state = State.RECEIVING
        return any_whole

    def _next(self) -> None:
        """Go on after a response that came later than its request, on a connection that is kept."""
        if self._decoder.leftover:
            self.state = State.RECEIVING
            self._advance()
        self._await_request()

    def _await_request(self) -> None:
        if self.state is State.RECEIVING or self.state is State.IDLE:
            self._wait(READ)

    def _on_end(self) -> None:
        if self.state is State.IDLE:
            self.close()
        else:
            self._refuse(Status.CONNECTION_ERROR)

    def _refuse(self, status: Status) -> None:
        self._owner.on_refuse(status)
        self._decoder.give_up(status)
        self._share.force(0)
        self._keep = False
        self._refused = True
        self.state = State.WORKING
        self._send(memoryview(fallback_response(status)))

    def _send(self, data: memoryview) -> bool:
        """Send a response; return whether it is out."""
        try:
            sent = self._socket.send(data, _FLAGS)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return False
        if sent < len(data):
            # What was sent of a response is kept, and counts, until all of it is.
            if self.state is not State.SENDING and not self._share.hold(len(data)):
                self.close()
                return False
            self._pending = data[sent:]
            self.state = State.SENDING
            self._wait(WRITE)
            return False
        if self._pending:
            self._pending = _NOTHING
            self._share.force(0)
        self._sent()
        return True

    def _sent(self) -> None:
        if self._keep:
            self.state = State.IDLE
        elif self._refused or self._decoder.leftover:
            self.state = State.DRAINING
            self._drain()
        else:
            self.close()

    def _drain(self) -> None:
        """Take what the client sent beyond its request, so that closing does not reset the connection."""
        while self._drained <= _DRAIN_LIMIT:
            try:
                data = self._socket.recv(_CHUNK, _FLAGS)
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            if not data:
                self.close()
                return
            self._drained += len(data)
        if self._drained > _DRAIN_LIMIT:
            self.close()
            return
        try:
            self._socket.shutdown(_socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._wait(READ)

    def _wait(self, mask: int) -> None:
        if self._mask < 0:
            self._owner.loop.add(self._socket.fileno(), mask, self._on_events)
        elif self._mask != mask:
            self._owner.loop.change(self._socket.fileno(), mask)
        self._mask = mask
        if mask:
            self._owner.on_wait(self)

    def _on_events(self, events: int) -> None:
        state = self.state
        if state is State.RECEIVING or state is State.IDLE:
            self._receive()
        elif state is State.SENDING:
            if self._send(self._pending) and self.state is State.IDLE:
                self._next()
        elif state is State.DRAINING:
            self._drain()
        elif state is State.WORKING:
            if events & HANGUP:
                # Nobody is left to answer; the operation itself goes on.
                self.close()
            else:
                self._wait(0)
