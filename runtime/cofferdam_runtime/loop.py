"""The event loop of every process: one epoll, a table of callbacks, no threads, no tasks."""

import select
from collections.abc import Callable
from typing import Final

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
HANGUP: Final = select.EPOLLHUP | select.EPOLLERR
_MAX_EVENTS: Final = 256
IDLE_S: Final = 3600.0
"""What a tick returns when nothing is due."""


class Loop:
    """Calls back when descriptors are ready; a callback gets the event mask.

    The epoll is created with the loop, before confinement, and lives as long as the process.
    """

    def __init__(self) -> None:
        """Create the epoll."""
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._changed: set[int] = set()
        """Descriptors added or removed since the last poll: events pending under these numbers are not theirs."""
        self._running = True

    def add(self, descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back while one of the events is pending (level-triggered)."""
        self._callbacks[descriptor] = callback
        self._changed.add(descriptor)
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Wait for these events instead; errors and hang-ups are always reported."""
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Stop watching; must be called before the descriptor is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._changed.add(descriptor)
            self._epoll.unregister(descriptor)

    def watches(self, descriptor: int) -> bool:
        """Tell whether a descriptor is watched."""
        return descriptor in self._callbacks

    def stop(self) -> None:
        """Make `run` return after the current round of callbacks."""
        self._running = False

    def run(self, tick: Callable[[], float]) -> None:
        """Serve until `stop`; `tick` runs before each round and returns the seconds until it must run again."""
        while self._running:
            self.look(tick())

    def look(self, seconds: float = 0.0) -> None:
        """Run one round: wait for events for at most `seconds` and call back; must not be called from a callback."""
        pending = self._epoll.poll(seconds, _MAX_EVENTS)
        changed = self._changed
        changed.clear()
        for descriptor, events in pending:
            # A closed number may belong to another file by now, whose events come with the next round.
            if descriptor not in changed:
                self._callbacks[descriptor](events)
