"""How many bytes this process keeps for its clients, whatever they send and however slowly they read.

Everything that grows with what clients do has a share: a request that is not whole yet with all that its header
announces, a response that waits to be taken, what waits to be sent to a server. What holds less than `SMALL` bytes is
not counted, because `limits.max_connections` bounds it. The copies that decoding and encoding make exist for one
request at a time and are not counted either.
"""

from typing import Final

SMALL: Final = 4096
"""Bytes that a share may have for nothing."""


class Budget:
    """The bytes of all shares."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        """Let the shares have `limit` bytes together."""
        self.limit = limit
        self.used = 0

    @property
    def is_full(self) -> bool:
        """Whether nobody gets more."""
        return self.used >= self.limit

    def fits(self, size: int) -> bool:
        """Tell whether somebody new could hold so much; one alone may hold anything."""
        return size <= SMALL or not self.used or self.used + size <= self.limit


class Share:
    """What one connection or channel holds."""

    __slots__ = ("_budget", "held")

    def __init__(self, budget: Budget) -> None:
        """Hold nothing yet."""
        self._budget = budget
        self.held = 0
        """Bytes that count."""

    def hold(self, size: int) -> bool:
        """Hold `size` bytes from now on, in place of what was held; return False, and change nothing, if none are left.

        Less than before is always possible.
        """
        budget = self._budget
        others = budget.used - self.held
        if size > self.held and size > SMALL and others and others + size > budget.limit:
            return False
        self.force(size)
        return True

    def force(self, size: int) -> None:
        """Hold `size` bytes, whether they are left or not."""
        counted = size if size > SMALL else 0
        self._budget.used += counted - self.held
        self.held = counted
