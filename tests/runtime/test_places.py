"""Who gets a place and who makes room: nobody is kept out by those who only hold places, whatever uids they have."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_contracts.settings import UidRange
from cofferdam_runtime import places as runtime_places
from cofferdam_runtime.backoff import BREAKER_S
from cofferdam_runtime.places import (
    MOST_OF_ONE,
    PATIENCE_S,
    SILENT_S,
    STARTS,
    STARTS_S,
    KeyOwners,
    Line,
    Place,
    Users,
    who_makes_room,
)

RANGE = UidRange(first=100_000, size=65_536, owner=1000)
OWNERS = Users([RANGE, UidRange(first=300_000, size=10, owner=1001)])
ACTIVE, SILENT = 0.0, SILENT_S
UIDS = st.one_of(st.integers(1, 12), st.integers(100_000, 100_012), st.integers(300_000, 300_009))
PLACES = st.lists(
    st.builds(Place, uid=UIDS, served=st.integers(0, 2), connections=st.integers(0, 2), silent_s=st.floats(0, 3)),
    unique_by=lambda place: place.uid,
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize(
    ("uid", "owner"),
    [(1000, 1000), (99_999, 99_999), (100_000, 1000), (165_535, 1000), (165_536, 165_536), (300_009, 1001), (0, 0)],
)
def test_a_uid_out_of_a_range_is_its_users(uid: int, owner: int) -> None:
    assert OWNERS(uid) == owner
    assert Users([])(uid) == uid


def shares(places: list[Place], newcomer: int) -> tuple[Counter[int], float]:
    held = Counter(OWNERS(place.uid) for place in places)
    return held, max(1, len(places) / len({*held, OWNERS(newcomer)}))


@given(PLACES, UIDS, st.sets(UIDS))
def test_a_place_is_taken_from_whom_it_may_be_taken(places: list[Place], newcomer: int, keys: set[int]) -> None:
    held, share = shares(places, newcomer)
    own = OWNERS(newcomer)
    may = [place for place in places if OWNERS(place.uid) == own or held[OWNERS(place.uid)] > held[own]]
    kept = {place for place in places if place.uid in keys and held[OWNERS(place.uid)] <= share}
    open_ = [place for place in may if place.silent_s >= SILENT_S and place not in kept]
    chosen = who_makes_room(places, newcomer, OWNERS, keys)
    if open_:
        assert chosen in open_, "while one without keys is silent, nobody else makes room"
    if chosen is None:
        assert not (held[own] < share and any(held[OWNERS(place.uid)] > share for place in places))
        return
    assert chosen in may, "nobody makes room for who has as much"
    beyond = held[OWNERS(chosen.uid)] > share > held[own]
    if chosen.silent_s < SILENT_S and not beyond:
        assert newcomer in keys, "who works loses only what is beyond its share"
        assert held[own] < share
        assert chosen not in kept
    if chosen in kept:
        assert chosen.silent_s >= SILENT_S
        assert held[own] < share or (OWNERS(chosen.uid) == own and newcomer in keys)
        assert all(place in kept for place in may if place.silent_s >= SILENT_S)


@given(PLACES, st.lists(UIDS, unique=True, min_size=1), st.sets(UIDS))
def test_who_holds_nothing_is_served_before_who_holds_more_than_its_share(
    places: list[Place], waiting: list[int], keys: set[int]
) -> None:
    """Whatever keys they have, and however the others use their places."""
    line = Line(OWNERS, keys)
    for uid in waiting:
        line.join(uid, 0)
    held, _ = shares(places, waiting[0])
    first = line.first(places)
    assert first is not None
    assert held[OWNERS(first)] == min(held[OWNERS(uid)] for uid in waiting)
    without = [uid for uid in waiting if not held[OWNERS(uid)]]
    found = line.find_room(places)
    if without and any(held[owner] > shares(places, without[0])[1] for owner in held):
        assert found is not None
        assert found[0] in without
    # Whoever is not tried would have found no room either.
    anybody = any(who_makes_room(places, uid, OWNERS, keys) for uid in waiting)
    assert (found is not None) == anybody


@given(st.data(), st.sets(UIDS), st.integers(2, 6))
def test_who_never_pauses_is_served_in_time_whatever_one_user_does(
    data: st.DataObject, keys: set[int], most: int
) -> None:
    """The user has any number of uids, with keys or without; each place that somebody leaves goes to who is first."""
    attackers = range(100_000, 100_012)
    line = Line(OWNERS, keys)
    places = [Place(uid, 1, 1, ACTIVE) for uid in attackers[:most]]
    line.join(7, 0)
    for uid in attackers[most:]:
        line.join(uid, 0)
    for _ in range(50):
        place = Place(data.draw(st.sampled_from(attackers)), 1, 1, ACTIVE)
        if place.uid not in {other.uid for other in places}:
            line.join(place.uid, 0)
        while (found := line.find_room(places)) is not None:
            places.remove(found[1])
            assert OWNERS(found[1].uid) == RANGE.owner, "the only one who holds more than its share"
            first = line.first(places)
            assert first is not None
            line.leave(first)
            places.append(Place(first, 1, 1, ACTIVE))
            if first == 7:
                break
        if any(place.uid == 7 for place in places):
            break
    mine = next(place for place in places if place.uid == 7)
    for silent_s in (ACTIVE, SILENT):
        now = [mine._replace(silent_s=silent_s) if place is mine else place for place in places]
        for uid in attackers:
            room = who_makes_room(now, uid, OWNERS, keys)
            assert room is None or room.uid != 7, "who has all others takes this one, too"


def test_the_order_in_which_room_is_made() -> None:
    """Each goes only when those before it are no longer there."""
    keys = {3, 4, 5}
    in_order = [
        Place(1, served=0, connections=1, silent_s=SILENT),
        Place(2, served=1, connections=0, silent_s=SILENT),
        Place(7, served=1, connections=1, silent_s=SILENT),
        Place(3, served=1, connections=0, silent_s=SILENT + 9),
        Place(4, served=1, connections=1, silent_s=SILENT + 9),
    ]
    places = [*reversed(in_order), Place(5, served=1, connections=0, silent_s=ACTIVE), Place(6, 1, 1, ACTIVE)]
    for expected in in_order:
        assert who_makes_room(places, 99, OWNERS, keys) == expected
        places.remove(expected)
    assert who_makes_room(places, 99, OWNERS, keys) is None
    assert who_makes_room(places, 99, OWNERS, {*keys, 99}) == Place(6, 1, 1, ACTIVE), "keys come before none"


def test_keys_keep_no_more_than_a_fair_share() -> None:
    keys = {100_000 + number for number in range(64)}
    attackers = [Place(100_000 + number, 1, 1, SILENT) for number in range(63)]
    chosen = who_makes_room([*attackers, Place(7, 1, 1, SILENT + 9)], 8, OWNERS, keys)
    assert chosen in attackers, "not the one place of who has no keys"
    assert who_makes_room([*attackers, Place(7, 1, 1, SILENT + 9)], 100_063, OWNERS, keys) in attackers, "among its own"


def test_a_hundred_uids_of_one_user_count_as_one() -> None:
    """They work without pause, and the places beyond their user's share still go to others."""
    places = [Place(100_000 + number, served=9, connections=1, silent_s=ACTIVE) for number in range(64)]
    for newcomer in range(1, 33):
        chosen = who_makes_room(places, newcomer, OWNERS, ())
        assert chosen is not None
        assert OWNERS(chosen.uid) == RANGE.owner
        places[places.index(chosen)] = chosen._replace(uid=newcomer)
    assert sum(OWNERS(place.uid) == RANGE.owner for place in places) == 32
    assert who_makes_room(places, 100_099, OWNERS, ()) is None, "nobody makes room for more of the same"


def test_among_equals_the_user_with_the_most_places_makes_room() -> None:
    many = [Place(100_000 + number, 1, 1, SILENT + number) for number in range(3)]
    one = Place(7, 1, 1, SILENT + 100)
    assert who_makes_room([one, *many], 99, OWNERS, ()) == many[2]


def test_who_owns_keys_is_first_and_who_only_held_places_last() -> None:
    line = Line(OWNERS, {5})
    line.strike(9, 0)
    for now, newcomer in enumerate((9, 100_001, 7, 100_002, 8, 5)):
        line.join(newcomer, now)
    got = []
    while (uid := line.first(())) is not None:
        line.leave(uid)
        got.append(uid)
    assert got == [5, 100_001, 7, 8, 100_002, 9]
    assert len(line) == 0


@pytest.mark.parametrize("keys", [{100_100}, {7}, {*range(100_000, 100_101)}])
def test_a_user_gets_so_many_places_at_a_time_and_delays_nobody_else(keys: set[int]) -> None:
    line = Line(OWNERS, keys)
    line.forget(0.1)
    for number in range(101):
        line.join(100_000 + number, 0)
    line.join(7, 1)
    places: list[Place] = []
    while (uid := line.first(places)) is not None:
        line.leave(uid)
        places.append(Place(uid, 1, 1, ACTIVE))
    got = [place.uid for place in places]
    assert got[0] == 7 if 7 in keys else got[0] in keys, "keys come first, and then who came first"
    assert got.index(7) <= 1
    assert sum(OWNERS(uid) == RANGE.owner for uid in got) == STARTS
    line.forget(STARTS_S)
    assert line.first(()) is None
    line.forget(STARTS_S + 0.2)
    assert line.first(()) is not None


def test_who_waits_too_long_is_told_so() -> None:
    line = Line(OWNERS, ())
    line.join(1, 0.0)
    line.join(2, 3.0)
    line.join(1, 4.0)
    assert line.give_up(PATIENCE_S) == []
    assert line.give_up(PATIENCE_S + 1) == [1]
    assert len(line) == 1


def test_who_loses_places_by_what_it_does_has_to_wait_and_is_forgotten() -> None:
    line = Line(OWNERS, ())
    for death in range(6):
        line.strike(1, death)
    assert not line.is_welcome(1, 6)
    assert line.is_welcome(2, 6)
    assert line.is_welcome(1, 6 + BREAKER_S)
    line.forget(1000)
    assert not line._histories


def test_the_keys_of_one_user_make_nobody_elses_unknown() -> None:
    known = KeyOwners(OWNERS)
    for number in range(MOST_OF_ONE + 100):
        known.note(100_000 + number, owns=True)
        known.note(100_000 + number, owns=True)
    known.note(7, owns=True)
    assert 7 in known
    assert sum(100_000 + number in known for number in range(MOST_OF_ONE + 100)) == MOST_OF_ONE
    for uid in (100_000, 100_000, 7, 8):
        known.note(uid, owns=False)
    known.note(165_000, owns=True)
    known.note(165_001, owns=True)
    assert [uid in known for uid in (100_000, 7, 8, 165_000, 165_001)] == [False, False, False, True, False]
    known.clear()
    assert 165_000 not in known


def test_all_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_places, "MOST_OF_ALL", 3)
    known = KeyOwners(OWNERS)
    for uid in range(1, 9):
        known.note(uid, owns=True)
    assert sum(uid in known for uid in range(1, 9)) == 3


@given(st.lists(st.integers(1, 50_000), unique=True, min_size=2, max_size=8))
def test_of_equals_the_one_that_has_waited_longest_is_first(waiting: list[int]) -> None:
    line = Line(Users(()), frozenset())
    for since, uid in enumerate(waiting):
        line.join(uid, since)
    for uid in waiting:
        assert line.first([]) == uid
        line.leave(uid)
