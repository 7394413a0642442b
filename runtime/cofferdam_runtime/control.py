"""The control socket between the broker and a child: records of `ipc.control`, each with at most one descriptor."""

import _socket
import errno
import sys
from typing import Final

from cofferdam_contracts.ipc.control import LONG_SIZE, Record, decode, encode

_SPACE: Final = _socket.CMSG_SPACE(4 * 4)
"""Room for four descriptors, so that extra ones are seen, closed and rejected instead of silently truncated."""
_FOR_NOW: Final = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
"""Transient errors: out of memory, or too many descriptors in flight (unix(7))."""


class ControlError(Exception):
    """Raised when the peer of a control socket is gone or breaks the protocol."""


class ControlClosedError(ControlError):
    """Raised when the peer of a control socket is gone or has closed it."""


class Control:
    """One end of a control socket."""

    def __init__(self, end: _socket.socket) -> None:
        """Take ownership of the socket."""
        self.socket = end

    def fileno(self) -> int:
        """Return the descriptor, for epoll."""
        return self.socket.fileno()

    def send(self, record: Record) -> bool:
        """Send a record with its descriptor; return False when the peer cannot accept it now.

        Raises:
            ControlError: The peer is gone.
        """
        datagram, descriptor = encode(record)
        rights = []
        if descriptor is not None:
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))]
        try:
            self.socket.sendmsg([datagram], rights, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _FOR_NOW:
                return False
            raise ControlError(str(error)) from error
        return True

    def receive(self, *, blocking: bool = False) -> Record | None:
        """Return the next record, or None if there is none now.

        Raises:
            ControlClosedError: The peer is gone.
            ControlError: The peer sent something that is not a record.
        """
        flags = _socket.MSG_CMSG_CLOEXEC | (0 if blocking else _socket.MSG_DONTWAIT)
        try:
            data, ancillary, received, _ = self.socket.recvmsg(LONG_SIZE + 1, _SPACE, flags)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ControlClosedError(str(error)) from error
        descriptors = _descriptors(ancillary) if ancillary else []
        if not data:
            _close_all(descriptors)
            raise ControlClosedError("the peer closed the control socket")
        if len(descriptors) > 1 or received & (_socket.MSG_CTRUNC | _socket.MSG_TRUNC):
            _close_all(descriptors)
            raise ControlError(f"a record with {len(descriptors)} descriptors, flags {received:#x}")
        try:
            return decode(data, descriptors[0] if descriptors else None)
        except ValueError as error:
            _close_all(descriptors)
            raise ControlError(str(error)) from error


def release(record: Record) -> None:
    """Close the descriptor of a rejected record."""
    descriptor = getattr(record, "descriptor", None)
    if descriptor is not None:
        _socket.close(descriptor)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            found += memoryview(data[: len(data) & -4]).cast("i")
    return found


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        _socket.close(descriptor)
