"""How a child gets on until it is ready, by what the kernel counts (proc(5), /proc/<pid>/stat).

A start is not killed for being slow. A process that computes, or waits for a processor or a disk, gets on, however slow
the machine is; one that waits for anything else for too long does not. Nobody has to report progress, so no code of a
module can claim any. It can compute for nothing, however, so a start has a longest time as well.
"""

import os
from typing import Any, Final, NamedTuple

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_STATE, _USER, _SYSTEM = 0, 11, 12
"""Places of the fields behind the name of the program."""
AT_MOST: Final = 30
"""How often the longest silence fits into the longest start."""


class Usage(NamedTuple):
    """What a process has had of the processors."""

    cpu_s: float
    """Processor time of all its threads."""
    state: str
    """R runs or could run, D waits for a disk, S sleeps, T is stopped; empty if unknown."""


def usage_of(pid: int) -> Usage:
    """Return what a process has used; nothing if it is gone or hidden."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program may hold anything, but no parenthesis follows it.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return Usage(0.0, "")
    return Usage((int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS, fields[_STATE].decode())


class Starting:
    """A start that is watched."""

    def __init__(self, pid: int, now: float, silence_s: float) -> None:
        """Watch a process that was just started and may be silent for so many seconds."""
        self._pid = pid
        self._began = self._active = now
        self._silence_s, self._cpu_s = silence_s, 0.0
        self.late_s = 0.0
        """How long the start took when it was found to be overdue."""

    def overdue(self, now: float, *, waits: bool = False) -> dict[str, Any]:
        """Look at the process; return what to say of it if it does not get on, else nothing.

        Args:
            now: The time.
            waits: Whether it waits for another process of the service, so that it need not do anything now.
        """
        cpu_s, state = usage_of(self._pid)
        if waits or cpu_s > self._cpu_s or state in {"R", "D"}:
            self._active, self._cpu_s = now, cpu_s
        took, silent = now - self._began, now - self._active
        if silent <= self._silence_s and took <= AT_MOST * self._silence_s:
            return {}
        self.late_s = took
        found = {"allowed_s": self._silence_s, "silent_s": silent, "took_s": took, "cpu_s": cpu_s}
        return {name: round(value, 2) for name, value in found.items()}
