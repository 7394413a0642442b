"""What the broker says to a frontend, and how it begins and ends."""

import socket
from collections.abc import Callable

import pytest
from tests.frontend.stage import KIM, UID, WORKERS, Stage, settings
from tests.harness import wire
from tests.harness.wire import KEEP_ALIVE, Caller, Request

from cofferdam_contracts.ipc.control import Assign, NewClient, Ping, Pong, Stop, UpstreamChannel
from cofferdam_contracts.ipc.requests import ANSWER
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.roles import Role
from cofferdam_frontend import frontend as frontend_module
from cofferdam_frontend.deadlines import now_us
from cofferdam_frontend.frontend import BrokenPeerError
from cofferdam_runtime.loop import IDLE_S
from cofferdam_runtime.pairs import socket_pair

PING = Request(flags=KEEP_ALIVE).to_bytes()
RANDOM = int(Opcode.PSA_GENERATE_RANDOM)


def refused(tell: Callable[[], None], what: str) -> None:
    with pytest.raises((BrokenPeerError, ValueError), match=what):
        tell()


def test_assigned_once_and_after_the_channels() -> None:
    with Stage() as stage:
        refused(lambda: stage.tell(Assign(UID + 1, 7)), "assigned twice")
    with Stage(assign=False, channels=False) as stage:
        refused(lambda: stage.tell(Assign(UID, 7)), "before the channels")
    for missing in (KIM, *WORKERS):
        with Stage(assign=False, channels=False) as stage:
            for server in {KIM, *WORKERS} - {missing}:
                stage.connect(server)
            refused(lambda stage=stage: stage.tell(Assign(UID, 7)), "before the channels")  # type: ignore[misc]


@pytest.mark.parametrize("server", [(Role.TPM_WORKER, 0), (Role.SOFTWARE_WORKER, 5), (Role.FRONTEND, 0), (99, 0)])
def test_no_channel_is_added_after_the_principal_is_known(server: tuple[int, int]) -> None:
    with Stage() as stage:
        ours, theirs = socket_pair()
        try:
            refused(lambda: stage.tell(UpstreamChannel(*server, 0, theirs.detach())), "(?i)role")
        finally:
            ours.close()


@pytest.mark.parametrize("role", [Role.FRONTEND, Role.CONFIG, 99])
def test_a_channel_to_who_is_no_server_is_refused(role: int) -> None:
    with Stage(assign=False, channels=False) as stage:
        ours, theirs = socket_pair()
        try:
            refused(lambda: stage.tell(UpstreamChannel(role, 0, 0, theirs.detach())), "(?i)role")
        finally:
            ours.close()


def test_a_client_before_its_principal_ends_the_process() -> None:
    with Stage(assign=False) as stage:
        ours, theirs = socket.socketpair()
        ours.send(PING)
        refused(lambda: stage.tell(NewClient(theirs.detach())), "before its principal")
        ours.close()


def test_connections_are_bounded() -> None:
    with Stage(settings(max_connections=2)) as stage:
        one, other, third = stage.client(), stage.client(), stage.client()
        assert third.is_closed()
        for client in (one, other):
            client.send(PING)
            assert client.statuses() == [0]
        one.close()
        another = stage.client()
        another.send(PING)
        assert another.statuses() == [0]


def test_the_broker_sees_what_is_going_on() -> None:
    with Stage() as stage:
        clients = [stage.client() for _ in range(3)]
        clients[0].send(PING)
        clients[1].send(Caller(UID).random(1).to_bytes())
        stage.tell(Ping(5))
        assert stage.told() == [Pong(5, 2, 1, 3)]


def test_draining_finishes_what_was_begun_and_takes_nothing_new() -> None:
    with Stage() as stage:
        idle, busy, begun = stage.client(), stage.client(), stage.client()
        idle.send(PING)
        assert idle.statuses() == [0]
        busy.send(Caller(UID).random(1).but(flags=KEEP_ALIVE).to_bytes())
        begun.send(PING[:20])
        stage.loop._running = True
        stage.tell(Stop())
        assert idle.is_closed()
        assert stage.loop._running
        begun.send(PING[20:])
        assert begun.statuses() == [0]
        assert begun.is_closed()
        ((_, request_id, *_),) = stage.messages(stage.worker(0))
        stage.say(stage.worker(0), RANDOM | ANSWER, request_id, 0, b"x")
        assert busy.statuses() == [0]
        assert busy.is_closed()
        assert not stage.loop._running


def test_a_frontend_without_work_sleeps() -> None:
    with Stage() as stage:
        assert stage.frontend.tick() == IDLE_S


def test_deadlines_of_connections_and_requests_wake_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = now_us()
    monkeypatch.setattr(frontend_module, "now_us", lambda: now)
    with Stage() as stage:
        slow, waiting = stage.client(), stage.client()
        waiting.send(Caller(UID).random(1).to_bytes())
        slow.send(PING[:20])
        assert 0.9 < stage.frontend.tick() <= 1.1
        now += 1_000_000
        stage.frontend.tick()
        assert slow.statuses() == [15]
        assert stage.frontend.tick() <= 1.1
        now += 60_000_000
        stage.frontend.tick()
        assert slow.is_closed()
        assert waiting.statuses() == [1145]
        assert waiting.is_closed()


def test_a_slow_request_is_not_interrupted_by_the_deadline_of_its_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    now = now_us()
    monkeypatch.setattr(frontend_module, "now_us", lambda: now)
    with Stage() as stage:
        client = stage.client()
        data = Caller(UID).random(1).to_bytes()
        client.send(data[:10])
        client.send(data[10:])
        now += 5_000_000
        stage.frontend.tick()
        ((_, request_id, *_),) = stage.messages(stage.worker(0))
        stage.say(stage.worker(0), RANDOM | ANSWER, request_id, 0, b"x")
        assert client.statuses() == [0]


def test_list_opcodes_of_each_provider() -> None:
    with Stage() as stage:
        client = stage.client()
        for provider, status in ((0, 0), (1, 0), (2, 0), (3, 5), (5, 5)):
            body = wire.number(1, provider) if provider else b""
            client.send(Request(opcode=wire.LIST_OPCODES, body=body, flags=KEEP_ALIVE).to_bytes())
            assert client.statuses() == [status], provider


def test_no_room_for_a_large_response_is_a_status() -> None:
    with Stage(settings(buffer_limit=1 << 20, body_len_limit=1 << 16)) as stage:
        clients = [stage.client() for _ in range(4)]
        for client in clients:
            client.send(Caller(UID).random(700_000).but(flags=KEEP_ALIVE).to_bytes())
        for number, request_id, *_ in stage.messages(stage.worker(0)):
            stage.say(stage.worker(0), number | ANSWER, request_id, 0, bytes(700_000))
        assert stage.frontend.budget.used <= 1 << 20
        found = [client.statuses() for client in clients]
        assert sorted(found) == [[0], [1141], [1141], [1141]]
        # Those that were refused go on, now that there is room.
        clients[3].send(PING)
        assert clients[3].statuses() == [0]
        assert stage.frontend.budget.used == 0
