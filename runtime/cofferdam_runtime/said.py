"""The broker's memory of what its children have warned of, so that their successors do not repeat it."""

from typing import Final

MOST: Final = 64
"""Warnings remembered of one child."""


class Memory:
    """Digests of warnings, by role and number of the child."""

    def __init__(self) -> None:
        """Remember nothing."""
        self._said: dict[tuple[int, int], set[int]] = {}

    def note(self, key: tuple[int, int], digest: int) -> None:
        """Remember a warning of a running child, as far as there is room."""
        said = self._said.setdefault(key, set())
        if len(said) < MOST:
            said.add(digest)

    def hand_over(self, key: tuple[int, int]) -> str:
        """Return what a successor is told, and forget it: what still holds, the successor reports again."""
        return ",".join(map(str, self._said.pop(key, ())))
