"""The server of the key store: which peers have questions, and whose turn it is.

A worker is blocked while it waits for its answer, so workers come first: after each turn of a frontend, every waiting
worker gets one question answered. Frontends take turns. A turn ends after a number of questions or steps of long
answers, or after an amount of processor time; a peer that used more skips turns until the excess is made up.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from cofferdam_contracts.ipc.control import DownstreamChannel
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.keystore import MOST_ANSWERED, Asker, most_bytes
from cofferdam_contracts.roles import Role
from cofferdam_contracts.status import Status
from cofferdam_kim.service import Answer, GradualAnswer, KimService, Peer
from cofferdam_runtime.channel import Channel, ChannelClosedError, MessageSizeError
from cofferdam_runtime.entry import Reporter
from cofferdam_runtime.grants import Grants
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import HANGUP, IDLE_S, READ, WRITE, Loop

TURNS: Final[Mapping[Asker, int]] = {Asker.WORKER: 1, Asker.FRONTEND: 16}
"""Questions or steps of one turn. An honest worker asks one question at a time."""
TURN_NS: Final = 2_000_000
"""Nanoseconds of processor time after which a turn ends."""
_ENVELOPE: Final = 2


class PeerChannel(Struct, eq=False):
    """A channel and the peer at its other end."""

    channel: Channel
    peer: Peer
    role: Role
    serial: int
    unfinished: tuple[int, int, GradualAnswer] | None = None
    """Number and id of a question whose answer is incomplete, and that answer."""
    debt_ns: int = 0
    """Processor time used beyond its turns."""


class Server:
    """Answers questions on every channel that it is given."""

    def __init__(  # noqa: PLR0913  the parts of a server
        self,
        service: KimService,
        loop: Loop,
        log: Log,
        reporter: Reporter,
        *,
        grants: Grants,
        clock_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        """Serve on this loop, which has to call `tick`.

        Args:
            service: Answers the questions.
            loop: Tells when a channel has a message.
            log: Of the process.
            reporter: Counts the questions and tells the broker of a peer that broke the protocol.
            grants: Whom the channels of frontends may speak for, as the identity process says.
            clock_ns: Returns the processor time that peers are charged for.
        """
        self._service = service
        self._loop = loop
        self._log = log
        self._clock_ns = clock_ns
        self._channels: set[PeerChannel] = set()
        self._ready: dict[Asker, dict[PeerChannel, None]] = {asker: {} for asker in Asker}
        """Peers with something to answer, those whose turn was longest ago first."""
        self._reporter = reporter
        self._grants = grants

    def add_channel(self, record: DownstreamChannel) -> None:
        """Serve the channel of a worker or of a frontend in place of its previous one.

        A channel that a predecessor served is greeted with HELLO.
        """
        if record.role == Role.IDENTITY:
            self._grants.add_channel(record)
            return
        peer = self._service.peer(record)
        most = MOST_ANSWERED[peer.asker]
        channel = Channel.of(record.descriptor, most_bytes(peer.asker), sends=most, adopted=record.adopted)
        asking = PeerChannel(channel, peer, Role(record.role), record.serial)
        for before in [other for other in self._channels if other.serial == asking.serial]:
            self._close(before)
        self._channels.add(asking)
        self._loop.add(record.descriptor, READ, lambda events: self._on_events(asking, events))
        if record.adopted:
            try:
                self._send(asking, (Common.HELLO,))
            except ChannelClosedError:
                self._close(asking)

    def tick(self) -> float:
        """Give the waiting peers their turns; return the seconds until the next turn may be due."""
        for worker in list(self._ready[Asker.WORKER]):
            self._take_turn(worker)
        frontends = self._ready[Asker.FRONTEND]
        for frontend in list(frontends):
            del frontends[frontend]
            frontends[frontend] = None
            if self._take_turn(frontend):
                break
        return 0.0 if any(self._ready.values()) else IDLE_S

    def _on_events(self, asking: PeerChannel, events: int) -> None:
        if events & WRITE:
            try:
                asking.channel.flush()
            except ChannelClosedError:
                self._close(asking)
                return
            if not asking.channel.backlog:
                self._loop.change(asking.channel.fileno(), READ)
        if events & HANGUP and asking.unfinished is not None:
            # The peer is gone, and nobody waits for the rest of the answer.
            self._close(asking)
        elif events & (READ | HANGUP):
            self._ready[asking.peer.asker].setdefault(asking)

    def _take_turn(self, asking: PeerChannel) -> bool:
        """Answer some questions of a channel; return False when it has to skip this turn."""
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
            self._reporter.violated(asking.role, asking.serial)
            self._close(asking)
        asking.debt_ns = max(0, self._clock_ns() - began - TURN_NS)
        return True

    def _answer_some(self, asking: PeerChannel, until: int) -> None:
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

    def _begin(self, asking: PeerChannel, message: tuple[Any, ...]) -> None:
        if len(message) < _ENVELOPE or type(message[1]) is not int:
            raise ForbiddenMessageError("a question without id")
        number, question_id, *fields = message
        self._reporter.count_one()
        answer = self._service.answer(asking.peer, number, tuple(fields))
        if isinstance(answer, GradualAnswer):
            asking.unfinished = (number, question_id, answer)
        else:
            self._finish(asking, number, question_id, answer)

    def _go_on(self, asking: PeerChannel, number: int, question_id: int, gradual: GradualAnswer) -> None:
        answer = self._service.go_on(gradual)
        if answer is not None:
            asking.unfinished = None
            self._finish(asking, number, question_id, answer)

    def _finish(self, asking: PeerChannel, number: int, question_id: int, answer: Answer) -> None:
        status, fields = answer
        try:
            self._send(asking, (number + 1, question_id, int(status), *fields))
        except MessageSizeError as error:
            self._log.error("an answer is too large to send", question=number, role=asking.role, cause=error)
            self._send(asking, (number + 1, question_id, int(Status.RESPONSE_TOO_LARGE)))

    def _send(self, asking: PeerChannel, message: tuple[object, ...]) -> None:
        asking.channel.send(message)
        if asking.channel.backlog:
            self._loop.change(asking.channel.fileno(), WRITE)

    def _close(self, asking: PeerChannel) -> None:
        self._channels.discard(asking)
        self._ready[asking.peer.asker].pop(asking, None)
        if asking.unfinished is not None:
            asking.unfinished[2].steps.close()
        self._loop.remove(asking.channel.fileno())
        asking.channel.close()
