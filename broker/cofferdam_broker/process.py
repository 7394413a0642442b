"""A child as the broker sees it, and the history that decides when a successor may start."""

import os
import signal
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from cofferdam_broker.spawn import PROGRAMS, Spawned
from cofferdam_contracts.ipc.control import Level, Record, Role, ToChild
from cofferdam_runtime.control import ControlError

Key = tuple[Role, int]
"""A role and the number within it: what survives a restart."""

WINDOW_S: Final = 60.0
FREE_RESTARTS: Final = 3
"""Deaths within the window after which a successor still starts at once."""
BREAKER: Final = 5
"""Deaths within the window that open the breaker: one probe every `BREAKER_S` from then on."""
BREAKER_S: Final = 30.0


@dataclass(slots=True, eq=False)
class Process:
    """A running child."""

    role: Role
    number: int
    uid: int | None
    spawned: Spawned
    started: float
    title: str
    principal: int | None = None
    level: Level = Level.NONE
    landlock_abi: int = 0
    ready: bool = False
    stopping: bool = False
    failed: int = 0
    closed: bool = False
    served: int = 0
    in_flight: int = 0
    count: int = 0
    pings: int = 0
    asked: float = 0.0
    """When the oldest unanswered ping was sent; 0 when all are answered."""
    last_client: float = 0.0

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
        """Ask for a sign of life."""
        self.pings += 1
        self.asked = self.asked or now
        self.send(Record(ToChild.PING, self.pings))

    def pong(self, record: Record) -> None:
        """Take a sign of life; one that was never asked for counts as none."""
        if record.a == self.pings:
            self.asked = 0.0
        self.served, self.in_flight, self.count = record.b, record.c, record.d

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


@dataclass(slots=True)
class History:
    """The deaths of a server, or of the frontends of a principal."""

    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=BREAKER))
    total: int = 0

    def record(self, now: float) -> None:
        """Count a death."""
        self.deaths.append(now)
        self.total += 1

    def delay(self, now: float) -> float:
        """Return how long a successor has to wait, in seconds."""
        recent = sum(1 for death in self.deaths if death > now - WINDOW_S)
        if recent >= BREAKER:
            return BREAKER_S
        return float(1 << (recent - FREE_RESTARTS)) if recent > FREE_RESTARTS else 0.0

    def is_closed(self, now: float) -> bool:
        """Tell whether the successor still has to wait."""
        return bool(self.deaths) and now - self.deaths[-1] < self.delay(now)
