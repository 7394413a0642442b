"""Landlock: no paths but the policy's, no TCP, no abstract sockets of other processes, no signals to them.

The rights are those of Documentation/userspace-api/landlock.rst. A ruleset handles all rights that the kernel knows, so
that everything the policy does not name is denied. It applies to the calling thread and those it starts later, hence it
is enforced before there are others. Rulesets stack: no ruleset can grant what another one denies.
"""

import enum
import os
import stat
from collections.abc import Mapping
from typing import Final

from cofferdam_runtime.faults import obstacle
from cofferdam_runtime.sandbox import child_calls as calls
from cofferdam_runtime.sandbox import inspect
from cofferdam_runtime.sandbox.errors import SandboxError
from cofferdam_runtime.sandbox.policy import Policy


class Access(enum.IntFlag):
    """LANDLOCK_ACCESS_FS_* of linux/landlock.h."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15
    RESOLVE_UNIX = 1 << 16


class Net(enum.IntFlag):
    """LANDLOCK_ACCESS_NET_*."""

    BIND_TCP = 1 << 0
    CONNECT_TCP = 1 << 1


class Scope(enum.IntFlag):
    """LANDLOCK_SCOPE_*."""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1


ACCESS_SINCE: Final[dict[int, Access]] = {
    1: Access(Access.REFER - 1),
    2: Access.REFER,
    3: Access.TRUNCATE,
    5: Access.IOCTL_DEV,
    9: Access.RESOLVE_UNIX,
}
"""The rights that each ABI version added."""
NET_SINCE: Final[dict[int, Net]] = {4: Net.BIND_TCP | Net.CONNECT_TCP}
SCOPE_SINCE: Final[dict[int, Scope]] = {6: Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL}

READ_FILE: Final = Access.READ_FILE
READ_FOLDER: Final = READ_FILE | Access.READ_DIR
WRITE_FILE: Final = READ_FILE | Access.WRITE_FILE | Access.TRUNCATE
WRITE_FOLDER: Final = READ_FOLDER | WRITE_FILE | Access.MAKE_REG | Access.REMOVE_FILE


def restrict(policy: Policy, *, prepared: bool) -> int:
    """Confine the calling thread to what a policy grants and return the ABI; without Landlock (0) nothing happens.

    Args:
        policy: The paths, ports and sockets to grant.
        prepared: Whether to leave out what the policy grants only until the role is prepared.

    Raises:
        SandboxError: The process cannot reach a path, or the kernel refused a rule.
    """
    abi = calls.landlock_version()
    if not abi:
        return 0
    known, net, scope = (_up_to(abi, rights) for rights in (ACCESS_SINCE, NET_SINCE, SCOPE_SINCE))
    if policy.sockets:
        known, net, scope = known & ~Access.RESOLVE_UNIX, 0, scope & ~Scope.ABSTRACT_UNIX_SOCKET
    try:
        ruleset = calls.landlock_create_ruleset(calls.RulesetAttributes(known, net, scope))
    except OSError as error:
        if error.errno in calls.NOT_HERE:
            return 0
        raise
    try:
        for path in policy.readable:
            _allow(ruleset, policy, path, READ_FILE & known, READ_FOLDER & known)
        in_folder = WRITE_FOLDER | (Access.MAKE_DIR if policy.folders else 0)
        for path in policy.writable:
            _allow(ruleset, policy, path, WRITE_FILE & known, in_folder & known)
        if not prepared:
            _allow_preparing(ruleset, policy, known, net)
        return abi if _enforce(ruleset) else 0
    finally:
        os.close(ruleset)


def _enforce(ruleset: int) -> bool:
    """Enforce a ruleset; return False where this is forbidden."""
    try:
        calls.landlock_restrict_self(ruleset)
    except OSError as error:
        # Without no_new_privs the kernel refuses as well, but that is a mistake of ours.
        if error.errno not in calls.NOT_HERE or not inspect.observe(os.getpid())[0].no_new_privs:
            raise
        return False
    return True


def _allow_preparing(ruleset: int, policy: Policy, known: int, net: int) -> None:
    for path in filter(os.path.exists, policy.loading):
        _allow(ruleset, policy, path, READ_FILE & known, READ_FOLDER & known)
    for path in filter(os.path.exists, policy.opening):
        # A folder in place of a device is not granted; the role reports that it cannot use it.
        if not os.path.isdir(path):
            _allow(ruleset, policy, path, WRITE_FILE & known, 0)
    # The kernel rejects a rule without rights.
    if known & Access.RESOLVE_UNIX:
        for path in filter(os.path.exists, policy.local_sockets):
            _allow(ruleset, policy, path, Access.RESOLVE_UNIX, 0)
    if net & Net.CONNECT_TCP:
        for port in policy.tcp_ports:
            calls.landlock_add_port(ruleset, Net.CONNECT_TCP, port)


def _up_to(abi: int, since: Mapping[int, enum.IntFlag]) -> int:
    return sum(int(rights) for first, rights in since.items() if first <= abi)


def _allow(ruleset: int, policy: Policy, path: str, on_file: int, on_folder: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        origin = policy.origins.get(path, "which this role needs")
        raise SandboxError(f"cannot grant {path}, {origin}: found {obstacle(error, path)}") from error
    try:
        # The kernel rejects a rule that gives a file the rights of a folder.
        is_folder = stat.S_ISDIR(os.fstat(parent).st_mode)
        calls.landlock_add_rule(ruleset, on_folder if is_folder else on_file, parent)
    finally:
        os.close(parent)
