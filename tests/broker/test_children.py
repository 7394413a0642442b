"""What the broker takes from a child over the control socket: exactly what its table says, and the child dies else."""

import _socket
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cofferdam_broker.children import Children
from cofferdam_broker.process import Process
from cofferdam_broker.spawn import Spawned
from cofferdam_broker.wiring import Wiring
from cofferdam_contracts.ipc.control import (
    RECORD,
    WORKERS,
    Failure,
    FromChild,
    Level,
    Record,
    Role,
    ToChild,
    is_adopted,
    serial_of,
)
from cofferdam_contracts.roles import DEVICES, FAILURES, PROGRAMS, ROUTES, SERVERS
from cofferdam_contracts.settings import BrokerSettings, LogSettings, UidRange
from cofferdam_runtime.accusations import MOST_ACCUSED
from cofferdam_runtime.backoff import BREAKER_S, FREE_RESTARTS, History
from cofferdam_runtime.control import Control
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, WRITE, Loop
from cofferdam_runtime.sandbox.policies import POLICIES

SETTINGS = BrokerSettings(
    log=LogSettings(level="off"),
    socket_path="/nowhere",
    status_path="/nowhere",
    uid_base=60706,
    require=Level.LANDLOCK,
    workers=(),
    subuids=(),
    max_frontends=4,
    max_connections=100,
    idle_ms=1000,
    hang_ms=1000,
    start_ms=1000,
    generate_ms=10_000,
    drain_ms=1000,
)


class Rogue:
    """A process that says to the broker whatever a test wants."""

    def __init__(self, role: Role, number: int = 0) -> None:
        ours, self.theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
        spawned = Spawned(self.child.pid, os.pidfd_open(self.child.pid), Control(ours))
        self.process = Process(role, number, None, spawned, time.monotonic(), role.name, Log("broker", SETTINGS.log))
        self.children = Children(Loop(), Log("broker", SETTINGS.log), SETTINGS, {})
        self.children._by_key[self.process.key] = self.process

    def say(self, data: bytes, descriptor: int | None = None) -> None:
        rights = (
            [] if descriptor is None else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, "little"))]
        )
        self.theirs.sendmsg([data], rights)
        self.children._on_record(self.process)

    def is_killed(self) -> bool:
        """Tell whether the broker killed it, which then happens however long it takes."""
        return self.process.killed and self.child.wait(60) == -signal.SIGKILL

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.theirs.close()
        self.process.close()


@pytest.fixture(params=[Role.FRONTEND, Role.KIM, *sorted(DEVICES)])
def rogue(request: pytest.FixtureRequest) -> Iterator[Rogue]:
    made = Rogue(request.param)
    yield made
    made.close()


def allowed(role: Role, *, ready: bool) -> set[int]:
    kinds = {FromChild.PONG} if ready else {FromChild.READY, FromChild.FAILED}
    kinds |= {FromChild.BUSY} if ready and role in DEVICES else set()
    kinds |= {FromChild.OWNER} if ready and role is Role.KIM else set()
    return kinds | {FromChild.BROKEN if role is Role.FRONTEND else FromChild.VIOLATION}


@pytest.mark.parametrize("ready", [False, True])
def test_every_record_outside_the_table_ends_the_child(rogue: Rogue, ready: bool) -> None:
    rogue.process.ready = ready
    for kind in sorted(allowed(rogue.process.role, ready=ready) - {FromChild.READY}):
        rogue.say(Record(kind, Failure.SANDBOX if kind == FromChild.FAILED else 1).to_bytes())
        assert not rogue.is_killed(), kind
    wrong = set(range(256)) - allowed(rogue.process.role, ready=ready)
    for kind in sorted(wrong):
        with pytest.raises(Exception, match="may not send"):
            rogue.children._take(rogue.process, Record(kind))
    rogue.say(Record(min(wrong)).to_bytes())
    assert rogue.is_killed()


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize("reason", [*map(int, Failure), 0, 99])
def test_a_process_gives_up_for_reasons_of_its_role_and_before_it_is_ready(
    rogue: Rogue, reason: int, ready: bool
) -> None:
    """What comes later is no reason to leave it dead: its clients could make it say so."""
    rogue.process.ready = ready
    rogue.say(Record(FromChild.FAILED, reason).to_bytes())
    accepted = not ready and reason in FAILURES[rogue.process.role]
    assert rogue.process.failed == (reason if accepted else 0)
    assert rogue.is_killed() == (not accepted)


@pytest.mark.parametrize("size", [1, RECORD.size - 1, RECORD.size + 1, 4096])
def test_a_record_of_another_size_ends_the_child(rogue: Rogue, size: int) -> None:
    rogue.say(bytes(size))
    assert rogue.is_killed()


@pytest.mark.parametrize("ending", ["an empty record", "close"])
def test_a_child_that_hangs_up_and_lives_on_is_killed(rogue: Rogue, ending: str) -> None:
    rogue.process.ready = True
    if ending == "close":
        rogue.theirs.close()
        rogue.children._on_record(rogue.process)
    else:
        rogue.say(b"")
    now = time.monotonic()
    assert rogue.children.check(now)
    assert not rogue.children.check(now + 5)
    assert rogue.is_killed()


def test_a_descriptor_ends_the_child_and_is_closed(rogue: Rogue) -> None:
    before = len(os.listdir("/proc/self/fd"))
    rogue.say(Record(FromChild.FAILED).to_bytes(), descriptor=0)
    assert rogue.is_killed()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_child_that_only_claims_to_be_confined_is_ended(rogue: Rogue) -> None:
    rogue.say(Record(FromChild.READY, Level.UID, 7).to_bytes())
    assert rogue.is_killed()
    assert not rogue.process.ready
    assert rogue.process.level is Level.NONE


def test_a_pong_that_was_not_asked_for_is_no_sign_of_life(rogue: Rogue) -> None:
    rogue.process.ready = True
    rogue.process.ping(time.monotonic())
    rogue.say(Record(FromChild.PONG, 99).to_bytes())
    assert rogue.process.pulse.asked
    rogue.say(Record(FromChild.PONG, 1, 10, 2, 3).to_bytes())
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
        rogue.say(Record(FromChild.BUSY, 1).to_bytes())
        now = time.monotonic()
        assert rogue.children.check(now)
        assert rogue.children.check(now + 9)
        rogue.say(Record(FromChild.BUSY, 0).to_bytes())
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
        rogue.say(Record(FromChild.BUSY, 1).to_bytes())
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
    rogue.theirs.send(Record(FromChild.PONG, 1).to_bytes())
    assert rogue.children.check(now + 60)
    assert not rogue.is_killed()


class Company:
    """Servers and frontends of one broker, each a rogue, with a channel between each two that have a route."""

    def __init__(self, *servers: Role, frontends: int, subuids: tuple[UidRange, ...] = ()) -> None:
        self.servers = [Rogue(role) for role in servers]
        self.frontends = [Rogue(Role.FRONTEND, number) for number in range(frontends)]
        self.children = Children(Loop(), Log("broker", SETTINGS.log), replace(SETTINGS, subuids=subuids), {})
        for rogue in (*self.servers, *self.frontends):
            self.put(rogue)
        for number, frontend in enumerate(self.frontends):
            frontend.process.principal = 1000 + number
            for server in self.servers:
                self.children.connect(frontend.process, server.process.key, 1000 + number)
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
        self.servers[server].say(Record(FromChild.VIOLATION, accused.role, accused.serial).to_bytes())

    def close(self) -> None:
        self.children.wiring.close()
        for rogue in (*self.servers, *self.frontends):
            rogue.close()


def channels_of(rogue: Rogue) -> list[Record]:
    """Take the records of new channels, and close the ends."""
    found = []
    control = Control(rogue.theirs)
    while (received := control.receive()) is not None:
        record, descriptor = received
        if descriptor is not None:
            os.close(descriptor)
        if record.kind == ToChild.CHANNEL:
            found.append(record)
    return found


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
    assert channels_of(accused) == [Record(ToChild.CHANNEL, Role.PKCS11_WORKER, 0, 0, 1)]
    (record,) = channels_of(accuser)
    assert (record.a, record.b, serial_of(record)) == (Role.FRONTEND, 1003, accused.process.serial)
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
    one_user = (UidRange(first=1000, count=2 * MOST_ACCUSED, owner=1000),)
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
    broken = Record(FromChild.BROKEN, Role.PKCS11_WORKER, 0, 0)
    complaining.say(broken.to_bytes())
    assert channels_of(complaining) == [Record(ToChild.CHANNEL, Role.PKCS11_WORKER, 0, 0, 1)]
    # What it says of a channel that is gone by now, or of one that never was, is about nothing.
    for record in (broken, broken._replace(b=1), broken._replace(a=Role.TPM_WORKER), broken._replace(a=99)):
        complaining.say(record.to_bytes())
        assert channels_of(complaining) == []
    for frontend in range(MOST_ACCUSED):
        company.frontends[frontend].say(broken._replace(c=int(frontend == 1)).to_bytes())
    assert not any(rogue.is_killed() for rogue in (*company.servers, *company.frontends))


def test_a_worker_that_the_key_store_accuses_is_replaced() -> None:
    company = Company(Role.KIM, Role.SOFTWARE_WORKER, frontends=1)
    worker = company.servers[1]
    try:
        company.accuse(0, 0)
        company.servers[0].say(Record(FromChild.VIOLATION, Role.SOFTWARE_WORKER, worker.process.serial).to_bytes())
        assert not worker.is_killed(), "it has no channel to the key store"
        company.children.connect(worker.process, company.servers[0].process.key)
        company.servers[0].say(Record(FromChild.VIOLATION, Role.SOFTWARE_WORKER, worker.process.serial).to_bytes())
        assert worker.is_killed()
    finally:
        company.close()


def test_an_accusation_by_a_server_that_has_no_channel_to_the_accused_is_nothing(company: Company) -> None:
    accused = company.frontends[0].process
    company.children.wiring.drop(accused, {company.servers[1].process.key})
    company.accuse(1, 0)
    assert not any(history.total for history in accused.cuts.values())
    company.servers[1].say(Record(FromChild.VIOLATION, Role.FRONTEND, 1 << 63).to_bytes())
    assert not company.servers[1].is_killed()


@pytest.mark.parametrize("client", list(Role))
@pytest.mark.parametrize("server", list(Role))
def test_what_is_not_in_the_process_graph_is_not_connected(client: Role, server: Role) -> None:
    one, other = Rogue(client), Rogue(server)
    wiring = Wiring()
    try:
        if server in ROUTES.get(client, ()):
            wiring.connect(one.process, other.process.key, 1000)
            assert wiring.announce(other.process)
            assert wiring.servers_of(one.process) == {other.process.key}
            record = Record.from_bytes(other.theirs.recv(100))
            assert record[:4] == (ToChild.CHANNEL, client, 1000, 0)
            assert (serial_of(record), is_adopted(record)) == (one.process.serial, False)
            # A successor hears the same of it, but that somebody served it before.
            successor = Rogue(server)
            assert wiring.announce(successor.process)
            record = Record.from_bytes(successor.theirs.recv(100))
            successor.close()
            assert record[:4] == (ToChild.CHANNEL, client, 1000, 0)
            assert (serial_of(record), is_adopted(record)) == (one.process.serial, True)
        else:
            with pytest.raises(ValueError, match="no route"):
                wiring.connect(one.process, other.process.key, 1000)
    finally:
        wiring.close()
        one.close()
        other.close()


@pytest.mark.parametrize("role", sorted(SERVERS))
def test_a_server_that_takes_nothing_for_a_while_hears_of_every_channel_later(role: Role) -> None:
    """As the worker of a device does while it makes a key; more clients come meanwhile than its socket holds."""
    server = Rogue(role)
    clients = [Rogue(Role.FRONTEND, number) for number in range(40)]
    try:
        server.process.spawned.control.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1 << 13)
        server.children._loop.add(server.process.spawned.control.fileno(), READ, lambda _events: None)
        for number, client in enumerate(clients):
            server.children.connect(client.process, server.process.key, 1000 + number)
        assert not server.process.killed
        heard: list[int] = []
        while len(heard) < len(clients):
            heard.append(Record.from_bytes(server.theirs.recv(100, _socket.MSG_DONTWAIT)).b)
            if len(heard) % 5 == 0:
                server.children._on_control(server.process, WRITE)
        assert heard == list(range(1000, 1040))
        with pytest.raises(BlockingIOError):
            server.theirs.recv(100, _socket.MSG_DONTWAIT)
    finally:
        server.children.wiring.close()
        for each in (server, *clients):
            each.close()


def test_back_off_grows_and_the_breaker_opens() -> None:
    history = History()
    delays = []
    for death in range(7):
        history.record(float(death))
        delays.append(history.delay(float(death)))
    assert delays[:FREE_RESTARTS] == [0.0] * FREE_RESTARTS
    assert delays == sorted(delays)
    assert delays[-1] == BREAKER_S
    assert history.is_closed(7.0)
    assert not history.is_closed(100.0)
    assert history.delay(1000.0) == 0.0


def test_the_process_graph() -> None:
    assert {
        Role.FRONTEND: {Role.KIM, Role.SOFTWARE_WORKER, Role.PKCS11_WORKER, Role.TPM_WORKER},
        Role.SOFTWARE_WORKER: {Role.KIM},
        Role.PKCS11_WORKER: {Role.KIM},
        Role.TPM_WORKER: {Role.KIM},
    } == ROUTES


def test_every_role_is_a_program_and_workers_share_their_uids_by_number() -> None:
    assert set(PROGRAMS) == set(Role)
    assert len({row.package for row in PROGRAMS.values()}) == len({row.title for row in PROGRAMS.values()}) == len(Role)
    assert {PROGRAMS[role].uid_offset for role in WORKERS} == {8}


def test_devices_are_the_workers_that_have_a_first_filter() -> None:
    """The broker demands one filter more of them."""
    assert {role for role, policy in POLICIES.items() if policy.loading} == DEVICES
