"""Requests whose sender another process names later: what they wait for, what goes on meanwhile, what is lost when."""

import socket
from itertools import product

import pytest
from tests.frontend.later import AT_ONCE, JWT, REFUSED_AT_ONCE, LaterStage, random, with_token
from tests.frontend.samples import SAMPLES
from tests.frontend.stage import ADMIN, UID, Stage, settings
from tests.frontend.test_pipeline import GARBAGE, answer, destinations, expected
from tests.harness.wire import KEEP_ALIVE, Caller, Request, first_blob

from cofferdam_contracts.ipc.control import NewClient, Ping, Pong, Stop
from cofferdam_contracts.ipc.framing import Common
from cofferdam_contracts.ipc.requests import ANSWER
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.bodies import encode_operation
from cofferdam_frontend import frontend as frontend_module
from cofferdam_frontend import identities as identities_module
from cofferdam_frontend.deadlines import now_us

RANDOM = int(Opcode.PSA_GENERATE_RANDOM)
PING = Request(flags=KEEP_ALIVE).to_bytes()
LOST, FULL = Status.PSA_ERROR_COMMUNICATION_FAILURE, Status.PSA_ERROR_INSUFFICIENT_MEMORY


def serve_worker(stage: Stage, answers: bytes = b"x") -> list[tuple[int, object, str]]:
    """Answer what the first worker was asked; return id, authenticator and name of each."""
    asked = stage.messages(stage.worker(0))
    for number, request_id, *_ in asked:
        stage.say(stage.worker(0), number | ANSWER, request_id, 0, answers)
    return [(request_id, authenticator, name) for _, request_id, _, authenticator, name, *_ in asked]


def expire(stage: Stage) -> None:
    identities = stage.frontend._identities
    identities.expire(identities.next_deadline() or 0)
    stage.settle()


def test_a_request_is_carried_out_for_the_application_that_is_named_later() -> None:
    with LaterStage() as later:
        client = later.stage.client()
        client.send(random(token=b"token of app"))
        (question,) = later.questions()
        assert question[1] == b"token of app"
        assert serve_worker(later.stage) == []
        assert client.statuses() == []
        later.say(question, "app")
        ((_, authenticator, name),) = serve_worker(later.stage)
        assert (authenticator, name) == (JWT, "app")
        assert client.statuses() == [0]
        assert later.pending() == (0, 0)


def test_other_connections_of_the_principal_are_served_meanwhile() -> None:
    with LaterStage() as later:
        waiting = [later.stage.client() for _ in range(3)]
        for number, client in enumerate(waiting):
            client.send(random(token=bytes((number,))))
        other = later.stage.client()
        for _ in range(3):
            other.send(PING + Caller(UID).random(1).but(flags=KEEP_ALIVE).to_bytes())
            assert len(serve_worker(later.stage)) == 1
            assert other.statuses() == [0, 0]
        questions = later.questions()
        assert [token for _, token in questions] == [b"\0", b"\1", b"\2"]
        for number in (1, 0, 2):
            later.say(questions[number], f"app{number}")
            ((_, _, name),) = serve_worker(later.stage, bytes((number,)))
            assert name == f"app{number}"
            assert [first_blob(response.body) for response in waiting[number].responses()] == [bytes((number,))]


def test_a_connection_gets_its_answers_in_the_order_of_its_requests() -> None:
    with LaterStage() as later:
        client = later.stage.client()
        client.send(random(token=b"one", session=1) + PING + random(token=b"two", session=2) + PING)
        (first,) = later.questions()
        assert client.statuses() == []
        later.say(first, "one")
        assert later.questions() == []
        serve_worker(later.stage)
        assert [(response.opcode, response.session) for response in client.responses()] == [(RANDOM, 1), (1, 0)]
        (second,) = later.questions()
        later.say(second, "", Status.AUTHENTICATION_ERROR)
        found = [(response.opcode, response.session, response.status) for response in client.responses()]
        assert found == [(RANDOM, 2, 11), (1, 0, 0)]


@pytest.mark.parametrize("who", ["user", "administrator", "wrong"])
def test_the_order_of_checks_is_that_of_a_request_whose_sender_is_known_at_once(who: str) -> None:
    with LaterStage() as later:
        stage, client = later.stage, later.stage.client()
        for provider, opcode in product((0, 1, 3), Opcode):
            for body in (encode_operation(SAMPLES[opcode]), GARBAGE):
                client.send(with_token(Request(opcode=opcode, provider=provider, body=body)))
                (question,) = later.questions()
                assert not any(stage.messages(channel) for channel in stage.servers.values())
                later.say(question, {"administrator": ADMIN}.get(who, "app"), 11 if who == "wrong" else 0)
                status = expected(who, provider, opcode, body)
                asked = {server: stage.messages(channel) for server, channel in stage.servers.items()}
                for server, messages in asked.items():
                    answer(stage, server, messages)
                (response,) = client.responses()
                assert (response.status, response.opcode, response.provider) == (status or 0, opcode, provider)
                found = {server for server, messages in asked.items() if messages}
                assert found == (set() if status else destinations(opcode, provider))


@pytest.mark.parametrize(
    "status", [Status.AUTHENTICATION_ERROR, Status.INVALID_ENCODING, Status.NOT_AUTHENTICATED, LOST, FULL]
)
def test_a_refusal_that_comes_later_gives_its_own_status(status: Status) -> None:
    with LaterStage() as later:
        client = later.stage.client()
        client.send(random(session=77))
        later.say(later.questions()[0], "", status)
        (response,) = client.responses()
        assert (response.status, response.opcode, response.session, response.body) == (status, RANDOM, 77, b"")
        assert later.pending() == (0, 0)
        client.send(PING)
        assert client.statuses() == [0]


@pytest.mark.parametrize("forgets", [True, False])
def test_what_is_not_answered_in_time_fails_and_the_late_answer_is_dropped(forgets: bool) -> None:
    with LaterStage(forgets=forgets) as later:
        client = later.stage.client()
        client.send(random(1000))
        (late,) = later.questions()
        expire(later.stage)
        assert client.statuses() == [LOST]
        assert later.pending() == (0, 0)
        assert len(later.authenticator.asked) == (0 if forgets else 1)
        # The same connection waits again, and the late answer is not for this request.
        client.send(random(session=5))
        (question,) = later.questions()
        later.say(late, "somebody else")
        assert serve_worker(later.stage) == []
        assert client.statuses() == []
        later.say(question, "app")
        assert [name for _, _, name in serve_worker(later.stage)] == ["app"]
        assert client.statuses() == [0]


def test_the_oldest_is_refused_first() -> None:
    with LaterStage() as later:
        clients = [later.stage.client() for _ in range(3)]
        for client in clients:
            client.send(random())
        identities = later.stage.frontend._identities
        pending = list(identities._pending.values())
        later_than_now = now_us() + 60_000_000
        for waiting, deadline in zip(pending, (100, 101, later_than_now), strict=True):
            waiting.deadline = deadline
        assert identities.next_deadline() == 100
        identities.expire(101)
        assert [client.statuses() for client in clients] == [[LOST], [LOST], []]
        assert later.stage.frontend.in_flight() == 1


def test_the_deadline_wakes_the_frontend(monkeypatch: pytest.MonkeyPatch) -> None:
    now = now_us()
    for module in (frontend_module, identities_module):
        monkeypatch.setattr(module, "now_us", lambda: now)
    with LaterStage() as later:
        client = later.stage.client()
        client.send(random())
        now += 9_999_999
        later.stage.settle()
        assert client.statuses() == []
        assert 0 < later.stage.frontend.tick() < 0.1
        now += 1
        later.stage.settle()
        assert client.statuses() == [LOST]


@pytest.mark.parametrize("forgets", [True, False])
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_client_that_goes_away_costs_nothing(pieces: int, forgets: bool) -> None:
    """Also one whose connection the loop has never watched, since its request came in one piece."""
    with LaterStage(forgets=forgets) as later:
        data = with_token(Request(opcode=0x0F, provider=1, body=bytes(50_000)))
        ours, theirs = socket.socketpair()
        ours.send(data if pieces == 1 else data[:100])
        later.stage.tell(NewClient(theirs.detach()))
        if pieces == 2:
            ours.send(data[100:])
        (question,) = later.questions()
        assert later.pending() == (1, len(data) - 36)
        ours.close()
        later.stage.settle()
        assert later.pending() == (0, 0)
        assert (later.stage.frontend.in_flight(), len(later.stage.frontend._connections)) == (0, 0)
        assert len(later.authenticator.asked) == (0 if forgets else 1)
        later.say(question, "app")
        assert serve_worker(later.stage) == []
        client = later.stage.client()
        client.send(PING)
        assert client.statuses() == [0]


def test_a_client_that_only_ends_its_stream_is_answered() -> None:
    with LaterStage() as later:
        client = later.stage.client()
        client.send(random(flags=0))
        client.socket.shutdown(socket.SHUT_WR)
        (question,) = later.questions()
        later.say(question, "app")
        serve_worker(later.stage)
        assert client.statuses() == [0]


def start_draining(later: LaterStage) -> None:
    later.stage.loop._running = True
    later.stage.tell(Stop())
    assert later.stage.loop._running


def test_draining_waits_for_the_identity_and_then_for_the_answer() -> None:
    with LaterStage() as later:
        idle, client = later.stage.client(), later.stage.client()
        idle.send(PING)
        assert idle.statuses() == [0]
        client.send(random())
        start_draining(later)
        assert idle.is_closed()
        (question,) = later.questions()
        later.say(question, "app")
        assert later.stage.loop._running
        assert len(serve_worker(later.stage)) == 1
        assert client.statuses() == [0]
        assert client.is_closed()
        assert not later.stage.loop._running


@pytest.mark.parametrize("end", ["refused", "late", "gone"])
def test_draining_ends_however_the_identity_does(end: str) -> None:
    with LaterStage() as later:
        client = later.stage.client()
        client.send(random())
        start_draining(later)
        if end == "gone":
            client.close()
        elif end == "late":
            expire(later.stage)
            assert client.statuses() == [LOST]
        else:
            later.say(later.questions()[0], "", Status.AUTHENTICATION_ERROR)
            assert client.statuses() == [Status.AUTHENTICATION_ERROR]
        later.stage.settle()
        assert not later.stage.loop._running


def test_no_more_than_so_many_wait_and_they_are_in_flight() -> None:
    with LaterStage(settings(max_in_flight=2)) as later:
        clients = [later.stage.client() for _ in range(4)]
        for client in clients:
            client.send(random())
        assert [client.statuses() for client in clients] == [[], [], [FULL], [FULL]]
        assert len(later.questions()) == 2
        later.stage.tell(Ping(5))
        assert later.stage.told() == [Pong(5, 4, 2, 4)]
        # Whoever is known at once is not held up by those who wait.
        clients[2].send(Caller(UID).random(1).but(flags=KEEP_ALIVE).to_bytes())
        assert len(serve_worker(later.stage)) == 1
        assert clients[2].statuses() == [0]
        clients[0].close()
        clients[3].send(random())
        assert len(later.questions()) == 1


def test_what_waits_counts_against_the_memory_of_the_process() -> None:
    with LaterStage(settings(buffer_limit=1 << 20)) as later:
        clients = [later.stage.client() for _ in range(3)]
        data = with_token(Request(opcode=0x0F, provider=1, body=bytes(400_000)))
        for client in clients:
            client.send(data)
        assert later.pending() == (2, 2 * (len(data) - 36))
        assert [client.statuses() for client in clients] == [[], [], [FULL]]
        questions = later.questions()
        for question in questions:
            later.say(question, "", Status.AUTHENTICATION_ERROR)
        assert later.pending() == (0, 0)
        clients[2].socket.close()


def test_ids_grow_in_the_order_in_which_a_worker_is_asked() -> None:
    """A successor says SYNCED with an id; what was asked after it must not be taken for lost."""
    with LaterStage() as later:
        stage = later.stage
        early, lost = stage.client(), stage.client()
        early.send(random())
        (question,) = later.questions()
        lost.send(Caller(UID).random(1).but(flags=KEEP_ALIVE).to_bytes())
        ((_, first, *_),) = stage.messages(stage.worker(0))
        stage.say(stage.worker(0), Common.HELLO)
        ((_, token),) = stage.messages(stage.worker(0))
        later.say(question, "app")
        ((_, second, *_),) = stage.messages(stage.worker(0))
        assert first == token < second
        stage.say(stage.worker(0), Common.SYNCED, token)
        assert (lost.statuses(), early.statuses()) == ([LOST], [])
        stage.say(stage.worker(0), RANDOM | ANSWER, second, 0, b"x")
        assert early.statuses() == [0]
        stage.tell(Ping(1))
        assert stage.told() == [Pong(1, 2, 0, 2)]


def test_an_authenticator_may_answer_at_once() -> None:
    with LaterStage() as later:
        client = later.stage.client()
        client.send(random(token=AT_ONCE))
        assert [name for _, _, name in serve_worker(later.stage)] == ["cached"]
        assert client.statuses() == [0]
        client.send(random(10_000, token=REFUSED_AT_ONCE))
        assert client.statuses() == [Status.AUTHENTICATION_ERROR]
        assert later.pending() == (0, 0)
        client.send(with_token(Request(opcode=RANDOM, provider=0), AT_ONCE))
        assert client.statuses() == [Status.PSA_ERROR_NOT_SUPPORTED]
        assert later.pending() == (0, 0)
        assert later.questions() == []


def test_a_second_answer_is_dropped() -> None:
    with LaterStage(forgets=False) as later:
        client = later.stage.client()
        client.send(random())
        (question,) = later.questions()
        later.say(question, "app")
        later.say(question, "other")
        later.say(question, "", Status.AUTHENTICATION_ERROR)
        assert [name for _, _, name in serve_worker(later.stage)] == ["app"]
        assert client.statuses() == [0]


def test_a_worker_that_is_lost_meanwhile_fails_the_request() -> None:
    with LaterStage() as later:
        client = later.stage.client()
        client.send(random())
        later.stage.worker(0).close()
        later.stage.settle()
        later.say(later.questions()[0], "app")
        assert client.statuses() == [LOST]


def test_authenticators_that_answer_at_once_never_wait() -> None:
    with LaterStage() as later:
        client = later.stage.client()
        for request in (Caller(UID).random(1), Caller(UID).random(1).but(auth_type=1, auth=b"app")):
            client.send(request.but(flags=KEEP_ALIVE).to_bytes())
            assert later.pending() == (0, 0)
            assert len(serve_worker(later.stage)) == 1
            assert client.statuses() == [0]
        assert later.questions() == []
