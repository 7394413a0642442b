"""A client connection: each state with each thing that may happen in it, over a real socket pair."""

import socket
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from tests.harness.wire import HEADER, KEEP_ALIVE, Request, split_responses

from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.decoder import Limits
from cofferdam_contracts.wire.decoder import Request as Decoded
from cofferdam_contracts.wire.header import response_bytes
from cofferdam_frontend.budget import SMALL, Budget
from cofferdam_frontend.connection import _DRAIN_LIMIT, _TURN, ClientConnection, State
from cofferdam_runtime.loop import Loop

KEPT = Request(flags=KEEP_ALIVE).to_bytes()
ONCE = Request().to_bytes()
LARGE = bytes(3 << 20)
BODY = 100_000
WITH_BODY = Request(opcode=0x0F, provider=1, body=bytes(BODY), flags=KEEP_ALIVE).to_bytes()
REFUSED = Status.CONNECTION_ERROR


class Owner:
    """What a connection has around it; requests are answered at once, or when a test says so."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self.loop = Loop()
        self.limits = Limits(body_len=1 << 20)
        self.budget = Budget(limit)
        self.draining = False
        self.at_once: bytes | None = b""
        self.requests: list[Decoded] = []
        self.refused: list[Status] = []
        self.waits: list[State] = []
        self.closed = 0

    def on_request(self, connection: ClientConnection, request: Decoded) -> None:
        self.requests.append(request)
        if self.at_once is not None:
            self.answer(connection, self.at_once)

    def answer(self, connection: ClientConnection, body: bytes = b"") -> None:
        connection.respond(response_bytes(self.requests[-1].header, Status.SUCCESS, body))

    def on_wait(self, connection: ClientConnection) -> None:
        self.waits.append(connection.state)

    def on_refuse(self, status: Status) -> None:
        self.refused.append(status)

    def on_close(self, _connection: ClientConnection) -> None:
        self.closed += 1


class Talk:
    """A connection, its owner and its client."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self.owner = Owner(limit)
        self.client, theirs = socket.socketpair()
        self.client.settimeout(0)
        self.connection = ClientConnection(theirs.detach(), self.owner)

    def state(self) -> State:
        return self.connection.state

    def turn(self) -> bool:
        """Turn the loop once; return whether there was anything to do."""
        events = self.owner.loop._epoll.poll(0)
        for descriptor, mask in events:
            callback = self.owner.loop._callbacks.get(descriptor)
            if callback is not None:
                callback(mask)
        return bool(events)

    def settle(self) -> None:
        for _ in range(2000):
            if not self.turn():
                return
        raise AssertionError("the loop never comes to rest")

    def send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self.client.send(data) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                return
            self.settle()

    def begin(self, data: bytes = b"") -> None:
        """Hand the connection over with so many bytes in it."""
        if data:
            self.client.send(data)
        self.connection.start()
        self.settle()

    def received(self) -> bytes:
        found = bytearray()
        while True:
            self.settle()
            try:
                part = self.client.recv(1 << 20)
            except (BlockingIOError, ConnectionResetError):
                return bytes(found)
            if not part:
                return bytes(found)
            found += part

    def close(self) -> None:
        self.connection.close()
        self.client.close()
        self.owner.loop._epoll.close()


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    made.close()


def receiving(talk: Talk) -> None:
    talk.begin(KEPT[:20])


def idle(talk: Talk) -> None:
    talk.begin(KEPT)
    talk.received()


def working(talk: Talk) -> None:
    talk.owner.at_once = None
    talk.begin(KEPT[:20])
    talk.send(KEPT[20:])


def sending(talk: Talk) -> None:
    talk.owner.at_once = LARGE
    talk.begin(KEPT)
    talk.owner.at_once = b""


def draining(talk: Talk) -> None:
    talk.begin(b"no request of any kind")


def closed(talk: Talk) -> None:
    talk.begin(ONCE)


SETUPS: dict[State, Callable[[Talk], None]] = {
    State.RECEIVING: receiving,
    State.IDLE: idle,
    State.WORKING: working,
    State.SENDING: sending,
    State.DRAINING: draining,
    State.CLOSED: closed,
}


def rest(talk: Talk) -> None:
    talk.send(KEPT[20:])


def another(talk: Talk) -> None:
    talk.send(KEPT)


def end(talk: Talk) -> None:
    talk.client.shutdown(socket.SHUT_WR)
    talk.settle()


def hang_up(talk: Talk) -> None:
    talk.client.close()
    talk.settle()


def time_out(talk: Talk) -> None:
    talk.connection.on_time_out()
    talk.settle()


def answer(talk: Talk) -> None:
    talk.owner.answer(talk.connection)
    talk.settle()


def stop(talk: Talk) -> None:
    talk.connection.close()


EVENTS = {event.__name__: event for event in (rest, another, end, hang_up, time_out, answer, stop)}
# What the state is afterwards, and the statuses that the client gets from then on.
Outcome = tuple[State, list[int]]
OUTCOMES: dict[tuple[State, str], Outcome] = {
    (State.RECEIVING, "rest"): (State.IDLE, [0]),
    # The bytes of the next request complete the first, whose reserved bytes they are.
    (State.RECEIVING, "another"): (State.DRAINING, [Status.BODY_SIZE_EXCEEDS_LIMIT]),
    (State.RECEIVING, "end"): (State.CLOSED, [REFUSED]),
    (State.RECEIVING, "hang_up"): (State.CLOSED, []),
    (State.RECEIVING, "time_out"): (State.DRAINING, [REFUSED]),
    (State.IDLE, "rest"): (State.DRAINING, [Status.INVALID_HEADER]),
    (State.IDLE, "another"): (State.IDLE, [0]),
    (State.IDLE, "end"): (State.CLOSED, []),
    (State.IDLE, "hang_up"): (State.CLOSED, []),
    (State.IDLE, "time_out"): (State.CLOSED, []),
    (State.WORKING, "rest"): (State.WORKING, []),
    (State.WORKING, "another"): (State.WORKING, []),
    (State.WORKING, "end"): (State.WORKING, []),
    (State.WORKING, "hang_up"): (State.CLOSED, []),
    (State.WORKING, "answer"): (State.IDLE, [0]),
    (State.SENDING, "rest"): (State.DRAINING, [0, Status.INVALID_HEADER]),
    (State.SENDING, "another"): (State.IDLE, [0, 0]),
    (State.SENDING, "end"): (State.CLOSED, [0]),
    (State.SENDING, "hang_up"): (State.CLOSED, []),
    (State.DRAINING, "rest"): (State.DRAINING, [Status.INVALID_HEADER]),
    (State.DRAINING, "another"): (State.DRAINING, [Status.INVALID_HEADER]),
    (State.DRAINING, "end"): (State.CLOSED, [Status.INVALID_HEADER]),
    (State.DRAINING, "hang_up"): (State.CLOSED, []),
    (State.DRAINING, "time_out"): (State.CLOSED, [Status.INVALID_HEADER]),
    (State.CLOSED, "rest"): (State.CLOSED, [0]),
    (State.CLOSED, "another"): (State.CLOSED, [0]),
    (State.CLOSED, "end"): (State.CLOSED, [0]),
    (State.CLOSED, "hang_up"): (State.CLOSED, []),
    (State.CLOSED, "time_out"): (State.CLOSED, [0]),
    (State.CLOSED, "answer"): (State.CLOSED, [0]),
}
IMPOSSIBLE = {
    # The owner answers what it was asked, and its deadlines skip those who work.
    *((state, "answer") for state in (State.RECEIVING, State.IDLE, State.SENDING, State.DRAINING)),
    (State.WORKING, "time_out"),
}


@pytest.mark.parametrize(("state", "event"), sorted(OUTCOMES, key=str))
def test_each_state_and_each_event(talk: Talk, state: State, event: str) -> None:
    SETUPS[state](talk)
    assert talk.state() is state
    EVENTS[event](talk)
    after, statuses = OUTCOMES[state, event]
    if event != "hang_up":
        assert [response.status for response in split_responses(talk.received())] == statuses
    assert talk.state() is after
    assert talk.owner.closed == (after is State.CLOSED)
    if after is State.CLOSED:
        assert talk.owner.budget.used == 0
        assert talk.owner.loop._callbacks == {}


def test_the_table_is_complete() -> None:
    everything = set(product(SETUPS, EVENTS)) - {(state, "stop") for state in SETUPS} - {(State.SENDING, "time_out")}
    assert set(OUTCOMES) | IMPOSSIBLE == everything


@pytest.mark.parametrize("state", SETUPS)
def test_whatever_it_does_it_can_be_closed(talk: Talk, state: State) -> None:
    SETUPS[state](talk)
    for _ in range(2):
        stop(talk)
        assert talk.state() is State.CLOSED
        assert (talk.owner.closed, talk.owner.budget.used) == (1, 0)


def test_who_does_not_read_is_given_up(talk: Talk) -> None:
    sending(talk)
    time_out(talk)
    assert talk.state() is State.CLOSED
    assert 0 < len(talk.received()) < len(LARGE)


def test_a_request_in_one_piece_never_waits(talk: Talk) -> None:
    talk.begin(ONCE)
    assert talk.state() is State.CLOSED
    assert talk.owner.waits == []
    assert [response.status for response in split_responses(talk.received())] == [0]


@pytest.mark.parametrize("step", [1, 7, 35, 36, 37, SMALL, 1 << 20])
def test_requests_in_pieces_of_any_size(talk: Talk, step: int) -> None:
    talk.begin()
    data = KEPT + Request(opcode=0x0F, provider=1, body=bytes(5000), flags=KEEP_ALIVE).to_bytes() + ONCE
    for start in range(0, len(data), step):
        talk.send(data[start : start + step])
    assert [len(request.body) for request in talk.owner.requests] == [0, 5000, 0]
    assert [response.status for response in split_responses(talk.received())] == [0, 0, 0]
    assert talk.state() is State.CLOSED


@pytest.mark.parametrize("answered", ["at once", "later"])
def test_very_many_requests_that_come_together(talk: Talk, answered: str) -> None:
    """Neither the stack nor a turn grows with them."""
    talk.owner.at_once = b"" if answered == "at once" else None
    count = 1000
    talk.begin()
    sent, got = 0, 0
    while got < count * HEADER.size:
        if sent < count:
            talk.client.send(KEPT * 100)
            sent += 100
        for _ in range(200):
            before = len(talk.owner.requests)
            busy = talk.turn()
            assert len(talk.owner.requests) - before <= SMALL // HEADER.size + 1
            if talk.state() is State.WORKING:
                talk.owner.answer(talk.connection)
            elif not busy:
                break
        got += len(talk.received()) if answered == "at once" else len(talk.client.recv(1 << 20))
    assert len(talk.owner.requests) == count


def test_a_body_that_comes_without_end_is_read_in_turns(talk: Talk) -> None:
    talk.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    data = Request(opcode=0x0F, provider=1, body=bytes(1 << 20), auth=bytes(60_000), flags=KEEP_ALIVE).to_bytes()
    talk.begin()
    turns = 0
    while not talk.owner.requests:
        if data:
            data = data[talk.client.send(data) :]
        talk.turn()
        turns += 1
        assert turns < 200
    assert turns > 1
    assert _TURN * SMALL < 1 << 20


def test_no_more_is_read_than_the_request_and_a_little(talk: Talk) -> None:
    talk.owner.at_once = None
    talk.begin()
    talk.send(WITH_BODY[:200])
    for _ in range(100):
        try:
            talk.client.send(WITH_BODY[200:] + KEPT * 2000)
        except BlockingIOError:
            break
        talk.settle()
    assert talk.state() is State.WORKING
    assert talk.connection._decoder.leftover <= SMALL


def test_the_budget_is_charged_from_the_header_on_and_given_back(talk: Talk) -> None:
    talk.begin(WITH_BODY[:36])
    assert talk.owner.budget.used == len(WITH_BODY)
    talk.send(WITH_BODY[36:5000])
    assert talk.owner.budget.used == len(WITH_BODY)
    talk.send(WITH_BODY[5000:])
    assert talk.owner.budget.used == 0
    assert talk.state() is State.IDLE


def test_a_body_for_which_there_is_no_room_is_refused_before_it_is_kept() -> None:
    talk = Talk(limit=150_000)
    try:
        talk.owner.budget.used = 60_000
        talk.begin(WITH_BODY[:36])
        assert talk.owner.refused == [Status.PSA_ERROR_INSUFFICIENT_MEMORY]
        assert talk.owner.budget.used == 60_000
        assert talk.state() is State.DRAINING
        talk.send(WITH_BODY[36:])
        end(talk)
        assert [response.status for response in split_responses(talk.received())] == [1141]
        assert talk.owner.requests == []
        assert talk.state() is State.CLOSED
    finally:
        talk.close()


def test_one_alone_may_have_more_than_the_budget() -> None:
    talk = Talk(limit=10)
    try:
        talk.begin()
        talk.send(WITH_BODY)
        assert [response.status for response in split_responses(talk.received())] == [0]
        talk.owner.at_once = LARGE
        talk.send(KEPT)
        assert talk.owner.budget.used > len(LARGE)
        assert len(talk.received()) == HEADER.size + len(LARGE)
        assert talk.owner.budget.used == 0
    finally:
        talk.close()


def test_a_refusal_keeps_nothing_of_what_came(talk: Talk) -> None:
    talk.begin(WITH_BODY[:36])
    talk.send(WITH_BODY[36:-1])
    time_out(talk)
    assert talk.state() is State.DRAINING
    assert talk.owner.budget.used == 0
    assert len(talk.connection._decoder._buffer) == 0


def test_a_response_that_waits_is_counted_until_it_is_taken(talk: Talk) -> None:
    sending(talk)
    assert talk.owner.budget.used == HEADER.size + len(LARGE)
    talk.client.recv(1 << 16)
    talk.settle()
    assert talk.owner.budget.used == HEADER.size + len(LARGE)
    talk.received()
    assert talk.owner.budget.used == 0


def test_a_response_that_cannot_wait_ends_the_connection() -> None:
    talk = Talk(limit=1 << 20)
    try:
        talk.owner.budget.used = 1 << 20
        assert not talk.connection.has_room(len(LARGE))
        assert talk.connection.has_room(100)
        sending(talk)
        assert talk.state() is State.CLOSED
        assert talk.owner.budget.used == 1 << 20
    finally:
        talk.close()


def test_who_hangs_up_after_a_request_in_one_piece_is_noticed_with_the_answer(talk: Talk) -> None:
    talk.owner.at_once = None
    talk.begin(KEPT)
    hang_up(talk)
    assert talk.state() is State.WORKING
    answer(talk)
    assert talk.state() is State.CLOSED


def test_while_the_frontend_drains_no_connection_is_kept(talk: Talk) -> None:
    working(talk)
    talk.owner.draining = True
    answer(talk)
    assert talk.state() is State.CLOSED


def test_what_was_sent_too_much_is_drained_to_a_limit(talk: Talk) -> None:
    talk.begin(ONCE + bytes(100))
    assert talk.state() is State.DRAINING
    assert [response.status for response in split_responses(talk.received())] == [0]
    talk.send(bytes(_DRAIN_LIMIT))
    assert talk.state() is State.DRAINING
    talk.send(bytes(1))
    assert talk.state() is State.CLOSED


def test_a_client_that_is_gone_before_anything_was_read(talk: Talk) -> None:
    talk.client.send(b"x")
    talk.client.close()
    talk.connection.start()
    talk.settle()
    assert talk.state() is State.CLOSED


def test_a_reset_ends_the_connection(talk: Talk) -> None:
    """What the client has not read when it closes makes a reset of the end."""
    idle(talk)
    talk.send(KEPT)
    talk.client.close()
    talk.settle()
    assert talk.state() is State.CLOSED


def test_what_is_no_request_is_refused_once_however_much_of_it_there_is() -> None:
    """Also while the client does not take the response, which waits then."""
    talk = Talk()
    blocked = talk.connection._socket
    while True:
        try:
            blocked.send(bytes(1 << 16), socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
    talk.client.send(bytes(4 * SMALL))
    talk.connection.start()
    assert talk.owner.refused == [Status.INVALID_HEADER]
    assert talk.state() is State.SENDING
    talk.client.close()
    talk.settle()
    assert talk.owner.closed == 1
