"""CPU priority of processes (sched(7)), and which of them the kernel kills first when memory runs out (proc(5))."""

import os
from contextlib import suppress
from typing import Final

from cofferdam_contracts.roles import Role

BROKER_NICE: Final = -10
"""Niceness of the broker, where it may set it: it must empty the shared backlog faster than one client fills it."""
_OOM_SCORE: Final = "/proc/self/oom_score_adj"


def take_precedence() -> None:
    """Raise this process's priority over the rest of the machine, where allowed; under systemd the unit does that.

    With SCHED_BATCH it does not preempt others when it wakes, so that it finds several connections at once. Children
    do not inherit the niceness, not even while they start (sched(7), SCHED_RESET_ON_FORK).
    """
    try:
        if os.getpriority(os.PRIO_PROCESS, 0) > BROKER_NICE:
            os.setpriority(os.PRIO_PROCESS, 0, BROKER_NICE)
        os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    except OSError:
        pass  # no CAP_SYS_NICE, forbidden by the unit's filter, or a kernel without these policies


def lower_rank(role: Role) -> None:
    """Set the niceness and the `oom_score_adj` of the role; must happen before confinement."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        os.nice(max(0, role.row.nice - os.getpriority(os.PRIO_PROCESS, 0)))
        with open(_OOM_SCORE, "r+b", buffering=0) as file:
            # Lowering it needs CAP_SYS_RESOURCE.
            file.write(b"%d" % max(int(file.read()), role.row.oom_score))
    except OSError:
        pass  # no /proc, a read-only one, or forbidden by the unit's filter
