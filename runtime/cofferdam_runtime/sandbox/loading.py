"""What a process may not do while it loads its vendor's code, as data.

Loading does too much for a list of what it may do, so this is one of what it may not: whatever would outlive the filter
that closes after it, or get around it. Filters add up, and none can be taken away.
"""

import _socket
import errno
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cofferdam_runtime.sandbox.policy import CLONE_THREAD, CREATING, FORBIDDEN, INT, SPECIAL_MODES, Policy

_FAMILIES: Final = 64
"""More than linux/socket.h has address families; the kernel knows none beyond."""
_TYPES: Final = 16
"""The types of a socket that SOCK_TYPE_MASK of linux/net.h leaves room for."""
_PRCTLS: Final = {"PR_SET_PDEATHSIG": 1, "PR_SET_DUMPABLE": 4, "PR_SET_SECCOMP": 22, "PR_SET_PTRACER": 0x59616D61}
"""linux/prctl.h: living on without the parent, being traced, and filters in another way than libseccomp's."""
_MODES: Final = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "mknod": 1, "mknodat": 2, "creat": 1}
"""Calls that give a file a mode, and the position of the argument that says which."""
_OPENING: Final = {"open": 1, "openat": 2}
"""Calls that do so with some flags only, and the position of the flags; the mode follows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A system call that fails or ends the process."""

    syscall: str
    error: int = 0
    """The errno that it fails with; 0 ends the process."""
    when: tuple[tuple[int, int, int], ...] = ()
    """Position, mask and value: only where `argument & mask == value` for each of them."""


_ALWAYS: Final = (
    # The final filter is loaded by this one. A filter can be added to this one, but not loosen it.
    *(Closing(syscall=name) for name in sorted(FORBIDDEN - {"seccomp"})),
    # A process would not get the final filter; a thread does. The flags of clone3 are out of sight; see policies.py.
    *(Closing(syscall=name, error=errno.EPERM) for name in ("fork", "setpgid", "setsid", "vfork")),
    Closing(syscall="clone", error=errno.EPERM, when=((0, CLONE_THREAD, 0),)),
    Closing(syscall="clone3", error=errno.ENOSYS),
    # Nobody is listened to, whatever the module needs.
    *(Closing(syscall=name, error=errno.EPERM) for name in ("accept", "accept4", "bind", "listen")),
    *(
        Closing(syscall=name, error=errno.EPERM)
        for name in (
            *("kill", "pidfd_send_signal", "process_mrelease"),
            *("rt_sigqueueinfo", "rt_tgsigqueueinfo", "tgkill", "tkill"),
        )
    ),
    *(Closing(syscall="prctl", error=errno.EPERM, when=((0, INT, option),)) for option in _PRCTLS.values()),
    Closing(syscall="ioctl", error=errno.EPERM, when=((1, INT, termios.TIOCSTI),)),
    # A file that makes whoever runs it the worker. The mode of openat2 is out of sight; glibc does not use it.
    *(
        Closing(syscall=name, error=errno.EPERM, when=((position, bit, bit),))
        for name, position in _MODES.items()
        for bit in SPECIAL_MODES
    ),
    *(
        Closing(syscall=name, error=errno.EPERM, when=((position, flag, flag), (position + 1, bit, bit)))
        for name, position in _OPENING.items()
        for flag in CREATING
        for bit in SPECIAL_MODES
    ),
    Closing(syscall="openat2", error=errno.ENOSYS),
)


def closings(policy: Policy) -> Iterator[Closing]:
    """Tell what is closed while the role of a policy is prepared."""
    yield from _ALWAYS
    families = _families(policy)
    if not families:
        # The C library asks name services and the system log, and does without.
        for name in ("connect", "socket", "socketpair"):
            yield Closing(syscall=name, error=errno.EPERM)
        return
    for family in range(_FAMILIES):
        if family not in families:
            yield Closing(syscall="socket", error=errno.EAFNOSUPPORT, when=((0, INT, family),))
    if policy.sockets:
        return
    # One that was left open would send to anybody.
    for kind in range(_TYPES):
        if kind != _socket.SOCK_STREAM:
            yield Closing(syscall="socket", error=errno.EPERM, when=((1, _TYPES - 1, kind),))
    yield Closing(syscall="socketpair", error=errno.EPERM)


def _families(policy: Policy) -> set[int]:
    if policy.sockets:
        return {
            condition.value for condition in policy.conditions if condition.syscall == "socket" and not condition.error
        }
    internet = {_socket.AF_INET, _socket.AF_INET6} if policy.tcp_ports else set()
    return internet | ({_socket.AF_UNIX} if policy.local_sockets else set())
