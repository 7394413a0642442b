"""The way into the sandbox, in an order where each step still has what it needs and none can be undone.

Privileges first, since what follows needs none. Landlock before the second thread exists, since it holds for the
calling thread and its children only. Limits after it, since they forbid threads. The filter last, since it forbids the
rest.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from cofferdam_contracts.ipc.control import Level
from cofferdam_runtime.sandbox import identity, imports, inspect, kernel, landlock, limits, prctl, seccomp, selftest
from cofferdam_runtime.sandbox.errors import SandboxError
from cofferdam_runtime.sandbox.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Achieved:
    """How far the process is confined now."""

    level: Level
    landlock_abi: int
    """0 when the kernel has no Landlock."""
    notes: tuple[str, ...]
    """What could not be limited or proved, as sentences for the log."""


def enter_sandbox(
    policy: Policy, *, uid: int | None, parent: int, start_threads: Callable[[], object] | None = None
) -> Achieved:
    """Give up everything that the policy does not grant, for good, and prove it.

    Args:
        policy: What is kept.
        uid: The uid and gid to become; None to stay who we are, when the service was started by a normal user.
        parent: The pid of the process that started this one, and with which this one ends.
        start_threads: Starts the threads of the role, if it has any, and returns when they run. They are confined like
            the rest; there may be none before.

    Raises:
        SandboxError: The process is not confined, or was not started as it should be; it must end.
        OSError: The kernel refused a step; the process must end.
    """
    _require_one_thread()
    imports.preload()
    test = selftest.prepare()
    limits.forbid_core_dumps()
    identity.drop(uid)
    prctl.forbid_new_privileges()
    prctl.forbid_dumps()
    identity.stay_with(parent)
    identity.verify(uid)
    _refuse_executable_memory(policy)
    abi = landlock.restrict(policy.readable, policy.writable)
    if start_threads is not None:
        start_threads()
    notes = limits.apply(policy)
    imports.freeze()
    seccomp.load(policy)
    test.run(policy, abi)
    unproven = tuple(f"the self-test could not prove that it stops: {name}" for name in test.unproven)
    return Achieved(level=_level(uid, abi), landlock_abi=abi, notes=notes + unproven)


def _require_one_thread() -> None:
    if (threads := len(inspect.observe(os.getpid()))) != 1:
        # Landlock, capabilities and no_new_privs hold for the thread that asks for them.
        raise SandboxError(f"there are {threads} threads before confinement")


def _refuse_executable_memory(policy: Policy) -> None:
    if policy.executable_memory:
        return
    try:
        kernel.refuse_executable_memory()
    except OSError as error:
        # Linux before 6.3; the filter denies the same.
        if error.errno != errno.EINVAL:
            raise


def _level(uid: int | None, landlock_abi: int) -> Level:
    if not landlock_abi:
        return Level.SECCOMP
    return Level.LANDLOCK if uid is None else Level.UID
