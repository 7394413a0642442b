"""The loop of the key store: who has questions, and whose turn it is.

A worker stands still while it waits for its answer, so workers come first: after each turn of a frontend, each worker
that asks has one question answered. Frontends have their turns one after the other. A turn is so many questions, or
steps of long answers, or so much time of the processor; whoever used more lets the others pass for as long.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cofferdam_contracts.ipc.control import Record, is_adopted, serial_of
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.keystore import MOST_ANSWERED, Asker, most_bytes
from cofferdam_contracts.record import record
from cofferdam_contracts.status import Status
from cofferdam_kim.service import Answer, Gradual, KimService, Peer
from cofferdam_runtime.channel import Channel, ChannelClosedError, MessageSizeError
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import HANGUP, IDLE_S, READ, WRITE, Loop

TURNS: Final[Mapping[Asker, int]] = {Asker.WORKER: 1, Asker.FRONTEND: 16}
"""Questions or steps of one turn. An honest worker asks nothing before it has its answer."""
TURN_NS: Final = 2_000_000
"""Time of the processor after which a turn ends."""
_ENVELOPE: Final = 2


@record(frozen=False, eq=False)
class Asking:
    """A channel and who is at its other end."""

    channel: Channel
    peer: Peer
    role: int
    serial: int
    unfinished: tuple[int, int, Gradual] | None = None
    """Number and id of a question, and what its answer needs."""
    debt_ns: int = 0
    """How much more than its turns it has used."""


class Server:
    """Answers on every channel it is given."""

    def __init__(
        self, service: KimService, loop: Loop, log: Log, clock_ns: Callable[[], int] = time.thread_time_ns
    ) -> None:
        """Serve on this loop, whose tick is `tick`; `clock_ns` is the time of the processor that work is charged by."""
        self._service = service
        self._loop = loop
        self._log = log
        self._clock_ns = clock_ns
        self._channels: set[Asking] = set()
        self._ready: dict[Asker, dict[Asking, None]] = {asker: {} for asker in Asker}
        """Who has something to be answered, those whose turn was longest ago first."""
        self.served: Callable[[], None] = lambda: None
        self.violated: Callable[[int, int], None] = lambda _role, _number: None

    def add_channel(self, record: Record, descriptor: int | None) -> None:
        """Take the channel of a worker or of a frontend in place of the one before.

        One that a predecessor served is greeted with HELLO.
        """
        if descriptor is None:
            raise ValueError("a channel without descriptor")
        peer = self._service.peer(record)
        most = MOST_ANSWERED[peer.asker]
        channel = Channel.of(descriptor, most_bytes(peer.asker), sends=most, adopted=is_adopted(record))
        asking = Asking(channel, peer, record.a, serial_of(record))
        for before in [other for other in self._channels if other.serial == asking.serial]:
            self._close(before)
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

    def tick(self) -> float:
        """Give those who ask their turns; return the seconds until somebody may be due again."""
        for worker in list(self._ready[Asker.WORKER]):
            self._take_turn(worker)
        frontends = self._ready[Asker.FRONTEND]
        for frontend in list(frontends):
            del frontends[frontend]
            frontends[frontend] = None
            if self._take_turn(frontend):
                break
        return 0.0 if any(self._ready.values()) else IDLE_S

    def _on_events(self, asking: Asking, events: int) -> None:
        if events & WRITE:
            try:
                asking.channel.flush()
            except ChannelClosedError:
                self._close(asking)
                return
            if not asking.channel.backlog:
                self._loop.change(asking.channel.fileno(), READ)
        if events & HANGUP and asking.unfinished is not None:
            # Nobody waits for the rest of the answer.
            self._close(asking)
        elif events & (READ | HANGUP):
            self._ready[asking.peer.asker].setdefault(asking)

    def _take_turn(self, asking: Asking) -> bool:
        """Answer some questions of a channel; return False when it has to let others pass instead."""
        if asking.debt_ns > 0:
            asking.debt_ns -= TURN_NS
            return False
        began = self._clock_ns()
        try:
            self._answer_some(asking, began + TURN_NS)
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
        asking.debt_ns = max(0, self._clock_ns() - began - TURN_NS)
        return True

    def _answer_some(self, asking: Asking, until: int) -> None:
        for _ in range(TURNS[asking.peer.asker]):
            if asking.unfinished is not None:
                self._go_on(asking, *asking.unfinished)
            else:
                message = None if asking.channel.backlog else asking.channel.receive()
                if message is None:
                    self._ready[asking.peer.asker].pop(asking, None)
                    return
                self._begin(asking, message)
            if self._clock_ns() > until:
                return

    def _begin(self, asking: Asking, message: tuple[Any, ...]) -> None:
        if len(message) < _ENVELOPE or type(message[1]) is not int:
            raise ForbiddenMessageError("a question without id")
        number, question_id, *fields = message
        self.served()
        answer = self._service.answer(asking.peer, number, tuple(fields))
        if isinstance(answer, Gradual):
            asking.unfinished = (number, question_id, answer)
        else:
            self._finish(asking, number, question_id, answer)

    def _go_on(self, asking: Asking, number: int, question_id: int, gradual: Gradual) -> None:
        answer = self._service.go_on(gradual)
        if answer is not None:
            asking.unfinished = None
            self._finish(asking, number, question_id, answer)

    def _finish(self, asking: Asking, number: int, question_id: int, answer: Answer) -> None:
        status, fields = answer
        try:
            self._send(asking, (number + 1, question_id, int(status), *fields))
        except MessageSizeError as error:
            self._log.error("an answer is too large to send", question=number, role=asking.role, cause=error)
            self._send(asking, (number + 1, question_id, int(Status.RESPONSE_TOO_LARGE)))

    def _send(self, asking: Asking, message: tuple[object, ...]) -> None:
        asking.channel.send(message)
        if asking.channel.backlog:
            self._loop.change(asking.channel.fileno(), WRITE)

    def _close(self, asking: Asking) -> None:
        self._channels.discard(asking)
        self._ready[asking.peer.asker].pop(asking, None)
        if asking.unfinished is not None:
            asking.unfinished[2].steps.close()
        self._loop.remove(asking.channel.fileno())
        asking.channel.close()
