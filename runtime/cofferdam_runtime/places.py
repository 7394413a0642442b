"""Who gets a place of a limited number, and who makes room. Plain data, no I/O; times are seconds of one clock.

Uids cost nothing to a user who has a range of them (subuid(5)), so what is fair is reckoned by owner. Whoever holds
fewer places comes before whoever holds more, then whoever owns keys before those who do not, and whoever uses a place
before those who only hold one. Keys cost nothing either: what is beyond a fair share is not kept by them.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from typing import Final

from cofferdam_contracts.settings import UidRange
from cofferdam_runtime.backoff import History

SILENT_S: Final = 1.0
"""Time without a request after which the holder of a place counts as silent."""
STARTS: Final = 16
"""Places that the uids of one owner get within `STARTS_S`."""
STARTS_S: Final = 10.0
MOST_OF_ONE: Final = 1 << 10
"""Uids of one owner that are known to own keys."""
MOST_OF_ALL: Final = 1 << 16
PATIENCE_S: Final = 5.0
"""Longest wait for a place when nobody makes room."""


class Users:
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


class KeyOwners:
    """The uids that own keys, as far as they are known: of one owner so many, and of all together."""

    def __init__(self, user_of: Users) -> None:
        """Know of none."""
        self._user_of = user_of
        self._uids: set[int] = set()
        self._of: Counter[int] = Counter()

    def __contains__(self, uid: object) -> bool:
        """Tell whether a uid is known to own keys."""
        return uid in self._uids

    def note(self, uid: int, *, owns: bool) -> None:
        """Hear of a uid; what is beyond the limits counts as one without keys."""
        owner = self._user_of(uid)
        if owns and uid not in self and self._of[owner] < MOST_OF_ONE and len(self._uids) < MOST_OF_ALL:
            self._uids.add(uid)
            self._of[owner] += 1
        elif not owns and uid in self:
            self._uids.remove(uid)
            self._of[owner] -= 1
        if not self._of[owner]:
            del self._of[owner]

    def clear(self) -> None:
        """Know of none."""
        self._uids.clear()
        self._of.clear()


@dataclass(frozen=True, slots=True)
class Place:
    """A place and how it is used."""

    uid: int
    served: int
    """Requests that were served there."""
    connections: int
    silent_s: float
    """Time since its last request."""


class Line:
    """The uids that wait for a place, and what they did of late with those they had."""

    def __init__(self, user_of: Users, key_owners: Container[int]) -> None:
        """Nobody waits. `key_owners` are the uids that own keys."""
        self._user_of = user_of
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

    def first(self, places: Iterable[Place]) -> int | None:
        """Return who gets the next place that is free, None when all have to wait for a while.

        That is who has an owner with the fewest of the places that are taken, then who owns keys, then who lost the
        fewest places by what it did, then whose owner got the fewest of late, then who came first.
        """
        return next(iter(self._order(_held(places, self._user_of))), None)

    def find_room(self, places: Collection[Place]) -> tuple[int, Place] | None:
        """Return the first for whom somebody has to make room when all places are taken, and who that is."""
        for uid in self._order(_held(places, self._user_of)):
            place = who_makes_room(places, uid, self._user_of, self._key_owners)
            if place is not None:
                return uid, place
        return None

    def leave(self, uid: int) -> None:
        """Have a place."""
        del self._since[uid]
        self._started[self._user_of(uid)] += 1

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

    def _order(self, held: Counter[int]) -> list[int]:
        """Return the best of each standing in the order of merit: for all others of it the same can be done."""
        best: dict[tuple[bool, int | None], tuple[tuple[int, bool, int, int], int]] = {}
        for uid in self._since:
            owner = self._user_of(uid)
            if self._started[owner] >= STARTS:
                continue
            history, lacks_keys = self._histories.get(uid), uid not in self._key_owners
            merit = held[owner], lacks_keys, len(history.deaths) if history else 0, self._started[owner]
            standing = lacks_keys, owner if held[owner] else None
            if standing not in best or merit < best[standing][0]:
                best[standing] = merit, uid
        return [uid for _, uid in sorted(best.values())]


def who_makes_room(
    places: Collection[Place], newcomer: int, user_of: Users, key_owners: Container[int]
) -> Place | None:
    """Return whose place a newcomer gets when all are taken, None when all are better used where they are.

    It comes from the newcomer's owner, or from one that holds more places than that. Keys protect a place as long as
    its owner has no more than a fair share, and help a newcomer whose owner has less.

    Silent ones that no keys protect go first: who never had a request, then who is not connected, then the others. Then
    those of owners with more than a fair share, if the newcomer's owner has less; then all that no keys protect, if the
    newcomer has keys; then silent ones that keys protect. Among equals, it is the one whose owner has the most places,
    and that was silent longest.
    """
    held = _held(places, user_of)
    owner, has_keys = user_of(newcomer), newcomer in key_owners
    share = max(1, len(places) / len({*held, owner}))
    deserving = held[owner] < share

    def rank(place: Place) -> int | None:
        its_owner = user_of(place.uid)
        of_same, beyond = its_owner == owner, held[its_owner] > share
        if not of_same and held[its_owner] <= held[owner]:
            return None
        silent, open_ = place.silent_s >= SILENT_S, beyond or place.uid not in key_owners
        yields = silent and (deserving or (of_same and has_keys))
        order = (
            silent and open_ and not place.served,
            silent and open_ and not place.connections,
            silent and open_,
            beyond and deserving,
            open_ and deserving and has_keys,
            yields and not place.connections,
            yields,
        )
        return order.index(True) if True in order else None

    ranked = [(found, place) for place in places if (found := rank(place)) is not None]
    least = min(ranked, key=lambda pair: (pair[0], -held[user_of(pair[1].uid)], -pair[1].silent_s), default=None)
    return None if least is None else least[1]


def _held(places: Iterable[Place], user_of: Users) -> Counter[int]:
    return Counter(user_of(place.uid) for place in places)
