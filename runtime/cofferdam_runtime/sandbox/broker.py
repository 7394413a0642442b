"""The broker's own privileges: those for starting and signalling children and for chown, and no others."""

import os
import resource
from functools import cache
from typing import Final

from cofferdam_contracts.ipc.control import Level
from cofferdam_contracts.roles import READER_UID
from cofferdam_runtime.sandbox import inspect, prctl
from cofferdam_runtime.sandbox.errors import SandboxError
from cofferdam_runtime.sandbox.rank import take_precedence

CAPABILITIES: Final = {
    # linux/capability.h: the number of each.
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "kill": 5,
    "setgid": 6,
    "setuid": 7,
    "setpcap": 8,
}
"""Kept: to set the owners of folders and sockets, to give children uids and empty bounding sets, and to signal them."""


@cache
def no_uids() -> str:
    """Return why children cannot have uids of their own; empty if they can. It is found out once."""
    if os.geteuid() != 0:
        return "processes have uids of their own only if root starts the service"
    held = inspect.observe(os.getpid())[0].effective
    if lost := [f"CAP_{name.upper()}" for name, number in CAPABILITIES.items() if not held >> number & 1]:
        return f"root has no {', '.join(lost)}, without which processes have no uids of their own"
    try:
        # These change nothing, and are refused where others would be: in a user namespace, or by a container's filter.
        os.setgroups(os.getgroups())
        os.setresgid(-1, -1, -1)
        os.setresuid(-1, -1, -1)
    except OSError as error:
        return (
            f"setgroups, setresgid or setresuid is refused ({error.strerror}), so processes have no uids of their own"
        )
    if not _is_mapped(range(1, READER_UID + 1)):
        return "the user namespace does not map the uids 1 to 65533 (/proc/self/uid_map), so there are none to give"
    return ""


def _is_mapped(uids: range) -> bool:
    """Tell whether ids of this user namespace stand for any outside (user_namespaces(7)); uid_map and gid_map agree."""
    with open("/proc/self/uid_map", "rb") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    parts = (range(max(uids.start, first), min(uids.stop, first + count)) for first, _, count in ranges)
    return sum(map(len, parts)) == len(uids)


def missing_for(level: Level) -> str:
    """Return what a process of this level lacks for the next one, as far as the machine is to blame."""
    if level is Level.SECCOMP:
        return "Landlock: the kernel has none (before 5.13, or not in /sys/kernel/security/lsm), or a filter forbids it"
    return no_uids() if level is Level.LANDLOCK else ""


def become_broker() -> None:
    """Set the broker's priority and limits, and give up all privileges that it does not need.

    Raises:
        SandboxError: The process still has other privileges.
    """
    prctl.forbid_dumps()
    take_precedence()
    trim_broker_capabilities()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def trim_broker_capabilities() -> None:
    """Give up all other capabilities, and new privileges by exec, for good; a normal user's broker has none to keep.

    Raises:
        SandboxError: According to the kernel, the process still has other privileges.
    """
    if prctl.may_change_bounding_set():
        prctl.limit_bounding_set(CAPABILITIES)
    prctl.limit_capabilities(CAPABILITIES)
    prctl.forbid_new_privileges()
    kept = sum(1 << number for number in CAPABILITIES.values())
    for thread in inspect.observe(os.getpid()):
        extra = (thread.permitted | thread.effective | thread.inheritable | thread.ambient) & ~kept
        if extra or not thread.no_new_privs:
            raise SandboxError(f"the broker keeps capabilities {extra:#x}, no_new_privs is {thread.no_new_privs}")
