"""A configuration that was read and checked, in a throw-away process: the broker's own settings, the others unread."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cofferdam_broker.process import Key, Process
from cofferdam_broker.spawn import spawn
from cofferdam_contracts.ipc.control import FromChild, Record, Role
from cofferdam_contracts.settings import BrokerSettings, load
from cofferdam_runtime.control import ControlError
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, Loop

READER_UID: Final = 65533
"""The uid of the reader when root starts it: `isolation.uid_base` is not known yet, and no block may hold this one."""
_OWN: Final = (0, 0)
"""Role and number under which the reader sends the broker's own settings."""
_MAX_DOCUMENTS: Final = 64
_MAX_SETTINGS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of the broker, and descriptors of the documents for everybody else."""

    settings: BrokerSettings
    documents: dict[Key, int]

    def close(self) -> None:
        """Release the documents."""
        for descriptor in self.documents.values():
            os.close(descriptor)


class Reader:
    """A configuration reader at work; calls back once, with the plan or with None."""

    def __init__(self, path: str, loop: Loop, log: Log, done: Callable[[Plan | None], None]) -> None:
        """Start reading the file.

        Raises:
            OSError: The file cannot be opened, or the reader cannot be started.
        """
        self._loop = loop
        self._log = log
        self._done = done
        self._documents: dict[tuple[int, int], int] = {}
        # What looks like a file may be a FIFO, at which an open would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
            uid = READER_UID if os.geteuid() == 0 else None
            spawned = spawn(Role.CONFIG, 0, uid, descriptor, (path, credentials))
        finally:
            os.close(descriptor)
        self.process = Process(Role.CONFIG, 0, None, spawned, time.monotonic(), "config", log)
        loop.add(spawned.pidfd, READ, lambda _events: self._on_end())
        loop.add(spawned.control.fileno(), READ, lambda _events: self._on_record())

    def give_up(self) -> None:
        """End a reader that takes too long."""
        self.process.kill("reading the configuration takes too long")

    def _on_record(self) -> None:
        try:
            while (received := self.process.spawned.control.receive()) is not None:
                self._take(*received)
        except ControlError:
            self._loop.remove(self.process.spawned.control.fileno())

    def _take(self, record: Record, descriptor: int | None) -> None:
        key = (record.a, record.b)
        if descriptor is None and record.kind in (FromChild.READY, FromChild.FAILED):
            return
        is_new = key not in self._documents and len(self._documents) < _MAX_DOCUMENTS
        if record.kind == FromChild.PLAN and descriptor is not None and is_new:
            self._documents[key] = descriptor
            return
        if descriptor is not None:
            os.close(descriptor)
        self.process.kill("the configuration reader broke its protocol and is killed", record=record.kind)

    def _on_end(self) -> None:
        self._on_record()
        how = self.process.reap()
        self._loop.remove(self.process.spawned.pidfd)
        self._loop.remove(self.process.spawned.control.fileno())
        self.process.close()
        plan = None
        if how != "exited with status 0" or self.process.killed:
            self._log.error("the configuration was not accepted", reader=how)
        else:
            try:
                plan = self._plan()
            except (ValueError, KeyError) as error:
                self._log.error("the configuration reader's answer is unusable", cause=error)
        if plan is None:
            for descriptor in self._documents.values():
                os.close(descriptor)
        self._done(plan)

    def _plan(self) -> Plan:
        settings = load(BrokerSettings, os.pread(self._documents[_OWN], _MAX_SETTINGS, 0))
        documents = {(Role(role), number): found for (role, number), found in self._documents.items() if role}
        os.close(self._documents[_OWN])
        return Plan(settings, documents)
