"""The heap of waits: who has waited too long, and nothing of those who are gone."""

import pytest

from cofferdam_frontend.connection import ClientConnection, State
from cofferdam_frontend.deadlines import _SLACK, Deadlines

SILENCE, TOTAL, IDLE = 100, 350, 1000
PATIENCE = {
    State.RECEIVING: (SILENCE, TOTAL),
    State.IDLE: (IDLE, IDLE),
    State.SENDING: (SILENCE, TOTAL),
    State.DRAINING: (SILENCE, SILENCE),
}


class Waiting(ClientConnection):
    """A connection without a socket."""

    __slots__ = ()

    def __init__(self, state: State = State.RECEIVING) -> None:
        self.state = state


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines(PATIENCE)


def test_silence_is_bounded(deadlines: Deadlines) -> None:
    connection = Waiting()
    deadlines.wait(connection, 0)
    assert deadlines.next() == SILENCE
    assert deadlines.due(SILENCE - 1) == []
    assert deadlines.due(SILENCE) == [connection]
    assert deadlines.due(1 << 60) == []
    assert deadlines.next() is None


def test_who_sends_has_longer_but_not_for_ever(deadlines: Deadlines) -> None:
    connection = Waiting()
    for now in range(0, TOTAL, SILENCE // 2):
        deadlines.wait(connection, now)
        assert deadlines.due(now) == []
    assert deadlines.due(TOTAL - 1) == []
    assert deadlines.due(TOTAL) == [connection]


def test_another_state_is_another_wait(deadlines: Deadlines) -> None:
    connection = Waiting(State.IDLE)
    deadlines.wait(connection, 0)
    assert deadlines.next() == IDLE
    connection.state = State.RECEIVING
    deadlines.wait(connection, 50)
    assert deadlines.next() == 50 + SILENCE
    connection.state = State.IDLE
    deadlines.wait(connection, 60)
    assert deadlines.due(60 + IDLE - 1) == []
    assert deadlines.due(60 + IDLE) == [connection]


def test_the_next_request_has_its_own_time(deadlines: Deadlines) -> None:
    connection = Waiting()
    deadlines.wait(connection, 0)
    deadlines.wait(connection, 90)
    deadlines.suspend(connection)
    assert deadlines.due(5 * TOTAL) == []
    deadlines.wait(connection, 5 * TOTAL)
    for step in range(3):
        deadlines.wait(connection, 5 * TOTAL + (step + 1) * 90)
    assert deadlines.due(6 * TOTAL - 1) == []
    assert deadlines.due(6 * TOTAL) == [connection]


def test_who_is_gone_is_forgotten(deadlines: Deadlines) -> None:
    connection = Waiting()
    deadlines.suspend(connection)
    deadlines.forget(connection)
    deadlines.wait(connection, 0)
    deadlines.forget(connection)
    assert deadlines.due(1 << 60) == []
    assert all(wait.connection is None for _, _, wait in deadlines._heap)


def test_the_heap_does_not_grow_with_connections_that_come_and_go(deadlines: Deadlines) -> None:
    stay = [Waiting(State.IDLE) for _ in range(10)]
    for connection in stay:
        deadlines.wait(connection, 0)
    for now in range(10_000):
        gone = Waiting(State.IDLE)
        deadlines.wait(gone, now % 7)
        deadlines.forget(gone)
        assert len(deadlines) <= 2 * (len(stay) + 1) + _SLACK
    assert len(deadlines.due(1 << 60)) == len(stay)


def test_the_heap_does_not_grow_with_the_requests_of_a_connection(deadlines: Deadlines) -> None:
    connection = Waiting()
    for now in range(0, 10_000_000, 1000):
        connection.state = State.IDLE if now % 2000 else State.RECEIVING
        deadlines.wait(connection, now)
        deadlines.suspend(connection)
        assert len(deadlines) <= 2 + _SLACK


def test_the_earliest_comes_first(deadlines: Deadlines) -> None:
    connections = [Waiting(State.IDLE) for _ in range(50)]
    for number, connection in enumerate(connections):
        deadlines.wait(connection, number * 37 % 50)
    order = [connection for now in range(IDLE + 50) for connection in deadlines.due(now)]
    assert order == sorted(connections, key=lambda connection: connections.index(connection) * 37 % 50)
