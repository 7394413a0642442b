"""The slow lane: jobs of each owner in order, the owners in turn, continuations on the loop's thread."""

import functools
import threading

from cofferdam_providers.base.lane import Lane, ThreadLane
from cofferdam_runtime.loop import Loop


def test_owners_have_their_turns_on_the_thread() -> None:
    loop = Loop()
    lane = ThreadLane(loop)
    lane.start()
    hold = threading.Event()
    order: list[str] = []
    threads: set[int] = set()

    def done(name: str) -> None:
        order.append(name)
        threads.add(threading.get_ident())
        if not lane.waiting:
            loop.stop()

    def wait() -> None:
        hold.wait(10)

    lane.submit("a", wait, lambda: done("a0"))
    for name in ("a1", "a2", "b1", "b2", "c1"):
        lane.submit(name[0], lambda: None, functools.partial(done, name))
    assert lane.waiting == 6
    hold.set()
    loop.run(lambda: 10.0)
    assert order == ["a0", "a1", "b1", "c1", "a2", "b2"]
    assert threads == {threading.get_ident()}


def test_without_a_thread_a_job_runs_when_told_to_and_owners_have_their_turns() -> None:
    lane = Lane()
    lane.start()
    order: list[str] = []
    for name in ("a1", "a2", "b1", "b2", "c1"):
        lane.submit(name[0], functools.partial(order.append, name), functools.partial(order.append, "done"))
    assert order == []
    lane.run_one()
    assert order == ["a1", "done"]
    assert lane.waiting == 4
    while lane.waiting:
        lane.run_one()
    assert order[::2] == ["a1", "b1", "c1", "a2", "b2"]
