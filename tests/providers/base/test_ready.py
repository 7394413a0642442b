"""Keys that are ready for use: whoever uses many loses its own."""

import random

from tests.providers.base.device import ATTRIBUTES

from cofferdam_providers.base.provider import Key
from cofferdam_providers.base.ready import ReadyKeys


def use(ready: ReadyKeys[str], uid: int, key_name: str) -> bool:
    """Use a key as a worker does; return whether it was ready."""
    if ready.get((3, str(uid)), key_name):
        return True
    ready.add((3, str(uid)), key_name, Key(attributes=ATTRIBUTES, handle=f"{uid}/{key_name}"))
    return False


def test_who_uses_many_keys_costs_nobody_else_a_key() -> None:
    closed: list[str] = []
    ready = ReadyKeys[str](8, lambda key: closed.append(key.handle))
    for uid in (1, 2, 3):
        use(ready, uid, "k")
    for number in range(100):
        use(ready, 9, f"k{number}")
    assert all(use(ready, uid, "k") for uid in (1, 2, 3))
    assert closed == [f"9/k{number}" for number in range(95)]


def test_the_application_that_rests_makes_room_for_one_with_as_many() -> None:
    closed: list[str] = []
    ready = ReadyKeys[str](3, lambda key: closed.append(key.handle))
    for uid in (1, 2, 3):
        use(ready, uid, "k")
    use(ready, 1, "k")
    use(ready, 4, "k")
    assert closed == ["2/k"]


def test_a_key_that_was_just_added_stays_and_the_count_is_right() -> None:
    chance = random.Random(5)
    closed: set[str] = set()
    ready = ReadyKeys[str](5, lambda key: closed.add(key.handle))
    held: set[str] = set()
    for _ in range(2_000):
        uid, key_name = chance.randrange(4), chance.choice("abcdef")
        handle = f"{uid}/{key_name}"
        closed.clear()
        if chance.random() < 0.2:
            ready.drop((3, str(uid)), key_name)
            assert closed == held & {handle}
        else:
            assert use(ready, uid, key_name) == (handle in held)
            assert handle not in closed
            held.add(handle)
        held -= closed
        assert len(ready) == len(held) <= 5
