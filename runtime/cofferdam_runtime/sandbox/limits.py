"""Resource limits (getrlimit(2)). The address space is left alone: Python's allocators do not live with RLIMIT_AS."""

import os
import resource
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cofferdam_contracts.ipc.control import WORKERS, Role
from cofferdam_runtime.sandbox.policy import Policy

BROKER_NICE: Final = -10
"""Niceness of a broker that may choose it: it has to empty the queue of all clients faster than one fills it."""
_OOM_SCORE: Final = "/proc/self/oom_score_adj"


@dataclass(frozen=True, slots=True)
class Rank:
    """The least niceness and the least `oom_score_adj` of a process."""

    nice: int
    oom_score: int


RANKS: Final[Mapping[Role, Rank]] = {
    # Everybody waits for it, and it costs all of them when it is gone.
    Role.KIM: Rank(nice=0, oom_score=100),
    # Not before the clients: a worker that always has the processor serves those first who had one as well.
    **dict.fromkeys(WORKERS, Rank(nice=0, oom_score=200)),
    Role.CONFIG: Rank(nice=5, oom_score=300),
    # At the clients' own rank; and it costs nobody else anything when it is gone.
    Role.FRONTEND: Rank(nice=0, oom_score=500),
}
"""Who has the processor before whom, and whom the kernel kills first when memory runs out."""


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


def stand_behind(role: Role) -> None:
    """Let the broker and what matters to more clients come first; must happen before confinement."""
    rank = RANKS[role]
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        os.nice(max(0, rank.nice - os.getpriority(os.PRIO_PROCESS, 0)))
        with open(_OOM_SCORE, "r+b", buffering=0) as file:
            # Nobody may lower it.
            file.write(b"%d" % max(int(file.read()), rank.oom_score))
    except OSError:
        pass  # no /proc, one that is not to be written to, or a filter of the unit


def forbid_core_dumps() -> None:
    """Let a crash leave no memory behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def apply(policy: Policy) -> None:
    """Set the policy's limits, which cannot be raised again.

    Threads must be there already, unless the policy lets them start later: the limit on processes is 0 and counts
    them.
    """
    if not policy.threads:
        _lower(resource.RLIMIT_NPROC, 0)
    _lower(resource.RLIMIT_NOFILE, policy.open_files)
    if policy.file_size is not None:
        _lower(resource.RLIMIT_FSIZE, policy.file_size)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, value))
