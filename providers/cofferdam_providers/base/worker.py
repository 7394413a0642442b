"""The loop of a provider worker: requests of all frontends, served fairly, one at a time.

The kernel's queue of each channel is that channel's queue: a request is taken only when it is served next, so a worker
that dies loses the request it was working on and the keys in its slow lane, and its successor finds the rest. Channels
are served by deficit round robin (Shreedhar and Varghese, 1995) in microseconds of measured work. Key generation waits
in the slow lane. Where the lane has no thread, one key is made after every channel that has something had its turn;
what is there by then has its turn before the next.

A message that no honest frontend sends closes its channel; the broker replaces the sender.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from cofferdam_contracts.ipc.control import Record, Role, is_adopted, serial_of
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.requests import Request, decode_request, encode_answer
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.handlers import Context, Gradual, Results, Slow
from cofferdam_providers.base.health import Health
from cofferdam_providers.base.lane import Lane
from cofferdam_providers.base.peers import Principal
from cofferdam_providers.base.provider import DeviceLostError
from cofferdam_providers.base.service import Service
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.loop import HANGUP, IDLE_S, READ, WRITE, Loop

QUANTUM_US: Final = 2000
"""Work that a channel may do before the next one has its turn, when there is a next one."""
OVERHEAD: Final = 1 << 16
"""Bytes of a message beside the client's body: names, attributes, framing."""
MAX_SLOW: Final = 16
"""Key generations of one principal that may wait; more are refused at once."""
RECONCILE_S: Final = 5.0
"""Between two attempts to resolve what remains."""
RECONCILE_SHARE: Final = 4.0
"""How many times as long as resolving one key took, nobody resolves another."""
_CHANGES: Final = frozenset(
    {Opcode.PSA_GENERATE_KEY, Opcode.PSA_IMPORT_KEY, Opcode.PSA_DESTROY_KEY, Opcode.DELETE_CLIENT}
)
_SYNC_LENGTH: Final = 2


@dataclass(slots=True, eq=False)
class Peer:
    """A frontend's channel, whom it belongs to, and what it has used up."""

    channel: Channel
    principal: Principal
    serial: int
    deficit: float = 0.0
    generations: int = -1
    """How many keys the worker had made when this channel had its last turn."""
    slow: int = 0
    """Its requests on the slow lane."""
    sync: int | None = None
    """The token of a SYNC that waits for them."""
    gradual: tuple[Request, Iterator[None]] | None = None
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
        self._generations = 0
        self._limit = context.settings.body_len_limit + OVERHEAD
        self._health = Health(context.settings.memory_limit) if context.provider.foreign_code else None
        self._authenticators = frozenset(entry.auth_type for entry in context.settings.authenticators)
        self._peers: set[Peer] = set()
        self._ready: dict[Peer, None] = {}
        self._next_reconcile = 0.0
        self._reconciling: Iterator[None] | None = None
        self.served: Callable[[], None] = lambda: None
        self.busy: Callable[[bool], None] = lambda _busy: None
        self._stopping = False
        self._lost = False
        """Whether the device has to be started afresh; what was not taken yet is left to the successor."""
        self.violated: Callable[[int, int], None] = lambda _role, _number: None

    def add_channel(self, record: Record, descriptor: int | None) -> None:
        """Take the channel of a frontend; one that a predecessor served is greeted with HELLO."""
        if descriptor is None or record.a != Role.FRONTEND:
            raise ValueError("a worker serves frontends, each over a channel")
        channel = Channel.of(descriptor, self._limit, adopted=is_adopted(record))
        principal = Principal(uid=record.b, number=record.c, authenticators=self._authenticators)
        peer = Peer(channel, principal, serial_of(record))
        self._peers.add(peer)
        self._loop.add(channel.fileno(), READ, lambda events: self._on_channel(peer, events))
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
        """Give every channel that has something its turn; return the seconds until that is due again."""
        self._reconcile()
        self._look_after_resources()
        if self._ready and not self._lost:
            self._serve_round()
        self._generate()
        if self._ready and not self._lost:
            return 0.0
        idle = IDLE_S
        if self._reconciling is not None or self._context.keyring.unresolved:
            idle = max(0.0, self._next_reconcile - time.monotonic())
        if (self._lane.blocks and self._lane.waiting) or self._goes_on():
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

    def _generate(self) -> None:
        """Make one key on this thread when nobody waits for a turn since the last; after a loss, refuse them all."""
        lane = self._lane
        while lane.blocks and lane.waiting:
            if not self._lost and any(peer.generations < self._generations for peer in self._ready):
                return
            self._generations += 1
            lane.run_one()
            if not self._lost:
                return

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
        began = time.monotonic()
        if began < self._next_reconcile or self._lost:
            return
        if self._reconciling is None:
            if not self._context.keyring.unresolved:
                return
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
                self._loop.change(peer.channel.fileno(), READ)
        if events & (READ | HANGUP) and not peer.channel.backlog:
            self._ready[peer] = None

    def _serve_round(self) -> None:
        peers = list(self._ready)
        self._ready.clear()
        if len(peers) == 1:
            peers[0].deficit = QUANTUM_US
        else:
            richest = max(peer.deficit for peer in peers)
            # When everybody is in debt, time passes for all alike.
            gain = QUANTUM_US if richest > -QUANTUM_US else -richest
            for peer in peers:
                peer.deficit = min(peer.deficit + gain, QUANTUM_US)
        for peer in peers:
            if not self._serve(peer) and not peer.closed:
                self._ready[peer] = None

    def _serve(self, peer: Peer) -> bool:
        """Serve one channel as far as its deficit goes; return whether it has nothing left."""
        before = time.monotonic_ns()
        if peer.deficit > 0:
            peer.generations = self._generations
        try:
            while peer.deficit > 0 and not self._lost:
                if peer.gradual is not None:
                    self._go_on(peer, *peer.gradual)
                else:
                    message = None if peer.channel.backlog else peer.channel.receive()
                    if message is None:
                        peer.deficit = 0.0
                        return True
                    self._take(peer, message)
                now = time.monotonic_ns()
                peer.deficit -= (now - before) / 1000
                before = now
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
        return False

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

    def _go_on(self, peer: Peer, request: Request, steps: Iterator[None]) -> None:
        try:
            next(steps)
        except StopIteration:
            peer.gradual = None
            self._succeed(peer, request, ())
        except ServiceError as error:
            peer.gradual = None
            self._fail(peer, request, error)

    def _begin(self, peer: Peer, request: Request, slow: Slow) -> None:
        if peer.slow >= MAX_SLOW:
            refused = ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, f"{MAX_SLOW} key generations wait already")
            slow.abandon(refused)
            raise refused
        peer.slow += 1
        outcome: list[object] = []

        def make() -> None:
            outcome.append(self._make(peer, request, slow))

        def done() -> None:
            peer.slow -= 1
            self._end(peer, request, slow, outcome[0])
            if not peer.slow and peer.sync is not None:
                self._send(peer, (Common.SYNCED, peer.sync))
                peer.sync = None

        self._lane.submit(peer, make, done)

    def _make(self, peer: Peer, request: Request, slow: Slow) -> object:
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

    def _end(self, peer: Peer, request: Request, slow: Slow, outcome: object) -> None:
        try:
            results = self._service.conclude(slow, outcome)
        except ServiceError as error:
            self._fail(peer, request, error)
        else:
            self._succeed(peer, request, results)

    def _succeed(self, peer: Peer, request: Request, results: Results) -> None:
        opcode = request.operation.opcode
        if opcode in _CHANGES:
            self._context.log.info("a key was changed", **self._about(peer, request))
        self._send(peer, encode_answer(opcode, request.id, Status.SUCCESS, results))

    def _fail(self, peer: Peer, request: Request, error: ServiceError) -> None:
        opcode = request.operation.opcode
        self._note_loss(error)
        if self._context.log.enabled("info"):
            about = self._about(peer, request)
            self._context.log.info("a request failed", status=error.status.value, cause=error.detail, **about)
        self._send(peer, encode_answer(opcode, request.id, error.status))

    def _note_loss(self, error: ServiceError) -> None:
        if isinstance(error, DeviceLostError) and not self._lost:
            self._context.log.error("the device has to be started afresh; the worker ends", cause=error.detail)
            self._lost = self._stopping = True

    def _about(self, peer: Peer, request: Request) -> dict[str, object]:
        about: dict[str, object] = {
            "req": f"{peer.principal.number}:{request.id:x}",
            "op": request.operation.opcode.name,
        }
        if self._context.log.details:
            about |= {"uid": peer.principal.uid, "app": request.application or str(peer.principal.uid)}
            for field in ("key_name", "client"):
                if hasattr(request.operation, field):
                    about[field] = getattr(request.operation, field)
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
        except ChannelClosedError:
            self._close(peer)
            return
        if peer.channel.backlog:
            self._loop.change(peer.channel.fileno(), WRITE)

    def _close(self, peer: Peer) -> None:
        if not peer.closed:
            peer.closed = True
            self._peers.discard(peer)
            self._ready.pop(peer, None)
            self._loop.remove(peer.channel.fileno())
            peer.channel.close()
