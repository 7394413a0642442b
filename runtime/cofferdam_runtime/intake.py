"""Connections as they come: taken from the kernel's one queue at once, kept by uid until somebody serves that uid.

Whoever connects faster than its frontend takes connections fills its own queue here and loses what is beyond its limit.
The kernel's queue, which everybody shares, stays short.
"""

import _socket
import os
import resource
import time
from collections.abc import Callable, Iterable
from typing import Final

from cofferdam_contracts.roles import READER_UID, RELAY_UID, UID_COUNT
from cofferdam_contracts.settings import BrokerSettings
from cofferdam_runtime.listener import Acceptor, Arrival
from cofferdam_runtime.log import Log
from cofferdam_runtime.places import Users
from cofferdam_runtime.queues import Queues

OVERFLOW_UID: Final = 65534
"""What the kernel says of a peer whose uid has no number here (user_namespaces(7)): many users in one."""


class Intake:
    """The connections that wait."""

    def __init__(
        self, log: Log, settings: BrokerSettings, users: Users, is_welcome: Callable[[int, float], bool]
    ) -> None:
        """Hold nothing yet. `is_welcome` tells whether a uid may wait at some time."""
        self._log = log
        self._is_welcome = is_welcome
        # The rest of the descriptors is for processes and their channels.
        together = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self.waiting: Queues[_socket.socket] = Queues(users, each=settings.max_connections, together=together)
        uids = range(settings.uid_base, settings.uid_base + UID_COUNT) if os.geteuid() == 0 else range(0)
        self._refused = frozenset({OVERFLOW_UID, READER_UID, RELAY_UID, *uids})
        self.acceptor = Acceptor(log)
        self._closed = 0
        self._said = 0.0

    def keep(self, arrivals: Iterable[Arrival], now: float) -> set[int]:
        """Have connections wait, those that may; return the uids that they came from."""
        came = set()
        for uid, connection in arrivals:
            if uid in self._refused:
                self.turn_away(uid, [connection], "this uid cannot be a client")
            elif not self._is_welcome(uid, now):
                self.turn_away(uid, [connection], "the frontends of this uid ended too often")
            elif (surplus := self.waiting.put(uid, connection)) is not None:
                self.turn_away(uid, [surplus], "more wait than limits.max_connections, or than there are descriptors")
            else:
                came.add(uid)
        return came

    def turn_away(self, uid: int, connections: list[_socket.socket], why: str) -> None:
        """Hang up, and say so once a second however often it happens."""
        for connection in connections:
            connection.close()
        self._closed += len(connections)
        if connections and (now := time.monotonic()) > self._said + 1:
            self._log.warning("connections are closed unserved", uid=uid, closed=self._closed, cause=why)
            self._closed, self._said = 0, now

    def close(self) -> None:
        """Hang up on those that still wait."""
        for uid, connection in self.waiting.drop_all():
            self.turn_away(uid, [connection], "the service ends")
        self.acceptor.close()
