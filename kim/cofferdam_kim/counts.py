"""Tells the broker how many keys each provider has, for the status."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from cofferdam_contracts.ipc.control import KeyCount, Record
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError
from cofferdam_kim.stores import Stores

_PAUSE_S: Final = 1.0
"""Between two counts, which read an index of the whole table."""


class CountNotifier:
    """Counts again after changes, and remembers what the broker has been told."""

    def __init__(self, stores: Stores, providers: Sequence[ProviderEntry], send: Callable[[Record], bool]) -> None:
        """Count at the first `tell`; `send` returns False while the broker accepts no record."""
        self._stores = stores
        self._ids = {provider.uuid: provider.id for provider in providers}
        self._send = send
        self._told: dict[int, int] = {}
        self._is_due, self._next = True, 0.0

    def changed(self) -> None:
        """Note that there is a key more or less."""
        self._is_due = True

    def tell(self) -> float | None:
        """Tell the broker what is news, if it is time; return the seconds until it is, None if nothing is due."""
        if not self._is_due:
            return None
        left = self._next - time.monotonic()
        if left > 0:
            return left
        self._is_due, self._next = False, time.monotonic() + _PAUSE_S
        with suppress(ServiceError):  # it is in the log
            counts = self._stores.count_keys()
            for uuid, number in self._ids.items():
                count = counts.get(uuid, 0)
                if self._told.get(number) == count:
                    continue
                if not self._send(KeyCount(number, count)):
                    self._is_due = True
                    return _PAUSE_S
                self._told[number] = count
        return None
