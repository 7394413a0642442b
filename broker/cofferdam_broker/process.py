"""A child as the broker sees it, and the history that decides when a successor may start."""

import os
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from cofferdam_broker.spawn import PROGRAMS, Spawned
from cofferdam_contracts.ipc.control import Level, Record, Role, ToChild
from cofferdam_runtime.backoff import History
from cofferdam_runtime.control import ControlError

Key = tuple[Role, int]
"""A role and the number within it: what survives a restart."""

_SERIALS: Final = count(1)


@dataclass(slots=True, eq=False)
class Process:
    """A running child."""

    role: Role
    number: int
    uid: int | None
    spawned: Spawned
    started: float
    title: str
    serial: int = field(default_factory=_SERIALS.__next__)
    """What no other process is ever called, unlike the number within the role."""
    principal: int | None = None
    level: Level = Level.NONE
    landlock_abi: int = 0
    ready: bool = False
    stopping: bool = False
    failed: int = 0
    closed: bool = False
    served: int = 0
    in_flight: int = 0
    connections: int = 0
    pings: int = 0
    asked: float = 0.0
    """When the oldest unanswered ping was sent; 0 when all are answered."""
    busy: bool = False
    """Whether a device makes a key for it, so that its answer may take longer."""
    last_client: float = 0.0
    cuts: defaultdict[Key, History] = field(default_factory=lambda: defaultdict(History))
    """When its channels to each server were dropped."""
    accusers: dict[Key, float] = field(default_factory=dict)
    """The servers that said it broke the protocol, and when each last did."""

    @property
    def key(self) -> Key:
        """What a successor of this process is known by."""
        return self.role, self.number

    def send(self, record: Record, descriptor: int | None = None) -> bool:
        """Send a control record; a child that cannot take it is ended, which the loop notices."""
        try:
            sent = self.spawned.control.send(record, descriptor)
        except ControlError:
            return False
        if not sent:
            self.kill()
        return sent

    def ping(self, now: float) -> None:
        """Ask for a sign of life; of one that is busy, once, as it takes nothing from its control socket."""
        if self.busy and self.asked:
            return
        self.pings += 1
        self.asked = self.asked or now
        self.send(Record(ToChild.PING, self.pings))

    def pong(self, record: Record) -> None:
        """Take a sign of life; one that was never asked for counts as none."""
        if record.a == self.pings:
            self.asked = 0.0
        self.served, self.in_flight, self.connections = record.b, record.c, record.d

    def be_busy(self, busy: bool, now: float) -> None:  # noqa: FBT001  what the record says
        """Be patient from now on, or no longer; what it was asked in between, it was asked just now."""
        self.busy, self.asked = busy, now if self.asked and not busy else self.asked

    def stop(self) -> None:
        """Let the child finish and end."""
        if not self.stopping:
            self.stopping = True
            self.send(Record(ToChild.STOP))

    def kill(self) -> None:
        """End the child now; nothing happens when it is gone."""
        if not self.closed:
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
