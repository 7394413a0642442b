"""Leaks of a device's library: memory and descriptors, checked regularly, so that the worker is replaced in time.

A process that has run out of either fails in whatever it does next; one that ends between two requests loses none.
"""

import os
import resource
import time
from typing import Final

INTERVAL_S: Final = 1.0
"""Between two checks of the memory. Descriptors are checked each time: a busy worker may leak thousands a second."""
MOST_DESCRIPTORS: Final = 3072
"""Out of the 4096 that the policies of workers allow."""


class Health:
    """The resources of this process."""

    def __init__(self, memory_limit: int) -> None:
        """Complain once the resident memory has grown by more than this many bytes."""
        self._memory_limit = memory_limit
        self._at_start = _peak()
        self._next = 0.0

    def complaint(self) -> str | None:
        """Return what is wrong, or None."""
        lowest = os.dup(0)
        os.close(lowest)
        if lowest >= MOST_DESCRIPTORS:
            return f"{lowest} open descriptors"
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + INTERVAL_S
        grown = _peak() - self._at_start
        if grown > self._memory_limit:
            return f"{grown >> 20} MiB of memory more than at the start; limits.worker_memory_mb is lower"
        return None


def _peak() -> int:
    """Return the peak resident memory in bytes; memory that was touched once counts, as it should for a leak."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
