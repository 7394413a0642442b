"""The way into the sandbox, in an order where each step still has what it needs and none can be undone.

Privileges first, since what follows needs none. Landlock before the second thread exists, since it holds for the
calling thread and its children only. Then, where the role loads a vendor's code, a first filter against all that would
outlive the last one. Then what the role prepares: whatever it loads runs with no more than the role has later, but for
the rest of the filter, and for libraries that it may read until then. Limits after it, since they forbid threads.
The filter last, since it forbids the rest.
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
    """What could not be proved, as sentences for the log."""


def enter_sandbox(
    policy: Policy,
    *,
    uid: int | None,
    parent: int | None,
    groups: tuple[int, ...] = (),
    prepare: Callable[[], object] | None = None,
) -> Achieved:
    """Give up everything that the policy does not grant, for good, and prove it.

    Args:
        policy: What is kept.
        uid: The uid and gid to become; None to stay who we are, when the service was started by a normal user.
        parent: The pid of the process that started this one, and with which this one ends; None to outlive it.
        groups: The supplementary groups to be in; without a uid to become they stay as they are.
        prepare: What must happen under the new identity and within Landlock, and before the last filter: start the
            role's threads, load a PKCS#11 module. Threads are confined like the rest, except that they go on reading
            the policy's `loading`; there may be none before.

    Raises:
        SandboxError: The process is not confined, or was not started as it should be; it must end.
        OSError: The kernel refused a step; the process must end.
    """
    _require_one_thread()
    imports.preload()
    test = selftest.prepare()
    limits.forbid_core_dumps()
    identity.drop(uid, groups)
    prctl.forbid_new_privileges()
    prctl.forbid_dumps()
    if parent is not None:
        identity.stay_with(parent)
    identity.verify(uid, groups)
    _refuse_executable_memory(policy)
    abi = landlock.restrict(policy, prepared=False)
    if policy.loading:
        seccomp.load_first(policy)
    if prepare is not None:
        prepare()
    if policy.loading and not policy.executable_memory:
        landlock.restrict(policy, prepared=True)
    limits.apply(policy)
    imports.freeze()
    seccomp.load(policy)
    test.run(policy, abi)
    unproven = tuple(f"the self-test could not prove that it stops: {name}" for name in test.unproven)
    return Achieved(level=_level(uid, abi), landlock_abi=abi, notes=unproven)


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
