"""Whose word counts: one user's uids never make a server look like the liar, and many users do once in a while."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cofferdam_contracts.settings import UidRange
from cofferdam_runtime.accusations import MOST_ACCUSED, TRUCE_S, Accusations
from cofferdam_runtime.backoff import WINDOW_S
from cofferdam_runtime.places import Users

OWNERS = Users([UidRange(first=100_000, size=65_536, owner=1000)])
TIMES = st.lists(st.tuples(st.floats(1, 3 * TRUCE_S), st.integers(1, 20)), max_size=200).map(sorted)


def test_it_takes_many_users_within_a_minute() -> None:
    made = Accusations(OWNERS)
    for uid in range(1, MOST_ACCUSED):
        assert not made.are_too_many("kim", uid, 1.0, since=0.0)
        assert not made.are_too_many("kim", uid, 1.5, since=0.0), "the same once more"
    assert not made.are_too_many("worker", MOST_ACCUSED, 2.0, since=0.0), "each server for itself"
    assert made.are_too_many("kim", MOST_ACCUSED, 2.0, since=0.0)


def test_the_uids_of_one_user_are_one() -> None:
    made = Accusations(OWNERS)
    assert not any(made.are_too_many("kim", 100_000 + number, 1.0, since=0.0) for number in range(1000))
    assert not any(made.are_too_many("kim", uid, 1.0, since=0.0) for uid in range(1, MOST_ACCUSED - 1))
    assert not made.are_too_many("kim", 1000, 1.0, since=0.0), "the user is one of them"
    assert made.are_too_many("kim", MOST_ACCUSED - 1, 1.0, since=0.0)


def test_old_accusations_and_those_of_a_predecessor_do_not_count() -> None:
    made = Accusations(OWNERS)
    for uid in range(1, MOST_ACCUSED):
        assert not made.are_too_many("kim", uid, 1.0, since=0.0)
    assert not made.are_too_many("kim", MOST_ACCUSED, 1.0 + WINDOW_S, since=0.0)
    for uid in range(1, MOST_ACCUSED - 1):
        assert not made.are_too_many("kim", uid, 2.0 + WINDOW_S, since=0.0)
    assert not made.are_too_many("kim", MOST_ACCUSED - 1, 4.0 + WINDOW_S, since=3.0 + WINDOW_S)


@given(TIMES)
def test_a_server_is_replaced_once_in_a_while_whatever_it_says(said: list[tuple[float, int]]) -> None:
    made = Accusations(OWNERS)
    replaced = [now for now, uid in said if made.are_too_many("kim", uid, now, since=0.0)]
    assert all(later - earlier >= TRUCE_S for earlier, later in pairwise(replaced))
