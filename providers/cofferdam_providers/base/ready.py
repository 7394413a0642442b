"""The keys that a worker has ready for use."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic

from cofferdam_providers.base.provider import HandleT, Key

Owner = tuple[int, str]
"""Authenticator and name of an application."""


class ReadyKeys(Generic[HandleT]):
    """Keys ready for use; when there are too many, the application that has the most loses its least recently used one.

    So whoever uses many keys loses its own, and not those of others, which would take a device time to open again.
    """

    def __init__(self, capacity: int, close: Callable[[Key[HandleT]], None]) -> None:
        """Hold at most `capacity` keys; call `close` with each that makes room."""
        self._capacity = capacity
        self._close = close
        # Both from the least to the most recently used.
        self._keys: OrderedDict[Owner, OrderedDict[str, Key[HandleT]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Return how many keys are ready."""
        return self._count

    def get(self, owner: Owner, key_name: str) -> Key[HandleT] | None:
        """Return a key that is ready, and note its use."""
        keys = self._keys.get(owner)
        if keys is None or key_name not in keys:
            return None
        self._keys.move_to_end(owner)
        keys.move_to_end(key_name)
        return keys[key_name]

    def add(self, owner: Owner, key_name: str, key: Key[HandleT]) -> None:
        """Add a key that was not ready."""
        self._keys.setdefault(owner, OrderedDict())[key_name] = key
        self._keys.move_to_end(owner)
        self._count += 1
        if self._count > self._capacity:
            # Among several with equally many, `max` takes the first: the least recently active one.
            most = max(self._keys, key=lambda each: len(self._keys[each]))
            self._close(self._take(most, next(iter(self._keys[most]))))

    def drop(self, owner: Owner, key_name: str) -> None:
        """Close a key, if it is ready."""
        if key_name in self._keys.get(owner, ()):
            self._close(self._take(owner, key_name))

    def _take(self, owner: Owner, key_name: str) -> Key[HandleT]:
        key = self._keys[owner].pop(key_name)
        self._count -= 1
        if not self._keys[owner]:
            del self._keys[owner]
        return key
