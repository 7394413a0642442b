"""Entering the sandbox, in an order in which each step still has the privileges it needs and none can be undone.

1. Drop privileges: no later step needs any.
2. Landlock, before a second thread exists: it applies only to the calling thread and threads that this one starts.
3. If the role loads a vendor's code, a first filter against everything that would outlive the final filter.
4. The role's preparation. Code loaded here has the role's final privileges, except that only the first filter is in
   force and that it may still read libraries.
5. Resource limits: they forbid new threads.
6. The final filter: it forbids everything else.
"""

import errno
import os
from collections.abc import Callable
from typing import NamedTuple

from cofferdam_contracts.ipc.control import Level
from cofferdam_runtime.sandbox import (
    child_calls,
    identity,
    imports,
    inspect,
    landlock,
    limits,
    prctl,
    seccomp,
    selftest,
)
from cofferdam_runtime.sandbox.errors import SandboxError, step
from cofferdam_runtime.sandbox.policy import Policy


class Achieved(NamedTuple):
    """How far the process is confined."""

    level: Level
    landlock_abi: int
    """0 when the kernel has no Landlock."""
    notes: tuple[str, ...]
    """What the self-test could not prove, as sentences for the log."""


def enter_sandbox(
    policy: Policy,
    *,
    uid: int | None,
    parent: int | None,
    groups: tuple[int, ...] = (),
    prepare: Callable[[], object] | None = None,
) -> Achieved:
    """Irrevocably give up every privilege that the policy does not grant, and verify that.

    Args:
        policy: The privileges to keep.
        uid: The uid and gid to change to; None to keep the current ones, when a normal user started the service.
        parent: The pid of the process that started this one, with which this one ends; None to outlive it.
        groups: The supplementary groups to set; ignored if `uid` is None.
        prepare: What must run under the new identity and within Landlock, but before the final filter: starting the
            role's threads, loading a PKCS#11 module. There must be no threads before. Those started here are confined
            like the process, except that they can still read the policy's `loading`.

    Raises:
        SandboxError: The process is not confined, or was not started as it should be; it must exit.
        OSError: The kernel refused a step; the process must exit.
    """
    policy.check()
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
        with step("prepare the process within its sandbox", "what the policy of its role grants"):
            prepare()
    if abi and policy.loading and not policy.executable_memory and not landlock.restrict(policy, prepared=True):
        raise SandboxError("Landlock worked once and then no more, so the process could still read libraries")
    limits.apply(policy)
    imports.freeze()
    seccomp.load(policy)
    test.run(policy, abi)
    unproven = tuple(f"the self-test could not prove that it stops: {name}" for name in test.unproven)
    return Achieved(level=_level(uid, abi), landlock_abi=abi, notes=unproven)


@step("look at the own process", "/proc, mounted")
def _require_one_thread() -> None:
    if (threads := len(inspect.observe(os.getpid()))) != 1:
        # Landlock, capabilities and no_new_privs apply only to the thread that sets them.
        raise SandboxError(f"there are {threads} threads before confinement")


def _refuse_executable_memory(policy: Policy) -> None:
    if policy.executable_memory:
        return
    try:
        child_calls.refuse_executable_memory()
    except OSError as error:
        # Linux before 6.3 has no MDWE, and a container may forbid it; the filter denies the same.
        if error.errno != errno.EINVAL and error.errno not in child_calls.NOT_HERE:
            raise


def _level(uid: int | None, landlock_abi: int) -> Level:
    if not landlock_abi:
        return Level.SECCOMP
    return Level.LANDLOCK if uid is None else Level.UID
