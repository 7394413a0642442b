"""The broker's view of a child."""

import _socket
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

from cofferdam_contracts.ipc.control import Level, Ping, Record, Stop
from cofferdam_contracts.roles import Copies, Role
from cofferdam_runtime.backoff import History
from cofferdam_runtime.control import ControlError
from cofferdam_runtime.log import Log
from cofferdam_runtime.pulse import Patience, Pulse
from cofferdam_runtime.signals import describe
from cofferdam_runtime.spawn import Spawned
from cofferdam_runtime.starting import Starting

Key = tuple[Role, int]
"""A role and the number within it; a successor has the same."""

PLANNED: Final = "exited with status 0"
_SERIALS: Final = count(1)
_ROOM: Final = 1 << 18
"""Size of a send buffer that has room for `Stop` even after a frontend's is full of connections."""
_TURN: Final = 16
"""Records of one child handled before the loop serves other descriptors."""


class ChildProcess:
    """A running child."""

    def __init__(self, key: Key, uid: int | None, spawned: Spawned, log: Log, patience: Patience) -> None:
        """Represent a child that was just started as `uid`, None for the broker's own."""
        self.key, self.uid, self.spawned, self._log = key, uid, spawned, log
        self.role, self.number = role, number = key
        several = number or role.row.copies is Copies.PER_PRINCIPAL
        self.title = f"{role.row.title}[{number}]" if several else role.row.title
        self.serial = next(_SERIALS)
        """Unique number of this process, unlike the number within the role, which is reused."""
        self.started = time.monotonic()
        self.pulse = Pulse(self.started, patience)
        self.starting = Starting(spawned.pid, self.started, patience.start_s)
        self.principal: int | None = None
        self.level, self.landlock_abi = Level.NONE, 0
        self.ready = self.stopping = self.closed = False
        self.killed = ""
        """Why the broker killed it."""
        self.failed = 0
        """The `Failure` for which it gave up, 0 for none."""
        self.cuts: defaultdict[Key, History] = defaultdict(History)
        """When its channels to each server were dropped."""

    def receive(self) -> Iterator[Record]:
        """Yield up to `_TURN` records that the child has sent.

        Raises:
            ControlError: The child closed its end or sent something that is not a record.
        """
        for _ in range(_TURN):
            if (record := self.spawned.control.receive()) is None:
                return
            yield record

    def send(self, record: Record) -> None:
        """Send a control record; kill the child if it does not accept it."""
        if not self.offer(record):
            self.kill("a process takes nothing from the broker and is killed", record=type(record).__name__)

    def offer(self, record: Record) -> bool:
        """Send a control record; return False if the child accepts none for now."""
        try:
            return self.spawned.control.send(record)
        except ControlError:
            return True  # it is about to be reaped; if it lives on, it does not answer pings and is killed

    def ping(self, now: float) -> None:
        """Send a ping, unless the child is busy and has an unanswered one."""
        if self.pulse.is_to_be_asked():
            self.pulse.ask(now, sent=self.offer(Ping(self.pulse.pings + 1)))

    def stop(self) -> None:
        """Tell the child to finish its work and exit."""
        if not self.stopping:
            self.stopping = True
            self.spawned.control.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _ROOM)
            self.send(Stop())

    def kill(self, why: str, say: Callable[..., None] | None = None, **details: object) -> None:
        """Kill the child and log why, with `say`, by default as an error; nothing if it is dead or killed already."""
        if not self.closed and not self.killed:
            self.killed = why
            (say or self._log.error)(why, process=self.title, pid=self.spawned.pid, **details)
            signal.pidfd_send_signal(self.spawned.pidfd, signal.SIGKILL)

    def reap(self) -> str:
        """Collect the exit status of the child and describe it."""
        return describe(os.waitid(os.P_PIDFD, self.spawned.pidfd, os.WEXITED))

    def close(self) -> None:
        """Close the broker's descriptors for the child."""
        self.closed = True
        self.spawned.control.socket.close()
        os.close(self.spawned.pidfd)
