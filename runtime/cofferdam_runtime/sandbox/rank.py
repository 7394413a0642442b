"""Which process has the processor before others (sched(7)), and which the kernel kills first (proc(5))."""

import os
from contextlib import suppress
from typing import Final

from cofferdam_contracts.roles import Role

BROKER_NICE: Final = -10
"""Niceness of a broker that may choose it: it has to empty the queue of all clients faster than one fills it."""
_OOM_SCORE: Final = "/proc/self/oom_score_adj"


def take_precedence() -> None:
    """Come before other processes of the machine, where that is allowed; under systemd the unit says so.

    With SCHED_BATCH nobody is interrupted for it, so that it finds several connections at once. Children do not
    inherit the niceness, not even while they start (sched(7), SCHED_RESET_ON_FORK).
    """
    try:
        if os.getpriority(os.PRIO_PROCESS, 0) > BROKER_NICE:
            os.setpriority(os.PRIO_PROCESS, 0, BROKER_NICE)
        os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    except OSError:
        pass  # no CAP_SYS_NICE, a filter of the unit, or a kernel without these policies


def lower_rank(role: Role) -> None:
    """Take the niceness and the `oom_score_adj` of the role; must happen before confinement."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        os.nice(max(0, role.row.nice - os.getpriority(os.PRIO_PROCESS, 0)))
        with open(_OOM_SCORE, "r+b", buffering=0) as file:
            # Nobody may lower it.
            file.write(b"%d" % max(int(file.read()), role.row.oom_score))
    except OSError:
        pass  # no /proc, one that is not to be written to, or a filter of the unit
