"""What the broker takes from a child over the control socket: exactly what its table says, and the child dies else."""

import _socket
import errno
import gc
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from tests.harness.watch import wait_for

from cofferdam_broker import wiring as wiring_module
from cofferdam_broker.children import Children
from cofferdam_broker.config import LoadedConfig
from cofferdam_broker.process import ChildProcess
from cofferdam_broker.wiring import Wiring
from cofferdam_contracts.ipc.control import (
    _KINDS,
    SIZE,
    Broken,
    Busy,
    Condition,
    DownstreamChannel,
    Failed,
    Failure,
    KeyCount,
    KeyOwner,
    Level,
    Pong,
    Ready,
    Record,
    Said,
    UpstreamChannel,
    Violation,
    decode,
    encode,
)
from cofferdam_contracts.roles import WORKERS, Role
from cofferdam_contracts.settings import BrokerSettings, LogSettings, UidRange
from cofferdam_runtime.accusations import MOST_ACCUSED
from cofferdam_runtime.backoff import BREAKER_S, FREE_RESTARTS
from cofferdam_runtime.control import Control, ControlError
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.pulse import Patience
from cofferdam_runtime.spawn import Spawned
from cofferdam_runtime.starting import usage_of

SETTINGS = BrokerSettings(
    log=LogSettings(level="off"),
    socket_path="/nowhere",
    status_path="/nowhere",
    status_group=None,
    configured=(),
    uid_base=60706,
    require=Level.LANDLOCK,
    workers=(),
    others=(),
    subuids=(),
    max_frontends=4,
    max_connections=100,
    idle_ms=1000,
    hang_ms=1000,
    start_ms=1000,
    generate_ms=10_000,
    drain_ms=1000,
    notices="",
)
DEVICES = {Role.PKCS11_WORKER, Role.TPM_WORKER}
KINDS: list[Any] = [kind for _, kind, _ in _KINDS]
TEXTS = {"device", "cause", "text"}
SENT: dict[type, Any] = {kind: kind(*["1" if name in TEXTS else 1 for name in kind._fields]) for kind in KINDS}
"""A record of each kind; descriptor 1 of the test's process."""


class Silent:
    """Decides nothing."""

    def on_ready(self, child: ChildProcess) -> None: ...

    def on_death(self, child: ChildProcess) -> None: ...

    def on_writable(self, child: ChildProcess) -> None: ...


def children_of(settings: BrokerSettings) -> Children:
    return Children(Loop(), Log("broker", settings.log), LoadedConfig(settings, {}), Silent())


def close_all(wiring: Wiring) -> None:
    for client in {link.client for link in wiring._links}:
        wiring.drop(client, wiring.servers_of(client))


class Rogue:
    """A process that says to the broker whatever a test wants."""

    def __init__(self, role: Role, number: int = 0) -> None:
        ours, self.theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.child = subprocess.Popen(["/bin/sleep", "60"])
        wait_for(lambda: usage_of(self.child.pid).state == "S")
        spawned = Spawned(self.child.pid, os.pidfd_open(self.child.pid), Control(ours))
        patience = Patience(usual_s=1.0, busy_s=10.0, start_s=1.0)
        self.process = ChildProcess((role, number), None, spawned, Log("broker", SETTINGS.log), patience)
        self.children = children_of(SETTINGS)
        self.children._by_key[self.process.key] = self.process

    def say(self, record: Record) -> None:
        self.send(*encode(record))

    def send(self, data: bytes, descriptor: int | None = None) -> None:
        rights = (
            [] if descriptor is None else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, "little"))]
        )
        self.theirs.sendmsg([data], rights)
        self.children._on_records(self.process)

    def is_killed(self) -> bool:
        """Tell whether the broker killed it, which then happens however long it takes."""
        return bool(self.process.killed) and self.child.wait(60) == -signal.SIGKILL

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.theirs.close()
        if not self.process.closed:
            self.process.close()


@pytest.fixture(params=[Role.FRONTEND, Role.KIM, *sorted(DEVICES)])
def rogue(request: pytest.FixtureRequest) -> Iterator[Rogue]:
    made = Rogue(request.param)
    yield made
    made.close()


def allowed(role: Role, *, ready: bool) -> set[type]:
    said: set[type] = {Condition} if role in {Role.KIM, *WORKERS} else set()
    if not ready:
        return {Ready, Failed, Said} | said
    kinds: set[type] = {Pong, Said} | said
    kinds |= ({Busy} if role in DEVICES else set()) | ({KeyOwner, KeyCount} if role is Role.KIM else set())
    return kinds | ({Broken} if role is Role.FRONTEND else {Violation})


@pytest.mark.parametrize("ready", [False, True])
def test_every_record_outside_the_table_ends_the_child(rogue: Rogue, ready: bool) -> None:
    rogue.process.ready = ready
    wanted = allowed(rogue.process.role, ready=ready)
    for kind in wanted - {Ready}:
        rogue.say(Failed(Failure.SANDBOX) if kind is Failed else SENT[kind])
        assert not rogue.is_killed(), kind
    for kind in set(SENT) - wanted:
        record = SENT[kind]
        if "descriptor" in record._fields:
            record = record._replace(descriptor=os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(ControlError, match="may not send"):
            rogue.children._take(rogue.process, record)
    rogue.say(SENT[min(set(SENT) - wanted, key=lambda kind: kind.__name__)])
    assert rogue.is_killed()


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize("reason", [*map(int, Failure), 0, 99])
def test_a_process_gives_up_for_reasons_of_its_role_and_before_it_is_ready(
    rogue: Rogue, reason: int, ready: bool
) -> None:
    """What comes later is no reason to leave it dead: its clients could make it say so."""
    rogue.process.ready = ready
    rogue.say(Failed(reason))
    accepted = not ready and reason in rogue.process.role.row.failures
    assert rogue.process.failed == (reason if accepted else 0)
    assert rogue.is_killed() == (not accepted)


@pytest.mark.parametrize("size", [1, SIZE - 1, SIZE + 1, 4096])
def test_a_record_of_another_size_ends_the_child(rogue: Rogue, size: int) -> None:
    rogue.send(bytes(size))
    assert rogue.is_killed()


@pytest.mark.parametrize("ending", ["an empty record", "close"])
def test_a_child_that_hangs_up_and_lives_on_is_killed(rogue: Rogue, ending: str) -> None:
    rogue.process.ready = True
    if ending == "close":
        rogue.theirs.close()
        rogue.children._on_records(rogue.process)
    else:
        rogue.send(b"")
    now = time.monotonic()
    assert rogue.children.check(now)
    assert not rogue.children.check(now + 5)
    assert rogue.is_killed()


def test_a_descriptor_ends_the_child_and_is_closed(rogue: Rogue) -> None:
    gc.collect()  # what earlier tests left must not go meanwhile
    before = len(os.listdir("/proc/self/fd"))
    rogue.send(encode(Failed(Failure.SANDBOX))[0], descriptor=0)
    assert rogue.is_killed()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_child_that_only_claims_to_be_confined_is_ended(rogue: Rogue) -> None:
    rogue.say(Ready(Level.UID, 7, 0, 0))
    assert rogue.is_killed()
    assert not rogue.process.ready
    assert rogue.process.level is Level.NONE


def test_a_pong_that_was_not_asked_for_is_no_sign_of_life(rogue: Rogue) -> None:
    rogue.process.ready = True
    rogue.process.ping(time.monotonic())
    rogue.say(Pong(99, 0, 0, 0))
    assert rogue.process.pulse.asked
    rogue.say(Pong(1, 10, 2, 3))
    assert not rogue.process.pulse.asked
    assert (rogue.process.pulse.served, rogue.process.pulse.in_flight, rogue.process.pulse.connections) == (10, 2, 3)


def test_a_silent_child_is_killed(rogue: Rogue) -> None:
    rogue.process.ready = True
    now = time.monotonic()
    assert rogue.children.check(now)
    assert not rogue.children.check(now + 5)
    assert rogue.is_killed()


@pytest.mark.parametrize("role", sorted(DEVICES))
def test_one_that_makes_a_key_in_a_device_has_longer_until_it_answers(role: Role) -> None:
    rogue = Rogue(role)
    try:
        rogue.process.ready = True
        rogue.say(Busy(busy=True))
        now = time.monotonic()
        assert rogue.children.check(now)
        assert rogue.children.check(now + 9)
        rogue.say(Busy(busy=False))
        assert not rogue.process.pulse.busy
        # What it was asked in between counts from here on.
        asked = rogue.process.pulse.asked
        assert asked
        assert rogue.children.check(asked + 0.5)
        assert not rogue.children.check(asked + 2)
        assert rogue.is_killed()
    finally:
        rogue.close()


def test_even_a_device_has_to_answer_some_time() -> None:
    rogue = Rogue(Role.PKCS11_WORKER)
    try:
        rogue.process.ready = True
        rogue.say(Busy(busy=True))
        now = time.monotonic()
        assert rogue.children.check(now)
        assert not rogue.children.check(now + 11)
        assert rogue.is_killed()
    finally:
        rogue.close()


def test_an_answer_that_lies_unread_is_a_sign_of_life(rogue: Rogue) -> None:
    rogue.process.ready = True
    now = time.monotonic()
    rogue.children.check(now)
    rogue.theirs.send(encode(Pong(1, 0, 0, 0))[0])
    assert rogue.children.check(now + 60)
    assert not rogue.is_killed()


class Company:
    """Servers and frontends of one broker, each a rogue, with a channel between each two that have a route."""

    def __init__(self, *servers: Role, frontends: int, subuids: tuple[UidRange, ...] = ()) -> None:
        self.servers = [Rogue(role) for role in servers]
        self.frontends = [Rogue(Role.FRONTEND, number) for number in range(frontends)]
        self.children = children_of(SETTINGS._replace(subuids=subuids))
        for rogue in (*self.servers, *self.frontends):
            self.put(rogue)
        for number, frontend in enumerate(self.frontends):
            frontend.process.principal = 1000 + number
            for server in self.servers:
                self.children._connect(frontend.process, server.process.key)
        for rogue in (*self.servers, *self.frontends):
            channels_of(rogue)

    def put(self, rogue: Rogue) -> Rogue:
        """Have a process among the children."""
        rogue.children = self.children
        rogue.process.ready = True
        self.children._by_key[rogue.process.key] = rogue.process
        return rogue

    def accuse(self, server: int, frontend: int) -> None:
        accused = self.frontends[frontend].process
        self.servers[server].say(Violation(accused.role, accused.serial))

    def close(self) -> None:
        close_all(self.children.wiring)
        for rogue in (*self.servers, *self.frontends):
            rogue.close()


def channels_of(rogue: Rogue) -> list[UpstreamChannel | DownstreamChannel]:
    """Take the records of new channels, and close the ends."""
    found = []
    control = Control(rogue.theirs)
    while (record := control.receive()) is not None:
        if isinstance(record, UpstreamChannel | DownstreamChannel):
            os.close(record.descriptor)
            found.append(record._replace(descriptor=-1))
    return found


def heard_by(rogue: Rogue) -> DownstreamChannel:
    """Return what a server is told next."""
    record = decode(rogue.theirs.recv(100, _socket.MSG_DONTWAIT), -1)
    assert isinstance(record, DownstreamChannel)
    return record


@pytest.fixture
def company() -> Iterator[Company]:
    made = Company(Role.SOFTWARE_WORKER, Role.PKCS11_WORKER, Role.KIM, frontends=MOST_ACCUSED)
    yield made
    made.close()


def test_an_accusation_costs_the_link_between_the_two_and_nothing_else(company: Company) -> None:
    accuser, accused = company.servers[1], company.frontends[3]
    company.accuse(1, 3)
    assert not any(rogue.is_killed() for rogue in (*company.servers, *company.frontends))
    # Both ends get a new channel, the frontend to the same server, the server from the same principal.
    assert channels_of(accused) == [UpstreamChannel(Role.PKCS11_WORKER, 0, 1, -1)]
    (record,) = channels_of(accuser)
    assert isinstance(record, DownstreamChannel)
    assert (record.role, record.uid, record.serial) == (Role.FRONTEND, 1003, accused.process.serial)
    for rogue in (*company.servers, *company.frontends):
        assert channels_of(rogue) == []


def test_a_link_is_made_again_later_and_later(company: Company) -> None:
    accused = company.frontends[0].process
    key = company.servers[1].process.key
    made = []
    for _ in range(10):
        company.accuse(1, 0)
        made.append(key in company.children.wiring.servers_of(accused))
        company.children.check(time.monotonic())
    assert made == [True] * FREE_RESTARTS + [False] * 7
    assert accused.cuts[key].total == FREE_RESTARTS + 1
    for asked in (*company.servers, *company.frontends):
        asked.process.pulse.asked = 0.0
    company.children._mend(accused, time.monotonic() + BREAKER_S + 1)
    assert key in company.children.wiring.servers_of(accused)
    assert len(company.children.wiring.servers_of(accused)) == 3


def test_who_accuses_many_users_is_the_one_that_is_killed(company: Company) -> None:
    for frontend in range(MOST_ACCUSED - 1):
        for _ in range(3):
            company.accuse(1, frontend)
    assert not company.servers[1].is_killed()
    company.accuse(1, MOST_ACCUSED - 1)
    assert company.servers[1].is_killed()
    assert not any(rogue.is_killed() for rogue in (company.servers[0], company.servers[2], *company.frontends))


def test_the_uids_of_one_user_do_not_have_an_honest_server_killed() -> None:
    one_user = (UidRange(first=1000, size=2 * MOST_ACCUSED, owner=1000),)
    company = Company(Role.KIM, frontends=2 * MOST_ACCUSED, subuids=one_user)
    try:
        for frontend in range(2 * MOST_ACCUSED):
            company.accuse(0, frontend)
        assert not company.servers[0].is_killed()
    finally:
        company.close()


def test_the_successor_of_who_accused_many_is_not_killed_for_the_same(company: Company) -> None:
    """It may well be true, and to replace a server costs everybody; what it accuses loses channels as before."""
    for frontend in range(MOST_ACCUSED):
        company.accuse(1, frontend)
    assert company.servers[1].is_killed()
    company.servers[1].close()
    accuser = company.servers[1] = company.put(Rogue(Role.PKCS11_WORKER))
    for frontend in range(MOST_ACCUSED):
        channels_of(company.frontends[frontend])
        company.accuse(1, frontend)
        assert len(channels_of(company.frontends[frontend])) == 1
    assert not accuser.is_killed()


def test_a_frontend_gets_another_channel_when_it_says_that_one_is_broken(company: Company) -> None:
    complaining = company.frontends[1]
    broken = Broken(Role.PKCS11_WORKER, 0, 0)
    complaining.say(broken)
    assert channels_of(complaining) == [UpstreamChannel(Role.PKCS11_WORKER, 0, 1, -1)]
    # What it says of a channel that is gone by now, or of one that never was, is about nothing.
    for record in (broken, broken._replace(number=1), broken._replace(role=Role.TPM_WORKER), broken._replace(role=99)):
        complaining.say(record)
        assert channels_of(complaining) == []
    for frontend in range(MOST_ACCUSED):
        company.frontends[frontend].say(broken._replace(before=int(frontend == 1)))
    assert not any(rogue.is_killed() for rogue in (*company.servers, *company.frontends))


def test_a_worker_that_the_key_store_accuses_is_replaced() -> None:
    company = Company(Role.KIM, Role.SOFTWARE_WORKER, frontends=1)
    worker = company.servers[1]
    try:
        company.accuse(0, 0)
        company.servers[0].say(Violation(Role.SOFTWARE_WORKER, worker.process.serial))
        assert not worker.is_killed(), "it has no channel to the key store"
        company.children._connect(worker.process, company.servers[0].process.key)
        company.servers[0].say(Violation(Role.SOFTWARE_WORKER, worker.process.serial))
        assert worker.is_killed()
    finally:
        company.close()


def test_an_accusation_by_a_server_that_has_no_channel_to_the_accused_is_nothing(company: Company) -> None:
    accused = company.frontends[0].process
    company.children.wiring.drop(accused, {company.servers[1].process.key})
    company.accuse(1, 0)
    assert not any(history.total for history in accused.cuts.values())
    company.servers[1].say(Violation(Role.FRONTEND, 1 << 63))
    assert not company.servers[1].is_killed()


def test_a_process_that_cannot_have_a_channel_is_killed(rogue: Rogue, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> NoReturn:
        raise OSError(errno.EMFILE, "no descriptors")

    monkeypatch.setattr(wiring_module, "socket_pair", fail)
    rogue.process.principal = 1000 if rogue.process.role is Role.FRONTEND else None
    for server in rogue.process.role.row.asks:
        rogue.children._connect(rogue.process, (server, 0))
    assert not rogue.process.role.row.asks or rogue.is_killed()


@pytest.mark.parametrize(("number", "said"), [(signal.SIGSYS, "SIGSYS"), (40, "signal 40")])
def test_a_child_may_be_killed_by_any_signal(number: int, said: str) -> None:
    rogue = Rogue(Role.KIM)
    try:
        os.kill(rogue.process.spawned.pid, number)
        assert rogue.process.reap() == f"killed by {said}"
    finally:
        rogue.child.returncode = -number
        rogue.close()


def test_the_death_of_one_that_was_succeeded_already_costs_its_successor_nothing(rogue: Rogue) -> None:
    successor = Rogue(rogue.process.role)
    try:
        rogue.children._by_key[successor.process.key] = successor.process
        rogue.children._forget(rogue.process)
        assert list(rogue.children) == [successor.process]
    finally:
        successor.close()
