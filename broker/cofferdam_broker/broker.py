"""The broker's life cycle: read the configuration, serve it, reload it, shut down.

A reload reads the new file first; if that fails, nothing changes. Then the frontends finish their requests, the other
processes end, and the new ones start; meanwhile connections wait in the listening socket, which is never closed. If
the new processes cannot start, the old configuration is started again. A reload that is asked for during another change
follows it.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from cofferdam_broker.config import ConfigLoader, LoadedConfig
from cofferdam_broker.deployment import Deployment, Phase
from cofferdam_runtime import signals
from cofferdam_runtime.listener import ListenError, Sockets
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.notify import Notifier
from cofferdam_runtime.reports import Reports
from cofferdam_runtime.timers import Timers

CHECK_S: Final = 1.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Broker:
    """The service."""

    def __init__(self, path: str, log: Log) -> None:
        """Serve the configuration at `path`."""
        self._path, self._log = path, log
        self._loop = Loop()
        self._timers = Timers()
        self._notifier = Notifier(log)
        self._reports = Reports(path, self._notifier)
        self._sockets = Sockets(self._loop, log)
        self._deployment: Deployment | None = None
        self._reading = self._stopping = False
        self._exit_status = 0

    def run(self) -> int:
        """Serve until a signal or a failed start ends the service; return the exit status."""
        signals.watch(self._loop, _SIGNALS, self._on_signal)
        self._timers.after(CHECK_S, self._check)
        self._read(lambda config: self._start(config, None))
        self._loop.run(self._tick)
        if self._deployment is not None:
            self._deployment.close()
        self._sockets.close(refuse=self._exit_status == os.EX_CONFIG)
        self._log.info("stopped")
        return self._exit_status

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reports.ask()
            self._reload()
        else:
            self._stop()

    def _tick(self) -> float:
        wait, active = self._timers.run(), self._deployment
        return 0.0 if active and active.phase is Phase.SERVING and active.principals.hand_over() else wait

    def _read(self, done: Callable[[LoadedConfig], None]) -> None:
        """Read the configuration; if it is unusable, keep the old one, or exit if there is none."""

        def finish(config: LoadedConfig | None, reader: str, said: Sequence[str]) -> None:
            self._reading = False
            if config is not None:
                done(config)
            elif self._deployment is None:
                self._end(os.EX_CONFIG if reader == f"exited with status {os.EX_CONFIG}" else 1)
            else:
                self._refuse_reload("the new configuration cannot be used", *said)

        self._reading = True
        known = "-" if self._deployment is None else self._deployment.config.settings.notices
        try:
            ConfigLoader((self._path, known), self._loop, self._timers, self._log, finish)
        except OSError as error:
            self._log.error("the configuration cannot be read", file=self._path, cause=f"{error.strerror}; see -c PATH")
            finish(None, "", [f"{self._path}: {error.strerror}"])

    def _reload(self) -> None:
        """Begin the reload that was asked for; during another change it waits for the end of that."""
        old = self._deployment
        if self._reading or self._stopping or old is None or old.phase is not Phase.SERVING:
            return
        self._log.info("reloading", file=self._path)
        self._reports.begin()

        def change(config: LoadedConfig) -> None:
            new, current = config.settings, old.config.settings
            if self._stopping or (new.socket_path, new.status_path) != (current.socket_path, current.status_path):
                config.close()
                self._refuse_reload("listener.socket_path and service.status_path change with a restart only")
                return
            self._sockets.pause()
            old.drain(lambda: self._start(config, old.config))

        self._read(change)

    def _refuse_reload(self, why: str, *said: str) -> None:
        if not self._stopping:
            self._log.error("the reload is refused, the old configuration goes on", file=self._path, cause=why)
            self._settle(said or (why,))

    def _settle(self, refused: Sequence[str] = ()) -> None:
        """Report the end of the start or of a reload, and what was wrong; begin the reload that waited for it."""
        if self._reports.end(refused):
            self._timers.after(0.0, self._reload)

    def _start(self, config: LoadedConfig, fallback: LoadedConfig | None, refused: Sequence[str] = ()) -> None:
        """Start a deployment with this configuration, or with the fallback if that fails.

        `refused` says what was wrong with another one that this one replaces again.
        """
        before = self._deployment
        left, worked = (before.left, before.working) if before else ([], frozenset())
        deployment = self._deployment = Deployment(config, self._loop, self._timers, worked)
        self._log, self._reports.conditions = deployment.log, deployment.children.conditions

        def started() -> None:
            if fallback is not None:
                fallback.close()
            deployment.principals.admit(left)
            self._sockets.serve(deployment.principals.accept)
            self._log.info("serving", pid=os.getpid())
            self._settle(refused)

        def failed(why: str) -> None:
            self._log.error("the service cannot start", cause=why)
            deployment.close()
            deployment.left = left
            config.close()
            if fallback is None or self._stopping:
                self._end(1)
            else:
                self._log.error("the old configuration is started again", file=self._path)
                self._start(fallback, None, [why])

        try:
            self._sockets.bind(config.settings, self._status)
            deployment.start(started, failed)
        except (OSError, ListenError) as error:
            failed(f"{error.strerror}; raise the limits of the unit" if isinstance(error, OSError) else str(error))

    def _status(self, whole: bool) -> bytes:  # noqa: FBT001  called by the sockets
        if (active := self._deployment) is None:
            return b""
        return self._reports.document(active.phase.value, active.children, active.children.histories, whole=whole)

    def _check(self) -> None:
        """Check all processes, and tell the service manager whether all is well, and what is down."""
        if self._deployment is None or self._deployment.check(time.monotonic()):
            self._notifier.alive()
        if self._deployment and self._deployment.phase is Phase.SERVING:
            self._reports.repeat()
        self._sockets.look(self._log)
        self._timers.after(CHECK_S, self._check)

    def _stop(self) -> None:
        """Shut down gracefully; at once if asked a second time, or if no configuration is in force yet."""
        self._log.info("stopping")
        self._notifier.stopping()
        again, self._stopping, deployment = self._stopping, True, self._deployment
        if again or deployment is None or deployment.phase is Phase.STARTING:
            self._end(0)
        else:
            self._sockets.pause()
            deployment.drain(lambda: self._end(0))

    def _end(self, exit_status: int) -> None:
        self._exit_status = exit_status
        self._loop.stop()
