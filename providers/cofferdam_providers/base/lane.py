"""The slow lane: key generation out of the way of everything else, one key at a time.

The owners of jobs have their turns, so that one principal's many keys do not keep another's one waiting. There are two
forms. `Lane` runs a job on the loop's own thread, for devices that are asked from one thread only. `ThreadLane` runs it
beside the loop, for backends that allow a second thread.
"""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from cofferdam_runtime.loop import READ, Loop

Job = Callable[[], None]
"""The slow part; must not raise."""
Done = Callable[[], None]
"""Runs on the loop's thread afterwards."""


class Lane:
    """Keeps jobs, the owners in turn, and runs one when told to."""

    blocks: bool = True
    """Whether nobody is served while a job runs."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._turns: OrderedDict[object, deque[tuple[Job, Done]]] = OrderedDict()
        self.waiting = 0
        """Jobs whose continuation did not run yet."""

    def start(self) -> None:
        """Make ready, while threads may still be started."""

    def submit(self, owner: object, job: Job, done: Done) -> None:
        """Keep a job until it is the owner's turn; `done` runs on the caller's thread after it."""
        self.waiting += 1
        self._turns.setdefault(owner, deque()).append((job, done))

    def run_one(self) -> None:
        """Run the next job and its continuation; there must be one."""
        job, done = self._next()
        job()
        self.waiting -= 1
        done()

    def _next(self) -> tuple[Job, Done]:
        """Take the first job of the owner whose turn it is, who goes to the end of the line."""
        owner, jobs = self._turns.popitem(last=False)
        if len(jobs) > 1:
            self._turns[owner] = jobs
        return jobs.popleft()


class ThreadLane(Lane):
    """Runs jobs on one thread, which touches nothing but the job it is given and a queue; a descriptor wakes the loop.

    The thread is started before confinement closes the door to new ones.
    """

    blocks = False

    def __init__(self, loop: Loop) -> None:
        """Make the queues, and let the loop collect; the thread starts with `start`."""
        super().__init__()
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._done: Done | None = None
        self._event: Final = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        loop.add(self._event, READ, lambda _events: self._collect())

    def start(self) -> None:
        """Start the thread, and return when it runs."""
        threading.Thread(target=self._work, name="slow-lane", daemon=True).start()

    def submit(self, owner: object, job: Job, done: Done) -> None:
        """Run a job on the thread as soon as it is the owner's turn."""
        super().submit(owner, job, done)
        self.run_one()

    def run_one(self) -> None:
        """Hand the next job to the thread, unless it has one or there is none."""
        if self._done is None and self._turns:
            job, self._done = self._next()
            self._jobs.put(job)

    def _collect(self) -> None:
        """Run the continuation of the job that has ended, and let the next one begin."""
        os.eventfd_read(self._event)
        done, self._done = self._done, None
        self.waiting -= 1
        if done is not None:
            done()
        self.run_one()

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            os.eventfd_write(self._event, 1)
