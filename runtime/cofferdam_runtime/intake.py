"""New connections: accepted from the kernel's one backlog at once, and queued by uid until a frontend serves that uid.

A client that connects faster than its frontend takes connections fills only the queue of its own uid; connections
beyond the limit are closed. The kernel's backlog, which all clients share, stays short.
"""

import _socket
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cofferdam_contracts.roles import READER_UID, RELAY_UID, UID_COUNT
from cofferdam_contracts.settings import BrokerSettings
from cofferdam_runtime.listener import Acceptor, Arrival
from cofferdam_runtime.log import Log
from cofferdam_runtime.places import Users
from cofferdam_runtime.queues import Queues
from cofferdam_runtime.sandbox.broker import no_uids

OVERFLOW_UID: Final = 65534
"""The kernel's uid for peers that have none in our user namespace (user_namespaces(7)); many users share it."""


class Intake:
    """The connections that wait for a frontend."""

    def __init__(
        self, log: Log, settings: BrokerSettings, users: Users, is_welcome: Callable[[int, float], bool]
    ) -> None:
        """Start empty. `is_welcome` tells whether a uid may wait at a given time."""
        self._log = log
        self._is_welcome = is_welcome
        # The other half of the descriptors is for child processes and their channels.
        together = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self.waiting: Queues[_socket.socket] = Queues(users, each=settings.max_connections, together=together)
        uids = range(settings.uid_base, settings.uid_base + UID_COUNT) if not no_uids() else range(0)
        self._refused = frozenset({OVERFLOW_UID, READER_UID, RELAY_UID, *uids})
        self.acceptor = Acceptor(log)
        self._closed: Counter[int] = Counter()
        self._warned = 0.0

    def keep(self, arrivals: Iterable[Arrival], now: float) -> set[int]:
        """Queue the connections that may wait and close the others; return the uids of those queued."""
        queued = set()
        for uid, connection in arrivals:
            if uid in self._refused:
                self.turn_away(uid, [connection], "this uid cannot be a client")
            elif not self._is_welcome(uid, now):
                self.turn_away(uid, [connection], "the frontends of this uid ended too often")
            elif (surplus := self.waiting.put(uid, connection)) is not None:
                self.turn_away(uid, [surplus], "more wait than limits.max_connections, or than there are descriptors")
            else:
                queued.add(uid)
        return queued

    def turn_away(self, uid: int, connections: Sequence[_socket.socket], why: str) -> None:
        """Close connections, and log it at most once a second; `others` counts those of other uids since then."""
        for connection in connections:
            connection.close()
        self._closed[uid] += len(connections)
        if connections and (now := time.monotonic()) > self._warned + 1:
            closed, others = self._closed.pop(uid), self._closed.total()
            self._log.warning("connections are closed unserved", uid=uid, closed=closed, others=others, cause=why)
            self._closed, self._warned = Counter(), now

    def close(self) -> None:
        """Close the connections that still wait."""
        for uid, connection in self.waiting.drop_all():
            self.turn_away(uid, [connection], "the service ends")
        self.acceptor.close()
