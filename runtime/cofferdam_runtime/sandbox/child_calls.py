"""Kernel calls that only children make, on their way into the sandbox: one function per call, through libc."""

import ctypes
import errno
from typing import Final

from cofferdam_runtime.sandbox.errors import step
from cofferdam_runtime.sandbox.kernel import LIBC, call_prctl, checked

# Sources: linux/prctl.h, linux/landlock.h, asm-generic/unistd.h (the numbers are the same on every architecture).
LANDLOCK_CREATE_RULESET_VERSION: Final = 1
LANDLOCK_RULE_NET_PORT: Final = 2
LANDLOCK_RULE_PATH_BENEATH: Final = 1
NR_LANDLOCK_ADD_RULE: Final = 445
NR_LANDLOCK_CREATE_RULESET: Final = 444
NR_LANDLOCK_RESTRICT_SELF: Final = 446
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
PR_MDWE_REFUSE_EXEC_GAIN: Final = 1
PR_SET_MDWE: Final = 65

NOT_HERE: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP})
"""What a kernel without a feature answers, one in which it is disabled, and the filter of a container."""

LIBC.syscall.restype = ctypes.c_long


class RulesetAttributes(ctypes.Structure):
    """`struct landlock_ruleset_attr`; an older kernel accepts fields that it does not know as long as they are zero."""

    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class PathBeneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class NetPort(ctypes.Structure):
    """`struct landlock_net_port_attr`."""

    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def landlock_version() -> int:
    """Return the Landlock ABI of the kernel, 0 if Landlock is missing, disabled or forbidden."""
    try:
        return _syscall(NR_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in NOT_HERE:
            return 0
        raise


def landlock_create_ruleset(attributes: RulesetAttributes) -> int:
    """Create a ruleset and return its descriptor."""
    return _syscall(NR_LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)


def landlock_add_rule(ruleset: int, access: int, parent: int) -> None:
    """Allow the rights `access` on the file `parent`, or beneath it if it is a folder."""
    rule = PathBeneath(access, parent)
    _syscall(NR_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, ctypes.byref(rule), 0)


def landlock_add_port(ruleset: int, access: int, port: int) -> None:
    """Allow the rights `access` on a TCP port."""
    rule = NetPort(access, port)
    _syscall(NR_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_NET_PORT, ctypes.byref(rule), 0)


def landlock_restrict_self(ruleset: int) -> None:
    """Enforce a ruleset on the calling thread and on threads and processes it starts."""
    _syscall(NR_LANDLOCK_RESTRICT_SELF, ruleset, 0)


@step("empty the ambient set", "Linux 4.3, and prctl(2), which the filter of a container may forbid")
def clear_ambient_capabilities() -> None:
    """Empty the ambient set of the calling thread."""
    call_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def refuse_executable_memory() -> None:
    """Refuse memory that is both writable and executable, or becomes executable later; needs Linux 6.3.

    Raises:
        OSError: EINVAL before Linux 6.3.
    """
    call_prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)


def _syscall(number: int, *arguments: object) -> int:
    # syscall(2) takes longs; ctypes would pass a Python int as a C int, which leaves the upper half undefined.
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return checked(LIBC.syscall(ctypes.c_long(number), *values))
