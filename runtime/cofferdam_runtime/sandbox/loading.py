"""Rules of the first filter, which is in force while a process loads its vendor's code, as data.

Loading makes too many system calls for an allow-list. This deny-list names those whose effect would outlive or bypass
the final filter, which is loaded on top. Filters stack, and none can be removed.
"""

import _socket
import errno
import termios
from collections.abc import Iterator
from typing import Final, NamedTuple

from cofferdam_runtime.sandbox.policy import CLONE_THREAD, CREATING, FORBIDDEN, INT, SPECIAL_MODES, Policy

_FAMILIES: Final = 64
"""Larger than any address family in linux/socket.h."""
_TYPES: Final = 16
"""Number of socket types that SOCK_TYPE_MASK of linux/net.h allows for."""
_PRCTLS: Final = {"PR_SET_PDEATHSIG": 1, "PR_SET_DUMPABLE": 4, "PR_SET_SECCOMP": 22, "PR_SET_PTRACER": 0x59616D61}
"""linux/prctl.h: outliving the parent, being traced, and loading filters without libseccomp."""
_MODES: Final = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "mknod": 1, "mknodat": 2, "creat": 1}
"""Calls that set the mode of a file, and the position of the mode argument."""
_OPENING: Final = {"open": 1, "openat": 2}
"""Calls that set a mode only with some flags, and the position of the flags; the mode is the next argument."""


class Closing(NamedTuple):
    """A system call that fails or kills the process."""

    syscall: str
    error: int = 0
    """The errno that it fails with; 0 kills the process."""
    when: tuple[tuple[int, int, int], ...] = ()
    """Position, mask and value: applies only if `argument & mask == value` for each of them."""


_ALWAYS: Final = (
    # seccomp(2) loads the final filter. A further filter cannot loosen this one.
    *(Closing(syscall=name) for name in sorted(FORBIDDEN - {"seccomp"})),
    # A new process would not get the final filter; a thread does. A filter cannot see clone3's flags; see policies.py.
    *(Closing(syscall=name, error=errno.EPERM) for name in ("fork", "setpgid", "setsid", "vfork")),
    Closing(syscall="clone", error=errno.EPERM, when=((0, CLONE_THREAD, 0),)),
    Closing(syscall="clone3", error=errno.ENOSYS),
    # No module may listen for connections, whatever it needs.
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
    # No setuid or setgid files of the worker's uid. A filter cannot see openat2's mode; glibc does not use openat2.
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
    """Yield the rules for the time while the role of a policy is prepared."""
    yield from _ALWAYS
    families = _families(policy)
    if not families:
        # The C library tries name services and the system log, and copes without.
        for name in ("connect", "socket", "socketpair"):
            yield Closing(syscall=name, error=errno.EPERM)
        return
    for family in range(_FAMILIES):
        if family not in families:
            yield Closing(syscall="socket", error=errno.EAFNOSUPPORT, when=((0, INT, family),))
    if policy.sockets:
        return
    # A datagram socket that is left open could later send to any address.
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
