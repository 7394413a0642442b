"""Starting a child: a fresh isolated interpreter with exactly the descriptors it needs, never a fork of ourselves."""

import _socket
import fcntl
import os
import sys
from dataclasses import dataclass
from typing import Final

from cofferdam_contracts.ipc.control import Role
from cofferdam_contracts.roles import PROGRAMS
from cofferdam_runtime.boot import CONTROL_DESCRIPTOR, SETTINGS_DESCRIPTOR
from cofferdam_runtime.command import command
from cofferdam_runtime.control import Control
from cofferdam_runtime.pairs import refuse_descriptors

_HIGH: Final = 16
"""Descriptors are moved above this before they are put into their places, so that none is in another's place."""
_ON_THE_WAY: Final = 1 << 14
"""Send buffer towards a frontend, in bytes, of which the kernel makes room for about 40 connections."""
_PASSED_ON: Final = ("JOURNAL_STREAM",)


@dataclass(frozen=True, slots=True)
class Spawned:
    """A child that was just started."""

    pid: int
    pidfd: int
    control: Control


def spawn(role: Role, number: int, uid: int | None, document: int, arguments: tuple[str, ...] = ()) -> Spawned:
    """Execute a child of a role; `document` becomes its settings descriptor.

    Raises:
        OSError: The child could not be started.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    if role is not Role.CONFIG:
        # Only the configuration reader has something to hand over; from the others none is taken.
        refuse_descriptors(ours)
    if role is Role.FRONTEND:
        # More connections wait here, where they are counted, and not on their way.
        ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _ON_THE_WAY)
    places = (
        (fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, _HIGH), CONTROL_DESCRIPTOR),
        (fcntl.fcntl(document, fcntl.F_DUPFD_CLOEXEC, _HIGH), SETTINGS_DESCRIPTOR),
    )
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    words = (str(int(role)), str(number), "-" if uid is None else str(uid), str(os.getpid()))
    try:
        pid = os.posix_spawn(
            sys.executable,
            command(PROGRAMS[role].package, *words, *arguments),
            {"LANG": "C.UTF-8", **{name: os.environ[name] for name in _PASSED_ON if name in os.environ}},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, 2, 1),
                *((os.POSIX_SPAWN_DUP2, source, target) for source, target in places),
            ],
            setsigmask=(),
        )
    finally:
        for descriptor in (places[0][0], places[1][0], null):
            os.close(descriptor)
        theirs.close()
    return Spawned(pid, os.pidfd_open(pid), Control(ours))
