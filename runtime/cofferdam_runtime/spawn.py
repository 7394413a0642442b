"""Starting a child: a fresh isolated interpreter with exactly the descriptors it needs."""

import _socket
import os
from typing import Final, NamedTuple

from cofferdam_contracts.ipc.control import SettingsDocument
from cofferdam_contracts.roles import Copies, Role
from cofferdam_runtime.boot import CONTROL_DESCRIPTOR, SETTINGS_DESCRIPTOR
from cofferdam_runtime.command import execute
from cofferdam_runtime.control import Control
from cofferdam_runtime.pairs import refuse_descriptors
from cofferdam_runtime.sandbox.broker import no_uids

_IN_FLIGHT: Final = 1 << 14
"""Send buffer towards a frontend, in bytes; the kernel fits about 40 connections into it."""


class Spawned(NamedTuple):
    """A child that was just started."""

    pid: int
    pidfd: int
    control: Control


def uid_of(uid_base: int, role: Role, number: int) -> int | None:
    """Return the uid of a child, None if it keeps the broker's."""
    return None if no_uids() else uid_base + role.row.uid_offset + number


def spawn(role: Role, number: int, uid: int | None, document: int, arguments: tuple[str, ...] = ()) -> Spawned:
    """Execute a child of a role; `document` becomes its settings descriptor.

    Raises:
        OSError: The child could not be started.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    if SettingsDocument not in role.row.says:
        refuse_descriptors(ours)
    if role.row.copies is Copies.PER_PRINCIPAL:
        # Further connections wait in the broker, where they are counted.
        ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _IN_FLIGHT)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    words = (str(int(role)), str(number), "-" if uid is None else str(uid), str(os.getpid()), *arguments)
    descriptors = {0: null, 1: 2, CONTROL_DESCRIPTOR: theirs.fileno(), SETTINGS_DESCRIPTOR: document}
    try:
        pid, pidfd = execute(role.row.package, words, descriptors)
    finally:
        os.close(null)
        theirs.close()
    return Spawned(pid, pidfd, Control(ours))
