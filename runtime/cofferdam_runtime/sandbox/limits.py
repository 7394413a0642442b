"""Resource limits (getrlimit(2)). The address space is left alone: Python's allocators do not live with RLIMIT_AS."""

import os
import resource
import stat
from typing import Final

from cofferdam_runtime.sandbox.policy import Policy

_STDERR: Final = 2


def forbid_core_dumps() -> None:
    """Let a crash leave no memory behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def apply(policy: Policy) -> tuple[str, ...]:
    """Set the policy's limits, which cannot be raised again, and return what had to be left out, for the log.

    Threads must be there already, unless the policy lets them start later: the limit on processes is 0 and counts
    them.
    """
    if not policy.threads:
        _lower(resource.RLIMIT_NPROC, 0)
    _lower(resource.RLIMIT_NOFILE, policy.open_files)
    if policy.file_size is None:
        return ()
    if _is_regular(_STDERR):
        return ("stderr is a regular file, so the size of files is not limited",)
    _lower(resource.RLIMIT_FSIZE, policy.file_size)
    return ()


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, value))


def _is_regular(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        # Closed: there is nothing that the limit could cut.
        return False
