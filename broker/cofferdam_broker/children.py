"""The running children: starting, connecting and monitoring them. `deployment` decides which children there are."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from cofferdam_broker.config import LoadedConfig
from cofferdam_broker.process import PLANNED, ChildProcess, Key
from cofferdam_broker.wiring import Wiring
from cofferdam_contracts.ipc.control import (
    Broken,
    Busy,
    Condition,
    Failed,
    Failure,
    KeyCount,
    KeyOwner,
    Level,
    Pong,
    Ready,
    Record,
    Said,
    Sealed,
    Violation,
)
from cofferdam_contracts.roles import ALWAYS, BEFORE_READY, EARLY, SERVERS, WORKERS, Copies, Role
from cofferdam_runtime.accusations import Accusations
from cofferdam_runtime.backoff import History
from cofferdam_runtime.conditions import Conditions
from cofferdam_runtime.control import ControlClosedError, ControlError, release
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, WRITE, Loop
from cofferdam_runtime.places import KeyOwners, Users
from cofferdam_runtime.pulse import Patience
from cofferdam_runtime.said import Memory
from cofferdam_runtime.sandbox.broker import missing_for
from cofferdam_runtime.sandbox.inspect import lacking, observe
from cofferdam_runtime.spawn import spawn, uid_of
from cofferdam_runtime.starting import usage_of

_MOST_ABI: Final = 255
_SAID: Final = Memory()
"""What children have warned of; it outlives deployments."""


class Observer(Protocol):
    """Reacts to events of the children."""

    def on_ready(self, child: ChildProcess) -> None:
        """Handle that a child is ready."""

    def on_death(self, child: ChildProcess) -> None:
        """Handle that a child is gone."""

    def on_writable(self, child: ChildProcess) -> None:
        """Handle that a frontend accepts control records again, see `watch_writing`."""


class Children:
    """The children of one configuration."""

    def __init__(self, loop: Loop, log: Log, config: LoadedConfig, observer: Observer) -> None:
        """Start without children."""
        self._loop, self._log, self._observer, self._documents = loop, log, observer, config.documents
        self._settings = settings = config.settings
        self._patience = Patience(settings.hang_ms / 1000, settings.generate_ms / 1000, settings.start_ms / 1000)
        self._groups = {(Role(worker.role), 0): worker.groups for worker in settings.workers}
        self._by_key: dict[Key, ChildProcess] = {}
        self._own_filters = max(thread.seccomp_filters for thread in observe(os.getpid()))
        self._checks = self._rows = 0
        """What `Ready` of the key store (kim) said last, and what workers showed since."""
        self._down: set[Key] = set()
        """The servers that get no successor."""
        self.histories: defaultdict[Key, History] = defaultdict(History)
        self.users = Users(settings.subuids)
        self._accusations = Accusations(self.users)
        self.key_owners = KeyOwners(self.users)
        self.wiring = Wiring()
        self.conditions = Conditions(settings.configured, time.monotonic())
        self._handlers: Mapping[type, Callable[[ChildProcess, Any], None]] = {
            Ready: self._ready,
            Failed: self._failed,
            Pong: lambda child, pong: child.pulse.answer(pong, time.monotonic()),
            Busy: lambda child, record: child.pulse.be_busy(record.busy, time.monotonic()),
            Condition: lambda child, said: self.conditions.note(child.key, said, time.monotonic()),
            KeyCount: lambda _child, said: self.conditions.count(said),
            KeyOwner: lambda _child, owner: self.key_owners.note(owner.uid, owns=owner.owns),
            Violation: self._violation,
            Broken: self._broken,
            Said: lambda child, record: _SAID.note(child.key, record.digest),
        }

    def __iter__(self) -> Iterator[ChildProcess]:
        """Yield the running children."""
        return iter(list(self._by_key.values()))

    def servers(self) -> list[Key]:
        """Return the servers of the configuration, in the order in which they start."""
        return sorted((key for key in self._documents if key[0] in SERVERS), key=lambda key: key[0].row.stage)

    def start(self, role: Role, number: int) -> ChildProcess:
        """Start a child; a server gets the channels of its predecessor.

        Raises:
            OSError: The child could not be started.
        """
        uid = uid_of(self._settings.uid_base, role, number)
        document = self._documents[role, 0 if role.row.copies is Copies.PER_PRINCIPAL else number]
        patience = self._patience.for_start(self.histories[role, number].late)
        spawned = spawn(role, number, uid, document, (_SAID.hand_over((role, number)),))
        child = ChildProcess((role, number), uid, spawned, self._log, patience)
        self._by_key[child.key] = child
        self._loop.add(child.spawned.pidfd, READ, lambda _events: self._end(child))
        self._loop.add(child.spawned.control.fileno(), READ, lambda events: self._on_control(child, events))
        if role in SERVERS:
            # A server's own upstreams first, so that it can use them when the first client asks.
            self.connect(child)
            self._announce(child)
            self._tell_sealed(child)
        return child

    def connect(self, client: ChildProcess) -> None:
        """Give a child a channel to each of its upstreams."""
        for server in self.servers():
            if client.role.may_ask(server[0]):
                self._connect(client, server)

    def give_up(self, server: Key) -> None:
        """Let requests to a server that stays down fail at once: its channels are closed."""
        self._down.add(server)
        for client in self:
            self.wiring.drop(client, {server})

    def watch_writing(self, child: ChildProcess, *, writing: bool) -> None:
        """Start or stop waiting until a child accepts control records again."""
        if not child.closed and self._loop.watches(child.spawned.control.fileno()):
            self._loop.change(child.spawned.control.fileno(), READ | WRITE if writing else READ)

    def check(self, now: float) -> bool:
        """Ping all children, kill those that hang or are not ready in time; return False if any hung."""
        well = True
        for child in self:
            self._mend(child, now)
            if child.pulse.is_overdue(now):
                # The broker itself may have slept, so that the answer is still unread.
                self._on_records(child)
            if child.pulse.is_overdue(now) and not child.pulse.is_starved(now, usage_of(child.spawned.pid)):
                child.kill("a process hangs and is killed", silent_s=round(now - child.pulse.asked, 2))
                well = False
            elif child.ready:
                child.ping(now)
            # Workers wait for the key store (kim).
            elif late := child.starting.overdue(now, waits=child.role in WORKERS and not self._is_kim_ready()):
                child.kill("a process does not get ready within limits.start_ms and is killed", **late)
        return well

    def _is_kim_ready(self) -> bool:
        return any(child.role is Role.KIM and child.ready for child in self)

    def close(self) -> None:
        """Kill the children that still run, and release everything."""
        for child in self:
            child.kill("a process is killed, as the others of its configuration end", self._log.info)
            child.reap()
            self._forget(child)

    def _end(self, child: ChildProcess) -> None:
        # The child's last records may still be unread.
        self._on_records(child)
        how = child.reap()
        self._forget(child)
        if not child.stopping:
            self.histories[child.key].record(time.monotonic(), child.starting.late_s)
            self.conditions.end(child.key, child.killed or how, time.monotonic())
            who = {} if child.principal is None else {"uid": child.principal}
            about = {"process": child.title, "pid": child.spawned.pid, "how": how, **who}
            if child.killed or child.failed or how == PLANNED:
                self._log.info("a process ended, as was logged before", **about)
            else:
                self._log.error("a process died", **about)
        self._observer.on_death(child)

    def _forget(self, child: ChildProcess) -> None:
        self._loop.remove(child.spawned.pidfd)
        self._loop.remove(child.spawned.control.fileno())
        if self._by_key.get(child.key) is child:
            del self._by_key[child.key]
        self.wiring.drop(child, self.wiring.servers_of(child))
        child.close()

    def _announce(self, child: ChildProcess) -> None:
        """Give a server its channels; those that it cannot accept now follow when it is writable again."""
        self.watch_writing(child, writing=not self.wiring.announce(child))

    def _on_control(self, child: ChildProcess, events: int) -> None:
        if events & WRITE:
            (self._announce if child.role in SERVERS else self._observer.on_writable)(child)
        self._on_records(child)

    def _on_records(self, child: ChildProcess) -> None:
        try:
            for record in child.receive():
                self._take(child, record)
        except ControlClosedError:
            # The child is about to be reaped; if it lives on, it does not answer pings and is killed.
            self._loop.remove(child.spawned.control.fileno())
        except ControlError as error:
            self._loop.remove(child.spawned.control.fileno())
            child.kill("a process broke the protocol of its control socket and is killed", cause=error)

    def _take(self, child: ChildProcess, record: Record) -> None:
        says = child.role.row.says
        allowed = ALWAYS | says if child.ready else BEFORE_READY | (EARLY & says)
        if type(record) not in allowed:
            release(record)
            raise ControlError(f"a {type(record).__name__} record, which this process may not send now")
        self._handlers[type(record)](child, record)

    def _failed(self, child: ChildProcess, record: Failed) -> None:
        if record.reason not in child.role.row.failures:
            raise ControlError(f"failure {record.reason}, which this process may not have")
        child.failed = record.reason

    def _ready(self, child: ChildProcess, record: Ready) -> None:
        """Accept a child as ready if the kernel, not just the child itself, reports that it is confined."""
        groups, filters = self._groups.get(child.key, ()), self._own_filters + 1 + child.role.row.loads_foreign_code
        missing = lacking(child.spawned.pid, uid=child.uid, groups=groups, filters=filters)
        child.level = Level(record.level) if record.level in set(Level) and not missing else Level.NONE
        child.landlock_abi = min(record.landlock_abi, _MOST_ABI)
        if child.level < self._settings.require:
            child.failed = Failure.SANDBOX
            reached, required = (level.name.lower() for level in (child.level, Level(self._settings.require)))
            lack = "; ".join(missing) or missing_for(child.level)
            details: dict[str, Any] = {"reached": reached, "required": required, "lacking": lack}
            child.kill("a process is not confined as isolation.require demands, and is ended", **details)
            return
        child.ready = True
        if child.role is Role.KIM:
            self.key_owners.clear()
            self._checks, self._rows = record.checks, record.rows
            for worker in self:
                self._tell_sealed(worker)
        elif child.role in WORKERS:
            # A ready worker's key has a check value; the key store (kim) reports that only at its own start.
            self._checks |= 1 << child.role.row.provider
        self._observer.on_ready(child)

    def _tell_sealed(self, child: ChildProcess) -> None:
        if child.role in WORKERS and self._is_kim_ready():
            child.offer(Sealed(*(bool(bits >> child.role.row.provider & 1) for bits in (self._checks, self._rows))))

    def _violation(self, child: ChildProcess, record: Violation) -> None:
        """Act on an accusation: cut the channel between accuser and accused, or kill an accused that is a server."""
        accused = next((other for other in self if (other.role, other.serial) == record), None)
        if accused is None or child.key not in self.wiring.servers_of(accused):
            return
        self._log.error("a process says that another broke the protocol", process=child.title, other=accused.title)
        if accused.role.row.copies is not Copies.PER_PRINCIPAL:
            # A server cannot work without its upstream.
            accused.kill("a process broke the protocol of a channel and is killed", found_by=child.title)
            return
        now = time.monotonic()
        self._cut(accused, child.key, now)
        if self._accusations.are_too_many(child.key, accused.principal or 0, now, since=child.started):
            child.kill("a process accuses too many others and is killed")

    def _broken(self, child: ChildProcess, record: Broken) -> None:
        for server in self.wiring.servers_of(child):
            if (*server, child.cuts[server].total) == record:
                self._cut(child, server, time.monotonic())

    def _cut(self, client: ChildProcess, server: Key, now: float) -> None:
        """Drop a channel, and replace it when its back-off allows."""
        self.wiring.drop(client, {server})
        client.cuts[server].record(now)
        self._mend(client, now)

    def _mend(self, client: ChildProcess, now: float) -> None:
        due = {server for server, history in client.cuts.items() if not history.is_closed(now)}
        for server in due - self.wiring.servers_of(client) - self._down:
            self._connect(client, server)

    def _connect(self, client: ChildProcess, server: Key) -> None:
        try:
            self.wiring.connect(client, server)
        except OSError as error:
            client.kill("a process cannot be given a channel and is killed", cause=error)
        if server in self._down:
            self.wiring.drop(client, {server})
        elif (process := self._by_key.get(server)) is not None:
            self._announce(process)
