"""The slow lane: key generation out of the way of everything else, one key at a time.

The owners of jobs take turns, charged by the time that their jobs took. There are two kinds. `ThreadLane` runs jobs
beside the loop, for backends that allow a second thread. `Lane` runs them on the loop's own thread, for devices that
only one thread may use; nobody is served meanwhile, so the owner rests afterwards (`turns.Rests`).

A job is *waiting* until its owner's turn comes, then *running*, then its continuation `done` runs on the loop's thread.
A job that became void (its client or device is gone, or its deadline passed) is finished without work, at the latest
when `settle` runs. A process that dies loses all three kinds; their names are reserved in the key store, and a
successor releases them (`keyring.reconcile`).
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from queue import SimpleQueue
from typing import Any, Final

from msgspec import Struct

from cofferdam_providers.base.turns import Rests, Turns
from cofferdam_runtime.loop import READ, Loop

NICE: Final = 10
"""Nice value of the thread that generates keys (setpriority(2)): every process of the service runs before it."""


class Job(Struct, frozen=True, kw_only=True):
    """A slow piece of somebody's work."""

    make: Callable[[], Any]
    """The slow part, on whichever thread; must not raise."""
    done: Callable[[Any], None]
    """Takes its result, on the loop's thread."""
    void: Callable[[], bool]
    """Tells whether nobody wants it any more; `make` then only says so."""


class Lane:
    """Keeps jobs, each owner's in order, and runs one on request."""

    blocks: bool = True
    """Whether nobody is served while a job runs."""

    def __init__(self) -> None:
        self._jobs: dict[Hashable, deque[Job]] = {}
        self._turns: Turns[Hashable] = Turns()
        self._rests: Rests[Hashable] = Rests()
        self.waiting = 0
        """Jobs whose continuation has not run yet."""

    def start(self) -> None:
        """Start threads, while that is still allowed."""

    def submit(self, owner: Hashable, job: Job) -> None:
        """Keep a job until it is the owner's turn."""
        self.waiting += 1
        self._jobs.setdefault(owner, deque()).append(job)
        self._turns.join(owner)

    def run_one(self, *, rested: bool = True) -> bool:
        """Run the next job, only of an owner that has `rested` or of any; return whether there was one."""
        began = time.monotonic_ns()
        owner = self._turns.next(lambda owner: not (rested and self._rests.left(owner, began)))
        if owner is None:
            return False
        self._finish(job := self._take(owner), job.make())
        ended = time.monotonic_ns()
        self._turns.charge(owner, ended - began)
        self._rests.worked(owner, ended - began, ended)
        return True

    def rest_s(self) -> float:
        """Return the seconds until a job may run, when there is one."""
        now = time.monotonic_ns()
        return min(self._rests.left(owner, now) for owner in self._jobs) / 1e9

    def served(self, owner: Hashable, amount: int) -> None:
        """Note that somebody was just served with something quick, which took `amount` nanoseconds."""
        self._rests.served(owner, amount, time.monotonic_ns())

    def leave(self, owner: Hashable) -> None:
        """Note that somebody is gone; its remaining rest is kept."""
        self._rests.leave(owner)

    def settle(self) -> None:
        """Finish jobs that nobody wants any more, before their turn."""
        for owner, jobs in list(self._jobs.items()):
            for job in [job for job in jobs if job.void()]:
                jobs.remove(job)
                self._finish(job, job.make())
            if not jobs:
                del self._jobs[owner]
                self._turns.leave(owner)

    def _take(self, owner: Hashable) -> Job:
        """Take the owner's first job; it waits for its next turn if it has more."""
        jobs = self._jobs[owner]
        job = jobs.popleft()
        if jobs:
            self._turns.join(owner)
        else:
            del self._jobs[owner]
        return job

    def _finish(self, job: Job, outcome: object) -> None:
        self.waiting -= 1
        job.done(outcome)


def _tell(found: threading.ExceptHookArgs) -> None:
    """Log what ends the thread as what ends the process."""
    if found.exc_value is not None:
        sys.excepthook(found.exc_type, found.exc_value, found.exc_traceback)


class ThreadLane(Lane):
    """Runs jobs on one thread, which touches nothing but its job and two queues; a descriptor wakes the loop.

    The thread is started before confinement forbids new ones.
    """

    blocks = False

    def __init__(self, loop: Loop) -> None:
        """Make the queues and watch the descriptor; the thread starts with `start`."""
        super().__init__()
        self._begun: SimpleQueue[Job] = SimpleQueue()
        self._ended: SimpleQueue[tuple[int, object]] = SimpleQueue()
        self._running: tuple[Hashable, Job] | None = None
        self._event: Final = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        loop.add(self._event, READ, lambda _events: self._collect())

    def start(self) -> None:
        """Start the thread."""
        # Whoever started the service may have lowered its priority further, and nobody may raise it again.
        nice = max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
        threading.excepthook = _tell
        threading.Thread(target=self._work, args=(nice,), name="slow-lane", daemon=True).start()

    def submit(self, owner: Hashable, job: Job) -> None:
        """Run a job on the thread as soon as it is the owner's turn."""
        super().submit(owner, job)
        self._begin()

    def _begin(self) -> None:
        """Hand the next job to the thread, if it is free and there is one."""
        if self._running is None and (owner := self._turns.next()) is not None:
            self._running = owner, self._take(owner)
            self._begun.put(self._running[1])

    def _collect(self) -> None:
        """Run the continuation of the job that has ended, and begin the next one."""
        os.eventfd_read(self._event)
        took, outcome = self._ended.get()
        if self._running is not None:
            owner, job = self._running
            self._running = None
            self._turns.charge(owner, took)
            self._finish(job, outcome)
        self._begin()

    def _work(self, nice: int) -> None:
        # Despite the name, 0 means the calling thread alone; the value cannot be lowered again.
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        while True:
            job = self._begun.get()
            before = time.thread_time_ns()
            outcome = job.make()
            self._ended.put((time.thread_time_ns() - before, outcome))
            os.eventfd_write(self._event, 1)
