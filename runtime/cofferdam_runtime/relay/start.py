"""Starting the relay, which `serve` does before it becomes the broker."""

import _socket
import os
import signal
from typing import Final

from cofferdam_contracts.roles import RELAY_UID
from cofferdam_runtime.command import execute
from cofferdam_runtime.log import is_journal
from cofferdam_runtime.sandbox.broker import no_uids

_STDOUT: Final = 1
_STDERR: Final = 2
_FOR_THE_GROUP: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that terminals and supervisors send to all processes of a group."""


def start() -> None:
    """Put a relay between stderr and the processes that inherit it, unless stderr is the journal's stream.

    Raises:
        OSError: The relay cannot be started.
    """
    _open_what_is_closed()
    if is_journal():
        return
    theirs, ours = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    uid = "-" if no_uids() else str(RELAY_UID)
    # The relay exits when no process can write to it any more, and not before.
    _, pidfd = execute("cofferdam_runtime.relay", [uid], {0: theirs.fileno(), _STDOUT: _STDERR}, blocked=_FOR_THE_GROUP)
    os.close(pidfd)
    # A process that finds the relay busy loses a line rather than wait.
    ours.setblocking(False)  # noqa: FBT003  the socket module's signature
    os.dup2(ours.fileno(), _STDERR)


def _open_what_is_closed() -> None:
    """Open /dev/null as stdin, stdout or stderr where closed, so that no later file gets these numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= _STDERR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003
    os.close(descriptor)
