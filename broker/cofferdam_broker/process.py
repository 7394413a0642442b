"""A child as the broker sees it, and the history that decides when a successor may start."""

import _socket
import os
import signal
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from cofferdam_broker.spawn import Spawned
from cofferdam_contracts.ipc.control import Level, Record, Role, ToChild
from cofferdam_contracts.roles import PROGRAMS
from cofferdam_runtime.backoff import History
from cofferdam_runtime.control import ControlError
from cofferdam_runtime.log import Log
from cofferdam_runtime.pulse import Pulse

Key = tuple[Role, int]
"""A role and the number within it: what survives a restart."""

_SERIALS: Final = count(1)
_ROOM: Final = 1 << 18
"""A send buffer with room for another record when that of a frontend is full of connections."""


@dataclass(slots=True, eq=False)
class Process:
    """A running child."""

    role: Role
    number: int
    uid: int | None
    spawned: Spawned
    started: float
    title: str
    log: Log
    serial: int = field(default_factory=_SERIALS.__next__)
    """What no other process is ever called, unlike the number within the role."""
    principal: int | None = None
    level: Level = Level.NONE
    landlock_abi: int = 0
    ready: bool = False
    stopping: bool = False
    failed: int = 0
    closed: bool = False
    killed: bool = False
    pulse: Pulse = field(init=False)
    cuts: defaultdict[Key, History] = field(default_factory=lambda: defaultdict(History))
    """When its channels to each server were dropped."""

    def __post_init__(self) -> None:
        """Take its pulse from its start on."""
        self.pulse = Pulse(self.started)

    @property
    def key(self) -> Key:
        """What a successor of this process is known by."""
        return self.role, self.number

    def send(self, record: Record, descriptor: int | None = None) -> None:
        """Send a control record; a child that cannot take it is ended, which the loop notices."""
        if not self.offer(record, descriptor):
            self.kill("a process takes nothing from the broker and is killed", record=ToChild(record.kind).name)

    def offer(self, record: Record, descriptor: int | None = None) -> bool:
        """Send a control record; return False if the child takes no more for now."""
        try:
            return self.spawned.control.send(record, descriptor)
        except ControlError:
            return True  # its death is on the way, or it lives on without an answer to a ping

    def ping(self, now: float) -> None:
        """Ask for a sign of life."""
        if not self.pulse.is_to_be_asked():
            return
        self.pulse.ask(now, sent=self.offer(Record(ToChild.PING, self.pulse.pings + 1)))

    def stop(self) -> None:
        """Let the child finish and end."""
        if not self.stopping:
            self.stopping = True
            self.spawned.control.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _ROOM)
            self.send(Record(ToChild.STOP))

    def kill(self, why: str, say: Callable[..., None] | None = None, **details: object) -> None:
        """End the child now and say why, as an error if not told otherwise; nothing happens when it is gone already."""
        if not self.closed and not self.killed:
            self.killed = True
            (say or self.log.error)(why, process=self.title, pid=self.spawned.pid, **details)
            signal.pidfd_send_signal(self.spawned.pidfd, signal.SIGKILL)

    def reap(self) -> str:
        """Collect the child's end and say what it was."""
        result = os.waitid(os.P_PIDFD, self.spawned.pidfd, os.WEXITED)
        if result is None or result.si_code == os.CLD_EXITED:
            return f"exited with status {0 if result is None else result.si_status}"
        return f"killed by {signal.Signals(result.si_status).name}"

    def close(self) -> None:
        """Release what the broker held of the child; its descriptors belong to others from now on."""
        self.closed = True
        self.spawned.control.socket.close()
        os.close(self.spawned.pidfd)


def title_of(role: Role, number: int) -> str:
    """Return what a process is called in logs and in the status."""
    return f"{PROGRAMS[role].title}[{number}]" if role is Role.FRONTEND else PROGRAMS[role].title
