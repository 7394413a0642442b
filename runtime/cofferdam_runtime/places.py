"""Allocates a limited number of places (frontends) to uids. Plain data, no I/O; times are seconds of one clock.

Uids cost nothing to a user who has a range of them (subuid(5)), so fairness is between users, not uids. Users with
fewer places come before users with more, then uids that own keys before those that do not, then uids that use their
place before those that only hold one. Keys cost nothing either, so they protect no place beyond a user's fair share.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Container, Iterable
from typing import Final, NamedTuple

from cofferdam_contracts.settings import UidRange
from cofferdam_runtime.backoff import History

SILENT_S: Final = 1.0
"""Time without a request after which the holder of a place counts as silent."""
STARTS: Final = 16
"""Most places that the uids of one user get within `STARTS_S`."""
STARTS_S: Final = 10.0
MOST_OF_ONE: Final = 1 << 10
"""Most uids of one user that are remembered as owners of keys."""
MOST_OF_ALL: Final = 1 << 16
PATIENCE_S: Final = 5.0
"""Longest wait for a place when no place can be freed."""


class Users:
    """Maps a uid to its user: the uid of the user that a range with it belongs to, else the uid itself."""

    def __init__(self, ranges: Iterable[UidRange]) -> None:
        """Use these ranges; where two overlap, the one that begins later counts."""
        self._ranges = sorted(ranges, key=lambda each: each.first)
        self._firsts = [each.first for each in self._ranges]

    def __call__(self, uid: int) -> int:
        """Return the user's own uid."""
        at = bisect_right(self._firsts, uid) - 1
        if at >= 0 and uid < self._ranges[at].first + self._ranges[at].size:
            return self._ranges[at].owner
        return uid


class KeyOwners:
    """The uids known to own keys: at most `MOST_OF_ONE` of each user, and `MOST_OF_ALL` in total."""

    def __init__(self, user_of: Users) -> None:
        """Start empty."""
        self._user_of = user_of
        self._uids: set[int] = set()
        self._counts: Counter[int] = Counter()

    def __contains__(self, uid: object) -> bool:
        """Tell whether a uid is known to own keys."""
        return uid in self._uids

    def note(self, uid: int, *, owns: bool) -> None:
        """Note whether a uid owns keys; one beyond the limits counts as a uid without keys."""
        user = self._user_of(uid)
        if owns and uid not in self and self._counts[user] < MOST_OF_ONE and len(self._uids) < MOST_OF_ALL:
            self._uids.add(uid)
            self._counts[user] += 1
        elif not owns and uid in self:
            self._uids.remove(uid)
            self._counts[user] -= 1
        if not self._counts[user]:
            del self._counts[user]

    def clear(self) -> None:
        """Forget all uids."""
        self._uids.clear()
        self._counts.clear()


class Place(NamedTuple):
    """A place and how it is used."""

    uid: int
    served: int
    """Number of requests served."""
    connections: int
    silent_s: float
    """Time since the last request."""


class Line:
    """The uids that wait for a place, and how they recently used the places they had."""

    def __init__(self, user_of: Users, key_owners: Container[int]) -> None:
        """Start empty. `key_owners` contains the uids that own keys."""
        self._user_of = user_of
        self._key_owners = key_owners
        self._since: dict[int, float] = {}
        self._started: Counter[int] = Counter()
        self._counted_until = 0.0
        self._histories: dict[int, History] = {}

    def __len__(self) -> int:
        """Return how many uids wait."""
        return len(self._since)

    def join(self, uid: int, now: float) -> None:
        """Add a uid; one that already waits keeps its position."""
        self._since.setdefault(uid, now)

    def first(self, places: Iterable[Place]) -> int | None:
        """Return the uid that gets the next free place, None if every user waiting has reached `STARTS`.

        Order: the user with the fewest occupied places, then uids that own keys, then the fewest places lost through
        the uid's own behaviour, then the user with the fewest recent starts, then the uid that has waited longest.
        """
        return next(iter(self._order(_held(places, self._user_of))), None)

    def find_room(self, places: Collection[Place]) -> tuple[int, Place] | None:
        """Return the first waiting uid for which a place can be freed, and that place; all places must be taken."""
        for uid in self._order(_held(places, self._user_of)):
            place = who_makes_room(places, uid, self._user_of, self._key_owners)
            if place is not None:
                return uid, place
        return None

    def leave(self, uid: int) -> None:
        """Remove a uid that got a place."""
        del self._since[uid]
        self._started[self._user_of(uid)] += 1

    def give_up(self, now: float) -> list[int]:
        """Remove and return the uids that have waited longer than `PATIENCE_S`."""
        late = [uid for uid, since in self._since.items() if now - since > PATIENCE_S]
        for uid in late:
            del self._since[uid]
        return late

    def strike(self, uid: int, now: float) -> None:
        """Count a place that a uid lost through its own behaviour; after too many it is not welcome for a while."""
        self._histories.setdefault(uid, History()).record(now)

    def is_welcome(self, uid: int, now: float) -> bool:
        """Tell whether a uid may wait for a place."""
        history = self._histories.get(uid)
        return history is None or not history.is_closed(now)

    def forget(self, now: float) -> None:
        """Drop expired histories, and the counts of starts every `STARTS_S`."""
        self._histories = {uid: history for uid, history in self._histories.items() if history.is_recent(now)}
        if now > self._counted_until:
            self._started.clear()
            self._counted_until = now + STARTS_S

    def _order(self, held: Counter[int]) -> list[int]:
        """Return the first waiting uid of each group, in order of rank.

        `who_makes_room` finds the same place for all uids of a group, so one of each is enough.
        """
        best: dict[tuple[bool, int | None], tuple[tuple[int, bool, int, int, float], int]] = {}
        for uid, since in self._since.items():
            user = self._user_of(uid)
            if self._started[user] >= STARTS:
                continue
            history, lacks_keys = self._histories.get(uid), uid not in self._key_owners
            rank = held[user], lacks_keys, len(history.deaths) if history else 0, self._started[user], since
            group = lacks_keys, user if held[user] else None
            if group not in best or rank < best[group][0]:
                best[group] = rank, uid
        return [uid for _, uid in sorted(best.values())]


def who_makes_room(
    places: Collection[Place], newcomer: int, user_of: Users, key_owners: Container[int]
) -> Place | None:
    """Return the place that is freed for a newcomer when all are taken, None if every holder has a better claim.

    The place is taken from the newcomer's own user, or from a user that holds more places than that one. Keys protect
    a place while its user has no more than a fair share of the places, and help a newcomer whose user has less.

    Silent places that no keys protect go first: those without a request so far, then those without a connection, then
    the others. Next are places of users with more than a fair share, if the newcomer's user has less; then all that no
    keys protect, if the newcomer has keys as well; then silent ones that keys protect. Among equals, the user with the
    most places loses the one that has been silent longest.
    """
    held = _held(places, user_of)
    user, has_keys = user_of(newcomer), newcomer in key_owners
    share = max(1, len(places) / len({*held, user}))
    below_share = held[user] < share

    def rank(place: Place) -> int | None:
        holder = user_of(place.uid)
        of_same, above_share = holder == user, held[holder] > share
        if not of_same and held[holder] <= held[user]:
            return None
        silent, unprotected = place.silent_s >= SILENT_S, above_share or place.uid not in key_owners
        yields = silent and (below_share or (of_same and has_keys))
        order = (
            silent and unprotected and not place.served,
            silent and unprotected and not place.connections,
            silent and unprotected,
            above_share and below_share,
            unprotected and below_share and has_keys,
            yields and not place.connections,
            yields,
        )
        return order.index(True) if True in order else None

    ranked = [(found, place) for place in places if (found := rank(place)) is not None]
    first = min(ranked, key=lambda pair: (pair[0], -held[user_of(pair[1].uid)], -pair[1].silent_s), default=None)
    return None if first is None else first[1]


def _held(places: Iterable[Place], user_of: Users) -> Counter[int]:
    """Return the number of places of each user."""
    return Counter(user_of(place.uid) for place in places)
