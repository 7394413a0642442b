"""Decides when a server that accuses too many clients is itself at fault. Plain data, no I/O; seconds of one clock.

An accusation, true or not, costs the accused client one channel; replacing the server affects all clients. So a server
is replaced only after it has accused many users, and users who collude to break the protocol can force a replacement
only once per `TRUCE_S`.
"""

from collections import defaultdict
from collections.abc import Hashable
from typing import Final

from cofferdam_runtime.backoff import WINDOW_S
from cofferdam_runtime.places import Users

MOST_ACCUSED: Final = 8
"""Number of users accused within `WINDOW_S` at which the server itself counts as the one that broke the protocol."""
TRUCE_S: Final = 600.0
"""Shortest time between two such replacements: accusations that a successor repeats are probably true."""


class Accusations:
    """The time of the last accusation, by server and accused user."""

    def __init__(self, user_of: Users) -> None:
        """Start without accusations."""
        self._user_of = user_of
        self._accused: defaultdict[Hashable, dict[int, float]] = defaultdict(dict)
        self._truces: dict[Hashable, float] = {}

    def are_too_many(self, server: Hashable, uid: int, now: float, *, since: float) -> bool:
        """Record that a server, started at `since`, accuses a uid; tell whether the server has to be replaced."""
        accused = self._accused[server]
        accused[self._user_of(uid)] = now
        recent = {user: when for user, when in accused.items() if when > max(since, now - WINDOW_S)}
        self._accused[server] = recent
        if len(recent) < MOST_ACCUSED or now < self._truces.get(server, now):
            return False
        self._truces[server] = now + TRUCE_S
        return True
