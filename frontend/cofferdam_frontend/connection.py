"""One client connection: bytes in, whole requests out; responses in, bytes out.

The service answers one request per connection and closes, because old clients read until the end of the stream. What a
client sent too much is drained first, so that the kernel does not reset the connection under the response. A client
that sets flag 0x8000 keeps the connection for its next request. A connection whose request came whole and whose
response went out whole was never in the epoll at all.
"""

import _socket
import enum
from collections.abc import Callable
from typing import Final

from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.decoder import Limits, NeedData, Request, RequestDecoder, WireError
from cofferdam_contracts.wire.header import KEEP_ALIVE, fallback_response
from cofferdam_runtime.loop import HANGUP, READ, WRITE, Loop

_CHUNK: Final = 16 * 1024
_DRAIN_LIMIT: Final = 1 << 20
_FLAGS: Final = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL


@enum.unique
class State(enum.Enum):
    """What a connection waits for."""

    RECEIVING = "the rest of a request"
    IDLE = "another request"
    WORKING = "an answer of a backend"
    SENDING = "the client to take the response"
    DRAINING = "the client to stop sending"
    CLOSED = "nothing"


class Owner:
    """What a connection needs of its frontend."""

    loop: Loop
    limits: Limits
    draining: bool
    """Whether no connection is kept open any more."""
    on_request: Callable[["Connection", Request], None]
    on_wait: Callable[["Connection"], None]
    """The connection waits for its client from now on, see `Connection.state`."""
    on_refuse: Callable[[Status], None]
    """What came was no request."""
    on_close: Callable[["Connection"], None]


class Connection:
    """A client connection."""

    __slots__ = (
        "_decoder",
        "_drained",
        "_keep",
        "_mask",
        "_owner",
        "_pending",
        "_refused",
        "_socket",
        "began",
        "deadline",
        "state",
        "waiting",
        "wake",
    )

    def __init__(self, descriptor: int, owner: Owner) -> None:
        """Own the descriptor of an accepted connection."""
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
        self._owner = owner
        self._decoder = RequestDecoder(owner.limits)
        self._pending = memoryview(b"")
        self._mask = -1
        self._keep = False
        self._drained = 0
        self._refused = False
        self.state = State.RECEIVING
        # The owner's, for its deadlines: what is waited for, since when, until when, when it looks next.
        self.waiting: State | None = None
        self.began = 0
        self.deadline = 0
        self.wake = 0

    def start(self) -> None:
        """Serve what is there; called once, when the connection was handed over."""
        self._receive()

    def respond(self, response: bytes) -> None:
        """Send the response of the request that was handed to the owner."""
        if self.state is State.CLOSED:
            return
        working = self.state is State.WORKING
        self._keep = self._keep and not self._owner.draining
        if self._send(memoryview(response)) and working:
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
        self._owner.on_close(self)

    def _receive(self) -> None:
        while self.state is State.RECEIVING or self.state is State.IDLE:
            try:
                data = self._socket.recv(_CHUNK, _FLAGS)
            except BlockingIOError:
                self._wait(READ)
                return
            except OSError:
                self.close()
                return
            if not data:
                self._on_end()
                return
            self.state = State.RECEIVING
            self._decoder.feed(data)
            self._advance()

    def _advance(self) -> None:
        """Hand on as many requests as are whole and answered at once."""
        while self.state is State.RECEIVING:
            try:
                event = self._decoder.next_event()
            except WireError as error:
                self._refuse(error.status)
                return
            if isinstance(event, NeedData):
                return
            self.state = State.WORKING
            self.waiting = None
            self._keep = bool(event.header.flags & KEEP_ALIVE)
            self._owner.on_request(self, event)
            if self.state is State.IDLE and self._decoder.leftover:
                self.state = State.RECEIVING

    def _next(self) -> None:
        """Go on after a response that came later than its request."""
        if self.state is State.IDLE and self._decoder.leftover:
            self.state = State.RECEIVING
            self._advance()
        self._receive()

    def _on_end(self) -> None:
        if self.state is State.IDLE:
            self.close()
        else:
            self._refuse(Status.CONNECTION_ERROR)

    def _refuse(self, status: Status) -> None:
        self._owner.on_refuse(status)
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
            self._pending = data[sent:]
            self.state = State.SENDING
            self._wait(WRITE)
            return False
        self._pending = memoryview(b"")
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
