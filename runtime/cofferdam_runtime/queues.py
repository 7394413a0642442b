"""Queues of waiting items, one for each uid, bounded for each user and in total, and served round-robin."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Queues(Generic[T]):
    """First-in first-out queues. Items beyond a user's bound are refused, at no cost to other users.

    A uid has a turn only while it is open and its queue is not empty; turns go round-robin.
    """

    def __init__(self, user_of: Callable[[int], int], *, each: int, together: int) -> None:
        """Start empty. At most `each` items wait for one user, at most `together` in total."""
        self._user_of = user_of
        self._each = each
        self._together = together
        self._queues: dict[int, deque[T]] = {}
        self._held: Counter[int] = Counter()
        """Number of items by user, without zeros."""
        self._total = 0
        self._open: set[int] = set()
        self._turns: OrderedDict[int, None] = OrderedDict()
        """Uids that are open and have items, in the order of their turns."""

    def __iter__(self) -> Iterator[int]:
        """Yield the uids that have items."""
        return iter(self._queues)

    def __bool__(self) -> bool:
        """Tell whether there are any items."""
        return self._total > 0

    def __contains__(self, uid: int) -> bool:
        """Tell whether a uid has items."""
        return uid in self._queues

    def put(self, uid: int, item: T) -> T | None:
        """Append an item; return an item for which there is no room, None when all fit.

        At the total bound, the user with the most items loses its newest one to a user that has fewer.
        """
        user = self._user_of(uid)
        if self._held[user] >= self._each:
            return item
        surplus = None
        if self._total >= self._together:
            greediest, most = self._held.most_common(1)[0]
            if most <= self._held[user] + 1:
                return item
            loser = max((other for other in self._queues if self._user_of(other) == greediest), key=self._length)
            surplus = self._take(loser, deque.pop)
        self._queues.setdefault(uid, deque()).append(item)
        self._enter(uid)
        self._held[user] += 1
        self._total += 1
        return surplus

    def open(self, uid: int) -> None:
        """Give a uid turns from now on."""
        self._open.add(uid)
        self._enter(uid)

    def shut(self, uid: int) -> None:
        """Give a uid no more turns; its items stay."""
        self._open.discard(uid)
        self._turns.pop(uid, None)

    def turn(self) -> tuple[int, T] | None:
        """Return the uid whose turn it is and its oldest item, without removing it; None when no uid has a turn."""
        if not self._turns:
            return None
        uid = next(iter(self._turns))
        self._turns.move_to_end(uid)
        return uid, self._queues[uid][0]

    @property
    def has_turns(self) -> bool:
        """Whether any open uid has items."""
        return bool(self._turns)

    def round(self, most: int) -> Iterator[tuple[int, T]]:
        """Yield what `turn` returns, once for each uid, or up to `most` times if only one uid has turns.

        The caller must take each item, or shut its uid, before the next.
        """
        seen: set[int] = set()
        for _ in range(most):
            found = self.turn()
            if found is None or (found[0] in seen and len(seen) > 1):
                return
            seen.add(found[0])
            yield found

    def take(self, uid: int) -> T:
        """Remove and return the oldest item of a uid; there must be one."""
        return self._take(uid, deque.popleft)

    def drop(self, uid: int) -> list[T]:
        """Remove and return all items of a uid."""
        return [self.take(uid) for _ in range(self._length(uid))]

    def drop_all(self) -> list[tuple[int, T]]:
        """Remove and return all items, each with its uid."""
        return [(uid, item) for uid in list(self._queues) for item in self.drop(uid)]

    def _enter(self, uid: int) -> None:
        if uid in self._open and uid in self._queues:
            self._turns.setdefault(uid)

    def _length(self, uid: int) -> int:
        return len(self._queues.get(uid, ()))

    def _take(self, uid: int, end: "Callable[[deque[T]], T]") -> T:
        queue, user = self._queues[uid], self._user_of(uid)
        item = end(queue)
        if not queue:
            del self._queues[uid]
            self._turns.pop(uid, None)
        self._held[user] -= 1
        if not self._held[user]:
            del self._held[user]
        self._total -= 1
        return item
