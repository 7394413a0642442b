"""The processes of one configuration: start, replacement and shutdown.

    STARTING --all are ready, except workers that have died--> SERVING --drain--> DRAINING

What a death costs while STARTING is said in the process table (`contracts.roles`): that of a worker costs one provider.
While SERVING, whatever dies is replaced, with back-off. While DRAINING nothing is replaced; the processes end in the
order of their stages, and what has not ended within limits.drain_ms is killed.
"""

import enum
import time
from collections.abc import Callable
from typing import Final

from cofferdam_broker.children import Children
from cofferdam_broker.config import LoadedConfig
from cofferdam_broker.principals import Principals
from cofferdam_broker.process import ChildProcess, Key
from cofferdam_contracts.ipc.control import Failure
from cofferdam_contracts.roles import SERVERS, Death
from cofferdam_runtime.listener import Arrival
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.timers import Timers

RETRY_S: Final = 1.0


@enum.unique
class Phase(enum.Enum):
    """The state of a deployment."""

    STARTING = "starting"
    SERVING = "running"
    DRAINING = "draining"


class Deployment:
    """One configuration in force."""

    def __init__(self, config: LoadedConfig, loop: Loop, timers: Timers, worked: frozenset[Key] = frozenset()) -> None:
        """Prepare, without starting anything.

        Args:
            config: The configuration.
            loop: The broker's loop.
            timers: The timers of the loop's tick.
            worked: The servers that worked under the configuration that this one replaces. If one of them says that it
                cannot work under this one, this one is to blame, and the start fails.
        """
        self.config, settings = config, config.settings
        self.log = Log("broker", settings.log)
        self.phase, self._worked = Phase.STARTING, worked
        self.children = Children(loop, self.log, config, self)
        self.principals = Principals(self.children, self.log, settings, timers, self._assign_spares)
        self.left: list[Arrival] = []
        """Connections that still waited at the end of the deployment, for its successor."""
        self.working: frozenset[Key] = frozenset()
        """The servers that worked when the deployment began to end."""
        self._timers = timers
        self._started: Callable[[], None] = lambda: None
        self._failed: Callable[[str], None] = lambda _why: None
        self._drained: Callable[[], None] = lambda: None

    def start(self, started: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Start all processes; later, one of the two callbacks is called once.

        Raises:
            OSError: A process could not be executed.
        """
        self._started, self._failed = started, failed
        for server in self.children.servers():
            self.children.start(*server)
        self.principals.assign_spares()

    def drain(self, drained: Callable[[], None]) -> None:
        """Let all processes finish and end; `drained` is called when the last one is gone."""
        self.phase = Phase.DRAINING
        self.working = frozenset(child.key for child in self.children if child.ready and child.role in SERVERS)
        self._drained = drained
        self._timers.after(self.config.settings.drain_ms / 1000, self._force)
        self._advance()

    def close(self) -> None:
        """Kill the processes that still run."""
        self.phase = Phase.DRAINING
        self.principals.intake.close()
        self.children.close()

    def check(self, now: float) -> bool:
        """Check all processes, to be called once a second; return whether all are well."""
        if self.phase is Phase.DRAINING:
            return True
        self.principals.retire(now)
        return self.children.check(now)

    def on_ready(self, child: ChildProcess) -> None:
        """Log it, and begin to serve if no other process is still starting."""
        took = round((time.monotonic() - child.started) * 1000)
        level = child.level.name.lower()
        self.log.info("a process is ready", process=child.title, pid=child.spawned.pid, level=level, ms=took)
        self._assign_spares()
        self._serve()

    def _serve(self) -> None:
        """Begin to serve when all are ready, except workers that have died."""
        if self.phase is Phase.STARTING and all(p.ready or self.children.histories[p.key].total for p in self.children):
            self.phase = Phase.SERVING
            self._started()

    def on_writable(self, child: ChildProcess) -> None:
        """Hand the waiting connections over to a frontend."""
        self.principals.flush(child)

    def on_death(self, child: ChildProcess) -> None:
        """Replace the process, go on without it, or fail the start."""
        if self.phase is Phase.DRAINING:
            self._advance()
            return
        self.principals.on_death(child)
        is_fatal = child.role.row.death is Death.FATAL or (child.failed != 0 and child.key in self._worked)
        if self.phase is Phase.STARTING and is_fatal:
            self._failed(f"{child.title} ended before it was ready{self.children.conditions.summary(child.key)}")
        elif child.failed and child.failed != Failure.STORE:
            self.log.error("a process cannot work and stays down until a reload", process=child.title)
            self.children.give_up(child.key)
            self._serve()
        elif child.role in SERVERS or not child.ready:
            delay = self.children.histories[child.key].delay(time.monotonic())
            self.children.conditions.wait(child.key, time.monotonic() + delay)
            if delay:
                self.log.error("a process dies again and again", process=child.title, next_try_s=delay)
            self._timers.after(delay, lambda: self._replace(child))
            if self.phase is Phase.STARTING:
                self.log.error("the service starts without a provider; trying again", process=child.title)
                self._serve()
        else:
            self._assign_spares()

    def _assign_spares(self) -> None:
        if self.phase is Phase.SERVING:
            self._try("frontend", self.principals.assign_spares)

    def _replace(self, child: ChildProcess) -> None:
        if child.role not in SERVERS:
            self._assign_spares()
        elif self.phase is not Phase.DRAINING:
            self._try(child.title, lambda: self.children.start(child.role, child.number))

    def _try(self, title: str, start: Callable[[], object]) -> None:
        """Start a process, and retry until it can be executed."""
        if self.phase is Phase.DRAINING:
            return
        try:
            start()
        except OSError as error:
            self.log.error("a process cannot be started; trying again", process=title, cause=error)
            self._timers.after(RETRY_S, lambda: self._try(title, start))

    def _advance(self) -> None:
        """Stop the processes of the highest stage that still has any."""
        running = list(self.children)
        if running:
            stage = max(child.role.row.stage for child in running)
            for child in running:
                if child.role.row.stage == stage:
                    child.stop()
            return
        self.left = self.principals.intake.waiting.drop_all()
        self.close()
        self._drained()

    def _force(self) -> None:
        for child in self.children:
            child.kill("a process did not finish within limits.drain_ms")
