"""Turns and rests as arithmetic: whatever happens, nobody gets more than one turn beyond their share."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cofferdam_providers.base.turns import LATELY_NS, RECENT, Rests, Turns

COSTS = st.integers(1, 1000)
OWNERS = st.integers(0, 4)


def serve(turns: Turns[int], cost: int, *, again: bool) -> int:
    """Let the next owner have its turn."""
    owner = turns.next()
    assert owner is not None
    turns.charge(owner, cost)
    if again:
        turns.join(owner)
    return owner


@given(costs=st.lists(st.lists(COSTS, min_size=1, max_size=5), min_size=2, max_size=5), rounds=st.integers(1, 100))
def test_those_who_always_wait_differ_by_one_turn_at_most(costs: list[list[int]], rounds: int) -> None:
    turns: Turns[int] = Turns()
    supply = [itertools.cycle(own) for own in costs]
    had = [0] * len(costs)
    for owner in range(len(costs)):
        turns.join(owner)
    for _ in range(rounds):
        served = turns.next()
        assert served is not None
        cost = next(supply[served])
        had[served] += cost
        turns.charge(served, cost)
        turns.join(served)
        assert max(had) - min(had) <= max(map(max, costs))


@given(before=st.lists(COSTS, max_size=50), others=st.lists(st.tuples(OWNERS, COSTS), max_size=50))
def test_who_comes_back_is_served_before_anybody_is_served_twice(
    before: list[int], others: list[tuple[int, int]]
) -> None:
    turns: Turns[int] = Turns()
    for other, cost in others:
        turns.join(other)
        serve(turns, cost, again=True)
    for cost in before:  # it was there once, whatever it had then
        turns.join(9)
        while serve(turns, cost, again=True) != 9:
            pass
        turns.leave(9)
    # It is idle until each of the others has had as much.
    for _ in range(5 * len(before)):
        if not turns:
            break
        serve(turns, 1000, again=True)
    turns.join(9)
    served: list[int] = []
    while 9 not in served:
        served.append(serve(turns, 1, again=True))
    assert len(served) == len(set(served))


def test_idleness_saves_nothing_up() -> None:
    turns: Turns[str] = Turns()
    for _ in range(1000):
        turns.join("busy")
        assert turns.next() == "busy"
        turns.charge("busy", 10)
        turns.join("busy")
    turns.join("idle")
    order = []
    for _ in range(8):
        owner = turns.next()
        assert owner is not None
        order.append(owner)
        turns.charge(owner, 10)
        turns.join(owner)
    assert order == ["idle", "busy"] * 4


def test_when_nobody_waits_nobody_owes_anything() -> None:
    turns: Turns[str] = Turns()
    turns.join("dear")
    turns.next()
    turns.charge("dear", 10**12)
    assert turns.next() is None
    turns.join("dear")
    turns.join("cheap")
    assert turns.next() == "dear"


def test_few_wait_when_most_of_those_who_had_turns_lately_are_away() -> None:
    turns: Turns[str] = Turns()
    few = []
    for owner in ("many", "one", "two", "three"):
        turns.join(owner)
    assert not turns.are_few()  # nobody had a turn yet
    while turns:
        served = turns.next()
        assert served is not None
        turns.charge(served, 1)
        few.append(turns.are_few())
    assert few == [False, False, True, False]  # of nobody else known, of two, of three; and at last nobody waits
    turns.join("many")
    assert turns.are_few()
    turns.join("one")
    assert turns.are_few()
    turns.join("two")
    assert not turns.are_few()


def test_nobody_is_missed_who_had_no_turn_for_long_nor_by_those_who_are_alone() -> None:
    turns: Turns[str] = Turns()
    for owner in ("other", *["alone"] * RECENT):
        turns.join(owner)
        assert turns.next() == owner
        turns.charge(owner, 1)
    turns.join("alone")
    assert not turns.are_few()


def test_a_charge_counts_although_its_owner_waits_again_already() -> None:
    turns: Turns[str] = Turns()
    for owner in ("a", "b"):
        turns.join(owner)
    turns.charge("a", 5)
    assert [turns.next(), turns.next()] == ["b", "a"]


def test_who_may_not_is_passed_over_and_keeps_its_place() -> None:
    turns: Turns[str] = Turns()
    for owner in ("a", "b", "c"):
        turns.join(owner)
    assert turns.next(lambda owner: owner != "a") == "b"
    assert turns.next(lambda _owner: False) is None
    assert turns.next() == "a"
    assert turns.all(lambda owner: owner == "c")
    turns.leave("c")
    assert not turns


def test_long_work_is_followed_by_as_long_a_rest() -> None:
    rests: Rests[str] = Rests()
    rests.served("other", 1, 0)
    rests.worked("owner", 400, 400)
    assert rests.left("owner", 400) == 400
    assert rests.left("owner", 700) == 100
    assert rests.left("owner", 800) == 0
    assert rests.left("other", 400) == 0


def test_nobody_rests_for_others_that_are_not_there() -> None:
    rests: Rests[str] = Rests()
    rests.worked("owner", 400, 400)
    rests.served("owner", 1, 401)
    assert rests.left("owner", 401) == 0
    rests.served("other", 1, 402)
    assert rests.left("owner", 402) > 0
    assert rests.left("owner", 402 + LATELY_NS) == 0
    rests.served("other", 1, 403)
    rests.leave("other")
    assert rests.left("owner", 404) == 0


def test_neither_its_own_requests_nor_long_work_of_others_is_a_rest() -> None:
    rests: Rests[str] = Rests()
    rests.served("other", 1, 0)
    rests.worked("owner", 100, 100)
    rests.served("owner", 30, 130)
    assert rests.left("owner", 130) == 100
    rests.worked("third", 1000, 1130)
    assert rests.left("owner", 1130) == 100
    assert rests.left("third", 1130) == 1000


def test_others_are_expected_for_as_long_however_long_the_work_was() -> None:
    rests: Rests[str] = Rests()
    rests.served("other", 1, 0)
    rests.worked("owner", 100 * LATELY_NS, 100 * LATELY_NS)
    assert rests.left("owner", 100 * LATELY_NS) == 100 * LATELY_NS
    # Nobody came in the time in which the others could have.
    assert rests.left("owner", 101 * LATELY_NS) == 0


@given(
    jobs=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 10**9)), min_size=1, max_size=20),
    quick=st.integers(10**5, 10**8),
)
def test_a_client_that_asks_without_a_pause_gets_as_much_as_each_of_those_who_make_keys(
    jobs: list[tuple[int, int]], quick: int
) -> None:
    rests: Rests[int] = Rests()
    now, free, worked = 0, 0, dict.fromkeys(range(3), 0)
    longest = dict.fromkeys(range(3), 0)
    for owner, took in jobs:
        while True:
            now, free = now + quick, free + quick  # it is served whenever the device is free
            rests.served(9, quick, now)
            if not rests.left(owner, now):
                break
        now += took
        rests.worked(owner, took, now)
        worked[owner] += took
        longest[owner] = max(longest[owner], took)
        for maker in worked:
            assert worked[maker] - longest[maker] <= free
