"""What waits is bounded for each owner, lost by nobody else, kept in order, and served in turn."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from cofferdam_runtime.queues import Queues

EACH, TOGETHER = 4, 10
KEYS = st.integers(0, 11)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "turn", "open", "shut", "drop"]), KEYS), max_size=120)


def owner_of(key: int) -> int:
    """Keys from 8 on belong to one owner, the others to themselves."""
    return min(key, 8)


@given(STEPS)
def test_nothing_is_lost_beyond_the_bounds_and_nothing_out_of_order(steps: list[tuple[str, int]]) -> None:
    queues: Queues[int] = Queues(owner_of, each=EACH, together=TOGETHER)
    model: dict[int, list[int]] = defaultdict(list)
    is_open: set[int] = set()
    for number, (step, key) in enumerate(steps):
        held = Counter(owner_of(each) for each, items in model.items() for _ in items)
        if step == "put":
            model[key].append(number)
            surplus = queues.put(key, number)
            if held[owner_of(key)] < EACH and held.total() < TOGETHER:
                assert surplus is None
            if surplus is not None:
                (loser,) = (each for each, items in model.items() if surplus in items)
                assert surplus == model[loser].pop(), "the newest goes"
                held[owner_of(key)] += 1
                assert held[owner_of(loser)] == max(held.values()) or held[owner_of(key)] > EACH
                assert owner_of(loser) == owner_of(key) or held[owner_of(loser)] > held[owner_of(key)]
        elif step == "turn":
            turn = queues.turn()
            assert (turn is None) == (not any(model[each] for each in is_open))
            if turn is not None:
                assert turn == (turn[0], model[turn[0]][0])
                assert queues.take(turn[0]) == model[turn[0]].pop(0)
        elif step == "drop":
            assert queues.drop(key) == model.pop(key, [])
        else:
            (queues.open if step == "open" else queues.shut)(key)
            (is_open.add if step == "open" else is_open.discard)(key)
        assert set(queues) == {each for each, items in model.items() if items}
        assert (key in queues) == bool(model.get(key))


def test_turns_are_shared_whatever_waits() -> None:
    """One key with 16 times the items gets no more turns than seven others, as long as these have any."""
    queues: Queues[int] = Queues(lambda key: key, each=1000, together=10_000)
    for key in range(8):
        queues.open(key)
    for item in range(160):
        queues.put(0, item)
    for key in range(1, 8):
        for item in range(10):
            queues.put(key, item)
    turns: Counter[int] = Counter()
    for _ in range(80):
        turn = queues.turn()
        assert turn is not None
        turns[turn[0]] += 1
        queues.take(turn[0])
    assert set(turns.values()) == {10}


def test_a_round_has_each_key_once_and_some_of_one_that_is_alone() -> None:
    queues: Queues[int] = Queues(lambda key: key, each=1000, together=10_000)
    assert not queues
    for key, items in ((0, 20), (1, 1), (2, 2)):
        queues.open(key)
        for item in range(items):
            queues.put(key, item)
    rounds = [[(key, queues.take(key)) for key, _ in queues.round(16)] for _ in range(3)]
    assert [sorted(found) for found in rounds[:2]] == [[(0, 0), (1, 0), (2, 0)], [(0, 1), (2, 1)]]
    assert rounds[2] == [(0, item) for item in range(2, 18)]
    assert queues
    assert queues.has_turns
    queues.shut(0)
    assert queues
    assert not queues.has_turns


def test_when_all_is_full_who_has_the_most_gives_way() -> None:
    queues: Queues[str] = Queues(owner_of, each=8, together=8)
    for number in range(4):
        assert queues.put(8, f"many {number}") is None
        assert queues.put(9, f"many too {number}") is None
    assert queues.put(1, "few") in {"many 3", "many too 3"}
    assert queues.put(8, "more") == "more"
    assert queues.drop(1) == ["few"]
