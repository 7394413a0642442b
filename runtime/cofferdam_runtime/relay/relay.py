"""Copies messages of many senders, each from its own socket, to one descriptor; one that exceeds its rate is paused.

Further messages of a paused sender stay in its own socket, and its sends fail when that is full: they cost neither the
relay nor other senders anything.
"""

import _socket
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from cofferdam_runtime.log import Log

_STDERR: Final = 2
BURST: Final = 256 << 10
"""Bytes that one process may write at once."""
RATE: Final = 32 << 10
"""Bytes that it may write per second after that; the `Log` of a well-behaved process stays below."""
PAUSE_S: Final = 1.0
"""How long a process that exceeded its budget is not read; long enough to refill the budget."""
SAY_EVERY_S: Final = 60.0
"""Shortest interval between two warnings about one process."""
LONGEST: Final = 8 << 10
"""Bytes of a message; the rest is cut off."""
_TURN: Final = 16
"""Messages of one sender before the others are served."""
_NAME: Final = ("process", "pid", "uid")
"""Fields of the message that introduces a sender, separated by spaces."""
_SPACE: Final = _socket.CMSG_SPACE(4)


class _Sender:
    """One process, and the bytes that it may still write."""

    def __init__(self, take: Callable[[], bytes], name: dict[str, object], tokens: float, refilled: float) -> None:
        """Start with a budget.

        Args:
            take: Returns the next message, empty at the end; raises BlockingIOError when there is none now.
            name: The fields that name the process in warnings.
            tokens: Bytes that it may write now.
            refilled: When that was so.
        """
        self.take, self.name, self.tokens, self.refilled = take, name, tokens, refilled
        self.warned: float | None = None

    def spend(self, size: int, now: float) -> bool:
        """Charge a message to the budget; return whether any budget is left."""
        self.tokens = min(float(BURST), self.tokens + (now - self.refilled) * RATE) - size
        self.refilled = now
        return self.tokens > 0


class Relay:
    """All senders, until the last one is gone."""

    def __init__(self, shared: _socket.socket, log: Log) -> None:
        """Receive messages, and sockets of further senders, from a shared socket."""
        self._shared = shared
        self._log = log
        self._epoll = select.epoll()
        self._senders: dict[int, _Sender] = {}
        self._paused: deque[tuple[float, int]] = deque()
        """End of the pause and descriptor of each paused sender, in this order."""
        self._mid_line = False
        """Whether the last write was cut off within a line."""
        # Used by the broker, and by a child until it has a channel.
        self._add(shared.fileno(), self._take_shared, ("broker", os.getppid(), os.geteuid()))

    def run(self) -> None:
        """Relay messages until no sender is left."""
        while self._senders:
            self.turn(None)

    def turn(self, at_most_s: float | None) -> None:
        """Wait for messages, at most so long (None: no limit), and write some of each sender's."""
        if self._paused:
            until = max(0.0, self._paused[0][0] - time.monotonic())
            at_most_s = until if at_most_s is None else min(until, at_most_s)
        for descriptor, _ in self._epoll.poll(at_most_s):
            self._serve(descriptor)
        while self._paused and self._paused[0][0] <= time.monotonic():
            self._epoll.register(self._paused.popleft()[1], select.EPOLLIN)

    def _add(self, descriptor: int, take: Callable[[], bytes], name: Iterable[object]) -> None:
        named = dict(zip(_NAME, name, strict=False))
        self._senders[descriptor] = _Sender(take, named, float(BURST), time.monotonic())
        self._epoll.register(descriptor, select.EPOLLIN)

    def _serve(self, descriptor: int) -> None:
        sender = self._senders[descriptor]
        for _ in range(_TURN):
            try:
                message = sender.take()
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._end(descriptor)
                return
            size = self._write(message)
            if not sender.spend(size, time.monotonic()):
                self._pause(descriptor, sender)
                return

    def _take_shared(self) -> bytes:
        """Return the next message; one with a descriptor introduces a sender and is not returned."""
        while True:
            flags = _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
            message, ancillary, _, _ = self._shared.recvmsg(LONGEST, _SPACE, flags)
            if not ancillary:
                return message
            descriptor = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            self._add(descriptor, partial(os.read, descriptor, LONGEST), message.decode(errors="replace").split())

    def _write(self, message: bytes) -> int:
        """Write a message on lines of its own; return their size in bytes."""
        line = message if message.endswith(b"\n") else message + b"\n"
        if self._mid_line:
            line = b"\n" + line
        try:
            self._mid_line = os.write(_STDERR, line) < len(line)
        except OSError:
            pass  # a full disk or a closed pipe, which cannot be logged anywhere
        return len(line)

    def _pause(self, descriptor: int, sender: _Sender) -> None:
        """Stop reading from a sender for `PAUSE_S`, and log that once per `SAY_EVERY_S`."""
        now = time.monotonic()
        self._epoll.unregister(descriptor)
        self._paused.append((now + PAUSE_S, descriptor))
        if sender.warned is None or now - sender.warned >= SAY_EVERY_S:
            sender.warned = now
            self._log.warning("a process fills the log; what it writes beyond its share is lost", **sender.name)

    def _end(self, descriptor: int) -> None:
        """Remove a sender that is gone."""
        self._epoll.unregister(descriptor)
        del self._senders[descriptor]
        if descriptor == self._shared.fileno():
            self._shared.close()
        else:
            os.close(descriptor)
