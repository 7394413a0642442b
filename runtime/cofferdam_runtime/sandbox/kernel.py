"""Kernel calls that neither the standard library nor python-prctl offers: one function per call, through libc."""

import ctypes
import errno
import os
from typing import Final

# Source: linux/prctl.h.
PR_CAPBSET_DROP: Final = 24

LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def drop_bounding_set_from(first: int) -> None:
    """Drop all capabilities with numbers from `first` up from the bounding set; needs CAP_SETPCAP."""
    for number in range(first, 64):
        try:
            call_prctl(PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                # The kernel has no capability of this number.
                return
            raise


def call_prctl(option: int, argument: int) -> None:
    """Call prctl(2) with one argument."""
    checked(LIBC.prctl(option, argument, 0, 0, 0))


def checked(result: int) -> int:
    """Return what a call returned, or raise the `OSError` for it."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
