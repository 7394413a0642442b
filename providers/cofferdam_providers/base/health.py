"""What a device's library leaks: memory and descriptors, looked at now and then, so that the worker makes room in time.

A process that is out of either fails at whatever it does next; one that ends between two requests loses none.
"""

import os
import resource
import time
from typing import Final

INTERVAL_S: Final = 1.0
MOST_DESCRIPTORS: Final = 3072
"""Of the 4096 that the policies of workers allow."""


class Health:
    """The resources of this process."""

    def __init__(self, memory_limit: int) -> None:
        """Complain above so many bytes of resident memory."""
        self._memory_limit = memory_limit
        self._next = 0.0

    def complaint(self) -> str | None:
        """Return what is wrong; most of the time nobody looks."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + INTERVAL_S
        # The peak: what was touched once counts, which is as it should be for a leak.
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if memory > self._memory_limit:
            return f"{memory >> 20} MiB of memory where limits.worker_memory_mb allows {self._memory_limit >> 20}"
        lowest = os.dup(0)
        os.close(lowest)
        if lowest >= MOST_DESCRIPTORS:
            return f"{lowest} open descriptors"
        return None
