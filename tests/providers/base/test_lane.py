"""The slow lane: jobs of each owner in order, the owners in turn, continuations on the loop's thread."""

import functools
import select
import threading

from cofferdam_providers.base.lane import Lane


def test_owners_have_their_turns() -> None:
    lane = Lane()
    lane.start()
    hold = threading.Event()
    order: list[str] = []
    threads: set[int] = set()

    def done(name: str) -> None:
        order.append(name)
        threads.add(threading.get_ident())

    def wait() -> None:
        hold.wait(10)

    lane.submit("a", wait, lambda: done("a0"))
    for name in ("a1", "a2", "b1", "b2", "c1"):
        lane.submit(name[0], lambda: None, functools.partial(done, name))
    assert lane.waiting == 6
    hold.set()
    poll = select.poll()
    poll.register(lane.fileno(), select.POLLIN)
    while lane.waiting:
        assert poll.poll(10_000)
        lane.collect()
    assert order == ["a0", "a1", "b1", "c1", "a2", "b2"]
    assert threads == {threading.get_ident()}


def test_collecting_nothing_does_nothing() -> None:
    lane = Lane()
    lane.start()
    lane.collect()
    assert lane.waiting == 0
