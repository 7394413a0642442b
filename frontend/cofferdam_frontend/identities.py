"""Requests that wait until another process has said who they are from.

Most authenticators decide from the authentication field alone, and their requests never come here. One that has to ask
another process is an `IdentitySource`; its requests are pending until it settles them:

    authenticate -> Identity ---------------------------------------------> Pipeline.serve_as
                 -> IdentitySource -> pending --settled with an Identity--> Pipeline.serve_as
                                         |------settled with an error--------> that status
                                         |------answer_timeout_ms------------> PSA_ERROR_COMMUNICATION_FAILURE
                                         +------the connection is closed-----> nothing: nobody is left to answer

Order      The checks after authentication are the same function for both, so their order is the same. A connection has
           one request under way, so its responses keep their order; all other connections go on, also those of the
           same principal.
Late       A request that is no longer pending cannot be settled. The source is told when a request is given up, so that
           it need not remember it either.
Limits     At most `max_in_flight` requests are pending. Each counts against the memory budget and as in flight. The
           server that carries the request out has `answer_timeout_ms` of its own after that.
Draining   The frontend ends when its last connection is closed, and the connection of a pending request is open.
Ids        Upstreams need ids that grow in the order in which they are asked (`upstream.py`), so a settled request gets
           a new id.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from cofferdam_contracts.settings import FrontendSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.decoder import Request
from cofferdam_frontend.auth import Identity, IdentitySource
from cofferdam_frontend.budget import Budget, Share
from cofferdam_frontend.connection import ClientConnection
from cofferdam_frontend.deadlines import now_us
from cofferdam_frontend.responder import Responder

Resume: TypeAlias = Callable[[Identity | ServiceError, Request, Responder], None]
"""Goes on with a request whose identity is known, or refuses it."""


class _Pending:
    __slots__ = ("cancel", "deadline", "request", "responder", "share")

    def __init__(self, request: Request, responder: Responder, deadline: int, share: Share) -> None:
        self.request = request
        self.responder = responder
        self.deadline = deadline
        self.share = share
        self.cancel: Callable[[], None] = lambda: None


class PendingIdentities:
    """The pending requests of one frontend, the oldest first."""

    def __init__(self, settings: FrontendSettings, budget: Budget, resume: Resume) -> None:
        """Have none yet."""
        self._most = settings.max_in_flight
        self._timeout_us = settings.answer_timeout_ms * 1000
        self._budget = budget
        self._resume = resume
        self._pending: dict[ClientConnection, _Pending] = {}

    def __len__(self) -> int:
        """Return how many requests are pending."""
        return len(self._pending)

    def ask(self, source: IdentitySource, request: Request, responder: Responder) -> None:
        """Ask who a request is from, and go on with it later.

        Raises:
            ServiceError: Too many requests are pending, there is no memory to keep this one, or the source cannot ask.
        """
        if len(self._pending) >= self._most:
            raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, f"{self._most} requests wait for an identity")
        share = Share(self._budget)
        if not responder.holds and not share.hold(len(request.body) + len(request.auth)):
            raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, "no memory for a request without identity")
        pending = _Pending(request, responder, now_us() + self._timeout_us, share)
        self._pending[responder.connection] = pending
        try:
            pending.cancel = source(request.auth, partial(self._settle, pending))
        except ServiceError:
            self._remove(pending)
            raise
        if self._is_pending(pending):
            responder.connection.notice_hangup()

    def abandon(self, connection: ClientConnection) -> None:
        """Give up the request of a connection whose client is gone, if it is pending."""
        pending = self._pending.get(connection)
        if pending is not None:
            self._remove(pending)
            pending.cancel()
            pending.responder.release()

    def next_deadline(self) -> int | None:
        """Return when the oldest request is overdue, in microseconds of the monotonic clock."""
        for pending in self._pending.values():
            return pending.deadline
        return None

    def expire(self, now: int) -> None:
        """Refuse what is overdue: the oldest first, all have the same time."""
        while self._pending:
            pending = next(iter(self._pending.values()))
            if pending.deadline > now:
                return
            pending.cancel()
            self._settle(pending, ServiceError(Status.PSA_ERROR_COMMUNICATION_FAILURE, "nobody said who it is from"))

    def _settle(self, pending: _Pending, found: Identity | ServiceError) -> None:
        if self._is_pending(pending):
            self._remove(pending)
            self._resume(found, pending.request, pending.responder)

    def _is_pending(self, pending: _Pending) -> bool:
        return self._pending.get(pending.responder.connection) is pending

    def _remove(self, pending: _Pending) -> None:
        self._pending.pop(pending.responder.connection, None)
        pending.share.force(0)
