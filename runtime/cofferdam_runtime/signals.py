"""Signals as events of a loop."""

import os
import signal
from collections.abc import Callable, Iterable

from cofferdam_runtime.loop import READ, Loop


def watch(loop: Loop, numbers: Iterable[signal.Signals], callback: Callable[[int], None]) -> None:
    """Call back from the loop with the number of each signal received, for the life of the process."""
    # The handlers do nothing: the byte that the interpreter writes for each signal wakes the loop.
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda _number, _frame: None)

    def read(_events: int) -> None:
        for number in os.read(reading, 64):
            callback(number)

    loop.add(reading, READ, read)


def describe(end: os.waitid_result | None) -> str:
    """Return how a child ended."""
    if end is None or end.si_code == os.CLD_EXITED:
        return f"exited with status {0 if end is None else end.si_status}"
    return f"killed by {name_of(end.si_status)}"


def name_of(number: int) -> str:
    """Return the name of a signal; real-time signals have none."""
    return next((each.name for each in signal.Signals if each == number), f"signal {number}")
