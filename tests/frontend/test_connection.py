"""A client connection over a real socket pair: pieces, turns, memory, and clients that misbehave."""

import socket

import pytest
from tests.frontend.talk import (
    KEPT,
    LARGE,
    ONCE,
    SETUPS,
    WITH_BODY,
    Talk,
    answer,
    end,
    hang_up,
    idle,
    sending,
    stop,
    time_out,
    working,
)
from tests.harness.wire import HEADER, KEEP_ALIVE, Request, split_responses

from cofferdam_contracts.status import Status
from cofferdam_frontend.budget import SMALL
from cofferdam_frontend.connection import _DRAIN_LIMIT, _TURN, State


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


def test_after_a_large_request_no_more_is_read_at_once_than_after_a_small_one(talk: Talk) -> None:
    data = Request(opcode=0x0F, provider=1, body=bytes(10_000), flags=KEEP_ALIVE).to_bytes()
    talk.begin(data[:36])
    talk.send(data[36:])
    talk.owner.at_once = None
    talk.client.send(KEPT * 300)
    talk.settle()
    assert talk.connection._decoder.leftover <= SMALL


def test_a_turn_ends_with_the_read_that_completed_a_request(talk: Talk) -> None:
    talk.client.send(KEPT * 1000)
    talk.connection.start()
    assert len(talk.owner.requests) == SMALL // HEADER.size


@pytest.mark.parametrize("sent", [b"", b"\0\0\0\0"])
def test_a_refusal_waits_for_a_client_that_may_send_more(talk: Talk, sent: bytes) -> None:
    talk.begin(sent)
    if not sent:
        time_out(talk)
    assert talk.state() is State.DRAINING
    talk.send(bytes(100))
    assert len(split_responses(talk.received())) == 1


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
