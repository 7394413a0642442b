"""What a worker does between turns: half-done changes, leaks, the slow lane, and the decision to end.

States, of which the last two are final:

- *serving*: everything below is done.
- *stopping* (the broker said STOP): requests are still taken, and keys in the slow lane are generated without waiting
  for anybody's rest. The worker ends as soon as no channel has anything and the lane is empty.
- *lost* (the device's library has to be restarted or leaks, or the provider has expired): nothing more is taken from
  the channels, which is left to the successor; jobs in the lane are answered with a failure. The worker ends as soon as
  the lane is empty.

A half-done change is resolved one key at a time, and clients have `RECONCILE_SHARE` times as long in between, so that a
slow device with many of them still serves.
"""

import time
from collections.abc import Iterator
from typing import Final

from cofferdam_contracts.status import ServiceError
from cofferdam_providers.base.handlers import Context
from cofferdam_providers.base.health import Health
from cofferdam_providers.base.lane import Lane
from cofferdam_providers.base.peers import Peer
from cofferdam_providers.base.provider import EXAMINE_S, DeviceLostError
from cofferdam_providers.base.turns import Turns
from cofferdam_runtime.loop import IDLE_S

SETTLE_S: Final = 0.05
"""How long a job that nobody wants any more may stay in the slow lane."""
RECONCILE_S: Final = 5.0
"""Between two attempts to resolve what remains."""
RECONCILE_SHARE: Final = 4.0
"""How many times as long as resolving one key took, no other is resolved."""


class Upkeep:
    """The worker's state, and its work beside requests."""

    def __init__(self, context: Context, lane: Lane, turns: Turns[Peer]) -> None:
        self._context = context
        self._lane = lane
        self._turns = turns
        self._health = Health(context.settings.memory_limit) if context.provider.foreign_code else None
        self._next_settling = 0.0
        self._next_reconcile = 0.0
        self._next_look = time.monotonic() + EXAMINE_S
        self._reconciling: Iterator[None] | None = None
        self._looking: Iterator[None] | None = context.keyring.report_missing()
        self.blocks = 0
        """How many keys were generated on the loop's own thread."""
        self.stopping = False
        self.lost = False

    def before_turn(self) -> None:
        """Do what is due before a channel has its turn."""
        if self._reconciling is not None or self._context.keyring.unresolved:
            self._reconcile()
        if self._health is not None and not self.lost and (complaint := self._health.complaint()) is not None:
            self._context.log.warning("the device's library leaks; the worker ends", cause=complaint)
            self.lost = self.stopping = True

    def look_after_lane(self) -> None:
        """Finish unwanted jobs; generate a key on this thread once everybody had a turn since the last one."""
        now = time.monotonic()
        if now >= self._next_settling:
            self._next_settling = now + SETTLE_S
            self._lane.settle()
        if not self._lane.blocks or not self._turns.all(lambda peer: peer.blocks == self.blocks):
            return
        # A worker that stops has nobody left to be fair to.
        if self._lane.waiting and self._lane.run_one(rested=not self.stopping):
            self.blocks += 1

    def settle_soon(self) -> None:
        """Finish unwanted jobs at the next opportunity: a channel was closed."""
        self._next_settling = 0.0

    def idle(self) -> float:
        """Do a small part of what could wait; return the seconds until something is due, while no channel waits."""
        idle = self._lane_idle() if self._lane.waiting else IDLE_S
        if self._reconciling is not None or self._context.keyring.unresolved:
            idle = min(idle, max(0.0, self._next_reconcile - time.monotonic()))
        if self._goes_on():
            idle = 0.0
        if not self.stopping:
            idle = min(idle, self._examine())
        expires = self._context.provider.expires
        if expires is not None:
            left = expires - time.monotonic()
            idle = min(idle, max(left, 0.0))
            if left <= 0:
                self.lost = self.stopping = True
        return idle

    def note(self, error: ServiceError) -> None:
        """Take notice of an error that a client gets: it may say that the device is lost."""
        if isinstance(error, DeviceLostError) and not self.lost:
            log = self._context.log
            why = log.warning("the device has to be started afresh; the worker ends", cause=error.detail)
            self._context.provider.say_down(why, retry_s=SETTLE_S)
            self.lost = self.stopping = True
            self._next_settling = 0.0

    def _examine(self) -> float:
        """Look at the device if it is time; return the seconds until it is again."""
        left = self._next_look - time.monotonic()
        if left > 0 or self._lane.waiting:
            return max(left, SETTLE_S)
        try:
            self._context.provider.examine()
        except ServiceError as error:
            self.note(error)
        self._next_look = time.monotonic() + EXAMINE_S
        return EXAMINE_S

    def _lane_idle(self) -> float:
        if self._lane.blocks:
            return 0.0 if self.stopping else min(SETTLE_S, self._lane.rest_s())
        return SETTLE_S

    def _goes_on(self) -> bool:
        try:
            return not self.stopping and (self._context.provider.go_on() or self._looks_on())
        except ServiceError as error:
            self.note(error)
            return False

    def _looks_on(self) -> bool:
        """Look for missing keys, once, when the provider knows what it has."""
        looking, self._looking = self._looking, None
        if looking is None:
            return False
        try:
            next(looking)
        except StopIteration:
            return False
        self._looking = looking
        return True

    def _reconcile(self) -> None:
        """Resolve one half-done change, if it is time."""
        began = time.monotonic()
        if began < self._next_reconcile or self.lost:
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
            self.note(error)
