"""How often the clients of a uid may show tokens that are refused before the next ones wait (threat model, M-2)."""

from typing import Final

from msgspec import Struct

FREE: Final = 20
"""Refused tokens that cost nothing, so that an application with an old token is not slowed down."""
PER_S: Final = 5.0
"""Further ones that are looked at in a second; a second without any gives as many back."""
MOST: Final = 4096
"""Uids that are remembered; the one that failed first is forgotten first."""


class _Account(Struct):
    failures: float
    at: float


class Patience:
    """The refused tokens of each uid, as they wear off."""

    def __init__(self) -> None:
        """Have seen none."""
        self._accounts: dict[int, _Account] = {}

    def fail(self, uid: int, now: float) -> float:
        """Note a refused token; return how many seconds the next tokens of the uid wait."""
        account = self._accounts.pop(uid, None) or _Account(0.0, now)
        account.failures = max(0.0, account.failures - (now - account.at) * PER_S) + 1
        account.at = now
        self._accounts[uid] = account
        if len(self._accounts) > MOST:
            del self._accounts[next(iter(self._accounts))]
        return max(0.0, account.failures - FREE) / PER_S
