"""What a server believes of identities by token: what the identity process said, on its channel, while it lasts."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.harness.broker_end import BrokerEnd

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.control import DownstreamChannel, Violation
from cofferdam_contracts.ipc.framing import Common
from cofferdam_contracts.ipc.grants import MAX_GRANT, GrantMessage
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import LogSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_runtime import grants as grants_module
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.grants import Grants
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.pairs import socket_pair

GRANT, WITHDRAW = int(GrantMessage.GRANT), int(GrantMessage.WITHDRAW)
SVID = int(AuthType.JWT_SVID)
FRONTEND, OTHER = 11, 12
NAME = "spiffe://example.org/app"


class Stage:
    def __init__(self) -> None:
        self.loop, self.broker, self.now = Loop(), BrokerEnd(), 1000
        log = Log("test", LogSettings(level="off"))
        self.grants = Grants(self.loop, log, self.broker.reporter, now_us=lambda: self.now)
        self.ends: list[Channel] = []

    def connect(self, serial: int = 5, *, adopted: bool = False) -> Channel:
        ours, theirs = socket_pair()
        self.grants.add_channel(DownstreamChannel(Role.IDENTITY, 0, 0, serial, adopted, theirs.detach()))
        self.ends.append(Channel(ours, MAX_GRANT))
        return self.ends[-1]

    def say(self, identity: Channel, *message: object) -> tuple[Any, ...] | None:
        identity.send(message)
        self.loop.look()
        return identity.receive()

    def name(self, handle: str, serial: int = FRONTEND, authenticator: int = SVID) -> str | None:
        try:
            found = self.grants.application(serial, authenticator, handle)
        except ServiceError as error:
            assert error.status is Status.AUTHENTICATION_ERROR
            return None
        assert found == Application(authenticator, found.name)
        return found.name


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    for end in made.ends:
        end.close()
    made.grants._close()
    made.broker.close()


def test_a_grant_holds_on_one_channel_for_one_authenticator_until_it_ends(stage: Stage) -> None:
    identity = stage.connect()
    assert stage.name("1") is None
    assert stage.say(identity, GRANT, 7, FRONTEND, "1", SVID, NAME, 2000) == (GRANT + 1, 7)
    assert stage.name("1") == NAME
    assert stage.name("1", serial=OTHER) is None
    assert stage.name("2") is None
    assert stage.name("1", authenticator=AuthType.JWT) is None
    stage.now = 1999
    assert stage.name("1") == NAME
    stage.now = 2000
    assert stage.name("1") is None


def test_a_grant_can_be_repeated_prolonged_and_withdrawn(stage: Stage) -> None:
    identity = stage.connect()
    for number, until in ((1, 1500), (2, 1500), (3, 3000)):
        assert stage.say(identity, GRANT, number, FRONTEND, "1", SVID, NAME, until) == (GRANT + 1, number)
    stage.now = 2000
    assert stage.name("1") == NAME
    for number in (4, 5):
        assert stage.say(identity, WITHDRAW, number, FRONTEND, "1") == (WITHDRAW + 1, number)
        assert stage.name("1") is None


def test_all_grants_of_a_channel_are_withdrawn_at_once(stage: Stage) -> None:
    identity = stage.connect()
    for serial in (FRONTEND, OTHER):
        for handle in ("1", "2"):
            stage.say(identity, GRANT, 1, serial, handle, SVID, NAME, 2000)
    stage.say(identity, WITHDRAW, 2, FRONTEND, "")
    assert [stage.name(handle, serial) for serial in (FRONTEND, OTHER) for handle in ("1", "2")] == [
        *(None, None),
        *(NAME, NAME),
    ]


def test_nothing_is_in_force_without_a_channel_to_whoever_could_withdraw_it(stage: Stage) -> None:
    identity = stage.connect()
    stage.say(identity, GRANT, 1, FRONTEND, "1", SVID, NAME, 2000)
    identity.close()
    stage.loop.look()
    assert stage.name("1") is None


def test_a_new_identity_process_begins_without_the_grants_of_its_predecessor(stage: Stage) -> None:
    stage.say(stage.connect(), GRANT, 1, FRONTEND, "1", SVID, NAME, 2000)
    assert stage.name("1") == NAME
    stage.connect(serial=6)
    assert stage.name("1") is None


def test_a_successor_of_this_server_greets_the_identity_process(stage: Stage) -> None:
    assert stage.connect(adopted=True).receive() == (Common.HELLO,)


def test_an_adopted_channel_may_be_closed_already(stage: Stage) -> None:
    ours, theirs = socket_pair()
    ours.close()
    stage.grants.add_channel(DownstreamChannel(Role.IDENTITY, 0, 0, 5, adopted=True, descriptor=theirs.detach()))
    assert stage.name("1") is None


@pytest.mark.parametrize(
    "message",
    [
        (GRANT, 1, FRONTEND, "", SVID, NAME, 2000),
        (GRANT, 1, FRONTEND, "1", SVID, "", 2000),
        (GRANT, 1, FRONTEND, "1", int(AuthType.UNIX_PEER_CREDENTIALS), "0", 2000),
        (GRANT, 1, FRONTEND, "1", int(AuthType.DIRECT), "app", 2000),
        (GRANT, 1, FRONTEND, "1", 255, "parsec", 2000),
        (GRANT, 1, FRONTEND, "1", SVID, NAME, -1),
        (GRANT, 1, FRONTEND, "1", SVID, NAME, 2000.0),
        (GRANT, 1, FRONTEND, "1" * 17, SVID, NAME, 2000),
        (GRANT, 1, FRONTEND, "1", SVID, NAME),
        (GRANT, "1", FRONTEND, "1", SVID, NAME, 2000),
        (GRANT,),
        (WITHDRAW, 1, FRONTEND),
        (int(GrantMessage.VERIFY), 1, 0, SVID, 0, b"token"),
        (10, 1, 3, "", "key"),
        ("x", 1),
    ],
    ids=repr,
)
def test_an_identity_process_that_breaks_the_protocol_is_reported_and_not_believed(
    stage: Stage, message: tuple[object, ...]
) -> None:
    identity = stage.connect(serial=9)
    stage.say(identity, GRANT, 1, FRONTEND, "1", SVID, NAME, 2000)
    with pytest.raises(ChannelClosedError):
        stage.say(identity, *message)
    assert stage.broker.told(Violation) == [Violation(Role.IDENTITY, 9)]
    assert stage.name("1") is None


def test_there_are_only_so_many_grants(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants_module, "MOST", 2)
    identity = stage.connect()
    for number in (1, 2):
        stage.say(identity, GRANT, number, FRONTEND, f"{number}", SVID, NAME, 2000)
    assert stage.say(identity, GRANT, 2, FRONTEND, "2", SVID, NAME, 3000) == (GRANT + 1, 2)
    with pytest.raises(ChannelClosedError):
        stage.say(identity, GRANT, 3, FRONTEND, "3", SVID, NAME, 2000)
