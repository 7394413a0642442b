"""Joining the relay, which a child does before it serves any client."""

import _socket
import os
import sys
from typing import Final

from cofferdam_runtime.pairs import socket_pair

_STDOUT: Final = 1
_STDERR: Final = 2


def join(title: str, uid: int | None) -> None:
    """Replace stdout and stderr with a channel of this process's own, if they lead to the relay.

    The relay identifies the channel by title, pid, and the uid that the process is about to change to (None: keeps).
    If the relay cannot receive the channel, the process has no log.
    """
    shared = _relay()
    if shared is None:
        return
    theirs, ours = socket_pair()
    for end in (theirs, ours):
        end.setblocking(False)  # noqa: FBT003  the socket module's signature
    name = f"{title} {os.getpid()} {os.geteuid() if uid is None else uid}"
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, theirs.fileno().to_bytes(4, sys.byteorder))]
    try:
        shared.sendmsg([name.encode()], rights, _socket.MSG_NOSIGNAL)
    except OSError:
        pass  # the relay is gone, or blocked by what it writes to
    for descriptor in (_STDOUT, _STDERR):
        os.dup2(ours.fileno(), descriptor)
    for end in (shared, theirs, ours):
        end.close()


def _relay() -> _socket.socket | None:
    """Return a duplicate of stderr if it is the relay's socket; the journal's socket is a stream."""
    try:
        descriptor = os.dup(_STDERR)
    except OSError:
        return None
    try:
        end = _socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None
    if end.type == _socket.SOCK_SEQPACKET:
        return end
    end.close()
    return None
