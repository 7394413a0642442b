"""Kernel calls that neither the standard library nor python-prctl offers: one function per call, through libc."""

import ctypes
import errno
import os
from typing import Final

# Source: linux/prctl.h.
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
PR_CAPBSET_DROP: Final = 24
PR_MDWE_REFUSE_EXEC_GAIN: Final = 1
PR_SET_MDWE: Final = 65

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
_LIBC.syscall.restype = ctypes.c_long


def clear_ambient_capabilities() -> None:
    """Empty the ambient set of the calling thread."""
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def drop_bounding_set_from(first: int) -> None:
    """Drop all capabilities with numbers from `first` up from the bounding set; needs CAP_SETPCAP."""
    for number in range(first, 64):
        try:
            _prctl(PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                # The kernel has no capability of this number.
                return
            raise


def refuse_executable_memory() -> None:
    """Refuse memory that is both writable and executable, or becomes executable later; needs Linux 6.3.

    Raises:
        OSError: EINVAL before Linux 6.3.
    """
    _prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)


def _prctl(option: int, argument: int) -> None:
    _checked(_LIBC.prctl(option, argument, 0, 0, 0))


def syscall(number: int, *arguments: object) -> int:
    """Make a system call by its number; None stands for a null pointer."""
    # syscall(2) takes longs; ctypes would pass a Python int as a C int, which leaves the upper half undefined.
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_LIBC.syscall(ctypes.c_long(number), *values))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
