"""The memory budget: how many bytes this process keeps for its clients, whatever they send, however slowly they read.

Everything whose size clients decide has a share of it: a request that is not whole yet, from its header on with all
that the header announces; a request that waits for an identity; a response that the client has not taken; messages that
a server has not read. A share of at most `SMALL` bytes is not counted, because `limits.max_connections` bounds their
number. The copies that decoding and encoding make exist for one request at a time and are not counted either.
"""

from typing import Final

SMALL: Final = 4096
"""Bytes up to which a share is not counted."""


class Budget:
    """The bytes of all shares together."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        """Allow the shares `limit` bytes together."""
        self.limit = limit
        self.used = 0

    @property
    def is_full(self) -> bool:
        """Whether no share may grow."""
        return self.used >= self.limit

    def fits(self, size: int) -> bool:
        """Tell whether a new share could hold this many bytes; the only counted share may hold any number."""
        return size <= SMALL or not self.used or self.used + size <= self.limit


class Share:
    """The bytes that one connection, channel or request holds."""

    __slots__ = ("_budget", "held")

    def __init__(self, budget: Budget) -> None:
        """Hold nothing yet."""
        self._budget = budget
        self.held = 0
        """Bytes that are counted."""

    def hold(self, size: int) -> bool:
        """Hold `size` bytes instead of what was held; return False and change nothing if the budget has no room.

        Holding less than before is always possible.
        """
        budget = self._budget
        others = budget.used - self.held
        if size > self.held and size > SMALL and others and others + size > budget.limit:
            return False
        self.force(size)
        return True

    def force(self, size: int) -> None:
        """Hold `size` bytes, whether the budget has room or not."""
        counted = size if size > SMALL else 0
        self._budget.used += counted - self.held
        self.held = counted
