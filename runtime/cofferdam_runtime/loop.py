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
    """Calls back when descriptors are ready.

    The epoll is made here, before confinement, and lives as long as the process. A callback gets the event mask.
    """

    def __init__(self) -> None:
        """Make the epoll."""
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._changed: set[int] = set()
        """Numbers that came or went since events were asked for: what is pending is not theirs."""
        self._running = True

    def add(self, descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back when one of the events is pending, as long as it is."""
        self._callbacks[descriptor] = callback
        self._changed.add(descriptor)
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events; errors and hang-ups are always reported."""
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
        """Return from `run` after the callbacks that are due."""
        self._running = False

    def run(self, tick: Callable[[], float]) -> None:
        """Serve until `stop`; `tick` runs after each round and returns the seconds until it must run again."""
        while self._running:
            self.look(tick())

    def look(self, seconds: float = 0.0) -> None:
        """Call back for what is pending, or will be within a time; not to be called from a callback."""
        pending = self._epoll.poll(seconds, _MAX_EVENTS)
        changed = self._changed
        changed.clear()
        for descriptor, events in pending:
            # A number that was closed may be another's by now; that one's events come with the next round.
            if descriptor not in changed:
                self._callbacks[descriptor](events)
