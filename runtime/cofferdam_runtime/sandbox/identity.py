"""The identity of a process: giving up groups, gid, uid and capabilities for good, and verifying that."""

import os
from collections.abc import Iterable
from typing import Final

from cofferdam_runtime.sandbox import child_calls, inspect, prctl
from cofferdam_runtime.sandbox.errors import SandboxError, step

_ALLOWED: Final = "a user namespace"


def drop(uid: int | None, groups: Iterable[int] = ()) -> None:
    """Change to `uid`, the gid of the same number and these groups, and drop all capabilities; None keeps the ids.

    Raises:
        SandboxError: The kernel refused.
    """
    if prctl.may_change_bounding_set():
        # First, because the change of uid removes the capability for this.
        prctl.limit_bounding_set()
        prctl.lock_securebits()
    if uid is not None:
        # The uid last: the others cannot be changed without root's uid.
        with step("give up groups", f"CAP_SETGID, and {_ALLOWED} that allows setgroups"):
            os.setgroups(list(groups))
        with step(f"become gid {uid}", f"CAP_SETGID, and {_ALLOWED} that maps this gid"):
            os.setresgid(uid, uid, uid)
        with step(f"become uid {uid}", f"CAP_SETUID, and {_ALLOWED} that maps this uid"):
            os.setresuid(uid, uid, uid)
    prctl.limit_capabilities()
    child_calls.clear_ambient_capabilities()


def verify(uid: int | None, groups: Iterable[int] = ()) -> None:
    """Check with the kernel that no privilege is left and that none can be regained.

    Raises:
        SandboxError: A privilege is left or can be regained.
    """
    for thread in inspect.observe(os.getpid()):
        if found := inspect.shortfalls(thread, uid=uid, groups=groups, seccomp=False):
            raise SandboxError(f"after giving up privileges the process {'; '.join(found)}")
    if os.getuid() != 0 and _regains_root():
        raise SandboxError("the process can become root again")


def stay_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, and check that the parent is still alive.

    Raises:
        SandboxError: The parent is already gone, so the kernel will not notify.
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
