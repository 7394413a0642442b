"""The slow lane: key generation beside the loop, one key at a time, for backends that allow a second thread.

The owners of jobs have their turns, so that one principal's many keys do not keep another's one waiting.

The thread is started before confinement closes the door to new ones. It touches nothing but the job it is given and
the queue it answers on; a descriptor wakes the loop.
"""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]
"""Runs on the slow thread; must not raise."""
Done = Callable[[], None]
"""Runs on the loop's thread afterwards."""


class Lane:
    """Runs jobs on one thread, the owners in turn, and hands the continuation of each back."""

    def __init__(self) -> None:
        """Make the queues; the thread starts with `start`."""
        self._turns: OrderedDict[object, deque[tuple[Job, Done]]] = OrderedDict()
        self._busy = False
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._current: Done = lambda: None
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.waiting = 0

    def start(self) -> None:
        """Start the thread, and return when it runs."""
        threading.Thread(target=self._work, name="slow-lane", daemon=True).start()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when `collect` has something to do."""
        return self._event

    def submit(self, owner: object, job: Job, done: Done) -> None:
        """Run `job` on the thread when it is the owner's turn, then `done` on the caller's when it collects."""
        self.waiting += 1
        self._turns.setdefault(owner, deque()).append((job, done))
        self._next()

    def collect(self) -> None:
        """Run the continuation of the job that has ended, and let the next one begin."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return
        self._done.get()
        self._busy = False
        self.waiting -= 1
        self._current()
        self._next()

    def _next(self) -> None:
        """Hand one job to the thread, unless it has one; its owner goes to the end of the line."""
        if self._busy or not self._turns:
            return
        owner, jobs = self._turns.popitem(last=False)
        job, self._current = jobs.popleft()
        if jobs:
            self._turns[owner] = jobs
        self._busy = True
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            self._done.put(None)
            os.eventfd_write(self._event, 1)
