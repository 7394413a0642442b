"""Channels to servers that are honest, replaced, silent, mad or gone."""

import math
from typing import Any

import pytest
from tests.frontend.samples import SAMPLES
from tests.frontend.stage import KIM, UID, WORKERS, Client, Stage, settings
from tests.harness import wire
from tests.harness.wire import KEEP_ALIVE, Caller, Request

from cofferdam_contracts.ipc.control import Broken
from cofferdam_contracts.ipc.framing import Common
from cofferdam_contracts.ipc.keystore import KimMessage
from cofferdam_contracts.ipc.requests import ANSWER
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.roles import Role
from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.bodies import encode_operation
from cofferdam_frontend import upstream as upstream_module

RANDOM = int(Opcode.PSA_GENERATE_RANDOM)
LOST, FULL = Status.PSA_ERROR_COMMUNICATION_FAILURE, Status.PSA_ERROR_INSUFFICIENT_MEMORY
LIST_KEYS = int(KimMessage.LIST_KEYS)


def ask(client: Client, provider: int = 1, size: int = 1) -> None:
    client.send(Caller(UID, provider=provider).random(size).but(flags=KEEP_ALIVE).to_bytes())


def list_keys(client: Client) -> None:
    client.send(Caller(UID).request(wire.LIST_KEYS, provider=0).but(flags=KEEP_ALIVE).to_bytes())


def ids(messages: list[tuple[Any, ...]]) -> list[int]:
    return [message[1] for message in messages if message[0] != Common.SYNC]


def test_answers_find_their_clients_in_any_order() -> None:
    with Stage() as stage:
        clients = [stage.client() for _ in range(5)]
        for client in clients:
            ask(client)
        asked = ids(stage.messages(stage.worker(0)))
        assert asked == sorted(set(asked))
        for number in reversed(range(5)):
            stage.say(stage.worker(0), RANDOM | ANSWER, asked[number], 0, bytes((number,)))
        assert [wire.first_blob(client.responses()[0].body) for client in clients] == [bytes((n,)) for n in range(5)]
        assert stage.frontend.in_flight() == 0


def test_a_status_that_is_not_success_is_passed_on_without_results() -> None:
    with Stage() as stage:
        client = stage.client()
        ask(client)
        (request_id,) = ids(stage.messages(stage.worker(0)))
        stage.say(stage.worker(0), RANDOM | ANSWER, request_id, int(Status.PSA_ERROR_DOES_NOT_EXIST))
        assert client.statuses() == [Status.PSA_ERROR_DOES_NOT_EXIST]


def test_no_more_than_so_many_are_in_flight() -> None:
    with Stage(settings(max_in_flight=3)) as stage:
        clients = [stage.client() for _ in range(5)]
        for client in clients:
            ask(client)
        for client in clients[:3]:
            list_keys(client)  # it waits: one request of a connection at a time
        assert [client.statuses() for client in clients] == [[], [], [], [FULL], [FULL]]
        assert stage.frontend.in_flight() == 3
        asked = ids(stage.messages(stage.worker(0)))
        stage.say(stage.worker(0), RANDOM | ANSWER, asked[0], 0, b"x")
        assert clients[0].statuses() == [0]
        ask(clients[4], provider=2)
        assert len(stage.messages(stage.worker(1))) == 1
        ask(clients[3])
        assert len(stage.messages(stage.worker(0))) == 1


def test_what_nobody_answers_fails_after_its_time_and_the_answer_is_late() -> None:
    with Stage() as stage:
        one, other = stage.client(), stage.client()
        ask(one)
        list_keys(other)
        asked, questions = ids(stage.messages(stage.worker(0))), ids(stage.messages(stage.kim))
        for upstream in stage.frontend._upstreams.values():
            upstream.expire((upstream.next_deadline() or 1) - 1)
        assert (one.statuses(), other.statuses()) == ([], [])
        for upstream in stage.frontend._upstreams.values():
            upstream.expire(upstream.next_deadline() or 0)
        assert (one.statuses(), other.statuses()) == ([LOST], [LOST])
        ask(one)
        stage.say(stage.worker(0), RANDOM | ANSWER, asked[0], 0, b"late")
        stage.say(stage.kim, LIST_KEYS + 1, questions[0], 0, [])
        stage.say(stage.worker(0), RANDOM | ANSWER, ids(stage.messages(stage.worker(0)))[0], 0, b"right")
        (response,) = one.responses()
        assert wire.first_blob(response.body) == b"right"
        assert other.statuses() == []
        assert stage.told() == []


def test_what_a_predecessor_had_begun_fails_and_what_was_queued_is_served() -> None:
    with Stage() as stage:
        begun, queued, later = stage.client(), stage.client(), stage.client()
        ask(begun)
        ask(queued)
        first, second = ids(stage.messages(stage.worker(0)))
        stage.say(stage.worker(0), Common.HELLO)
        (sync,) = stage.messages(stage.worker(0))
        assert sync == (Common.SYNC, second)
        ask(later)
        stage.say(stage.worker(0), RANDOM | ANSWER, second, 0, b"x")
        stage.say(stage.worker(0), Common.SYNCED, sync[1])
        assert (begun.statuses(), queued.statuses(), later.statuses()) == ([LOST], [0], [])
        assert first not in stage.frontend._upstreams[WORKERS[0]]._in_flight
        stage.say(stage.worker(0), RANDOM | ANSWER, ids(stage.messages(stage.worker(0)))[0], 0, b"x")
        assert later.statuses() == [0]
        assert stage.told() == []


def test_a_successor_that_nobody_waits_for_is_not_asked() -> None:
    with Stage() as stage:
        for server in (*WORKERS, KIM):
            stage.say(stage.servers[server], Common.HELLO)
            assert stage.messages(stage.servers[server]) == []


def test_a_successor_of_the_key_store_is_asked_again() -> None:
    with Stage() as stage:
        clients = [stage.client() for _ in range(3)]
        for client in clients:
            list_keys(client)
        questions = stage.messages(stage.kim)
        stage.say(stage.kim, LIST_KEYS + 1, questions[0][1], 0, [])
        stage.say(stage.kim, Common.HELLO)
        assert stage.messages(stage.kim) == questions[1:]
        for question in questions[1:]:
            stage.say(stage.kim, LIST_KEYS + 1, question[1], int(Status.KEY_INFO_MANAGER_ERROR))
        assert [client.statuses() for client in clients] == [[0], [14], [14]]


MAD_WORKERS: list[tuple[object, ...]] = [
    (Common.SYNCED,),
    (Common.SYNCED, "1"),
    (Common.SYNCED, 1, 2),
    (Common.SYNC, 1),
    (RANDOM | ANSWER,),
    (RANDOM | ANSWER, 1),
    (RANDOM | ANSWER, "1", 0),
    (RANDOM | ANSWER, 1, None),
    (RANDOM | ANSWER, 1, 1 << 40),
    (RANDOM | ANSWER, 1, 999),
    (RANDOM | ANSWER, 1, 0, "text"),
    (RANDOM, 1, 0),
    (0, 1, 0),
    (-1, 1, 0),
    (1 << 63, 1, 0),
    (int(Opcode.PING) | ANSWER, 1, 0),
    (Common.PART, 0, 10, b"x"),
]
MAD_KIMS: list[tuple[object, ...]] = [
    (LIST_KEYS + 1,),
    (LIST_KEYS + 1, 1),
    (LIST_KEYS + 1, "1", 0),
    (LIST_KEYS + 1, 1, "0"),
    (LIST_KEYS + 1, 1, 0),
    (LIST_KEYS + 1, 1, 0, 5),
    (LIST_KEYS + 1, 1, 0, [], []),
    (LIST_KEYS + 1, 1, 999),
    (LIST_KEYS + 1, 1, 14, []),
    (LIST_KEYS, 1, 0, []),
    (int(KimMessage.LIST_CLIENTS) + 1, 1, 0, []),
    (Common.SYNCED, 1, 1),
]


@pytest.mark.parametrize("message", MAD_WORKERS)
def test_a_mad_worker_is_down_and_the_others_go_on(message: tuple[object, ...]) -> None:
    with Stage() as stage:
        victims = [stage.client() for _ in range(3)]
        other = stage.client()
        for victim in victims:
            ask(victim)
        ask(other, provider=2)
        stage.say(stage.worker(0), *message)
        assert stage.told() == [Broken(*WORKERS[0], 0)]
        assert [victim.statuses() for victim in victims] == [[LOST]] * 3
        ask(victims[0])
        assert victims[0].statuses() == [LOST]
        stage.say(stage.worker(1), RANDOM | ANSWER, ids(stage.messages(stage.worker(1)))[0], 0, b"x")
        assert other.statuses() == [0]
        stage.connect(WORKERS[0], before=1)
        ask(victims[0])
        stage.say(stage.worker(0), RANDOM | ANSWER, ids(stage.messages(stage.worker(0)))[0], 0, b"x")
        assert victims[0].statuses() == [0]
        stage.say(stage.worker(0), *message)
        assert stage.told() == [Broken(*WORKERS[0], 1)]


@pytest.mark.parametrize("message", MAD_KIMS)
def test_a_mad_key_store_is_down_and_the_workers_go_on(message: tuple[object, ...]) -> None:
    with Stage() as stage:
        victim, other = stage.client(), stage.client()
        list_keys(victim)
        ((_, question_id, *_),) = stage.messages(stage.kim)
        stage.say(stage.kim, *(question_id if value == 1 and at == 1 else value for at, value in enumerate(message)))
        assert stage.told() == [Broken(*KIM, 0)]
        assert victim.statuses() == [LOST]
        ask(other)
        stage.say(stage.worker(0), RANDOM | ANSWER, ids(stage.messages(stage.worker(0)))[0], 0, b"x")
        assert other.statuses() == [0]


@pytest.mark.parametrize("rows", [[5], [[1, 2]], [[1, "k", 5]], [[None, "k", b"x"]], ["text"], [[1, "k", b"x", 4]]])
def test_a_listing_that_is_no_listing_costs_a_status(rows: list[object]) -> None:
    with Stage() as stage:
        client = stage.client()
        list_keys(client)
        stage.say(stage.kim, LIST_KEYS + 1, ids(stage.messages(stage.kim))[0], 0, rows)
        assert client.statuses()[0] in (0, Status.SERIALIZING_BODY_FAILED)
        list_keys(client)
        assert len(stage.messages(stage.kim)) == 1


def test_a_result_of_another_shape_costs_a_status() -> None:
    with Stage() as stage:
        client = stage.client()
        ask(client)
        stage.say(stage.worker(0), RANDOM | ANSWER, ids(stage.messages(stage.worker(0)))[0], 0, b"x", b"y")
        assert client.statuses() == [Status.SERIALIZING_BODY_FAILED]


def test_a_channel_that_is_closed_is_told_once_and_everything_else_goes_on() -> None:
    with Stage() as stage:
        victim, other = stage.client(), stage.client()
        ask(victim)
        stage.worker(0).close()
        stage.settle()
        assert victim.statuses() == [LOST]
        for _ in range(3):
            ask(victim)
        assert victim.statuses() == [LOST] * 3
        assert stage.told() == [Broken(*WORKERS[0], 0)]
        ask(other, provider=2)
        assert len(stage.messages(stage.worker(1))) == 1


def test_a_channel_that_closes_under_a_request_fails_it() -> None:
    with Stage() as stage:
        client = stage.client()
        # Nothing has told the loop yet.
        stage.worker(0).close()
        client.socket.send(Caller(UID).random(1).but(flags=KEEP_ALIVE).to_bytes())
        stage.settle()
        assert client.statuses() == [LOST]


def test_another_channel_takes_the_place_of_one_that_is_in_use() -> None:
    with Stage() as stage:
        client = stage.client()
        # What follows is asked of the new one.
        client.send(Caller(UID).random(1).but(flags=KEEP_ALIVE).to_bytes() * 2)
        stage.connect(WORKERS[0], before=3)
        assert client.statuses() == [LOST]
        assert len(stage.messages(stage.worker(0))) == 1
        assert stage.frontend._upstreams[WORKERS[0]].before == 3
        assert stage.told() == []


def test_successors_that_take_nothing_do_not_make_the_frontend_grow() -> None:
    with Stage() as stage:
        client = stage.client()
        fill(stage)
        ask(client)
        upstream = stage.frontend._upstreams[WORKERS[0]]
        for number in range(upstream_module._GREETINGS):
            stage.worker(0).send((Common.HELLO,))
            stage.settle()
            assert upstream._channel is not None, number
        stage.worker(0).send((Common.HELLO,))
        stage.settle()
        assert upstream._channel is None
        assert stage.frontend.budget.used == 0


def fill(stage: Stage) -> int:
    """Have so much wait for a worker that the kernel takes no more; return how many requests it was."""
    upstream = stage.frontend._upstreams[WORKERS[0]]
    data = hashed(500_000)
    for count in range(1, 16):
        stage.client().send(data)
        assert upstream._channel is not None
        if upstream._channel.backlog:
            return count
    raise AssertionError("the kernel takes everything")


def hashed(size: int) -> bytes:
    body = wire.number(1, wire.SHA_256) + wire.blob(2, bytes(size))
    return Request(opcode=wire.HASH_COMPUTE, provider=1, body=body).to_bytes()


def test_what_waits_for_a_server_is_counted_and_bounded() -> None:
    changed = settings(buffer_limit=1 << 20, max_connections=2000, max_in_flight=2000)
    with Stage(changed) as stage:
        client, size = stage.client(), 3000
        budget = stage.frontend.budget
        sent = 0
        while not budget.is_full:
            assert sent < 1000
            stage.client().send(hashed(size))
            sent += 1
        assert budget.used < (1 << 20) + 2 * size
        ask(client)
        assert client.statuses() == [FULL]
        ask(client, provider=2)
        assert len(stage.messages(stage.worker(1))) == 1
        # It is all there, in order, when the server takes it.
        found = stage.messages(stage.worker(0))
        assert len(found) == sent
        assert ids(found) == sorted(ids(found))
        assert {len(message[-1]) for message in found} == {size}
        assert budget.used == 0


def test_a_request_that_its_channel_would_not_take_is_not_sent() -> None:
    with Stage() as stage:
        client = stage.client()
        channel = stage.frontend._upstreams[WORKERS[0]]._channel
        assert channel is not None
        channel._sends = 1000
        client.send(hashed(1000))
        assert client.statuses() == [Status.BODY_SIZE_EXCEEDS_LIMIT]
        assert stage.frontend.in_flight() == 0
        assert stage.messages(stage.worker(0)) == []


def delete_client(client: Client, name: str = "app") -> None:
    body = wire.blob(1, name.encode())
    client.send(Request(opcode=wire.DELETE_CLIENT, body=body, auth_type=1, auth=b"boss", flags=KEEP_ALIVE).to_bytes())


@pytest.mark.parametrize("statuses", [(0, 0), (0, 1132), (1132, 0), (1132, 1145)])
def test_a_client_is_deleted_when_all_workers_have_done_it(statuses: tuple[int, int]) -> None:
    with Stage() as stage:
        client = stage.client()
        delete_client(client)
        for index in (1, 0):
            assert client.statuses() == []
            (request_id,) = ids(stage.messages(stage.worker(index)))
            stage.say(stage.worker(index), wire.DELETE_CLIENT | ANSWER, request_id, statuses[index])
        assert client.statuses() == [next((status for status in reversed(statuses) if status), 0)]


def test_a_client_is_deleted_where_that_is_possible() -> None:
    with Stage() as stage:
        client = stage.client()
        stage.worker(0).close()
        stage.settle()
        delete_client(client)
        (request_id,) = ids(stage.messages(stage.worker(1)))
        stage.say(stage.worker(1), wire.DELETE_CLIENT | ANSWER, request_id, 0)
        assert client.statuses() == [LOST]


@pytest.mark.parametrize(
    ("most", "seconds", "left"), [(2, math.inf, [3, 1, 0]), (64, -math.inf, [4, 3, 2, 1, 0]), (64, math.inf, [0])]
)
def test_answers_that_take_long_leave_others_their_turn(
    monkeypatch: pytest.MonkeyPatch, most: int, seconds: float, left: list[int]
) -> None:
    monkeypatch.setattr(upstream_module, "_TURN", most)
    monkeypatch.setattr(upstream_module, "_TURN_S", seconds)
    with Stage() as stage:
        clients = [stage.client() for _ in range(5)]
        for client in clients:
            ask(client)
        for request_id in ids(stage.messages(stage.worker(0))):
            stage.worker(0).send((RANDOM | ANSWER, request_id, 0, b"x"))
        upstream = stage.frontend._upstreams[WORKERS[0]]
        assert [len(upstream) for _ in stage._turns()] == left


def test_every_operation_reaches_its_server_as_it_was_sent() -> None:
    with Stage() as stage:
        client = stage.client()
        for opcode, operation in SAMPLES.items():
            if opcode < Opcode.PSA_GENERATE_KEY or opcode in (8, 9, 14, 26, 27, 28):
                continue
            request = Caller(UID, provider=2).request(opcode, encode_operation(operation))
            client.send(request.but(flags=KEEP_ALIVE).to_bytes())
            ((number, request_id, *_),) = stage.messages(stage.worker(1))
            assert number == opcode
            stage.say(stage.worker(1), opcode | ANSWER, request_id, int(Status.PSA_ERROR_NOT_SUPPORTED))
            assert client.statuses() == [Status.PSA_ERROR_NOT_SUPPORTED]


def test_the_roles_of_servers() -> None:
    assert {role for role, _ in WORKERS} | {KIM[0]} <= set(Role)
