"""Who gets a place and who makes room: nobody is kept out by those who only hold places, whatever uids they have."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_contracts.settings import UidRange
from cofferdam_runtime.backoff import BREAKER_S
from cofferdam_runtime.places import PATIENCE_S, SILENT_S, STARTS, STARTS_S, Line, Owners, Place, who_makes_room

RANGE = UidRange(first=100_000, count=65_536, owner=1000)
OWNERS = Owners([RANGE, UidRange(first=300_000, count=10, owner=1001)])
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
    assert Owners([])(uid) == uid


@given(PLACES, UIDS, st.sets(UIDS))
def test_a_place_is_taken_from_whom_it_may_be_taken(places: list[Place], newcomer: int, keys: set[int]) -> None:
    chosen = who_makes_room(places, newcomer, OWNERS, keys)
    silent = [place for place in places if place.silent_s >= SILENT_S]
    keyless = [place for place in silent if place.uid not in keys]
    if keyless:
        assert chosen in keyless, "while one without keys is silent, nobody else makes room"
    if chosen is None:
        assert not keyless
        assert not (newcomer in keys and any(place.uid not in keys for place in places))
        return
    held = Counter(OWNERS(place.uid) for place in places)
    share = max(1, len(places) / len({*held, OWNERS(newcomer)}))
    if chosen.silent_s < SILENT_S and not (newcomer in keys and chosen.uid not in keys):
        assert held[OWNERS(chosen.uid)] > share > held[OWNERS(newcomer)], (
            "who works loses only what is beyond its share"
        )
    if chosen.uid in keys and newcomer not in keys:
        assert held[OWNERS(newcomer)] < share
        assert all(place.uid in keys or place.silent_s < SILENT_S for place in places)


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


def test_a_hundred_uids_of_one_user_count_as_one() -> None:
    """They work without pause, and the places beyond their user's share still go to others."""
    places = [Place(100_000 + number, served=9, connections=1, silent_s=ACTIVE) for number in range(64)]
    for newcomer in range(1, 33):
        chosen = who_makes_room(places, newcomer, OWNERS, ())
        assert chosen is not None
        assert OWNERS(chosen.uid) == RANGE.owner
        places[places.index(chosen)] = replace(chosen, uid=newcomer)
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
    while (uid := line.first()) is not None:
        line.leave(uid)
        got.append(uid)
    assert got == [5, 100_001, 7, 8, 100_002, 9]
    assert len(line) == 0


def test_a_user_gets_so_many_places_at_a_time_and_delays_nobody_else() -> None:
    line = Line(OWNERS, {100_100})
    line.forget(0.1)
    for number in range(101):
        line.join(100_000 + number, 0)
    line.join(7, 1)
    got = []
    while (uid := line.first()) is not None:
        line.leave(uid)
        got.append(uid)
    assert got.index(100_100) == 0, "keys are not held up"
    assert got.index(7) <= 2
    assert sum(OWNERS(uid) == RANGE.owner for uid in got) == STARTS
    line.forget(STARTS_S)
    assert line.first() is None
    line.forget(STARTS_S + 0.2)
    assert line.first() is not None


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
