"""The processes of one configuration, from their start over their replacement to their end.

    STARTING -> SERVING -> DRAINING

Whoever dies while serving is replaced, with back-off; a death while starting fails the start. Only the worker of a
device never decides whether the service starts: unless it says that a restart would not help, it is replaced then too.
"""

import enum
import time
from collections.abc import Callable
from typing import Final

from cofferdam_broker.children import Children
from cofferdam_broker.plan import Plan
from cofferdam_broker.principals import Principals
from cofferdam_broker.process import Process
from cofferdam_contracts.ipc.control import Failure, Role
from cofferdam_contracts.roles import DEVICES, SERVERS
from cofferdam_runtime.backoff import History
from cofferdam_runtime.listener import Arrival
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.timers import Timers

RETRY_S: Final = 1.0
_DRAIN_ORDER: Final = (frozenset({Role.FRONTEND}), SERVERS - {Role.KIM}, frozenset({Role.KIM}))
"""Who ends before whom: nobody loses a server it still needs."""


@enum.unique
class Phase(enum.Enum):
    """What the processes are doing."""

    STARTING = "starting"
    SERVING = "running"
    DRAINING = "draining"


class Generation:
    """One configuration in force."""

    def __init__(self, plan: Plan, loop: Loop, timers: Timers, *, again: bool, trial: bool) -> None:
        """Prepare; `start` starts.

        When the plan was in force before, a device whose configuration is wrong now stays down, and the rest is served.
        A plan is on trial if its predecessor is started again when it fails.
        """
        self.plan = plan
        self.log = Log("broker", plan.settings.log)
        self.phase, self._again, self._trial = Phase.STARTING, again, trial
        self.children = Children(loop, self.log, plan.settings, plan.documents)
        self.principals = Principals(self.children, self.log, plan.settings, timers)
        # Connections that waited when it ended, for its successor.
        self.left: list[Arrival] = []
        self._timers = timers
        self._started: Callable[[], None] = lambda: None
        self._failed: Callable[[str], None] = lambda _why: None
        self._drained: Callable[[], None] = lambda: None
        self.children.on_ready, self.children.on_death = self._on_ready, self._on_death
        self.children.on_writable = self.principals.flush
        self.principals.on_demand = self._assign_spares

    def start(self, started: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Start everybody; one of the two is called, later, once.

        Raises:
            OSError: A process could not be executed.
        """
        self._started, self._failed = started, failed
        self._timers.after(self.plan.settings.start_ms / 1000, self._check_start)
        self.children.start(Role.KIM, 0)
        for worker in self.plan.settings.workers:
            self.children.start(Role(worker.role), worker.index)
        self.principals.assign_spares()

    def drain(self, drained: Callable[[], None]) -> None:
        """Let everybody finish and end; `drained` is called when the last one is gone."""
        self.phase = Phase.DRAINING
        self._drained = drained
        self._timers.after(self.plan.settings.drain_ms / 1000, self._force)
        self._advance()

    def close(self) -> None:
        """End whatever still runs, at once."""
        self.phase = Phase.DRAINING
        self.principals.intake.close()
        self.children.close()

    def check(self, now: float) -> bool:
        """Look after everybody, once a second; return whether all are well."""
        self.principals.retire(now)
        return self.children.check(now)

    def _on_ready(self, process: Process) -> None:
        took = round((time.monotonic() - process.started) * 1000)
        level = process.level.name.lower()
        self.log.info("a process is ready", process=process.title, pid=process.spawned.pid, level=level, ms=took)
        self._assign_spares()
        self._serve()

    def _serve(self) -> None:
        """Begin to serve when everybody is ready, but for devices that had their try."""
        if self.phase is Phase.STARTING and all(p.ready or p.key in self.children.histories for p in self.children):
            self.phase = Phase.SERVING
            self._started()

    def _on_death(self, process: Process) -> None:
        if self.phase is Phase.DRAINING:
            self._advance()
            return
        self.principals.on_death(process)
        if self.phase is Phase.STARTING and self._decides(process):
            self._failed(f"{process.title} ended before it was ready")
        elif process.failed and process.failed != Failure.STORE:
            self.log.error("a process cannot work and stays down until a reload", process=process.title)
            self._serve()
        elif process.role in SERVERS or not process.ready:
            delay = self.children.histories.get(process.key, History()).delay(time.monotonic())
            if delay:
                self.log.error("a process dies again and again", process=process.title, next_try_s=delay)
            self._timers.after(delay, lambda: self._replace(process))
            if self.phase is Phase.STARTING:
                self.log.error("the service starts without a provider; trying again", process=process.title)
                self._serve()
        else:
            self._assign_spares()

    def _decides(self, process: Process) -> bool:
        """Tell whether a death fails the start: that of a device's worker only where a restart would not help.

        A missing or wrong key-encryption key is one provider's affair; but a reload that would bring it is refused.
        """
        helpless = process.failed != 0 and not self._again
        return (process.role not in DEVICES or helpless) if process.failed != Failure.CREDENTIAL else self._trial

    def _assign_spares(self) -> None:
        """See to the spares; what cannot be started now is tried again."""
        if self.phase is not Phase.SERVING:
            return
        try:
            self.principals.assign_spares()
        except OSError as error:
            self.log.error("a process cannot be started; trying again", process="frontend", cause=error)
            self._timers.after(RETRY_S, self._assign_spares)

    def _replace(self, process: Process) -> None:
        if self.phase is Phase.DRAINING:
            return
        if process.role not in SERVERS:
            self._assign_spares()
            return
        try:
            self.children.start(process.role, process.number)
        except OSError as error:
            self.log.error("a process cannot be started; trying again", process=process.title, cause=error)
            self._timers.after(RETRY_S, lambda: self._replace(process))

    def _check_start(self) -> None:
        late = [process for process in self.children if not process.ready and self.phase is Phase.STARTING]
        if needed := ", ".join(process.title for process in late if process.role not in DEVICES):
            self._failed(f"{needed} not ready after limits.start_ms = {self.plan.settings.start_ms}")
        for process in late:
            process.kill("a process is not ready after limits.start_ms and is killed")

    def _advance(self) -> None:
        """Stop those whose turn it is, when those before them are gone."""
        for roles in _DRAIN_ORDER:
            running = [process for process in self.children if process.role in roles]
            for process in running:
                process.stop()
            if running:
                return
        self.left = self.principals.intake.waiting.drop_all()
        self.close()
        drained, self._drained = self._drained, lambda: None
        drained()

    def _force(self) -> None:
        for process in self.children:
            process.kill("a process did not finish within limits.drain_ms")
