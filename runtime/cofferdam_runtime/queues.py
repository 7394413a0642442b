"""Queues of what waits, one for each key, bounded for each owner of keys and as a whole, and served in turn."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Queues(Generic[T]):
    """First in, first out for each key. An owner that puts more than its bound in loses that; nobody else does.

    A key that is open has a turn after all others that are open and have something waiting.
    """

    def __init__(self, owner_of: Callable[[int], int], *, each: int, together: int) -> None:
        """Start empty. At most `each` items wait for one owner, at most `together` in all."""
        self._owner_of = owner_of
        self._each = each
        self._together = together
        self._queues: dict[int, deque[T]] = {}
        self._held: Counter[int] = Counter()
        """Items by owner; no owner without."""
        self._total = 0
        self._open: set[int] = set()
        self._turns: OrderedDict[int, None] = OrderedDict()
        """Keys that are open and not empty, in the order of their turns."""

    def __iter__(self) -> Iterator[int]:
        """Yield the keys for which something waits."""
        return iter(self._queues)

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return self._total > 0

    def __contains__(self, key: int) -> bool:
        """Tell whether something waits for a key."""
        return key in self._queues

    def put(self, key: int, item: T) -> T | None:
        """Append an item and return what has no place now, None when all have one.

        When the whole is full, the owner with the most items gives its newest one up for whoever has fewer.
        """
        owner = self._owner_of(key)
        if self._held[owner] >= self._each:
            return item
        surplus = None
        if self._total >= self._together:
            greediest, most = self._held.most_common(1)[0]
            if most <= self._held[owner] + 1:
                return item
            loser = max((other for other in self._queues if self._owner_of(other) == greediest), key=self._length)
            surplus = self._take(loser, deque.pop)
        self._queues.setdefault(key, deque()).append(item)
        self._enter(key)
        self._held[owner] += 1
        self._total += 1
        return surplus

    def open(self, key: int) -> None:
        """Let a key have turns from now on."""
        self._open.add(key)
        self._enter(key)

    def shut(self, key: int) -> None:
        """Let a key have no turns from now on; what waits for it goes on waiting."""
        self._open.discard(key)
        self._turns.pop(key, None)

    def turn(self) -> tuple[int, T] | None:
        """Return the key whose turn it is and its oldest item, which stays; None when no open key has any."""
        if not self._turns:
            return None
        key = next(iter(self._turns))
        self._turns.move_to_end(key)
        return key, self._queues[key][0]

    @property
    def has_turns(self) -> bool:
        """Whether an open key has something waiting."""
        return bool(self._turns)

    def round(self, most: int) -> Iterator[tuple[int, T]]:
        """Yield what `turn` returns, once for each key, or `most` times for one that is alone.

        Each item has to be taken, or its key shut, before the next.
        """
        had: set[int] = set()
        for _ in range(most):
            found = self.turn()
            if found is None or (found[0] in had and len(had) > 1):
                return
            had.add(found[0])
            yield found

    def take(self, key: int) -> T:
        """Remove and return the oldest item of a key; there must be one."""
        return self._take(key, deque.popleft)

    def drop(self, key: int) -> list[T]:
        """Remove and return all items of a key."""
        return [self.take(key) for _ in range(self._length(key))]

    def drop_all(self) -> list[tuple[int, T]]:
        """Remove and return all items, each with its key."""
        return [(key, item) for key in list(self._queues) for item in self.drop(key)]

    def _enter(self, key: int) -> None:
        if key in self._open and key in self._queues:
            self._turns.setdefault(key)

    def _length(self, key: int) -> int:
        return len(self._queues.get(key, ()))

    def _take(self, key: int, end: "Callable[[deque[T]], T]") -> T:
        queue, owner = self._queues[key], self._owner_of(key)
        item = end(queue)
        if not queue:
            del self._queues[key]
            self._turns.pop(key, None)
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self._total -= 1
        return item
