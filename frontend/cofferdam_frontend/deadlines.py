"""When to look at which connection again: a heap of times, cheap to reschedule."""

import heapq
from itertools import count

from cofferdam_frontend.connection import Connection, State


class Deadlines:
    """Connections by the time of their next check; a connection stands here at most a few times."""

    def __init__(self) -> None:
        """Start empty."""
        self._heap: list[tuple[int, int, Connection]] = []
        self._order = count()

    def schedule(self, connection: Connection, when: int) -> None:
        """Look at a connection at `when` at the latest."""
        if not connection.wake or when < connection.wake:
            connection.wake = when
            heapq.heappush(self._heap, (when, next(self._order), connection))

    def due(self, now: int) -> list[Connection]:
        """Return the connections to look at now, and forget them."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            when, _, connection = heapq.heappop(self._heap)
            if when == connection.wake:
                connection.wake = 0
                if connection.state is not State.CLOSED:
                    found.append(connection)
        return found

    def next(self) -> int | None:
        """Return the time of the next check."""
        return self._heap[0][0] if self._heap else None
