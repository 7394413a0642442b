"""Whose events a callback gets: those of its own descriptor, whatever number that has."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cofferdam_runtime.loop import READ, Loop


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def readable(opened: ExitStack) -> int:
    ours, theirs = socket.socketpair()
    opened.enter_context(theirs)
    theirs.send(b"x")
    opened.callback(os.close, ours.fileno())
    return ours.detach()


@pytest.mark.parametrize("reused", [False, True])
def test_a_number_that_was_closed_and_used_again_gets_no_event_of_its_predecessor(
    opened: ExitStack, reused: bool
) -> None:
    loop = Loop()
    both = [readable(opened), readable(opened)]
    quiet, other = socket.socketpair()
    opened.enter_context(quiet)
    opened.enter_context(other)
    called: list[str] = []

    def on_first(number: int) -> None:
        """Close the other one of the two, whose event is pending too."""
        called.append("first")
        rest = next(each for each in both if each != number)
        loop.remove(number)
        loop.remove(rest)
        os.dup2(quiet.fileno(), rest)
        if reused:
            loop.add(rest, READ, lambda _events: called.append("successor"))

    for number in both:
        loop.add(number, READ, lambda _events, number=number: on_first(number))  # type: ignore[misc]
    rounds = iter((1.0, 0.0))

    def tick() -> float:
        wait = next(rounds, None)
        if wait is None:
            loop.stop()
        return wait or 0.0

    loop.run(tick)
    assert called == ["first"]
    if reused:
        # It has its own, as soon as there are any.
        other.send(b"x")
        rounds = iter((1.0,))
        loop._running = True
        loop.run(tick)
        assert called == ["first", "successor", "successor"]
