"""The loop of a provider worker: requests of all frontends, served fairly, one at a time.

The kernel's queue of each channel is that channel's queue: a request is taken only when it is served next, so a worker
that dies loses the request it was working on and the keys in its slow lane, and its successor finds the rest. Channels
have short turns in fair order (`turns`), and what has arrived meanwhile is looked for after each. Keys that take long
to make wait in the slow lane. Where the lane has no thread, one key is made after every channel that has something had
a turn; what is there by then has a turn before the next.

A message that no honest frontend sends closes its channel; the broker hears of it.
"""

import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from cofferdam_contracts.ipc.control import Record, Role, is_adopted, serial_of
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.requests import ProviderRequest, decode_request, encode_answer, message_limit
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.handlers import Context, Gradual, Slow
from cofferdam_providers.base.health import Health
from cofferdam_providers.base.lane import Job, Lane
from cofferdam_providers.base.peers import Principal
from cofferdam_providers.base.provider import DeviceLostError, Results
from cofferdam_providers.base.service import Service, is_past
from cofferdam_providers.base.turns import Turns
from cofferdam_runtime.channel import Channel, ChannelClosedError, MessageSizeError
from cofferdam_runtime.loop import HANGUP, IDLE_S, READ, WRITE, Loop

TURN_NS: Final = 250_000
"""A channel that has more begins nothing when its turn has taken so long, on the wall."""
ALONE: Final = 7
"""Turns that a channel gets besides when all turns of late were its own, until somebody else comes."""
PAUSE_S: Final = 100e-6
"""Where all processors are busy, who waits for a turn is who had a processor. When few wait, a pause lets the frontends
and clients of the others have one; else a uid with many requests has the turns of those who are on their way."""
MAX_SLOW: Final = 16
"""Key generations of one principal that may wait; more are refused at once."""
SETTLE_S: Final = 0.05
"""How long a job in the slow lane may remain that nobody wants any more."""
RECONCILE_S: Final = 5.0
"""Between two attempts to resolve what remains."""
RECONCILE_SHARE: Final = 4.0
"""How many times as long as resolving one key took, nobody resolves another."""
_CHANGES: Final = frozenset(
    {Opcode.PSA_GENERATE_KEY, Opcode.PSA_IMPORT_KEY, Opcode.PSA_DESTROY_KEY, Opcode.DELETE_CLIENT}
)
_SYNC_LENGTH: Final = 2
_NEWS: Final = READ | select.EPOLLET
"""What arrives is told once: a channel has turns until it was found empty, and the poll between them stays short."""


@dataclass(slots=True, eq=False)
class Peer:
    """A frontend's channel, whom it belongs to, and what it waits for."""

    channel: Channel
    principal: Principal
    serial: int
    blocks: int = -1
    """How many keys the worker had made on its own thread when this channel had its last turn."""
    slow: int = 0
    """Its requests on the slow lane."""
    sync: int | None = None
    """The token of a SYNC that waits for them."""
    gradual: tuple[ProviderRequest, Iterator[None]] | None = None
    """A request that is worked on a little in each turn, before the next one is taken."""
    closed: bool = False


class Worker:
    """Serves the frontends of one provider."""

    def __init__(self, context: Context, loop: Loop, lane: Lane) -> None:
        """Serve on this loop, and generate keys in this lane."""
        self._context = context
        self._service = Service(context)
        self._loop = loop
        self._lane = lane
        self._clock = _work_clock(context)
        self._blocks = 0
        self._limit = message_limit(context.settings.body_len_limit, context.settings.buffer_size_limit)
        self._health = Health(context.settings.memory_limit) if context.provider.foreign_code else None
        self._debug = context.log.enabled("debug")
        self._authenticators = frozenset(entry.auth_type for entry in context.settings.authenticators)
        self._peers: set[Peer] = set()
        self._turns: Turns[Peer] = Turns()
        self._answered = 0
        self._next_settling = 0.0
        self._next_reconcile = 0.0
        self._reconciling: Iterator[None] | None = None
        self.served: Callable[[], None] = lambda: None
        self.busy: Callable[[bool], None] = lambda _busy: None
        self._stopping = False
        self._lost = False
        """Whether the device has to be started afresh; what was not taken yet is left to the successor."""
        self.violated: Callable[[int, int], None] = lambda _role, _number: None

    def add_channel(self, record: Record, descriptor: int | None) -> None:
        """Take the channel of a frontend in place of the one before; one of a predecessor is greeted with HELLO."""
        if descriptor is None or record.a != Role.FRONTEND:
            raise ValueError("a worker serves frontends, each over a channel")
        channel = Channel.of(descriptor, self._limit, adopted=is_adopted(record))
        principal = Principal(uid=record.b, number=record.c, authenticators=self._authenticators)
        peer = Peer(channel, principal, serial_of(record))
        for before in [other for other in self._peers if other.serial == peer.serial]:
            self._close(before)
        self._peers.add(peer)
        self._loop.add(channel.fileno(), _NEWS, lambda events: self._on_channel(peer, events))
        if is_adopted(record):
            self._send(peer, (Common.HELLO,))

    def close(self) -> None:
        """Hang up on everybody."""
        for peer in list(self._peers):
            self._close(peer)

    def stop(self) -> None:
        """End as soon as nothing is under way."""
        self._stopping = True

    def in_flight(self) -> int:
        """Return how many requests are under way."""
        return self._lane.waiting

    def tick(self) -> float:
        """Give the channel whose turn it is its turn; return the seconds until that is due again."""
        self._reconcile()
        self._look_after_resources()
        peer = None if self._lost else self._turns.next()
        if peer is not None:
            self._serve(peer)
            if self._turns.are_few():
                time.sleep(PAUSE_S)
        if self._lane.waiting:
            self._look_after_lane()
        if self._turns and not self._lost:
            return 0.0
        idle = self._lane_idle() if self._lane.waiting else IDLE_S
        if self._reconciling is not None or self._context.keyring.unresolved:
            idle = min(idle, max(0.0, self._next_reconcile - time.monotonic()))
        if self._goes_on():
            idle = 0.0
        expires = self._context.provider.expires
        if expires is not None:
            left = expires - time.monotonic()
            idle = min(idle, max(left, 0.0))
            if left <= 0:
                self._lost = self._stopping = True
        if self._stopping and not self.in_flight():
            self._loop.stop()
            return 0.0
        return idle

    def _look_after_lane(self) -> None:
        """Finish what nobody wants any more; make one key on this thread when everybody had a turn since the last."""
        now = time.monotonic()
        if now >= self._next_settling:
            self._next_settling = now + SETTLE_S
            self._lane.settle()
        if not self._lane.blocks or not self._turns.all(lambda peer: peer.blocks == self._blocks):
            return
        # Who shall stop has nobody left to be fair to.
        if self._lane.waiting and self._lane.run_one(rested=not self._stopping):
            self._blocks += 1

    def _lane_idle(self) -> float:
        if self._lane.blocks:
            return 0.0 if self._stopping else min(SETTLE_S, self._lane.rest_s())
        return SETTLE_S

    def _goes_on(self) -> bool:
        try:
            return not self._stopping and self._context.provider.go_on()
        except ServiceError as error:
            self._note_loss(error)
            return False

    def _look_after_resources(self) -> None:
        complaint = None if self._health is None or self._lost else self._health.complaint()
        if complaint is not None:
            self._context.log.error("the device's library leaks; the worker ends", cause=complaint)
            self._lost = self._stopping = True

    def _reconcile(self) -> None:
        """Resolve one half-done change when it is time; clients have most of the time in between."""
        if self._reconciling is None and not self._context.keyring.unresolved:
            return
        began = time.monotonic()
        if began < self._next_reconcile or self._lost:
            return
        if self._reconciling is None:
            self._reconciling = self._context.keyring.reconcile()
        try:
            next(self._reconciling)
            self._next_reconcile = time.monotonic() + RECONCILE_SHARE * (time.monotonic() - began)
        except StopIteration:
            self._reconciling = None
            self._next_reconcile = time.monotonic() + RECONCILE_S
        except ServiceError as error:
            self._reconciling = None
            self._next_reconcile = time.monotonic() + RECONCILE_S
            self._context.keyring.unresolved = True
            self._context.log.warning("half-done changes of keys cannot be resolved now", cause=error)
            self._note_loss(error)

    def _on_channel(self, peer: Peer, events: int) -> None:
        if events & WRITE:
            try:
                peer.channel.flush()
            except ChannelClosedError:
                self._close(peer)
                return
            if not peer.channel.backlog:
                # Tells again what came meanwhile.
                self._loop.change(peer.channel.fileno(), _NEWS)
        if events & (READ | HANGUP):
            self._turns.join(peer)

    def _serve(self, peer: Peer) -> None:
        """Give a channel its turn, charge it, and let it wait for the next one unless it was found empty."""
        first = began = self._clock()
        answered = self._answered
        peer.blocks = self._blocks
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
            self._context.log.error(
                "a frontend broke the protocol; its channel is closed",
                frontend=peer.principal.number,
                uid=peer.principal.uid,
                cause=error,
            )
            self.violated(Role.FRONTEND, peer.serial)
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
        """Look for what came meanwhile; tell whether the channel may not go on, or something else is to be done."""
        self._loop.look()
        self._turns.leave(peer)
        others = bool(self._turns) or (self._lane.blocks and self._lane.waiting > 0)
        return others or peer.closed or self._lost or self._stopping

    def _serve_for_a_turn(self, peer: Peer) -> bool:
        """Serve a channel until its turn is over; return whether it may have more."""
        until = time.monotonic_ns() + TURN_NS
        while self._serve_one(peer):
            if time.monotonic_ns() >= until or self._lost:
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
        application = peer.principal.application(request)
        self.served()
        try:
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

    def _go_on(self, peer: Peer, request: ProviderRequest, steps: Iterator[None]) -> None:
        try:
            next(steps)
        except StopIteration:
            peer.gradual = None
            self._succeed(peer, request, ())
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
            return self._lost or peer.closed or is_past(request.deadline)

        self._lane.submit(peer.principal.uid, Job(make=lambda: self._make(peer, request, slow), done=done, void=void))

    def _make(self, peer: Peer, request: ProviderRequest, slow: Slow) -> object:
        """Make the key, on the thread of the lane; return what `_end` needs."""
        if self._lost or peer.closed:
            gone = "device" if self._lost else "frontend"
            return ServiceError(Status.PSA_ERROR_COMMUNICATION_FAILURE, f"the {gone} was lost before the work began")
        if not (self._lane.blocks and self._context.provider.slow_generation):
            return self._service.run(slow, request.deadline)
        self.busy(True)  # noqa: FBT003  what the record says
        try:
            return self._service.run(slow, request.deadline)
        finally:
            self.busy(False)  # noqa: FBT003

    def _end(self, peer: Peer, request: ProviderRequest, slow: Slow, outcome: object) -> None:
        try:
            results = self._service.conclude(slow, outcome)
        except ServiceError as error:
            self._fail(peer, request, error)
        else:
            self._succeed(peer, request, results)

    def _succeed(self, peer: Peer, request: ProviderRequest, results: Results) -> None:
        opcode = request.operation.opcode
        if opcode in _CHANGES:
            self._context.log.info("a key was changed", **self._about(peer, request))
        self._note(peer, request, Status.SUCCESS)
        self._send(peer, encode_answer(opcode, request.id, Status.SUCCESS, results))

    def _fail(self, peer: Peer, request: ProviderRequest, error: ServiceError) -> None:
        opcode = request.operation.opcode
        self._note_loss(error)
        if self._context.log.enabled("info"):
            about = self._about(peer, request)
            self._context.log.info("a request failed", status=error.status.value, cause=error.detail, **about)
        self._note(peer, request, error.status)
        self._send(peer, encode_answer(opcode, request.id, error.status))

    def _note(self, peer: Peer, request: ProviderRequest, status: Status) -> None:
        self._answered += 1
        if self._debug:
            about = self._about(peer, request)
            self._context.log.debug("a request was served", status=status.value, **about)

    def _note_loss(self, error: ServiceError) -> None:
        if isinstance(error, DeviceLostError) and not self._lost:
            self._context.log.error("the device has to be started afresh; the worker ends", cause=error.detail)
            self._lost = self._stopping = True
            self._next_settling = 0.0

    def _about(self, peer: Peer, request: ProviderRequest) -> dict[str, object]:
        about: dict[str, object] = {
            "req": f"{peer.principal.number}:{request.id:x}",
            "op": request.operation.opcode.name,
            "provider": self._context.provider.description.id.value,
            "uid": peer.principal.uid,
        }
        if self._context.log.details:
            about["app"] = request.application or str(peer.principal.uid)
            for name, field in (("key", "key_name"), ("client", "client")):
                if hasattr(request.operation, field):
                    about[name] = getattr(request.operation, field)
        return about

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
            self._next_settling = 0.0
            self._loop.remove(peer.channel.fileno())
            peer.channel.close()


def _work_clock(context: Context) -> Callable[[], int]:
    """Return the clock that shares are charged by, in nanoseconds.

    What is shared is the time of a device, which passes on the wall, or that of this thread on a processor, which those
    who make the machine busy do not take from a share; waiting for the key store keeps others waiting as well.
    """
    if not context.provider.on_processor:
        return time.monotonic_ns
    keyring = context.keyring
    return lambda: time.thread_time_ns() + keyring.waited_ns
