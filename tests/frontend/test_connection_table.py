"""The table of the client connection: every row happens, everything else is refused."""

from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.frontend.talk import (
    KEPT,
    LARGE,
    ONCE,
    REFUSED,
    SETUPS,
    WITH_BODY,
    Talk,
    another,
    answer,
    closed,
    draining,
    end,
    hang_up,
    idle,
    receiving,
    rest,
    sending,
    stop,
    time_out,
    working,
)
from tests.harness.wire import split_responses

from cofferdam_contracts.status import Status
from cofferdam_frontend import connection as connection_module
from cofferdam_frontend.connection import ClientConnection, Event, State, UnexpectedEventError

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


TABLE = ClientConnection.TRANSITIONS


def take(talk: Talk) -> None:
    talk.received()


def too_much(talk: Talk) -> None:
    talk.begin(ONCE + bytes(100))


def answer_that_waits(talk: Talk) -> None:
    """Let a response come, and wait, after the loop has seen input and before it calls back."""
    talk.client.send(KEPT)
    seen = talk.owner.loop._epoll.poll(0)
    talk.owner.answer(talk.connection, LARGE)
    assert talk.state() is State.SENDING
    for descriptor, mask in seen:
        talk.owner.loop._callbacks[descriptor](mask)


def another_that_waits(talk: Talk) -> None:
    """Send two requests at once; the first response has to wait for room, the second one for the owner."""
    talk.owner.at_once = LARGE
    talk.begin(KEPT + KEPT)
    assert talk.state() is State.SENDING
    talk.owner.at_once = None
    talk.received()


def new(_talk: Talk) -> None:
    """Leave the connection as it is before it is started."""


# How each row of the table comes about: what is set up, what happens then, and the state afterwards.
Way = tuple[Callable[[Talk], None], Callable[[Talk], None], State]
WAYS: dict[tuple[State, Event], Way] = {
    (State.RECEIVING, Event.READABLE): (receiving, rest, State.IDLE),
    (State.RECEIVING, Event.HUNG_UP): (receiving, hang_up, State.CLOSED),
    (State.RECEIVING, Event.DATA): (receiving, rest, State.IDLE),
    (State.RECEIVING, Event.END): (receiving, end, State.CLOSED),
    (State.RECEIVING, Event.TIMEOUT): (receiving, time_out, State.DRAINING),
    (State.RECEIVING, Event.REQUEST): (receiving, rest, State.IDLE),
    (State.RECEIVING, Event.REFUSAL): (receiving, another, State.DRAINING),
    (State.RECEIVING, Event.CLOSE): (receiving, stop, State.CLOSED),
    (State.WORKING, Event.READABLE): (working, another, State.WORKING),
    (State.WORKING, Event.WRITABLE): (new, another_that_waits, State.WORKING),
    (State.WORKING, Event.HUNG_UP): (working, hang_up, State.CLOSED),
    (State.WORKING, Event.RESPONSE): (working, answer, State.IDLE),
    (State.WORKING, Event.CLOSE): (working, stop, State.CLOSED),
    (State.SENDING, Event.READABLE): (working, answer_that_waits, State.SENDING),
    (State.SENDING, Event.WRITABLE): (sending, take, State.IDLE),
    (State.SENDING, Event.HUNG_UP): (sending, hang_up, State.CLOSED),
    (State.SENDING, Event.KEPT): (sending, take, State.IDLE),
    (State.SENDING, Event.SURPLUS): (new, too_much, State.DRAINING),
    (State.SENDING, Event.TIMEOUT): (sending, time_out, State.CLOSED),
    (State.SENDING, Event.CLOSE): (sending, stop, State.CLOSED),
    (State.IDLE, Event.READABLE): (idle, another, State.IDLE),
    (State.IDLE, Event.HUNG_UP): (idle, hang_up, State.CLOSED),
    (State.IDLE, Event.DATA): (idle, another, State.IDLE),
    (State.IDLE, Event.END): (idle, end, State.CLOSED),
    (State.IDLE, Event.TIMEOUT): (idle, time_out, State.CLOSED),
    (State.IDLE, Event.CLOSE): (idle, stop, State.CLOSED),
    (State.DRAINING, Event.READABLE): (draining, another, State.DRAINING),
    (State.DRAINING, Event.HUNG_UP): (draining, hang_up, State.CLOSED),
    (State.DRAINING, Event.TIMEOUT): (draining, time_out, State.CLOSED),
    (State.DRAINING, Event.CLOSE): (draining, stop, State.CLOSED),
    (State.CLOSED, Event.RESPONSE): (closed, answer, State.CLOSED),
    (State.CLOSED, Event.TIMEOUT): (closed, time_out, State.CLOSED),
    (State.CLOSED, Event.CLOSE): (closed, stop, State.CLOSED),
}


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> list[tuple[State, Event]]:
    """Return the list of the rows that a connection goes through from now on."""
    found: list[tuple[State, Event]] = []

    def traced(pair: tuple[State, Event]) -> Callable[[ClientConnection], Event | None]:
        action = TABLE[pair][1]

        def act(connection: ClientConnection) -> Event | None:
            found.append(pair)
            return action(connection)

        return act

    for state, event in TABLE:
        monkeypatch.setitem(connection_module._ROWS[state], event, (TABLE[state, event][0], traced((state, event))))
    return found


def test_the_short_names_are_those_of_the_members() -> None:
    for member in (*State, *Event):
        assert getattr(connection_module, member.name) is member


@pytest.mark.parametrize("pair", TABLE, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def test_each_row_of_the_table_happens(talk: Talk, trace: list[tuple[State, Event]], pair: tuple[State, Event]) -> None:
    """A row without a way to it fails here."""
    setup, event, after = WAYS[pair]
    setup(talk)
    trace.clear()
    event(talk)
    assert pair in trace
    assert talk.state() is after
    assert talk.owner.closed == (after is State.CLOSED)
    assert talk.owner.abandoned == (pair in {(State.WORKING, Event.HUNG_UP), (State.WORKING, Event.CLOSE)})


@pytest.mark.parametrize(
    "pair", sorted(set(product(State, Event)) - set(TABLE)), ids=lambda pair: f"{pair[0].name}-{pair[1].name}"
)
def test_what_is_not_in_the_table_is_refused(talk: Talk, pair: tuple[State, Event]) -> None:
    state, event = pair
    SETUPS[state](talk)
    before = (talk.owner.closed, len(talk.owner.requests), talk.owner.budget.used, talk.owner.waits.copy())
    with pytest.raises(UnexpectedEventError, match=f"{event.name} in {state.name}"):
        talk.connection._happen(event)
    assert talk.state() is state
    assert (talk.owner.closed, len(talk.owner.requests), talk.owner.budget.used, talk.owner.waits) == before


def answer_if_asked(talk: Talk) -> None:
    if talk.state() is State.WORKING:
        talk.owner.answer(talk.connection, LARGE)


def time_out_if_it_waits(talk: Talk) -> None:
    if talk.state() is not State.WORKING:
        time_out(talk)


def send_a_little(talk: Talk) -> None:
    if talk.client.fileno() >= 0:
        try:
            talk.client.send(KEPT + WITH_BODY[:500])
        except (BlockingIOError, BrokenPipeError):
            pass


def take_a_little(talk: Talk) -> None:
    if talk.client.fileno() >= 0:
        try:
            talk.client.recv(1 << 16)
        except (BlockingIOError, ConnectionResetError):
            pass


def end_if_it_is_there(talk: Talk) -> None:
    if talk.client.fileno() >= 0:
        end(talk)


def see_then(talk: Talk, event: Callable[[Talk], object]) -> None:
    """Let something happen between what the loop has seen and its callbacks."""
    seen = talk.owner.loop._epoll.poll(0)
    event(talk)
    for descriptor, mask in seen:
        callback = talk.owner.loop._callbacks.get(descriptor)
        if callback is not None:
            callback(mask)


ANYTHING = (
    *(send_a_little, take_a_little, answer_if_asked, time_out_if_it_waits, Talk.turn, Talk.settle, stop),
    *(lambda talk: see_then(talk, send_a_little), lambda talk: see_then(talk, answer_if_asked)),
    *(lambda talk: talk.client.close(), end_if_it_is_there),
)


@given(st.lists(st.sampled_from(range(len(ANYTHING))), max_size=40), st.booleans())
def test_whatever_happens_in_whatever_order_is_in_the_table(order: list[int], at_once: bool) -> None:
    talk = Talk()
    try:
        talk.owner.at_once = b"" if at_once else None
        talk.begin()
        for number in order:
            ANYTHING[number](talk)
        stop(talk)
        assert (talk.owner.closed, talk.owner.budget.used, talk.owner.loop._callbacks) == (1, 0, {})
    finally:
        talk.close()
