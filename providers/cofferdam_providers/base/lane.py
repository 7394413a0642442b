"""The slow lane: key generation beside the loop, one key at a time, for backends that allow a second thread.

The thread is started before confinement closes the door to new ones. It touches nothing but the job it is given and
the queue it answers on; a descriptor wakes the loop.
"""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]
"""Runs on the slow thread; must not raise."""
Done = Callable[[], None]
"""Runs on the loop's thread afterwards."""


class Lane:
    """Runs jobs in order on one thread and hands the continuation of each back."""

    def __init__(self) -> None:
        """Make the queues; the thread starts with `start`."""
        self._jobs: SimpleQueue[tuple[Job, Done]] = SimpleQueue()
        self._done: SimpleQueue[Done] = SimpleQueue()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.waiting = 0

    def start(self) -> None:
        """Start the thread, and return when it runs."""
        threading.Thread(target=self._work, name="slow-lane", daemon=True).start()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when `collect` has something to do."""
        return self._event

    def submit(self, job: Job, done: Done) -> None:
        """Run `job` on the thread, then `done` on the caller's when it collects."""
        self.waiting += 1
        self._jobs.put((job, done))

    def collect(self) -> None:
        """Run the continuations of the jobs that have ended."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return
        while not self._done.empty():
            self.waiting -= 1
            self._done.get()()

    def _work(self) -> None:
        while True:
            job, done = self._jobs.get()
            job()
            self._done.put(done)
            os.eventfd_write(self._event, 1)
