"""Timers for a loop's tick."""

import heapq
import time
from collections.abc import Callable
from itertools import count


class Timers:
    """Callbacks, each due at a time."""

    def __init__(self) -> None:
        """Start empty."""
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back once, `seconds` from now."""
        heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._order), callback))

    def run(self) -> float:
        """Call what is due; return the seconds until the next callback."""
        # Nothing added meanwhile is called, or a callback that re-adds itself at once would starve the loop.
        heap = self._heap
        start = now = time.monotonic()
        while heap and heap[0][0] < start:
            heapq.heappop(heap)[2]()
            now = time.monotonic()
        return max(0.0, heap[0][0] - now) if heap else 3600.0
