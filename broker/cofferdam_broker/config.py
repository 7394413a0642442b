"""Loading of the configuration: a short-lived process checks the file, and the broker reads only its own settings."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from cofferdam_broker.process import PLANNED, ChildProcess, Key
from cofferdam_broker.spawn import spawn
from cofferdam_contracts.ipc.control import SettingsDocument
from cofferdam_contracts.roles import READER_UID, Role, documents_of
from cofferdam_contracts.settings import BrokerSettings, load
from cofferdam_runtime.control import ControlClosedError, ControlError, release
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, Loop
from cofferdam_runtime.pulse import Patience

READ_S: Final = 10.0
"""Longest time for reading a configuration."""
_OWN: Final = (0, 0)
"""Role and number under which the reader sends the broker's own settings."""
_MAX: Final = 64
"""Most settings documents. All must fit into the control socket, as they are received after the reader has exited."""
_MAX_SETTINGS: Final = 1 << 20


class LoadedConfig(NamedTuple):
    """The broker's settings, and descriptors of the settings documents of all other processes."""

    settings: BrokerSettings
    documents: dict[Key, int]

    def close(self) -> None:
        """Close the documents."""
        for descriptor in self.documents.values():
            os.close(descriptor)


Done = Callable[[LoadedConfig | None, str], None]


class ConfigLoader:
    """Runs a configuration reader; calls back once, with the configuration, or None, and how the reader ended."""

    def __init__(self, path: str, known: str, loop: Loop, log: Log, done: Done) -> None:
        """Start reading the file; `known` is what was said of the configuration in force, "-" if there is none.

        Raises:
            OSError: The file cannot be opened, or the reader cannot be started.
        """
        self._loop, self._log, self._done = loop, log, done
        self._documents: dict[tuple[int, int], int] = {}
        # The path may be a FIFO, on which a blocking open would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
            uid = READER_UID if os.geteuid() == 0 else None
            spawned = spawn(Role.CONFIG, 0, uid, descriptor, (path, credentials, known))
        finally:
            os.close(descriptor)
        self.process = ChildProcess((Role.CONFIG, 0), uid, spawned, log, Patience(READ_S, READ_S))
        loop.add(spawned.pidfd, READ, lambda _events: self._on_end())

    def give_up(self) -> None:
        """Kill a reader that takes too long."""
        self.process.kill("reading the configuration takes too long")

    def _receive(self) -> None:
        """Receive the documents that the reader left in its control socket.

        Raises:
            ValueError: The reader sent an unexpected record.
        """
        with suppress(ControlClosedError):
            while (record := self.process.spawned.control.receive()) is not None:
                key = record[:2]
                if not isinstance(record, SettingsDocument) or key in self._documents or len(self._documents) >= _MAX:
                    release(record)
                    raise ValueError(f"a {type(record).__name__} record for {key}")
                self._documents[key] = record.descriptor

    def _on_end(self) -> None:
        config, how = None, self.process.reap()
        self._loop.remove(self.process.spawned.pidfd)
        if how != PLANNED or self.process.killed:
            self._log.error("the configuration was not accepted", reader=how)
        else:
            try:
                self._receive()
                config = self._config()
            except (ControlError, OSError, ValueError, KeyError, RecursionError) as error:
                self._log.error("the configuration reader's answer is unusable", cause=error)
        if config is None:
            for descriptor in self._documents.values():
                os.close(descriptor)
        self.process.close()
        self._done(config, how)

    def _config(self) -> LoadedConfig:
        settings = load(BrokerSettings, os.pread(self._documents[_OWN], _MAX_SETTINGS, 0))
        documents = {(Role(role), number): found for (role, number), found in self._documents.items() if role or number}
        if documents.keys() != documents_of((worker.role, worker.index) for worker in settings.workers):
            raise ValueError(f"documents for {sorted(documents)}")
        os.close(self._documents[_OWN])
        return LoadedConfig(settings, documents)
