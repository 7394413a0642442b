"""Resource limits (getrlimit(2)). The address space is not limited: Python's allocators do not cope with RLIMIT_AS."""

import resource
from typing import Final

from cofferdam_runtime.sandbox.errors import step
from cofferdam_runtime.sandbox.policy import Policy

_CALL: Final = "setrlimit(2), which the filter of a container may forbid"


@step("forbid core dumps", _CALL)
def forbid_core_dumps() -> None:
    """Keep a crash from writing memory to disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@step("set the resource limits", _CALL)
def apply(policy: Policy) -> None:
    """Set the policy's limits, which cannot be raised again.

    Threads must be running already, unless the policy allows starting them later: the limit on processes, which
    includes threads, becomes 0.
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
