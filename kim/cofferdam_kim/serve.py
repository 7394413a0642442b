"""The loop of the key store: questions of workers and frontends, a few of each channel in turn."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cofferdam_contracts.ipc.control import Record, is_adopted, serial_of
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.keystore import MAX_ANSWER
from cofferdam_kim.service import KimService, Peer
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import HANGUP, READ, WRITE, Loop

_TURN: Final = 16
_TURN_S: Final = 0.005
"""Questions of one channel, or the time they may take, before the next one has its turn."""
_ENVELOPE: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """A channel and who is at its other end."""

    channel: Channel
    peer: Peer
    role: int
    serial: int


class Server:
    """Answers on every channel it is given."""

    def __init__(self, service: KimService, loop: Loop, log: Log) -> None:
        """Serve on this loop."""
        self._service = service
        self._loop = loop
        self._log = log
        self._channels: set[Asking] = set()
        self.served: Callable[[], None] = lambda: None
        self.violated: Callable[[int, int], None] = lambda _role, _number: None

    def add_channel(self, record: Record, descriptor: int | None) -> None:
        """Take the channel of a worker or of a frontend; one that a predecessor served is greeted with HELLO."""
        if descriptor is None:
            raise ValueError("a channel without descriptor")
        channel = Channel.of(descriptor, MAX_ANSWER, adopted=is_adopted(record))
        asking = Asking(channel, self._service.peer(record), record.a, serial_of(record))
        self._channels.add(asking)
        self._loop.add(descriptor, READ, lambda events: self._on_events(asking, events))
        if is_adopted(record):
            try:
                self._send(asking, (Common.HELLO,))
            except ChannelClosedError:
                self._close(asking)

    def close(self) -> None:
        """Hang up on everybody."""
        for asking in list(self._channels):
            self._close(asking)

    def _on_events(self, asking: Asking, events: int) -> None:
        try:
            if events & WRITE:
                asking.channel.flush()
                if not asking.channel.backlog:
                    self._loop.change(asking.channel.fileno(), READ)
            if events & (READ | HANGUP):
                self._answer_some(asking)
        except ChannelClosedError:
            self._close(asking)
        except (FramingError, ForbiddenMessageError) as error:
            self._log.error(
                "a process broke the protocol; its channel is closed",
                role=asking.role,
                serial=asking.serial,
                cause=error,
            )
            self.violated(asking.role, asking.serial)
            self._close(asking)

    def _answer_some(self, asking: Asking) -> None:
        until = time.monotonic() + _TURN_S
        for _ in range(_TURN):
            message = None if asking.channel.backlog else asking.channel.receive()
            if message is None:
                return
            self.served()
            self._send(asking, self._answer(asking, message))
            if time.monotonic() > until:
                return

    def _answer(self, asking: Asking, message: tuple[Any, ...]) -> tuple[object, ...]:
        if len(message) < _ENVELOPE or type(message[1]) is not int:
            raise ForbiddenMessageError("a question without id")
        number, question_id, *fields = message
        status, answer = self._service.answer(asking.peer, number, tuple(fields))
        return (number + 1, question_id, int(status), *answer)

    def _send(self, asking: Asking, message: tuple[object, ...]) -> None:
        asking.channel.send(message)
        if asking.channel.backlog:
            self._loop.change(asking.channel.fileno(), WRITE)

    def _close(self, asking: Asking) -> None:
        self._channels.discard(asking)
        self._loop.remove(asking.channel.fileno())
        asking.channel.close()
