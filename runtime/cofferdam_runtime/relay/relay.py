"""Messages of many senders, each from a socket of its own, to one descriptor; who sends too much is left for a time.

What such a sender sends besides stays in its own socket, and fails there when that is full: neither the relay nor
another sender has any work with it.
"""

import _socket
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from cofferdam_runtime.log import Log

_STDERR: Final = 2
BURST: Final = 256 << 10
"""Bytes of one process that are written at once."""
RATE: Final = 32 << 10
"""Bytes of one process that are written in a second after that; the `Log` of an honest one writes less."""
PAUSE_S: Final = 1.0
"""How long a process that sent more is not read; long enough that it may write again after that."""
SAY_EVERY_S: Final = 60.0
"""How often the log says of one process that it sent more."""
LONGEST: Final = 8 << 10
"""Bytes of a message; the rest of it is cut off."""
_TURN: Final = 16
"""Messages of a sender before others have their turn."""
_NAME: Final = ("process", "pid", "uid")
"""How a sender is introduced, separated by spaces."""
_SPACE: Final = _socket.CMSG_SPACE(4)


@dataclass(slots=True)
class _Sender:
    """One process, and what it may still write."""

    take: Callable[[], bytes]
    """Returns the next message, nothing at the end; fails when there is none now."""
    name: dict[str, object]
    tokens: float
    refilled: float
    said: float | None = None

    def spend(self, size: int, now: float) -> bool:
        """Take the bytes of a message from the budget; return whether there is more."""
        self.tokens = min(float(BURST), self.tokens + (now - self.refilled) * RATE) - size
        self.refilled = now
        return self.tokens > 0


class Relay:
    """Everybody who sends, until the last one is gone."""

    def __init__(self, shared: _socket.socket, log: Log) -> None:
        """Take messages, and sockets of further senders, from a shared socket."""
        self._shared = shared
        self._log = log
        self._epoll = select.epoll()
        self._senders: dict[int, _Sender] = {}
        self._paused: deque[tuple[float, int]] = deque()
        """Until when which sender is not read, in this order."""
        self._is_torn = False
        # The broker, and a child until it has a channel.
        self._add(shared.fileno(), self._take_shared, ("broker", os.getppid(), os.geteuid()))

    def run(self) -> None:
        """Write what comes until nobody is left who could send."""
        while self._senders:
            self.turn(None)

    def turn(self, at_most_s: float | None) -> None:
        """Wait for messages, for so long, and write some of each sender's."""
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
        """Return the next message; one that has a descriptor with it introduces a sender, and is no line."""
        while True:
            flags = _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
            message, ancillary, _, _ = self._shared.recvmsg(LONGEST, _SPACE, flags)
            if not ancillary:
                return message
            descriptor = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            self._add(descriptor, partial(os.read, descriptor, LONGEST), message.decode(errors="replace").split())

    def _write(self, message: bytes) -> int:
        """Write a message as lines of its own; return how many bytes that is."""
        line = message if message.endswith(b"\n") else message + b"\n"
        if self._is_torn:
            line = b"\n" + line
        try:
            self._is_torn = os.write(_STDERR, line) < len(line)
        except OSError:
            pass  # a full disk, a pipe that nobody reads: nowhere is left to say it
        return len(line)

    def _pause(self, descriptor: int, sender: _Sender) -> None:
        """Read nothing of a sender for a time, and say so if nobody has for long."""
        now = time.monotonic()
        self._epoll.unregister(descriptor)
        self._paused.append((now + PAUSE_S, descriptor))
        if sender.said is None or now - sender.said >= SAY_EVERY_S:
            sender.said = now
            self._log.warning("a process fills the log; what it writes beyond its share is lost", **sender.name)

    def _end(self, descriptor: int) -> None:
        """Forget a sender that is gone."""
        self._epoll.unregister(descriptor)
        del self._senders[descriptor]
        if descriptor == self._shared.fileno():
            self._shared.close()
        else:
            os.close(descriptor)
