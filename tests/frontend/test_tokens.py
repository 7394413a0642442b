"""Tokens of clients: verified once, named by their handle from then on, and shown again when a server forgets."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.frontend.stage import KIM, UID, WORKERS, Client, Stage, settings
from tests.harness import wire
from tests.harness.wire import KEEP_ALIVE, Caller, Request

from cofferdam_contracts.ipc.control import Broken
from cofferdam_contracts.ipc.framing import Common
from cofferdam_contracts.ipc.grants import GrantMessage
from cofferdam_contracts.ipc.limits import MAX_TOKEN
from cofferdam_contracts.ipc.requests import ANSWER
from cofferdam_contracts.registry import AuthType, Opcode
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import AuthenticatorSettings
from cofferdam_contracts.status import Status
from cofferdam_frontend import tokens as tokens_module
from cofferdam_runtime.grants import now_us

IDENTITY = (Role.IDENTITY, 0)
SVID = AuthType.JWT_SVID
VERIFY = int(GrantMessage.VERIFY)
RANDOM, LIST_KEYS = int(Opcode.PSA_GENERATE_RANDOM), int(Opcode.LIST_KEYS)
REFUSED, LOST = int(Status.AUTHENTICATION_ERROR), int(Status.PSA_ERROR_COMMUNICATION_FAILURE)
FIRST = 1 << WORKERS[0][0]
TOKEN = b"header.claims.signature"


@pytest.fixture
def stage() -> Iterator[Stage]:
    authenticators = (AuthenticatorSettings(AuthType.UNIX_PEER_CREDENTIALS), AuthenticatorSettings(SVID))
    with Stage(settings(authenticators=authenticators), assign=False) as made:
        made.connect(IDENTITY)
        made.assign()
        yield made


def request(token: bytes = TOKEN, opcode: int = RANDOM, provider: int = 1) -> bytes:
    plain = Caller(UID).random(1) if opcode == RANDOM else Caller(UID).request(opcode)
    return plain.but(provider=provider, auth_type=int(SVID), auth=token, flags=KEEP_ALIVE).to_bytes()


def asked(stage: Stage) -> list[tuple[Any, ...]]:
    """Return what the identity process was asked: number, servers, token."""
    found = []
    for number, request_id, _, authenticator, servers, token in stage.messages(stage.servers[IDENTITY]):
        assert (number, authenticator) == (VERIFY, SVID)
        found.append((request_id, servers, token))
    return found


def grant(stage: Stage, request_id: int, handle: str = "1", *, admin: bool = False, seconds: int = 60) -> None:
    until = now_us() + seconds * 1_000_000
    stage.say(stage.servers[IDENTITY], VERIFY + 1, request_id, 0, handle, int(admin), until)


def serve(stage: Stage, status: int = 0) -> list[tuple[int, str]]:
    """Have the first worker answer; return the authenticator and the name of each request."""
    found = []
    for number, request_id, _, authenticator, name, *_ in stage.messages(stage.worker(0)):
        results = (b"x",) if status == 0 else ()
        stage.say(stage.worker(0), number | ANSWER, request_id, status, *results)
        found.append((authenticator, name))
    return found


def known(stage: Stage, client: Client, handle: str = "1", **how: Any) -> None:  # noqa: ANN401
    """Have a token verified and used once."""
    client.send(request())
    ((number, _, _),) = asked(stage)
    grant(stage, number, handle, **how)
    assert serve(stage) == [(SVID, handle)]
    assert client.statuses() == [0]


def test_a_token_is_verified_once_and_then_costs_no_question(stage: Stage) -> None:
    client = stage.client()
    client.send(request())
    ((number, servers, token),) = asked(stage)
    assert (servers, token) == (FIRST, TOKEN)
    assert stage.messages(stage.worker(0)) == []
    grant(stage, number, "a1")
    assert serve(stage) == [(SVID, "a1")]
    assert client.statuses() == [0]
    other = stage.client()
    for each in (client, other):
        each.send(request())
        assert serve(stage) == [(SVID, "a1")]
        assert each.statuses() == [0]
    assert asked(stage) == []


def test_another_token_and_another_server_are_asked_for(stage: Stage) -> None:
    client = stage.client()
    known(stage, client)
    client.send(request(token=b"another"))
    assert [(servers, token) for _, servers, token in asked(stage)] == [(FIRST, b"another")]
    second = stage.client()
    second.send(request(provider=2))
    ((number, servers, _),) = asked(stage)
    assert servers == 1 << WORKERS[1][0]
    grant(stage, number)
    third = stage.client()
    third.send(request(opcode=LIST_KEYS, provider=0))
    ((_, servers, _),) = asked(stage)
    assert servers == 1 << KIM[0]


def test_an_operation_that_is_answered_here_asks_only_who_it_is_from(stage: Stage) -> None:
    client = stage.client()
    client.send(Request(auth_type=int(SVID), auth=TOKEN, flags=KEEP_ALIVE).to_bytes())
    ((number, servers, _),) = asked(stage)
    assert servers == 0
    grant(stage, number)
    assert client.statuses() == [0]


@pytest.mark.parametrize("status", [REFUSED, int(Status.INVALID_ENCODING)])
def test_a_refused_token_gets_the_status_and_is_shown_again(stage: Stage, status: int) -> None:
    client = stage.client()
    for _ in range(2):
        client.send(request())
        ((number, _, _),) = asked(stage)
        stage.say(stage.servers[IDENTITY], VERIFY + 1, number, status)
        assert client.statuses() == [status]
        assert asked(stage) == []
    assert stage.messages(stage.worker(0)) == []


def test_a_token_that_is_too_long_is_shown_to_nobody(stage: Stage) -> None:
    client = stage.client()
    client.send(request(token=bytes(MAX_TOKEN + 1)))
    assert client.statuses() == [REFUSED]
    assert asked(stage) == []


def test_a_token_is_shown_again_when_its_time_is_over(stage: Stage) -> None:
    client = stage.client()
    known(stage, client, seconds=-1)
    client.send(request())
    assert len(asked(stage)) == 1


def test_a_server_that_does_not_know_the_identity_has_the_token_shown_again_once(stage: Stage) -> None:
    client = stage.client()
    known(stage, client)
    client.send(request())
    assert serve(stage, REFUSED) == [(SVID, "1")]
    assert client.statuses() == []
    ((number, servers, token),) = asked(stage)
    assert (servers, token) == (FIRST, TOKEN)
    grant(stage, number, "2")
    assert serve(stage) == [(SVID, "2")]
    assert client.statuses() == [0]
    assert stage.frontend.budget.used == 0


def test_a_server_that_never_knows_it_has_the_last_word(stage: Stage) -> None:
    client = stage.client()
    known(stage, client)
    client.send(request())
    serve(stage, REFUSED)
    ((number, _, _),) = asked(stage)
    grant(stage, number, "2")
    serve(stage, REFUSED)
    assert client.statuses() == [REFUSED]
    assert asked(stage) == []


def test_a_revoked_identity_ends_with_the_answer_of_the_identity_process(stage: Stage) -> None:
    client = stage.client()
    known(stage, client)
    client.send(request())
    serve(stage, REFUSED)
    ((number, _, _),) = asked(stage)
    stage.say(stage.servers[IDENTITY], VERIFY + 1, number, REFUSED)
    assert client.statuses() == [REFUSED]
    assert asked(stage) == []


def test_other_errors_of_a_server_are_answers(stage: Stage) -> None:
    client = stage.client()
    known(stage, client)
    client.send(request())
    serve(stage, int(Status.PSA_ERROR_DOES_NOT_EXIST))
    assert client.statuses() == [int(Status.PSA_ERROR_DOES_NOT_EXIST)]
    assert asked(stage) == []


@pytest.mark.parametrize("admin", [False, True])
def test_the_identity_process_says_who_is_an_administrator(stage: Stage, admin: bool) -> None:
    client = stage.client()
    client.send(request(opcode=int(Opcode.LIST_CLIENTS), provider=0))
    ((number, servers, _),) = asked(stage)
    assert servers == 1 << KIM[0]
    grant(stage, number, admin=admin)
    assert len(stage.messages(stage.kim)) == admin
    assert client.statuses() == ([] if admin else [int(Status.ADMIN_OPERATION)])


def test_a_client_is_deleted_by_all_workers_with_an_identity_that_they_know(stage: Stage) -> None:
    client = stage.client()
    body = wire.blob(1, b"app")
    client.send(
        Request(opcode=wire.DELETE_CLIENT, body=body, auth_type=int(SVID), auth=TOKEN, flags=KEEP_ALIVE).to_bytes()
    )
    ((_, servers, _),) = asked(stage)
    assert servers == sum(1 << role for role, _ in WORKERS)


def test_without_the_identity_process_tokens_fail_and_other_clients_do_not(stage: Stage) -> None:
    waiting, plain = stage.client(), stage.client()
    waiting.send(request())
    asked(stage)
    stage.servers[IDENTITY].close()
    assert waiting.statuses() == [LOST]
    assert [record for record in stage.told() if isinstance(record, Broken)] == [Broken(*IDENTITY, 0)]
    waiting.send(request())
    assert waiting.statuses() == [LOST]
    plain.send(Caller(UID).random(1).but(flags=KEEP_ALIVE).to_bytes())
    serve(stage)
    assert plain.statuses() == [0]


def test_a_successor_of_the_identity_process_is_asked_again(stage: Stage) -> None:
    client = stage.client()
    client.send(request())
    (first,) = asked(stage)
    stage.say(stage.servers[IDENTITY], Common.HELLO)
    assert asked(stage) == [first]
    grant(stage, first[0])
    serve(stage)
    assert client.statuses() == [0]


def test_a_client_that_leaves_takes_its_question_along(stage: Stage) -> None:
    client = stage.client()
    client.send(request(token=bytes(8000)))
    ((number, _, _),) = asked(stage)
    assert 8000 <= stage.frontend.budget.used < 12_000, "counted once"
    client.close()
    assert stage.frontend.in_flight() == 0
    assert stage.frontend.budget.used == 0
    grant(stage, number)
    assert stage.messages(stage.worker(0)) == []


@pytest.mark.parametrize(
    "answer",
    [(0, "1", 0), (0, "1", 2, 9), (0, b"1", 0, 9), (0, "1", 0, -1), (REFUSED, "1"), (99999,), ("0",), ()],
    ids=repr,
)
def test_an_identity_process_that_answers_nonsense_is_left(stage: Stage, answer: tuple[object, ...]) -> None:
    client = stage.client()
    client.send(request())
    ((number, _, _),) = asked(stage)
    stage.say(stage.servers[IDENTITY], VERIFY + 1, number, *answer)
    assert client.statuses() == [LOST]
    assert [record for record in stage.told() if isinstance(record, Broken)] == [Broken(*IDENTITY, 0)]


def test_so_many_tokens_are_remembered(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "MOST", 2)
    client = stage.client()
    for token in (b"one", b"two", b"one", b"three", b"one"):
        client.send(request(token=token))
        for number, *_ in asked(stage):
            grant(stage, number)
        assert len(serve(stage)) == 1
    client.send(request(token=b"two"))
    assert [token for _, _, token in asked(stage)] == [b"two"]


def test_a_request_that_may_be_repeated_counts_against_the_budget(stage: Stage) -> None:
    client = stage.client()
    client.send(request(token=bytes(8000)))
    ((number, _, _),) = asked(stage)
    grant(stage, number)
    assert stage.frontend.budget.used >= 8000
    serve(stage)
    assert client.statuses() == [0]
    assert stage.frontend.budget.used == 0
