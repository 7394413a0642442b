"""How long each connection may wait: a heap of wake-up times that is cheap to update and bounded in size.

Rescheduling happens with every read, so it usually only changes the deadline of the wait. The entry in the heap stays,
wakes up too early, and is then pushed again with the deadline of that moment. Which state has which limits is said in
`connection.py`.
"""

import heapq
import time
from collections.abc import Mapping
from itertools import count
from typing import Final

from msgspec import Struct

from cofferdam_frontend.connection import ClientConnection, State

_SLACK: Final = 64
"""Entries of the heap that may be out of date, in addition to one for each connection."""


def now_us() -> int:
    """Return the time of the clock that all deadlines use: monotonic, microseconds."""
    return time.monotonic_ns() // 1000


class _Wait(Struct, eq=False):
    connection: ClientConnection | None
    """None once it is closed."""
    state: State | None = None
    """What it waits for, None while it does not wait for its client."""
    began: int = 0
    deadline: int = 0
    wake: int = 0
    """The time of its valid entry in the heap, 0 if it has none. It is never later than the deadline."""


class Deadlines:
    """The waits of all connections, in microseconds of the monotonic clock."""

    def __init__(self, patience: Mapping[State, tuple[int, int]]) -> None:
        """Take the longest silence and the longest time altogether of each state, in microseconds."""
        self._patience = patience
        self._waits: dict[ClientConnection, _Wait] = {}
        self._heap: list[tuple[int, int, _Wait]] = []
        self._order = count()

    def __len__(self) -> int:
        """Return the number of entries in the heap."""
        return len(self._heap)

    def wait(self, connection: ClientConnection, now: int) -> None:
        """Note that a connection begins to wait in its state, or has made progress in it."""
        wait = self._waits.get(connection)
        if wait is None:
            wait = self._waits[connection] = _Wait(connection)
        if wait.state is not connection.state:
            wait.state, wait.began = connection.state, now
        silence, total = self._patience[connection.state]
        wait.deadline = min(now + silence, wait.began + total)
        if not wait.wake or wait.deadline < wait.wake:
            self._push(wait)

    def suspend(self, connection: ClientConnection) -> None:
        """Stop the timer of a connection: it has sent a whole request."""
        wait = self._waits.get(connection)
        if wait is not None:
            wait.state = None

    def forget(self, connection: ClientConnection) -> None:
        """Forget a connection that was closed."""
        wait = self._waits.pop(connection, None)
        if wait is not None:
            wait.connection = None

    def due(self, now: int) -> list[ClientConnection]:
        """Return the connections whose deadline has passed."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            when, _, wait = heapq.heappop(self._heap)
            if wait.connection is None or when != wait.wake:
                continue
            wait.wake = 0
            if wait.state is None:
                continue
            if now >= wait.deadline:
                found.append(wait.connection)
            else:
                self._push(wait)
        return found

    def next(self) -> int | None:
        """Return when to call `due` next, None if nothing waits."""
        return self._heap[0][0] if self._heap else None

    def _push(self, wait: _Wait) -> None:
        wait.wake = wait.deadline
        heapq.heappush(self._heap, (wait.wake, next(self._order), wait))
        if len(self._heap) > 2 * len(self._waits) + _SLACK:
            self._heap = [
                entry for entry in self._heap if entry[2].connection is not None and entry[0] == entry[2].wake
            ]
            heapq.heapify(self._heap)
