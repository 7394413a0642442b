"""The socket pairs that connect the processes; the broker makes them but does not use them itself."""

import _socket
import errno
from typing import Final

SO_PASSRIGHTS: Final = 83
"""asm-generic/socket.h, Linux 6.16: when 0, the kernel refuses descriptors sent to this socket."""


def socket_pair() -> tuple[_socket.socket, _socket.socket]:
    """Return the two ends of a channel that carries data but no descriptors."""
    ends = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    for end in ends:
        refuse_descriptors(end)
    return ends


def refuse_descriptors(end: _socket.socket) -> None:
    """Have the kernel refuse descriptors sent to this socket, if it supports that."""
    try:
        end.setsockopt(_socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
    except OSError as error:
        if error.errno not in (errno.ENOPROTOOPT, errno.EINVAL, errno.EOPNOTSUPP):
            raise
