"""When a server that accuses its clients is the one that is not believed. Plain data, no I/O; seconds of one clock.

An accusation costs the accused one channel, true or not; replacing the server costs everybody. So it takes the word of
many users against the server's, and users who break the protocol together get it replaced once in a long while.
"""

from collections import defaultdict
from collections.abc import Hashable
from typing import Final

from cofferdam_runtime.backoff import WINDOW_S
from cofferdam_runtime.places import Users

MOST_ACCUSED: Final = 8
"""Users of uids that a server may accuse within `WINDOW_S`, before it is taken for the one that broke the protocol."""
TRUCE_S: Final = 600.0
"""Time within which a server is not replaced for that again: either its successors are believed, or it is all true."""


class Accusations:
    """What servers say of the uids that they serve."""

    def __init__(self, user_of: Users) -> None:
        """Nobody was accused."""
        self._user_of = user_of
        self._said: defaultdict[Hashable, dict[int, float]] = defaultdict(dict)
        self._truces: dict[Hashable, float] = {}

    def are_too_many(self, server: Hashable, uid: int, now: float, *, since: float) -> bool:
        """Note that a server, which runs `since` then, accuses a uid; tell whether it is to be replaced for that."""
        said = self._said[server]
        said[self._user_of(uid)] = now
        recent = {owner: when for owner, when in said.items() if when > max(since, now - WINDOW_S)}
        self._said[server] = recent
        if len(recent) < MOST_ACCUSED or now < self._truces.get(server, now):
            return False
        self._truces[server] = now + TRUCE_S
        return True
