"""Allow-lists of system calls, compiled and loaded by libseccomp (seccomp_init(3) and its SEE ALSO pages)."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cofferdam_runtime.sandbox.errors import step
from cofferdam_runtime.sandbox.loading import closings
from cofferdam_runtime.sandbox.policy import Condition, Policy

# Source: seccomp.h of libseccomp 2.5, linux/seccomp.h, asm-generic/mman-common.h.
PROT_EXEC: Final = 4
SCMP_ACT_ALLOW: Final = 0x7FFF0000
SCMP_ACT_ERRNO: Final = 0x00050000
SCMP_ACT_KILL_PROCESS: Final = 0x80000000
SCMP_CMP_MASKED_EQ: Final = 7
SCMP_FLTATR_ACT_BADARCH: Final = 2
SCMP_FLTATR_CTL_TSYNC: Final = 4
SCMP_NR_UNKNOWN: Final = -1

_NEEDS: Final = "CONFIG_SECCOMP_FILTER, and seccomp(2), which the filter of a container may forbid"
_PROTECTION: Final = {"mmap": 2, "mprotect": 2}
"""Calls that can make memory executable, and the position of their protection argument."""


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


# By its full name: ctypes.util.find_library would run ldconfig and the compiler.
_LIB: Final = ctypes.CDLL("libseccomp.so.2")
_LIB.seccomp_init.argtypes = (ctypes.c_uint32,)
_LIB.seccomp_init.restype = ctypes.c_void_p
_LIB.seccomp_release.argtypes = (ctypes.c_void_p,)
_LIB.seccomp_release.restype = None
_LIB.seccomp_load.argtypes = (ctypes.c_void_p,)
_LIB.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
_LIB.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
_LIB.seccomp_rule_add_array.argtypes = (
    ctypes.c_void_p,
    ctypes.c_uint32,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.POINTER(_Comparison),
)


@step(
    "load the filter of system calls",
    _NEEDS,
)
def load(policy: Policy) -> None:
    """Confine all threads of this process to the system calls of a policy; any other call kills the process.

    Raises:
        SandboxError: The kernel or the library refused.
        ValueError: The library does not know a system call of the policy.
    """
    with _filter(SCMP_ACT_KILL_PROCESS) as context:
        for name in sorted(policy.syscalls):
            if name in _PROTECTION and not policy.executable_memory:
                _add_condition(context, Condition(syscall=name, argument=_PROTECTION[name], mask=PROT_EXEC, value=0))
            else:
                _add(context, SCMP_ACT_ALLOW, name)
        for condition in policy.conditions:
            _add_condition(context, condition)
        for refusal in policy.refusals:
            for name in sorted(refusal.syscalls - policy.allowed):
                _add(context, SCMP_ACT_ERRNO | refusal.error, name)
        _check(_LIB.seccomp_load(context))


@step(
    "load the first filter of system calls",
    _NEEDS,
)
def load_first(policy: Policy) -> None:
    """Forbid what a role must not do while it is prepared; `load` remains possible and must follow.

    Raises:
        SandboxError: The kernel or the library refused.
    """
    with _filter(SCMP_ACT_ALLOW) as context:
        for closing in closings(policy):
            action = SCMP_ACT_ERRNO | closing.error if closing.error else SCMP_ACT_KILL_PROCESS
            tests = (_Comparison(argument, SCMP_CMP_MASKED_EQ, mask, value) for argument, mask, value in closing.when)
            _add(context, action, closing.syscall, *tests)
        _check(_LIB.seccomp_load(context))


def resolve(name: str) -> int:
    """Return the number of a system call; negative if only other architectures have it.

    Raises:
        ValueError: The library does not know the call.
    """
    number: int = _LIB.seccomp_syscall_resolve_name(name.encode())
    if number == SCMP_NR_UNKNOWN:
        raise ValueError(f"libseccomp does not know the system call {name}")
    return number


@contextmanager
def _filter(default: int) -> Iterator[int]:
    context = _LIB.seccomp_init(default)
    if context is None:
        raise OSError(errno.EINVAL, "seccomp_init failed")
    try:
        # The default kills only the calling thread, and the others would wait for it for ever.
        _set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)
        _set(context, SCMP_FLTATR_CTL_TSYNC, 1)
        yield context
    finally:
        _LIB.seccomp_release(context)


def _set(context: int, attribute: int, value: int) -> None:
    _check(_LIB.seccomp_attr_set(context, attribute, value))


def _add(context: int, action: int, name: str, *comparisons: _Comparison) -> None:
    array = (_Comparison * len(comparisons))(*comparisons)
    _check(_LIB.seccomp_rule_add_array(context, action, resolve(name), len(comparisons), array))


def _add_condition(context: int, condition: Condition) -> None:
    comparison = _Comparison(condition.argument, SCMP_CMP_MASKED_EQ, condition.mask, condition.value)
    action = SCMP_ACT_ERRNO | condition.error if condition.error else SCMP_ACT_ALLOW
    _add(context, action, condition.syscall, comparison)


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
