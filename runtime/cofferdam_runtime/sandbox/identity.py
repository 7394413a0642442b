"""Who a process is: giving up groups, gid, uid and capabilities for good, and proving it."""

import os
from collections.abc import Iterable

from cofferdam_runtime.sandbox import inspect, kernel, prctl
from cofferdam_runtime.sandbox.errors import SandboxError


def drop(uid: int | None, groups: Iterable[int] = ()) -> None:
    """Become `uid`, with the gid of the same number, these groups and no capabilities; None keeps the ids.

    Raises:
        OSError: The kernel refused.
    """
    if prctl.may_change_bounding_set():
        # Needs a capability that the change of uid takes away.
        prctl.limit_bounding_set()
        prctl.lock_securebits()
    if uid is not None:
        # In this order: without the uid of root the others could not be changed any more.
        os.setgroups(list(groups))
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    prctl.limit_capabilities()
    kernel.clear_ambient_capabilities()


def verify(uid: int | None, groups: Iterable[int] = ()) -> None:
    """Check with the kernel that nothing is left and nothing comes back.

    Raises:
        SandboxError: Something is or does.
    """
    for thread in inspect.observe(os.getpid()):
        if found := inspect.shortfalls(thread, uid=uid, groups=groups, seccomp=False):
            raise SandboxError(f"after giving up privileges the process {'; '.join(found)}")
    if os.getuid() != 0 and _regains_root():
        raise SandboxError("the process can become root again")


def stay_with(parent: int) -> None:
    """Arrange to die with the parent, and make sure that it is still there.

    Raises:
        SandboxError: It is gone already, so the kernel would not tell.
    """
    prctl.die_with_parent()
    if os.getppid() != parent:
        raise SandboxError(f"the parent is {os.getppid()}, not {parent}")


def _regains_root() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True
