"""Fair turns and rests: arithmetic without clocks, channels or devices.

`Turns` is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996). Each turn is charged with the time that it
took. Whoever has been charged least is next. Whoever returns from idleness is charged as much as the one that is being
served: it is next, but has accumulated no credit.

`Rests` is for work that cannot be interrupted and takes longer than everything else together: generating a key in a
device that does one thing at a time. Clients that send their next request after the answer are not waiting at the
moment when such work ends, so with turns alone its owner would begin the next at once.

Amounts are nanoseconds.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

OwnerT = TypeVar("OwnerT", bound=Hashable)

RECENT: Final = 32
"""How many turns count as recent."""
LATELY_NS: Final = 1_000_000_000
"""How long after its last request an owner is still expected to send another."""


class Turns(Generic[OwnerT]):
    """Owners waiting for a turn, in fair order."""

    def __init__(self) -> None:
        self._waiting: dict[OwnerT, int] = {}
        self._charged: dict[OwnerT, int] = {}
        self._now = 0
        """How much the owner served last had been charged when its turn began."""
        self._recent: deque[OwnerT] = deque()
        self._about: Counter[OwnerT] = Counter()
        """How many of the recent turns each owner had."""

    def __contains__(self, owner: OwnerT) -> bool:
        """Tell whether this owner waits."""
        return owner in self._waiting

    def __bool__(self) -> bool:
        """Tell whether anybody waits."""
        return bool(self._waiting)

    def all(self, condition: Callable[[OwnerT], bool]) -> bool:
        """Tell whether a condition holds for everybody who waits."""
        return all(map(condition, self._waiting))

    def are_few(self) -> bool:
        """Tell whether somebody waits, but at most half of those who had the recent turns."""
        return 0 < 2 * len(self._waiting) <= len(self._about)

    def are_of_one(self) -> bool:
        """Tell whether one owner had all the recent turns."""
        return len(self._about) == 1

    def join(self, owner: OwnerT) -> None:
        """Wait for a turn."""
        if owner not in self._waiting:
            self._waiting[owner] = max(self._charged.get(owner, 0), self._now)

    def leave(self, owner: OwnerT) -> None:
        """Stop waiting; what was charged remains."""
        self._waiting.pop(owner, None)

    def forget(self, owner: OwnerT) -> None:
        """Stop waiting for good."""
        self._waiting.pop(owner, None)
        self._charged.pop(owner, None)

    def next(self, may: Callable[[OwnerT], bool] | None = None) -> OwnerT | None:
        """Take the next owner out of those that `may` have a turn; whoever wants another turn joins again."""
        if not self._waiting:
            # Nobody is left to whom those who were charged more would owe it.
            self._charged.clear()
            self._now = 0
            return None
        candidates = self._waiting if may is None else filter(may, self._waiting)
        owner = min(candidates, key=self._waiting.__getitem__, default=None)
        if owner is not None:
            begin = self._waiting.pop(owner)
            self._charged[owner] = begin
            self._now = max(self._now, begin)
            self._note(owner)
        return owner

    def _note(self, owner: OwnerT) -> None:
        """Count a turn, and forget the oldest."""
        self._recent.append(owner)
        self._about[owner] += 1
        if len(self._recent) > RECENT:
            oldest = self._recent.popleft()
            self._about[oldest] -= 1
            if not self._about[oldest]:
                del self._about[oldest]

    def go_on(self, owner: OwnerT, amount: int) -> None:
        """Charge a turn and begin another of the same owner; only when nobody waits."""
        self.charge(owner, amount)
        self._now = max(self._now, self._charged[owner])

    def charge(self, owner: OwnerT, amount: int) -> None:
        """Charge a turn."""
        self._charged[owner] = self._charged.get(owner, self._now) + amount
        if owner in self._waiting:
            self._waiting[owner] += amount


class Rests(Generic[OwnerT]):
    """After long work, its owner begins no more of it until the device was free for others for as long again.

    Nobody rests when no others have been seen lately. Time in which the owner itself is served does not count as free
    for others, nor does long work of others. `now` is the time of a monotonic clock.
    """

    def __init__(self) -> None:
        self._blocked = 0
        """How long the device was occupied by long work; all other times are on a clock that stands still meanwhile."""
        self._until: dict[OwnerT, int] = {}
        self._seen: dict[OwnerT, int] = {}

    def worked(self, owner: OwnerT, amount: int, now: int) -> None:
        """Make the owner rest for long work that has just ended."""
        self._blocked += amount
        self._until[owner] = now - self._blocked + amount

    def served(self, owner: OwnerT, amount: int, now: int) -> None:
        """Note that somebody was just served with other work."""
        self._seen[owner] = now - self._blocked
        if owner in self._until:
            self._until[owner] += amount

    def leave(self, owner: OwnerT) -> None:
        """Expect no more requests of an owner; its remaining rest is kept."""
        self._seen.pop(owner, None)

    def left(self, owner: OwnerT, now: int) -> int:
        """Return how long the owner still has to rest; 0 when it need not."""
        free = now - self._blocked
        self._seen = {seen: at for seen, at in self._seen.items() if free - at < LATELY_NS}
        self._until = {resting: until for resting, until in self._until.items() if until > free}
        if self._seen.keys() <= {owner}:
            return 0
        return max(0, self._until.get(owner, 0) - free)
