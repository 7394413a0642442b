"""The loop of the key store: questions of workers and frontends, a few of each channel in turn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cofferdam_contracts.ipc.control import Record
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.keystore import MAX_ANSWER
from cofferdam_kim.service import KimService, Peer
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import HANGUP, READ, WRITE, Loop

_TURN: Final = 16
"""Questions of one channel before the next one has its turn."""
_ENVELOPE: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """A channel and who is at its other end."""

    channel: Channel
    peer: Peer
    role: int
    number: int


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
        channel = Channel.of(descriptor, MAX_ANSWER, adopted=bool(record.d))
        asking = Asking(channel, self._service.peer(record), record.a, record.c)
        self._channels.add(asking)
        self._loop.add(descriptor, READ, lambda events: self._on_events(asking, events))
        if record.d:
            self._send(asking, (Common.HELLO,))

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
                number=asking.number,
                cause=error,
            )
            self.violated(asking.role, asking.number)
            self._close(asking)

    def _answer_some(self, asking: Asking) -> None:
        for _ in range(_TURN):
            message = None if asking.channel.backlog else asking.channel.receive()
            if message is None:
                return
            self.served()
            self._send(asking, self._answer(asking, message))

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
