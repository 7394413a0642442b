"""The loop of a provider worker: the requests of all frontends, served fairly, one at a time.

**Where a request waits.** The kernel's queue of each channel is the only queue: a message is taken when it is served
next. So a worker that dies loses the request it was working on and the keys in its slow lane, and nothing else; its
successor takes the channels over, says HELLO on each and finds the rest.

**What happens to a request.** `tick` gives one channel a turn (`turns`, in fair order), in which it is served until
`TURN_NS` have passed or it is found empty. A request ends in one of four ways:

- *answered at once*: every use of a key whose result is known when the handler returns.
- *slow* (`handlers.Slow`: generating a key): the name is reserved, and a job enters the slow lane (`lane`). Where the
  lane has a thread, the key is generated beside the loop; otherwise on the loop, after every channel that waits had a
  turn since the last key. If the channel closes or the deadline passes first, the job does nothing and the name is
  released.
- *gradual* (`handlers.Gradual`: DeleteClient): one step in each turn of its channel, which takes no further message
  until the steps end.
- *a violation*: no honest frontend sends this. The channel is closed, the broker is told, and what the channel had in
  progress is dropped without an answer.

**What a channel can be.** *Idle*: found empty, and not in `turns` until the kernel reports a new message. *Waiting*: in
`turns`. *Blocked*: it does not read its answers; no further request of it is taken until the backlog is sent. *Closed*:
forgotten; jobs it left in the lane are finished without an answer. A SYNC is answered when the channel's slow requests
are.

**When others get a turn.** After each turn the loop looks for new messages. A channel that had all recent turns goes on
for up to `ALONE` further turns, with such a look after each, until somebody else comes. What the worker does besides
requests, and when it ends, is in `upkeep`.
"""

import select
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final

from cofferdam_contracts.ipc.control import DownstreamChannel
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.limits import message_limit
from cofferdam_contracts.ipc.requests import ProviderRequest, decode_request, encode_answer
from cofferdam_contracts.roles import Role
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.handlers import Context, Gradual, Slow
from cofferdam_providers.base.lane import Job, Lane
from cofferdam_providers.base.peers import Peer, Principal
from cofferdam_providers.base.provider import Results
from cofferdam_providers.base.request_log import RequestLog
from cofferdam_providers.base.service import Service, is_past
from cofferdam_providers.base.turns import Turns
from cofferdam_providers.base.upkeep import Upkeep
from cofferdam_runtime.channel import Channel, ChannelClosedError, MessageSizeError
from cofferdam_runtime.entry import Reporter
from cofferdam_runtime.grants import Grants
from cofferdam_runtime.loop import HANGUP, READ, WRITE, Loop

TURN_NS: Final = 250_000
"""After so much wall-clock time in one turn a channel begins no further request."""
ALONE: Final = 7
"""Further turns of a channel that had all recent turns, until somebody else comes."""
PAUSE_S: Final = 100e-6
"""Where all processors are busy, only those who got a processor wait for a turn. When few wait, a pause lets the
frontends and clients of the others run; otherwise a uid with many requests gets the turns of those on their way."""
MAX_SLOW: Final = 16
"""Key generations of one principal that may wait; more are refused at once."""
_SYNC_LENGTH: Final = 2
_NEWS: Final = READ | select.EPOLLET
"""A new message is reported once: a channel has turns until it was found empty, and the poll between them is short."""


class Worker:
    """Serves the frontends of one provider."""

    def __init__(self, context: Context, loop: Loop, lane: Lane, requests: RequestLog, reporter: Reporter) -> None:
        self._context = context
        self._service = Service(context)
        self._loop = loop
        self._lane = lane
        self._requests = requests
        self._reporter = reporter
        self._clock = _work_clock(context)
        self._limit = message_limit(context.settings.body_len_limit, context.settings.buffer_size_limit)
        self._authenticators = frozenset(entry.auth_type for entry in context.settings.authenticators)
        self._peers: set[Peer] = set()
        self._turns: Turns[Peer] = Turns()
        self._upkeep = Upkeep(context, lane, self._turns)
        self._answered = 0
        self._grants = Grants(loop, context.log, reporter)

    def add_channel(self, record: DownstreamChannel) -> None:
        """Add a frontend's channel in place of its previous one; on a predecessor's channel say HELLO.

        The channel of the identity process tells whom those of frontends may speak for.
        """
        if record.role == Role.IDENTITY:
            self._grants.add_channel(record)
            return
        if record.role != Role.FRONTEND:
            raise ValueError("a worker serves frontends")
        channel = Channel.of(record.descriptor, self._limit, adopted=record.adopted)
        principal = Principal(
            uid=record.uid,
            number=record.number,
            authenticators=self._authenticators,
            granted=partial(self._grants.application, record.serial),
        )
        peer = Peer(channel, principal, record.serial)
        for before in [other for other in self._peers if other.serial == peer.serial]:
            self._close(before)
        self._peers.add(peer)
        self._loop.add(channel.fileno(), _NEWS, lambda events: self._on_channel(peer, events))
        if record.adopted:
            self._send(peer, (Common.HELLO,))

    def stop(self) -> None:
        """End as soon as nothing is in progress."""
        self._upkeep.stopping = True

    def in_flight(self) -> int:
        """Return how many requests are in progress."""
        return self._lane.waiting

    def tick(self) -> float:
        """Give the next channel its turn; return the seconds until `tick` is due again."""
        upkeep = self._upkeep
        self._reporter.say(self._context.provider.condition)
        upkeep.before_turn()
        peer = None if upkeep.lost else self._turns.next()
        if peer is not None:
            self._serve(peer)
            if self._turns.are_few():
                time.sleep(PAUSE_S)
        if self._lane.waiting:
            upkeep.look_after_lane()
        if self._turns and not upkeep.lost:
            return 0.0
        idle = upkeep.idle()
        self._reporter.say(self._context.provider.condition)
        if upkeep.stopping and not self._lane.waiting:
            self._loop.stop()
            return 0.0
        return idle

    def _on_channel(self, peer: Peer, events: int) -> None:
        if events & WRITE:
            try:
                peer.channel.flush()
            except ChannelClosedError:
                self._close(peer)
                return
            if not peer.channel.backlog:
                # Reports again what arrived in the meantime.
                self._loop.change(peer.channel.fileno(), _NEWS)
        if events & (READ | HANGUP):
            self._turns.join(peer)

    def _serve(self, peer: Peer) -> None:
        """Give a channel its turn and charge it; unless it was found empty, it waits for the next one."""
        first = began = self._clock()
        answered = self._answered
        peer.blocks = self._upkeep.blocks
        more = True
        try:
            more = self._serve_for_a_turn(peer)
            for _ in range(ALONE if self._turns.are_of_one() else 0):
                if not more:
                    break
                self._turns.go_on(peer, self._clock() - began)
                has_to_end = self._has_to_end(peer)
                began = self._clock()
                if has_to_end:
                    break
                more = self._serve_for_a_turn(peer)
        except ChannelClosedError:
            self._close(peer)
        except (FramingError, ForbiddenMessageError) as error:
            self._requests.violated(peer.principal, error)
            self._reporter.violated(Role.FRONTEND, peer.serial)
            self._close(peer)
        if peer.closed:
            return
        ended = self._clock()
        self._turns.charge(peer, ended - began)
        if more:
            self._turns.join(peer)
        if self._lane.blocks and self._answered != answered:
            self._lane.served(peer.principal.uid, ended - first)

    def _has_to_end(self, peer: Peer) -> bool:
        """Look for new messages; tell whether others wait, or something other than requests is due."""
        self._loop.look()
        self._turns.leave(peer)
        others = bool(self._turns) or (self._lane.blocks and self._lane.waiting > 0)
        return others or peer.closed or self._upkeep.lost or self._upkeep.stopping

    def _serve_for_a_turn(self, peer: Peer) -> bool:
        """Serve a channel until its turn is over; return whether it may have more."""
        until = time.monotonic_ns() + TURN_NS
        while self._serve_one(peer):
            if time.monotonic_ns() >= until or self._upkeep.lost:
                return True
        return False

    def _serve_one(self, peer: Peer) -> bool:
        """Serve one request, or one step of one; return whether there was one."""
        if peer.gradual is not None:
            self._go_on(peer, *peer.gradual)
            return True
        if peer.channel.backlog:
            return False
        message = peer.channel.receive()
        if message is None:
            # A long message may take more than one turn.
            return peer.channel.cut_short
        self._take(peer, message)
        return True

    def _take(self, peer: Peer, message: tuple[Any, ...]) -> None:
        if message[0] == Common.SYNC:
            self._sync(peer, message)
            return
        request = decode_request(message)
        self._reporter.count_one()
        try:
            application = peer.principal.application(request)
            outcome = self._service.perform(application, request)
            if isinstance(outcome, Slow):
                self._begin(peer, request, outcome)
                return
            if isinstance(outcome, Gradual):
                peer.gradual = (request, outcome.steps)
                return
        except ServiceError as error:
            self._fail(peer, request, error)
            return
        self._succeed(peer, request, outcome)

    def _go_on(self, peer: Peer, request: ProviderRequest, steps: Generator[None, None, bool]) -> None:
        try:
            next(steps)
        except StopIteration as end:
            peer.gradual = None
            self._succeed(peer, request, (), changed=end.value)
        except ServiceError as error:
            peer.gradual = None
            self._fail(peer, request, error)

    def _begin(self, peer: Peer, request: ProviderRequest, slow: Slow) -> None:
        if peer.slow >= MAX_SLOW:
            refused = ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, f"{MAX_SLOW} key generations wait already")
            slow.abandon(refused)
            raise refused
        peer.slow += 1

        def done(outcome: object) -> None:
            began = self._clock()
            peer.slow -= 1
            self._end(peer, request, slow, outcome)
            if not peer.slow and peer.sync is not None:
                self._send(peer, (Common.SYNCED, peer.sync))
                peer.sync = None
            if not peer.closed:
                self._turns.charge(peer, self._clock() - began)

        def void() -> bool:
            return self._upkeep.lost or peer.closed or is_past(request.deadline)

        self._lane.submit(peer.principal.uid, Job(make=lambda: self._make(peer, request, slow), done=done, void=void))

    def _make(self, peer: Peer, request: ProviderRequest, slow: Slow) -> object:
        """Generate the key, on the lane's thread; return what `_end` needs."""
        if self._upkeep.lost or peer.closed:
            gone = "device" if self._upkeep.lost else "frontend"
            return ServiceError(Status.PSA_ERROR_COMMUNICATION_FAILURE, f"the {gone} was lost before the work began")
        if not (self._lane.blocks and self._context.provider.slow_generation):
            return self._service.run(slow, request.deadline)
        self._reporter.busy(True)  # noqa: FBT003  what the record says
        try:
            return self._service.run(slow, request.deadline)
        finally:
            self._reporter.busy(False)  # noqa: FBT003

    def _end(self, peer: Peer, request: ProviderRequest, slow: Slow, outcome: object) -> None:
        try:
            results = self._service.conclude(slow, outcome)
        except ServiceError as error:
            self._fail(peer, request, error)
        else:
            self._succeed(peer, request, results)

    def _succeed(self, peer: Peer, request: ProviderRequest, results: Results, *, changed: bool = True) -> None:
        self._answered += 1
        self._requests.succeeded(peer.principal, request, changed=changed)
        self._send(peer, encode_answer(request.operation.opcode, request.id, Status.SUCCESS, results))

    def _fail(self, peer: Peer, request: ProviderRequest, error: ServiceError) -> None:
        self._answered += 1
        self._upkeep.note(error)
        self._requests.failed(peer.principal, request, error)
        self._send(peer, encode_answer(request.operation.opcode, request.id, error.status))

    def _sync(self, peer: Peer, message: tuple[Any, ...]) -> None:
        if len(message) != _SYNC_LENGTH or type(message[1]) is not int:
            raise ForbiddenMessageError("a malformed SYNC")
        if peer.slow:
            # Generations that came before the SYNC are answered before it; the last SYNC stands for all.
            peer.sync = message[1]
        else:
            self._send(peer, (Common.SYNCED, message[1]))

    def _send(self, peer: Peer, message: tuple[object, ...]) -> None:
        if peer.closed:
            return
        try:
            peer.channel.send(message)
        except MessageSizeError:
            peer.channel.send((*message[:2], int(Status.RESPONSE_TOO_LARGE)))
        except ChannelClosedError:
            self._close(peer)
            return
        if peer.channel.backlog:
            self._loop.change(peer.channel.fileno(), WRITE)

    def _close(self, peer: Peer) -> None:
        if not peer.closed:
            peer.closed = True
            self._peers.discard(peer)
            self._turns.forget(peer)
            self._lane.leave(peer.principal.uid)
            self._upkeep.settle_soon()
            self._loop.remove(peer.channel.fileno())
            peer.channel.close()


def _work_clock(context: Context) -> Callable[[], int]:
    """Return the clock by which turns are charged, in nanoseconds.

    A device is shared by the wall clock. Software is shared by the processor time of this thread, so that nobody pays
    for other load on the machine, plus the time spent waiting for the key store, which keeps everybody waiting.
    """
    if not context.provider.on_processor:
        return time.monotonic_ns
    keyring = context.keyring
    return lambda: time.thread_time_ns() + keyring.waited_ns
