"""One client connection as a state machine: bytes in, whole requests out; responses in, bytes out.

The rules of the protocol
    The service answers one request per connection and closes, because old clients read until the end of the stream. A
    client that sets flag 0x8000 in its request keeps the connection for another one. One request of a connection is
    under way at a time; requests that were sent early wait in the decoder and in the kernel. Whatever is not a request
    is answered with the fallback header, and nothing that comes after it is read as a request.

The machine
    `ClientConnection.TRANSITIONS` is the whole machine: (state, event) -> (next state, action). An action does the
    work of entering the next state and returns the event that this work produced, or None if the connection now waits
    for the loop or for its owner. So each method is one step, nothing recurses, and many requests that came in one
    packet need no deeper stack than one. A pair that is not in the table cannot happen; if it does, this program is
    wrong, and `UnexpectedEventError` ends the process, which serves one principal only.

    start -> RECEIVING --REQUEST-> WORKING --RESPONSE-> SENDING --KEPT----> IDLE --DATA-> RECEIVING ...
                 |                                      ^     |
                 +---------------REFUSAL----------------+     +---SURPLUS-> DRAINING

    Every state may be left for CLOSED. SENDING is passed through at once when the kernel takes the whole response. A
    connection whose request arrived whole and whose response left whole was never in the epoll at all.

What may happen in a state, and what is lost when the connection ends there
    RECEIVING   A request is incomplete, or has not begun on a new connection. If the client ends its stream, is silent
                for too long or announces more than there is memory for, it gets a status; the bytes so far are lost.
    WORKING     The owner has the request. The client may send more, which stays in the kernel. If it closes its end,
                the response is lost; a server that has the request carries it out, and a request whose sender is not
                yet identified (`identities.py`) is given up. A client whose request came in one piece is not in the
                epoll, so that it is gone is noticed only with the response, unless the owner asks for more.
    SENDING     The kernel has not taken the whole response. If the client closes its end or stops reading, the rest of
                the response is lost; the operation is done.
    IDLE        The client keeps the connection and has begun no request. Nothing is lost.
    DRAINING    The response is out and our side of the stream is closed. What the client still sends is read and
                discarded, up to `_DRAIN_LIMIT` bytes, because closing with unread bytes would make the kernel reset the
                connection, and the client might lose the response.
    CLOSED      For good. A response that arrives now is dropped.

What the timers bound (kept in `deadlines.py`, in microseconds; the settings are in milliseconds)
    RECEIVING, SENDING   `read_timeout_ms` without progress, `request_timeout_ms` altogether
    IDLE                 `idle_connection_ms`
    DRAINING             `read_timeout_ms` altogether
    WORKING              no timer here: whoever has the request answers within `answer_timeout_ms`, see `upstream.py`
                         and `identities.py`

Memory: a request counts against the budget from its header on until it is whole, a response as long as it waits for
the client. The decoder holds at most `SMALL` bytes beyond the request under way. Fairness: after `_TURN` reads, or
after the read that completed a request, the other connections have their turn.
"""

import _socket
import enum
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Protocol, TypeAlias

from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.decoder import Limits, NeedData, Request, RequestDecoder, WireError
from cofferdam_contracts.wire.header import HEADER_LENGTH, KEEP_ALIVE, fallback_response
from cofferdam_frontend.budget import SMALL, Budget, Share
from cofferdam_runtime.loop import HANGUP, READ, WRITE, Loop

_CHUNK: Final = 16 * 1024
_TURN: Final = 64
"""Reads in a row, for a body that arrives as fast as it is read."""
_DRAIN_LIMIT: Final = 1 << 20
_FLAGS: Final = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL


@enum.unique
class State(enum.IntEnum):  # not Enum, whose hash is computed in Python: it is looked up several times per request
    """What a connection waits for."""

    RECEIVING = 1
    """The rest of a request, or the first one."""
    WORKING = 2
    """The answer of the owner."""
    SENDING = 3
    """The client to take the response."""
    IDLE = 4
    """Another request, of which nothing has arrived."""
    DRAINING = 5
    """The client to stop sending."""
    CLOSED = 6
    """Nothing."""


@enum.unique
class Event(enum.IntEnum):
    """What may happen to a connection."""

    READABLE = 1
    """The loop, or the owner at the start: there may be bytes, or the end of the stream."""
    WRITABLE = 2
    """The loop: the kernel has room for more of the response."""
    HUNG_UP = 3
    """The loop: the client has closed its end; what it sent before may still be there."""
    DATA = 4
    """There are bytes that the decoder has not looked at."""
    END = 5
    """The client has ended its stream."""
    REQUEST = 6
    """A request is whole."""
    REFUSAL = 7
    """What came is not a request, or there is no memory or no time for the rest; the decoder has the status."""
    RESPONSE = 8
    """The owner has answered the request."""
    KEPT = 9
    """The response is out, and the client keeps the connection."""
    SURPLUS = 10
    """The response is out, and the client sent bytes that nobody will read as a request."""
    TIMEOUT = 11
    """A timer has run out."""
    CLOSE = 12
    """The response is out and nothing is left to do, or the socket failed, or the owner closes the connection."""


# The members under names of their own, in the order of their numbers: to look one up in its class takes longer than to
# look up a row of the table.
RECEIVING, WORKING, SENDING, IDLE, DRAINING, CLOSED = State
READABLE, WRITABLE, HUNG_UP, DATA, END, REQUEST, REFUSAL, RESPONSE, KEPT, SURPLUS, TIMEOUT, CLOSE = Event


class UnexpectedEventError(Exception):
    """Raised when something happens in a state that the table has no row for: this program is wrong."""


class ConnectionOwner(Protocol):
    """What a connection needs of its frontend."""

    def on_request(self, connection: "ClientConnection", request: Request) -> None:
        """Have a request answered: `ClientConnection.respond` is called once, now or later."""

    def on_wait(self, connection: "ClientConnection") -> None:
        """Restart the timer of the connection's state: it begins to wait for its client, or has made progress."""

    def on_refuse(self, status: Status) -> None:
        """Note that what a client sent is refused without being a request."""

    def on_abandon(self, connection: "ClientConnection") -> None:
        """Note that the client is gone, or the connection closed, while the owner has its request."""

    def on_close(self, connection: "ClientConnection") -> None:
        """Forget the connection."""

    def keeps_connections(self) -> bool:
        """Tell whether a client may keep its connection for another request."""


Action: TypeAlias = "Callable[[ClientConnection], Event | None]"


class ClientConnection:
    """A client connection."""

    __slots__ = (
        "_budget",
        "_chunk",
        "_decoder",
        "_drained",
        "_keep",
        "_loop",
        "_mask",
        "_out",
        "_owner",
        "_reads",
        "_request",
        "_share",
        "_socket",
        "state",
    )

    def __init__(self, descriptor: int, loop: Loop, limits: Limits, budget: Budget, owner: ConnectionOwner) -> None:
        """Take over the descriptor of an accepted connection."""
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
        self._loop = loop
        self._budget = budget
        self._owner = owner
        self._decoder = RequestDecoder(limits)
        self._share = Share(budget)
        self._request: Request | None = None
        """The request that is being handed to the owner."""
        self._out: bytes | memoryview = b""
        """What is left of the response."""
        self._keep = False
        self._mask = -1
        """The events that the loop watches for, -1 if the connection is not in the loop."""
        self._chunk = SMALL
        """Bytes to ask for in the next read; never more than `SMALL` beyond the request under way."""
        self._reads = _TURN
        """Further reads that are left in this turn."""
        self._drained = 0
        self.state = RECEIVING

    def start(self) -> None:
        """Serve what is there; called once, when the broker has passed the connection on."""
        self._happen(READABLE)

    def respond(self, response: bytes) -> None:
        """Send the response to the request that the owner was handed."""
        self._out = response
        # While the request is being handed on, `_hand_on` finds the response: calls must not nest.
        if self._request is None:
            self._happen(RESPONSE)

    def has_room(self, size: int) -> bool:
        """Tell whether a response with a body of this size may wait for the client to take it."""
        return self._budget.fits(size + HEADER_LENGTH)

    def share(self) -> Share:
        """Return a new share of the budget, for what is kept of a request of this connection."""
        return Share(self._budget)

    def notice_hangup(self) -> None:
        """Have the loop report it if the client closes its end while the owner has the request."""
        if self._mask < 0:
            self._wait(0)

    def on_time_out(self) -> None:
        """End a wait that took too long."""
        self._happen(TIMEOUT)

    def close(self) -> None:
        """Close the connection, whatever it is doing."""
        self._happen(CLOSE)

    def _on_events(self, events: int) -> None:
        self._reads = _TURN
        self._happen(HUNG_UP if events & HANGUP else WRITABLE if events & WRITE else READABLE)

    def _happen(self, event: Event | None) -> None:
        """Go from state to state until the connection has to wait."""
        while event is not None:
            try:
                self.state, action = _ROWS[self.state][event]
            except KeyError:
                raise UnexpectedEventError(f"{event.name} in {self.state.name}") from None
            event = action(self)

    def _wait(self, mask: int) -> None:
        if self._mask < 0:
            self._loop.add(self._socket.fileno(), mask, self._on_events)
        elif self._mask != mask:
            self._loop.change(self._socket.fileno(), mask)
        self._mask = mask
        if mask:
            self._owner.on_wait(self)

    # The actions.

    def _receive(self) -> Event | None:
        """Read once."""
        try:
            data = self._socket.recv(self._chunk, _FLAGS)
        except BlockingIOError:
            self._wait(READ)
            return None
        except OSError:
            return CLOSE
        if not data:
            return END
        self._decoder.feed(data)
        return DATA

    def _decode(self) -> Event | None:
        """Look for a whole request in the bytes that have arrived."""
        try:
            found = self._decoder.next_event()
        except WireError:
            return REFUSAL
        if isinstance(found, NeedData):
            return self._await_rest()
        if self._share.held:
            self._share.force(0)
            self._chunk = SMALL
        self._request = found
        return REQUEST

    def _await_rest(self) -> Event | None:
        """Make room for the rest of a request; read on if this turn has reads left."""
        if not self._share.hold(self._decoder.announced):
            self._decoder.give_up(Status.PSA_ERROR_INSUFFICIENT_MEMORY)
            return REFUSAL
        self._chunk = max(SMALL, min(_CHUNK, self._decoder.missing))
        if self._reads:
            self._reads -= 1
            return READABLE
        self._wait(READ)
        return None

    def _cut_short(self) -> Event:
        """Give up waiting for the rest of a request."""
        self._decoder.give_up(Status.CONNECTION_ERROR)
        return REFUSAL

    def _hand_on(self) -> Event | None:
        """Hand the request to the owner, who may answer at once."""
        request = self._request
        if request is None:
            raise UnexpectedEventError("there is no request to hand on")
        self._keep = request.header.flags & KEEP_ALIVE != 0
        self._reads = 0
        self._owner.on_request(self, request)
        self._request = None
        return RESPONSE if self._out else None

    def _ignore_input(self) -> None:
        """Leave what the client sends too early in the kernel; the loop goes on reporting that it hung up."""
        self._wait(0)

    def _refuse(self) -> Event | None:
        """Answer what is not a request."""
        status = self._decoder.error or Status.CONNECTION_ERROR
        self._owner.on_refuse(status)
        self._share.force(0)
        self._keep = False
        self._out = fallback_response(status)
        return self._send()

    def _send(self) -> Event | None:
        """Send what is left of the response."""
        out = self._out
        try:
            sent = self._socket.send(out, _FLAGS)
        except BlockingIOError:
            sent = 0
        except OSError:
            return CLOSE
        if sent < len(out):
            return self._await_room(sent)
        self._out = b""
        if self._share.held:
            self._share.force(0)
        if self._keep and self._owner.keeps_connections():
            return KEPT
        return SURPLUS if self._decoder.leftover or self._decoder.error else CLOSE

    def _await_room(self, sent: int) -> Event | None:
        """Wait until the kernel takes more, if the response may be kept so long."""
        # All of the response is kept until the last byte is out, so all of it goes on counting.
        if not self._share.hold(max(self._share.held, len(self._out))):
            return CLOSE
        self._out = memoryview(self._out)[sent:]
        self._wait(WRITE)
        return None

    def _next(self) -> Event | None:
        """Go on with the next request if some of it has arrived."""
        if self._decoder.leftover:
            return DATA
        self._wait(READ)
        return None

    def _drain(self) -> Event | None:
        """Discard what the client sent beyond its request."""
        try:
            while data := self._socket.recv(_CHUNK, _FLAGS):
                self._drained += len(data)
                if self._drained > _DRAIN_LIMIT:
                    break
        except BlockingIOError:
            return self._end_stream()
        except OSError:
            pass
        return CLOSE

    def _end_stream(self) -> Event | None:
        """Tell the client that the response was all, and wait until it has nothing more to say."""
        try:
            self._socket.shutdown(_socket.SHUT_WR)
        except OSError:
            return CLOSE
        self._wait(READ)
        return None

    def _abandon(self) -> None:
        """Close although the owner has a request."""
        self._owner.on_abandon(self)
        self._close()

    def _close(self) -> None:
        if self._mask >= 0:
            self._loop.remove(self._socket.fileno())
        self._socket.close()
        self._out = b""
        if self._share.held:
            self._share.force(0)
        self._owner.on_close(self)

    def _drop_response(self) -> None:
        self._out = b""

    TRANSITIONS: ClassVar[Mapping[tuple[State, Event], tuple[State, Action]]] = {
        (RECEIVING, READABLE): (RECEIVING, _receive),
        (RECEIVING, HUNG_UP): (RECEIVING, _receive),
        (RECEIVING, DATA): (RECEIVING, _decode),
        (RECEIVING, END): (RECEIVING, _cut_short),
        (RECEIVING, TIMEOUT): (RECEIVING, _cut_short),
        (RECEIVING, REQUEST): (WORKING, _hand_on),
        (RECEIVING, REFUSAL): (SENDING, _refuse),
        (RECEIVING, CLOSE): (CLOSED, _close),
        (WORKING, READABLE): (WORKING, _ignore_input),
        # The loop still waits for room if this request arrived while the last response was being sent.
        (WORKING, WRITABLE): (WORKING, _ignore_input),
        (WORKING, HUNG_UP): (CLOSED, _abandon),
        (WORKING, RESPONSE): (SENDING, _send),
        (WORKING, CLOSE): (CLOSED, _abandon),
        # The loop may have seen input just before the response came and had to wait.
        (SENDING, READABLE): (SENDING, _send),
        (SENDING, WRITABLE): (SENDING, _send),
        (SENDING, HUNG_UP): (SENDING, _send),
        (SENDING, KEPT): (IDLE, _next),
        (SENDING, SURPLUS): (DRAINING, _drain),
        (SENDING, TIMEOUT): (CLOSED, _close),
        (SENDING, CLOSE): (CLOSED, _close),
        (IDLE, READABLE): (IDLE, _receive),
        (IDLE, HUNG_UP): (IDLE, _receive),
        (IDLE, DATA): (RECEIVING, _decode),
        (IDLE, END): (CLOSED, _close),
        (IDLE, TIMEOUT): (CLOSED, _close),
        (IDLE, CLOSE): (CLOSED, _close),
        (DRAINING, READABLE): (DRAINING, _drain),
        (DRAINING, HUNG_UP): (DRAINING, _drain),
        (DRAINING, TIMEOUT): (CLOSED, _close),
        (DRAINING, CLOSE): (CLOSED, _close),
        (CLOSED, RESPONSE): (CLOSED, _drop_response),
        (CLOSED, TIMEOUT): (CLOSED, _drop_response),
        (CLOSED, CLOSE): (CLOSED, _drop_response),
    }
    """The machine; everything that is not in it is refused."""


_ROWS: Final = {
    state: {event: row for (known, event), row in ClientConnection.TRANSITIONS.items() if known is state}
    for state in State
}
