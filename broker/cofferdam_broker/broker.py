"""The broker's life: read the configuration, start the children, serve, reload, drain, end.

    READING -> STARTING -> RUNNING -> DRAINING -> STARTING (reload) or the end

A reload reads the new file first; when it is bad, nothing happens. Then the frontends finish what they have, the other
processes end, and the new ones start; meanwhile connections wait in the listening socket, which is never closed. When
the new ones cannot start, the old configuration is started again.
"""

import _socket
import enum
import os
import signal
import time
from collections.abc import Callable

from cofferdam_broker import listener, status
from cofferdam_broker.children import SERVERS, Children
from cofferdam_broker.notify import Notifier
from cofferdam_broker.plan import Plan, Reader
from cofferdam_broker.principals import Principals
from cofferdam_broker.process import History, Process
from cofferdam_broker.timers import Timers
from cofferdam_contracts.ipc.control import Role
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, Loop

CHECK_S = 1.0
_DRAIN_ORDER = (frozenset({Role.FRONTEND}), SERVERS - {Role.KIM}, frozenset({Role.KIM}))
"""Who ends before whom: nobody loses a server it still needs."""


@enum.unique
class Phase(enum.Enum):
    """What the service is doing."""

    READING = "reading the configuration"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


class Broker:
    """The service."""

    def __init__(self, path: str, log: Log) -> None:
        """Serve the configuration at `path`."""
        self._path = path
        self._log = log
        self._loop = Loop()
        self._timers = Timers()
        self._notifier = Notifier(log)
        self._phase = Phase.READING
        self._exit_status = 0
        self._stopping = False
        self._plan: Plan | None = None
        self._fallback: Plan | None = None
        self._children: Children | None = None
        self._principals: Principals | None = None
        self._listener = listener.activated()
        self._activated = self._listener is not None
        self._status: _socket.socket | None = None
        self._drained: Callable[[], None] = self._loop.stop
        self._generation = 0
        self._checked = 0

    def run(self) -> int:
        """Serve until a signal ends the service; return the exit status."""
        self._watch_signals()
        self._read(self._start)
        self._loop.run(self._timers.run)
        self._close()
        return self._exit_status

    # Signals: the handler only writes a byte, the loop does the work.

    def _watch_signals(self) -> None:
        reading, writing = _socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)  # noqa: FBT003  the socket module's signature
        self._signals = (reading, writing)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)
        self._loop.add(reading.fileno(), READ, lambda _events: self._on_signals(reading))

    def _on_signals(self, reading: _socket.socket) -> None:
        for number in reading.recv(64):
            if number == signal.SIGHUP:
                self._reload()
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._stop()

    # Configuration.

    def _read(self, done: Callable[[Plan], None]) -> None:
        def finish(plan: Plan | None) -> None:
            if plan is not None:
                done(plan)
            elif self._stopping:
                return
            elif self._plan is None:
                self._end(1)
            else:
                self._log.error("the reload failed; the old configuration goes on", file=self._path)
                self._serve("Reload failed, the old configuration goes on")

        try:
            Reader(self._path, self._loop, self._log, finish)
        except OSError as error:
            self._log.error("the configuration cannot be read", file=self._path, cause=error.strerror)
            finish(None)

    def _reload(self) -> None:
        if self._phase is not Phase.RUNNING:
            self._log.warning("a reload is ignored now", phase=self._phase.value)
            return
        self._phase = Phase.READING
        self._notifier.reloading()
        self._log.info("reloading", file=self._path)

        def change(plan: Plan) -> None:
            if self._stopping:
                plan.close()
                return
            if self._plan is not None and plan.settings.socket_path != self._plan.settings.socket_path:
                self._log.error("listener.socket_path changes with a restart only; the old configuration goes on")
                plan.close()
                self._serve("Reload refused: the socket path changed")
                return
            self._fallback = self._plan
            self._drain(lambda: self._start(plan))

        self._read(change)

    # Start.

    def _start(self, plan: Plan) -> None:
        self._phase = Phase.STARTING
        self._plan = plan
        self._generation += 1
        self._log = Log("broker", plan.settings.log)
        children = self._children = Children(self._loop, self._log, plan.settings, plan.documents)
        children.on_ready, children.on_death = self._on_ready, self._on_death
        self._principals = Principals(children, self._log, plan.settings)
        generation = self._generation
        self._timers.after(plan.settings.start_ms / 1000, lambda: self._check_start(generation))
        try:
            self._open_sockets(plan)
            children.start(Role.KIM, 0)
            for worker in plan.settings.workers:
                children.start(Role(worker.role), worker.index)
            self._principals.assign_spares()
        except (OSError, listener.ListenError) as error:
            self._log.error("the service cannot start", cause=error)
            self._start_failed()

    def _open_sockets(self, plan: Plan) -> None:
        if self._listener is None:
            self._listener = listener.bind(plan.settings.socket_path, listener.CLIENT_MODE)
        if self._status is None:
            self._status = listener.bind(plan.settings.status_path, listener.STATUS_MODE)
            self._loop.add(self._status.fileno(), READ, lambda _events: self._show())

    def _on_ready(self, process: Process) -> None:
        children, principals, plan = self._children, self._principals, self._plan
        if children is None or principals is None or plan is None:
            return
        self._log.info(
            "a process is ready",
            process=process.title,
            pid=process.spawned.pid,
            level=process.level.name.lower(),
            ms=round((time.monotonic() - process.started) * 1000),
        )
        if self._phase is Phase.STARTING:
            servers = [other for other in children if other.role in SERVERS]
            if all(other.ready for other in children) and len(servers) == 1 + len(plan.settings.workers):
                if self._fallback is not None:
                    self._fallback.close()
                    self._fallback = None
                self._serve("Serving")
        elif self._phase is Phase.RUNNING:
            principals.assign_spares()

    def _check_start(self, generation: int) -> None:
        if self._phase is Phase.STARTING and generation == self._generation:
            self._log.error("the start takes too long", limit_ms=self._plan and self._plan.settings.start_ms)
            self._start_failed()

    def _start_failed(self) -> None:
        if self._children is not None:
            self._children.close()
        plan, self._plan = self._plan, None
        if plan is not None:
            plan.close()
        fallback, self._fallback = self._fallback, None
        if fallback is None:
            self._end(1)
        else:
            self._log.error("the new configuration cannot be started; the old one is started again")
            self._start(fallback)

    # Service.

    def _serve(self, text: str) -> None:
        self._phase = Phase.RUNNING
        if self._listener is not None and not self._loop.watches(self._listener.fileno()):
            self._loop.add(self._listener.fileno(), READ, lambda _events: self._on_clients())
        self._notifier.ready(text)
        self._log.info("serving", pid=os.getpid())
        if self._checked != self._generation:
            self._checked = generation = self._generation
            self._timers.after(CHECK_S, lambda: self._check(generation))

    def _on_clients(self) -> None:
        if self._listener is not None and self._principals is not None:
            self._principals.accept(self._listener)

    def _show(self) -> None:
        if self._status is not None:
            processes = list(self._children or ())
            histories = self._children.histories if self._children is not None else {}
            status.serve(self._status, status.render(self._phase.value, processes, histories, time.monotonic()))

    def _check(self, generation: int) -> None:
        """Look after everybody once a second."""
        children, principals = self._children, self._principals
        if generation != self._generation or self._phase is Phase.DRAINING or children is None or principals is None:
            return
        now = time.monotonic()
        principals.retire(now)
        if children.check(now) and self._notifier.watchdog_s:
            self._notifier.alive()
        self._timers.after(CHECK_S, lambda: self._check(generation))

    def _on_death(self, process: Process) -> None:
        children, principals = self._children, self._principals
        if children is None or principals is None:
            return
        principals.on_death(process)
        if self._phase is Phase.DRAINING:
            self._advance_drain()
        elif self._phase is Phase.STARTING:
            self._start_failed()
        elif process.failed:
            self._log.error("a process cannot work and stays down until a reload", process=process.title)
        elif process.role in SERVERS or not process.ready:
            delay = children.histories.get(process.key, History()).delay(time.monotonic())
            if delay:
                self._log.error("a process dies again and again", process=process.title, next_try_s=delay)
            generation = self._generation
            self._timers.after(delay, lambda: self._replace(generation, process))
        else:
            principals.assign_spares()

    def _replace(self, generation: int, process: Process) -> None:
        children, principals = self._children, self._principals
        if generation != self._generation or self._phase is Phase.DRAINING or children is None or principals is None:
            return
        try:
            if process.role is Role.FRONTEND:
                principals.assign_spares()
                return
            children.start(process.role, process.number)
        except OSError as error:
            self._log.error("a process cannot be started; trying again", process=process.title, cause=error)
            self._timers.after(CHECK_S, lambda: self._replace(generation, process))

    # The end, of a configuration or of the service.

    def _drain(self, drained: Callable[[], None]) -> None:
        self._phase = Phase.DRAINING
        self._drained = drained
        if self._listener is not None:
            self._loop.remove(self._listener.fileno())
        generation = self._generation
        limit = self._plan.settings.drain_ms / 1000 if self._plan is not None else 0.0
        self._timers.after(limit, lambda: self._force(generation))
        self._advance_drain()

    def _advance_drain(self) -> None:
        children, principals = self._children, self._principals
        if children is None or principals is None:
            return
        for roles in _DRAIN_ORDER:
            running = [process for process in children if process.role in roles]
            for process in running:
                process.stop()
            if running:
                return
        principals.close()
        children.close()
        self._drained()

    def _force(self, generation: int) -> None:
        if self._phase is Phase.DRAINING and generation == self._generation and self._children is not None:
            for process in self._children:
                self._log.warning("a process did not finish in time and is killed", process=process.title)
                process.kill()

    def _stop(self) -> None:
        self._log.info("stopping")
        self._notifier.stopping()
        again, self._stopping = self._stopping, True
        if again or self._children is None or self._phase is Phase.STARTING:
            self._end(0)
        elif self._phase is Phase.DRAINING:
            self._drained = lambda: self._end(0)
        else:
            self._drain(lambda: self._end(0))

    def _end(self, exit_status: int) -> None:
        self._exit_status = exit_status
        self._loop.stop()

    def _close(self) -> None:
        if self._children is not None:
            self._children.close()
        if self._principals is not None:
            self._principals.close()
        for plan in (self._plan, self._fallback):
            if plan is not None:
                plan.close()
        for bound, own in ((self._listener, not self._activated), (self._status, True)):
            if bound is not None:
                if own:
                    os.unlink(bound.getsockname())
                bound.close()
        self._log.info("stopped")
