"""Loading of the configuration: a short-lived process checks the file, and the broker reads only its own settings."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

from cofferdam_broker.process import PLANNED, ChildProcess, Key
from cofferdam_contracts.ipc.control import Refusal, SettingsDocument
from cofferdam_contracts.roles import READER_UID, Role, documents_of
from cofferdam_contracts.settings import MAX_DOCUMENT, MODULE_FILES, BrokerSettings, load
from cofferdam_runtime.control import ControlClosedError, ControlError, release
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, Loop
from cofferdam_runtime.pulse import Patience
from cofferdam_runtime.sandbox.broker import no_uids
from cofferdam_runtime.spawn import spawn
from cofferdam_runtime.timers import Timers

_PATIENCE: Final = Patience(usual_s=10.0, busy_s=10.0, start_s=10.0)
"""With the reader, which only starts: it ends when it has read the configuration."""
_OWN: Final = (0, 0)
"""Role and number under which the reader sends the broker's own settings."""
_MAX: Final = 64
"""Most settings documents. All must fit into the control socket, as they are received after the reader has exited."""


class LoadedConfig(NamedTuple):
    """The broker's settings, and descriptors of the settings documents of all other processes."""

    settings: BrokerSettings
    documents: dict[Key, int]

    def close(self) -> None:
        """Close the documents."""
        for descriptor in self.documents.values():
            os.close(descriptor)


Done: TypeAlias = Callable[[LoadedConfig | None, str, list[str]], None]
"""Takes the configuration, or None; how the reader ended; and the lines that it refused."""


class ConfigLoader:
    """Runs a configuration reader; calls back once."""

    def __init__(self, source: tuple[str, str], loop: Loop, timers: Timers, log: Log, done: Done) -> None:
        """Start reading a file; `source` is its path, and what was said of the configuration in force ("-": none is).

        Raises:
            OSError: The file cannot be opened, or the reader cannot be started.
        """
        self._loop, self._timers, self._log, self._done = loop, timers, log, done
        self._documents: dict[tuple[int, int], int] = {}
        self._refused: list[str] = []
        # The path may be a FIFO, on which a blocking open would wait for ever.
        path, known = source
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
            uid = None if no_uids() else READER_UID
            # Everybody on the machine can read the arguments of a process.
            arguments = (path, credentials, " ".join(each for each in MODULE_FILES if each in os.environ), known)
            spawned = spawn(Role.CONFIG, 0, uid, descriptor, arguments)
        finally:
            os.close(descriptor)
        self.process = ChildProcess((Role.CONFIG, 0), uid, spawned, log, _PATIENCE)
        loop.add(spawned.pidfd, READ, lambda _events: self._on_end())
        self._watch()

    def _watch(self) -> None:
        """Kill a reader that does not get on."""
        if not self.process.closed:
            if late := self.process.starting.overdue(time.monotonic()):
                self.process.kill("reading the configuration takes too long", **late)
            self._timers.after(1.0, self._watch)

    def _receive(self) -> None:
        """Receive the documents that the reader left in its control socket.

        Raises:
            ValueError: The reader sent an unexpected record.
        """
        with suppress(ControlClosedError):
            while (record := self.process.spawned.control.receive()) is not None:
                key = record[:2]
                if isinstance(record, Refusal) and len(self._refused) < _MAX:
                    self._refused.append(record.text)
                    continue
                if not isinstance(record, SettingsDocument) or key in self._documents or len(self._documents) >= _MAX:
                    release(record)
                    raise ValueError(f"a {type(record).__name__} record for {key}")
                self._documents[key] = record.descriptor

    def _on_end(self) -> None:
        config, how = None, self.process.reap()
        self._loop.remove(self.process.spawned.pidfd)
        is_accepted = how == PLANNED and not self.process.killed
        if not is_accepted:
            self._log.error("the configuration was not accepted", reader=how)
        try:
            self._receive()
            config = self._config() if is_accepted else None
        except (ControlError, OSError, ValueError, KeyError, RecursionError) as error:
            self._log.error("the configuration reader's answer is unusable", cause=error)
        if config is None:
            for descriptor in self._documents.values():
                os.close(descriptor)
        self.process.close()
        self._done(config, how, self._refused)

    def _config(self) -> LoadedConfig:
        settings = load(BrokerSettings, os.pread(self._documents[_OWN], MAX_DOCUMENT, 0))
        documents = {(Role(role), number): found for (role, number), found in self._documents.items() if role or number}
        if documents.keys() != documents_of((worker.role for worker in settings.workers), settings.others):
            raise ValueError(f"documents for {sorted(documents)}")
        os.close(self._documents[_OWN])
        return LoadedConfig(settings, documents)
