"""A data channel between two processes: whole messages over a SOCK_SEQPACKET socketpair, never blocking.

Messages that cannot be sent yet are queued in order. While `backlog` is true, the caller should not read more from the
peer, so that a peer that reads no answers stalls only itself. All received datagrams go through one buffer, which is
wiped after each; the kernel drops descriptors that a peer attaches, because `recvmsg` is never used.
"""

import _socket
import errno
import threading
from collections import deque
from typing import Any

from cofferdam_contracts.ipc.framing import Assembler, pack, split
from cofferdam_contracts.ipc.limits import MAX_DATAGRAM, MAX_PARTS, PART_SIZE


class _Buffer(threading.local):
    """The receive buffer, one per thread."""

    def __init__(self) -> None:
        # A datagram that is too long fills the extra byte as well, and is rejected.
        self.data = bytearray(MAX_DATAGRAM + 1)
        self.view = memoryview(self.data)


_buffer = _Buffer()


class ChannelClosedError(Exception):
    """Raised when the other end of a channel is gone."""


class MessageSizeError(Exception):
    """Raised when a message is larger than the other end accepts; no part of it was sent."""


class Channel:
    """One end of a channel."""

    def __init__(self, end: _socket.socket, limit: int, *, sends: int | None = None, adopted: bool = False) -> None:
        """Take ownership of a socket.

        Messages received have at most `limit` bytes. Those sent have at most `sends`, which the other end accepts;
        the default is `limit`.
        """
        self.socket = end
        self._sends = limit if sends is None else sends
        self._assembler = Assembler(limit, adopted=adopted)
        self._waiting: deque[bytes] = deque()
        self.cut_short = False

    @classmethod
    def of(cls, descriptor: int, limit: int, *, sends: int | None = None, adopted: bool = False) -> "Channel":
        """Take ownership of a descriptor that was received over the control socket."""
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, descriptor)
        return cls(end, limit, sends=sends, adopted=adopted)

    def fileno(self) -> int:
        """Return the descriptor, for epoll."""
        return self.socket.fileno()

    @property
    def backlog(self) -> bool:
        """Whether any messages are queued for sending."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """Number of bytes queued for sending."""
        return sum(map(len, self._waiting))

    def send(self, message: tuple[object, ...] | list[object]) -> None:
        """Send a message, or queue what the peer does not accept now until `flush`.

        Raises:
            ChannelClosedError: The other end is gone.
            MessageSizeError: The message is larger than the other end accepts.
        """
        packed = pack(message)
        if len(packed) > self._sends:
            raise MessageSizeError(f"a message of {len(packed)} bytes, the limit is {self._sends}")
        if not self._waiting and len(packed) <= PART_SIZE:
            if not self._send_one(packed):
                self._waiting.append(packed)
            return
        for datagram in split(packed):
            if self._waiting or not self._send_one(datagram):
                self._waiting.append(datagram)

    def flush(self) -> None:
        """Send queued messages until the peer accepts no more.

        Raises:
            ChannelClosedError: The other end is gone.
        """
        while self._waiting and self._send_one(self._waiting[0]):
            self._waiting.popleft()

    def receive(self) -> tuple[Any, ...] | None:
        """Return the next whole message, or None if it has not arrived yet.

        One call reads at most `MAX_PARTS` datagrams; `cut_short` is set when this limit is why it returns None, so
        that more may be there to read.

        Raises:
            ChannelClosedError: The other end is gone.
            FramingError: The peer broke the protocol.
        """
        data, view = _buffer.data, _buffer.view
        self.cut_short = False
        for _ in range(MAX_PARTS):
            try:
                size = self.socket.recv_into(data, 0, _socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except OSError as error:
                raise ChannelClosedError from error
            if not size:
                raise ChannelClosedError
            message = self._assembler.feed(view[:size])
            # The datagram may have held key material or plaintext.
            data[:size] = bytes(size)
            if message is not None:
                return message
        self.cut_short = True
        return None

    def close(self) -> None:
        """Close this end."""
        self._waiting.clear()
        self.socket.close()

    def _send_one(self, datagram: bytes) -> bool:
        try:
            self.socket.send(datagram, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return False
            raise ChannelClosedError from error
        return True
