"""A data channel between two processes: whole messages over a SOCK_SEQPACKET socketpair, never blocking.

What cannot be sent waits in order in this process; while `backlog` is true, the owner should not take more from the
peer, so that a peer that reads no answers stalls only itself. Received datagrams go through one buffer that is reused
and wiped; descriptors that a peer attaches are dropped by the kernel, because none are ever asked for.
"""

import _socket
import errno
import threading
from collections import deque
from typing import Any

from cofferdam_contracts.ipc.framing import Assembler, pack, split
from cofferdam_contracts.ipc.limits import MAX_DATAGRAM, MAX_PARTS, PART_SIZE


class _Buffer(threading.local):
    """What datagrams are received into; one for each thread that receives any."""

    def __init__(self) -> None:
        # What is too long fills the last byte as well, and is refused.
        self.data = bytearray(MAX_DATAGRAM + 1)
        self.view = memoryview(self.data)


_buffer = _Buffer()


class ChannelClosedError(Exception):
    """Raised when the other end of a channel is gone."""


class MessageSizeError(Exception):
    """Raised when a message is larger than the other end takes; nothing of it was sent."""


class Channel:
    """One end of a channel."""

    def __init__(self, end: _socket.socket, limit: int, *, sends: int | None = None, adopted: bool = False) -> None:
        """Own the socket; take messages of at most `limit` bytes, and send those of `sends`: what the other end takes.

        Without `sends` one limit holds for both directions.
        """
        self.socket = end
        self._sends = limit if sends is None else sends
        self._assembler = Assembler(limit, adopted=adopted)
        self._waiting: deque[bytes] = deque()
        self.cut_short = False

    @classmethod
    def of(cls, descriptor: int, limit: int, *, sends: int | None = None, adopted: bool = False) -> "Channel":
        """Own a descriptor that came over the control socket."""
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, descriptor)
        return cls(end, limit, sends=sends, adopted=adopted)

    def fileno(self) -> int:
        """Return the descriptor, for an epoll."""
        return self.socket.fileno()

    @property
    def backlog(self) -> bool:
        """Whether messages wait to be sent."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many bytes wait to be sent."""
        return sum(map(len, self._waiting))

    def send(self, message: tuple[object, ...] | list[object]) -> None:
        """Send a message, or keep it until `flush`.

        Raises:
            ChannelClosedError: The other end is gone.
            MessageSizeError: The message is larger than what the other end takes.
        """
        packed = pack(message)
        if len(packed) > self._sends:
            raise MessageSizeError(f"a message of {len(packed)} bytes, the limit is {self._sends}")
        if not self._waiting and len(packed) <= PART_SIZE:
            if not self._send_one(packed):
                self._waiting.append(packed)
            return
        if self._waiting:
            self._waiting.extend(split(packed))
            return
        for datagram in split(packed):
            if self._waiting or not self._send_one(datagram):
                self._waiting.append(datagram)

    def flush(self) -> None:
        """Send what waits, as far as the peer takes it.

        Raises:
            ChannelClosedError: The other end is gone.
        """
        while self._waiting and self._send_one(self._waiting[0]):
            self._waiting.popleft()

    def receive(self) -> tuple[Any, ...] | None:
        """Return the next whole message, or None when none is there yet.

        At most `MAX_PARTS` datagrams are taken at a time. `cut_short` tells whether that is why there is no message:
        then there may be more to read.

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
            # The buffer held key material or plaintext if anything did.
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
