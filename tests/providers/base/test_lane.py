"""The slow lane: jobs of each owner in order, the owners in turn, continuations on the loop's thread."""

import functools
import os
import threading
import time
from collections.abc import Callable

from cofferdam_providers.base.lane import NICE, Job, Lane, ThreadLane
from cofferdam_runtime.loop import Loop


def job(make: Callable[[], object], done: Callable[[object], None], *, void: Callable[[], bool] = lambda: False) -> Job:
    return Job(make=make, done=done, void=void)


def burn(milliseconds: int) -> None:
    """Keep this thread's clock running, whatever else the machine does."""
    until = time.thread_time_ns() + milliseconds * 1_000_000
    while time.thread_time_ns() < until:
        pass


def run(loop: Loop, lane: ThreadLane) -> None:
    def tick() -> float:
        if not lane.waiting:
            loop.stop()
        return 10.0 if lane.waiting else 0.0

    loop.run(tick)


def test_owners_have_their_turns_on_the_thread() -> None:
    loop = Loop()
    lane = ThreadLane(loop)
    lane.start()
    hold = threading.Event()
    order: list[str] = []
    threads: set[int] = set()

    def done(name: str, _outcome: object) -> None:
        order.append(name)
        threads.add(threading.get_ident())

    def first() -> None:
        hold.wait(10)
        burn(5)

    lane.submit("a", job(first, functools.partial(done, "a0")))
    for name in ("a1", "a2", "b1", "b2", "c1"):
        lane.submit(name[0], job(functools.partial(burn, 5), functools.partial(done, name)))
    assert lane.waiting == 6
    hold.set()
    run(loop, lane)
    assert sorted(order[1:3]) == ["b1", "c1"]
    assert [name for name in order if name[0] == "a"] == ["a0", "a1", "a2"]
    assert threads == {threading.get_ident()}


def test_who_takes_the_thread_for_long_waits_until_others_have_had_as_much() -> None:
    loop = Loop()
    lane = ThreadLane(loop)
    lane.start()
    hold = threading.Event()
    order: list[str] = []
    lane.submit("x", job(lambda: hold.wait(10), lambda _outcome: None))
    for _ in range(3):
        lane.submit("long", job(lambda: burn(50), lambda _outcome: order.append("long")))
    for _ in range(8):
        lane.submit("short", job(lambda: burn(5), lambda _outcome: order.append("short")))
    hold.set()
    run(loop, lane)
    # A job is charged with what it took of its thread, a little more than it was meant to.
    assert order[0] == "long"
    assert order[1:9] == ["short"] * 8


def test_the_thread_goes_after_everybody_else_and_the_loop_does_not() -> None:
    loop = Loop()
    lane = ThreadLane(loop)
    lane.start()
    before = os.getpriority(os.PRIO_PROCESS, 0)
    nice: list[object] = []
    lane.submit("a", job(lambda: os.getpriority(os.PRIO_PROCESS, 0), nice.append))
    run(loop, lane)
    # The tests themselves may be run with a lower priority than that.
    assert nice == [max(NICE, before)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_without_a_thread_a_job_runs_when_told_to_and_owners_have_their_turns() -> None:
    lane = Lane()
    lane.start()
    order: list[object] = []
    for name in ("a1", "a2", "b1", "b2", "c1"):
        lane.submit(name[0], job(functools.partial(order.append, name), order.append))
    assert order == []
    assert lane.run_one()
    assert order == ["a1", None]
    assert lane.waiting == 4
    while lane.waiting:
        assert lane.run_one()
    assert sorted(order[2:6:2]) == ["b1", "c1"]  # type: ignore[type-var]
    assert not lane.run_one()


def test_who_takes_the_device_for_long_waits_until_others_have_had_as_much() -> None:
    lane = Lane()
    order: list[object] = []
    for _ in range(2):
        lane.submit("long", job(lambda: time.sleep(0.2), lambda _outcome: order.append("long")))
    for _ in range(5):
        lane.submit("short", job(lambda: None, lambda _outcome: order.append("short")))
    while lane.waiting:
        assert lane.run_one()
    assert order == ["long", *["short"] * 5, "long"]


def test_an_owner_rests_after_a_job_while_others_are_there() -> None:
    lane = Lane()
    order: list[object] = []
    for name in ("a1", "a2", "b1"):
        lane.submit(name[0], job(lambda: time.sleep(0.2), functools.partial(lambda name, _: order.append(name), name)))
    lane.served("quick", 1)
    assert lane.run_one()
    lane.served("quick", 1)
    assert lane.run_one()
    # Both have to rest, the one that came first as well, and nobody else has anything.
    assert not lane.run_one()
    assert 0 < lane.rest_s() < 10
    assert order == ["a1", "b1"]
    lane.leave("quick")
    assert lane.rest_s() == 0
    assert lane.run_one()
    assert order == ["a1", "b1", "a2"]


def test_who_shall_stop_does_not_wait_for_rests() -> None:
    lane = Lane()
    for _ in range(2):
        lane.submit("a", job(lambda: time.sleep(0.1), lambda _outcome: None))
    lane.served("quick", 1)
    assert lane.run_one()
    lane.served("quick", 1)
    assert not lane.run_one()
    assert lane.run_one(rested=False)
    assert lane.waiting == 0


def test_what_nobody_wants_any_more_is_finished_before_its_turn() -> None:
    for lane in (Lane(), ThreadLane(Loop())):  # the thread is not started, so that nothing has its turn
        gone: set[str] = set()
        ended: list[object] = []
        names = ("a1", "a2", "b1")
        lane.submit("x", job(lambda: None, ended.append))
        for name in names:
            lane.submit(
                name[0],
                job(functools.partial(str, name), ended.append, void=functools.partial(gone.__contains__, name)),
            )
        lane.settle()
        assert ended == []
        gone.update({"a2", "b1"})
        lane.settle()
        assert ended == ["a2", "b1"]
        assert lane.waiting == 2
