"""Who gets a place of a limited number, and who makes room. Plain data, no I/O; times are seconds of one clock.

Uids cost nothing to a user who has a range of them (subuid(5)), so what is fair is reckoned by owner. Whoever owns keys
comes before those who do not, and whoever uses a place before those who only hold one.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final

from cofferdam_contracts.settings import UidRange
from cofferdam_runtime.backoff import History

SILENT_S: Final = 1.0
"""Time without a request after which the holder of a place counts as silent."""
STARTS: Final = 16
"""Places that the uids of one owner get within `STARTS_S`; uids that own keys get more."""
STARTS_S: Final = 10.0
PATIENCE_S: Final = 5.0
"""Longest wait for a place when nobody makes room."""


class Owners:
    """Whose uid one is: that of the user who has it in a range, else its own."""

    def __init__(self, ranges: Iterable[UidRange]) -> None:
        """Look up in these ranges; of two that overlap the one that begins later holds."""
        self._ranges = sorted(ranges, key=lambda each: each.first)
        self._firsts = [each.first for each in self._ranges]

    def __call__(self, uid: int) -> int:
        """Return the owner's uid."""
        at = bisect_right(self._firsts, uid) - 1
        if at >= 0 and uid < self._ranges[at].first + self._ranges[at].count:
            return self._ranges[at].owner
        return uid


class Line:
    """The uids that wait for a place, and what they did of late with those they had."""

    def __init__(self, owners: Owners, key_owners: Container[int]) -> None:
        """Nobody waits. `key_owners` are the uids that own keys."""
        self._owners = owners
        self._key_owners = key_owners
        self._since: dict[int, float] = {}
        self._started: Counter[int] = Counter()
        self._counted_until = 0.0
        self._histories: dict[int, History] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._since)

    def join(self, uid: int, now: float) -> None:
        """Begin to wait; whoever waits already keeps its place."""
        self._since.setdefault(uid, now)

    def first(self) -> int | None:
        """Return who gets the next place, None when all have to wait for a while.

        Owners of keys come first, then who lost the fewest places by what it did, then whose owner got the fewest of
        late, then who came first.
        """
        may = (uid for uid in self._since if uid in self._key_owners or self._recent(uid) < STARTS)
        return min(may, key=self._merit, default=None)

    def leave(self, uid: int) -> None:
        """Have a place."""
        del self._since[uid]
        self._started[self._owners(uid)] += 1

    def give_up(self, now: float) -> list[int]:
        """Remove and return those who waited too long."""
        late = [uid for uid, since in self._since.items() if now - since > PATIENCE_S]
        for uid in late:
            del self._since[uid]
        return late

    def strike(self, uid: int, now: float) -> None:
        """Count a place that a uid lost by what it did; with too many, it is not welcome for a while."""
        self._histories.setdefault(uid, History()).record(now)

    def is_welcome(self, uid: int, now: float) -> bool:
        """Tell whether a uid may wait for a place."""
        history = self._histories.get(uid)
        return history is None or not history.is_closed(now)

    def forget(self, now: float) -> None:
        """Drop what no longer matters."""
        self._histories = {uid: history for uid, history in self._histories.items() if history.is_recent(now)}
        if now > self._counted_until:
            self._started.clear()
            self._counted_until = now + STARTS_S

    def _merit(self, uid: int) -> tuple[bool, int, int]:
        history = self._histories.get(uid)
        return uid not in self._key_owners, len(history.deaths) if history else 0, self._recent(uid)

    def _recent(self, uid: int) -> int:
        return self._started[self._owners(uid)]


@dataclass(frozen=True, slots=True)
class Place:
    """A place and how it is used."""

    uid: int
    served: int
    """Requests that were served there."""
    connections: int
    silent_s: float
    """Time since its last request."""


def who_makes_room(places: Iterable[Place], newcomer: int, owners: Owners, key_owners: Container[int]) -> Place | None:
    """Return whose place a newcomer gets when all are taken, None when all are better used where they are.

    Silent ones without keys go first: who never had a request, then who is not connected, then the others. Then those
    without keys whose owner has more than a fair share, if the newcomer's owner has less, or whoever has none if the
    newcomer has keys. Only then those with keys, in the same order, and never for an owner that has its share already
    and no keys. Among equals, it is the one whose owner has the most places, and that was silent longest.
    """
    places = tuple(places)
    held = Counter(owners(place.uid) for place in places)
    owner, is_key_owner = owners(newcomer), newcomer in key_owners
    share = max(1, len(places) / len({*held, owner}))

    def rank(place: Place) -> int | None:
        silent, lacks_keys = place.silent_s >= SILENT_S, place.uid not in key_owners
        beyond = held[owners(place.uid)] > share and held[owner] < share
        deserving = is_key_owner or held[owner] < share
        order = (
            silent and lacks_keys and not place.served,
            silent and lacks_keys and not place.connections,
            silent and lacks_keys,
            beyond and lacks_keys,
            is_key_owner and lacks_keys,
            silent and deserving and not place.connections,
            silent and deserving,
            beyond,
        )
        return order.index(True) if True in order else None

    ranked = [(found, place) for place in places if (found := rank(place)) is not None]
    least = min(ranked, key=lambda pair: (pair[0], -held[owners(pair[1].uid)], -pair[1].silent_s), default=None)
    return None if least is None else least[1]
