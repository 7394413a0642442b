"""The running children: started, wired, watched, replaced. What they are for is decided by `broker`."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from cofferdam_broker.process import Key, Process, title_of
from cofferdam_broker.spawn import spawn
from cofferdam_broker.wiring import Wiring
from cofferdam_contracts.ipc.control import WORKERS, Failure, FromChild, Level, Record, Role, ToChild
from cofferdam_contracts.roles import DEVICES, FAILURES, PROGRAMS, ROUTES, SERVERS
from cofferdam_contracts.settings import BrokerSettings
from cofferdam_runtime.accusations import Accusations
from cofferdam_runtime.backoff import History
from cofferdam_runtime.control import ControlClosedError, ControlError
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, WRITE, Loop
from cofferdam_runtime.places import KeyOwners, Owners
from cofferdam_runtime.sandbox.inspect import lacking, observe

_TURN: Final = 16
"""Records of one child taken before others have their turn."""
_MOST_ABI: Final = 255


class Children:
    """The children of one configuration."""

    def __init__(self, loop: Loop, log: Log, settings: BrokerSettings, documents: Mapping[Key, int]) -> None:
        """Start nothing yet. `documents` are the descriptors of the settings, by role and number."""
        self._loop = loop
        self._log = log
        self._settings = settings
        self._documents = documents
        self._groups = {(Role(worker.role), worker.index): worker.groups for worker in settings.workers}
        self._by_key: dict[Key, Process] = {}
        self._own_filters = max(thread.seccomp_filters for thread in observe(os.getpid()))
        self._sealed: tuple[int, int] | None = None
        """What the key store says of the providers' keys, see SEALED."""
        self.histories: dict[Key, History] = {}
        self.owners = Owners(settings.subuids)
        self._accusations = Accusations(self.owners)
        self.key_owners = KeyOwners(self.owners)
        """What the key store says."""
        self.wiring = Wiring()
        self.on_ready: Callable[[Process], None] = lambda _process: None
        self.on_death: Callable[[Process], None] = lambda _process: None
        self.on_writable: Callable[[Process], None] = lambda _process: None

    def __iter__(self) -> Iterator[Process]:
        """Yield the running processes."""
        return iter(list(self._by_key.values()))

    def start(self, role: Role, number: int) -> Process:
        """Start a child; a server gets the channels of its predecessor.

        Raises:
            OSError: It could not be started.
        """
        uid = self._settings.uid_base + PROGRAMS[role].uid_offset + number if os.geteuid() == 0 else None
        document = self._documents[role, 0 if role is Role.FRONTEND else number]
        spawned = spawn(role, number, uid, document)
        process = Process(role, number, uid, spawned, time.monotonic(), title_of(role, number), self._log)
        self._by_key[process.key] = process
        self._loop.add(spawned.pidfd, READ, lambda _events: self._on_death(process))
        self._loop.add(spawned.control.fileno(), READ, lambda events: self._on_control(process, events))
        if role in SERVERS:
            # A server asks others before others ask it.
            for upstream in ROUTES.get(role, ()):
                self.connect(process, (upstream, 0))
            self._announce(process)
            self._tell_sealed(process)
        return process

    def connect(self, client: Process, server: Key, principal: int = 0) -> None:
        """Give a client a channel to a server."""
        self.wiring.connect(client, server, principal)
        if (process := self._by_key.get(server)) is not None:
            self._announce(process)

    def watch_writing(self, process: Process, *, writing: bool) -> None:
        """Call `on_writable` when the process takes control records again, or no longer."""
        if not process.closed and self._loop.watches(process.spawned.control.fileno()):
            self._loop.change(process.spawned.control.fileno(), READ | WRITE if writing else READ)

    def check(self, now: float) -> bool:
        """Ping everybody and end those that do not answer, or never became ready; return whether all are well."""
        well = True
        patience = {"patience_s": self._settings.hang_ms / 1000, "busy_s": self._settings.generate_ms / 1000}
        for process in self:
            self._mend(process, now)
            if process.pulse.is_overdue(now, **patience):
                # Perhaps it was us who slept, and its answer lies there unread.
                self._on_record(process)
            if process.pulse.is_overdue(now, **patience):
                process.kill("a process hangs and is killed")
                well = False
            elif process.ready:
                process.ping(now)
            elif not process.stopping and now - process.started > self._settings.start_ms / 1000:
                process.kill("a process is not ready after limits.start_ms and is killed")
        return well

    def close(self) -> None:
        """End whatever still runs, and release everything."""
        for process in self:
            process.kill("a process is killed, as the others of its configuration end")
            process.reap()
            self._forget(process)
        self.wiring.close()

    def _on_death(self, process: Process) -> None:
        # What the child said last may still lie in its control socket.
        self._on_record(process)
        how = process.reap()
        self._forget(process)
        if not process.stopping:
            self.histories.setdefault(process.key, History()).record(time.monotonic())
            who = {} if process.principal is None else {"uid": process.principal}
            self._log.error("a process died", process=process.title, pid=process.spawned.pid, how=how, **who)
        self.on_death(process)

    def _forget(self, process: Process) -> None:
        self._loop.remove(process.spawned.pidfd)
        self._loop.remove(process.spawned.control.fileno())
        if self._by_key.get(process.key) is process:
            del self._by_key[process.key]
        self.wiring.drop(process, self.wiring.servers_of(process))
        process.close()

    def _announce(self, process: Process) -> None:
        """Tell a server of its channels; one that takes no more for now hears of the rest when it does again."""
        self.watch_writing(process, writing=not self.wiring.announce(process))

    def _on_control(self, process: Process, events: int) -> None:
        if events & WRITE:
            (self._announce if process.role in SERVERS else self.on_writable)(process)
        self._on_record(process)

    def _on_record(self, process: Process) -> None:
        try:
            for _ in range(_TURN):
                received = process.spawned.control.receive()
                if received is None:
                    return
                record, descriptor = received
                if descriptor is not None:
                    os.close(descriptor)
                    raise ControlError("a descriptor, which only the broker sends")
                self._take(process, record)
        except ControlClosedError:
            # Its death is on the way; one that lives on does not answer.
            self._loop.remove(process.spawned.control.fileno())
        except ControlError as error:
            self._loop.remove(process.spawned.control.fileno())
            process.kill("a process broke the protocol of its control socket and is killed", cause=error)

    def _take(self, process: Process, record: Record) -> None:
        if record.kind == FromChild.PONG and process.ready:
            process.pulse.answer(*record[1:], time.monotonic())
        elif record.kind == FromChild.READY and not process.ready:
            self._ready(process, record)
        elif record.kind == FromChild.BUSY and process.ready and process.role in DEVICES:
            process.pulse.be_busy(record.a == 1, time.monotonic())
        elif record.kind == FromChild.FAILED and not process.ready and record.a in FAILURES[process.role]:
            process.failed = record.a
        elif record.kind == FromChild.OWNER and process.ready and process.role is Role.KIM:
            self.key_owners.note(record.a, owns=record.b == 1)
        elif record.kind == FromChild.VIOLATION and process.role in SERVERS:
            self._violation(process, record)
        elif record.kind == FromChild.BROKEN and process.role is Role.FRONTEND:
            for key in [k for k in self.wiring.servers_of(process) if (*k, process.cuts[k].total) == record[1:4]]:
                self._cut(process, key, time.monotonic())
        else:
            raise ControlError(f"record {record.kind}, which this process may not send now")

    def _ready(self, process: Process, record: Record) -> None:
        """Believe the kernel, not the child, about its confinement."""
        # What loads a vendor's code has one from before that, too.
        groups, filters = self._groups.get(process.key, ()), self._own_filters + 1 + (process.role in DEVICES)
        missing = lacking(process.spawned.pid, uid=process.uid, groups=groups, filters=filters)
        process.level = Level(record.a) if record.a in set(Level) and not missing else Level.NONE
        process.landlock_abi = min(record.b, _MOST_ABI)
        if process.level < self._settings.require:
            process.failed = Failure.SANDBOX
            process.kill(
                "a process is not confined as isolation.require demands, and is ended",
                reached=process.level.name.lower(),
                required=Level(self._settings.require).name.lower(),
                lacking="; ".join(missing),
            )
            return
        process.ready = True
        if process.role is Role.KIM:
            self.key_owners.clear()
            self._sealed = (record.c, record.d)
            for worker in self:
                self._tell_sealed(worker)
        elif process.role in WORKERS and self._sealed is not None:
            # Its key has a check value now; the key store said so when it started, and no later.
            self._sealed = (self._sealed[0] | 1 << process.number, self._sealed[1])
        self.on_ready(process)

    def _tell_sealed(self, process: Process) -> None:
        if process.role in WORKERS and self._sealed is not None:
            process.offer(Record(ToChild.SEALED, *(bits >> process.number & 1 for bits in self._sealed)))

    def _violation(self, process: Process, record: Record) -> None:
        """Believe an accusation as far as the accuser itself is concerned: it costs the two their channel."""
        accused = next((other for other in self if (other.role, other.serial) == (record.a, record.b)), None)
        if accused is None or process.key not in self.wiring.servers_of(accused):
            return
        self._log.error("a process says that another broke the protocol", process=process.title, other=accused.title)
        if accused.role is not Role.FRONTEND:
            # A worker, which cannot work without the key store.
            accused.kill("a process broke the protocol of a channel and is killed", found_by=process.title)
            return
        now = time.monotonic()
        self._cut(accused, process.key, now)
        if self._accusations.are_too_many(process.key, accused.principal or 0, now, since=process.started):
            process.kill("a process accuses too many others and is killed")

    def _cut(self, client: Process, server: Key, now: float) -> None:
        """Drop a channel, and make another when its back-off allows."""
        self.wiring.drop(client, {server})
        client.cuts[server].record(now)
        self._mend(client, now)

    def _mend(self, client: Process, now: float) -> None:
        due = {server for server, history in client.cuts.items() if not history.is_closed(now)}
        for server in due - self.wiring.servers_of(client):
            self.connect(client, server, client.principal or 0)
