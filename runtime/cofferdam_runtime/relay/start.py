"""Starting the relay: what `serve` does before it becomes the broker."""

import _socket
import os
import signal
from typing import Final

from cofferdam_contracts.roles import RELAY_UID
from cofferdam_runtime.command import execute
from cofferdam_runtime.log import is_journal

_STDOUT: Final = 1
_STDERR: Final = 2
_FOR_THE_GROUP: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What terminals and supervisors send to all processes of a group."""


def start() -> None:
    """Put a relay between stderr and whoever inherits it, unless it is the journal's stream.

    Raises:
        OSError: The relay cannot be started.
    """
    _open_what_is_closed()
    if is_journal():
        return
    theirs, ours = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    uid = str(RELAY_UID) if os.geteuid() == 0 else "-"
    # It ends when nobody can write to it any more, and not before.
    _, pidfd = execute("cofferdam_runtime.relay", [uid], {0: theirs.fileno(), _STDOUT: _STDERR}, blocked=_FOR_THE_GROUP)
    os.close(pidfd)
    # Whoever finds the relay busy loses a line, and does not wait.
    ours.setblocking(False)  # noqa: FBT003  the socket module's signature
    os.dup2(ours.fileno(), _STDERR)


def _open_what_is_closed() -> None:
    """Let nothing that is opened later be taken for stdin, stdout or stderr."""
    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= _STDERR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003
    os.close(descriptor)
