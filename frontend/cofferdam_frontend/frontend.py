"""The frontend of one principal: takes its connections from the broker, bounds what they may do, has them served."""

import time
from typing import Final

from cofferdam_contracts.ipc.control import WORKERS, Record, Role
from cofferdam_contracts.ipc.keystore import MAX_LISTING
from cofferdam_contracts.ipc.requests import message_limit
from cofferdam_contracts.settings import FrontendSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.decoder import Limits, Request
from cofferdam_frontend.auth import Authentication
from cofferdam_frontend.budget import Budget
from cofferdam_frontend.connection import ClientConnection, State
from cofferdam_frontend.core import Core
from cofferdam_frontend.deadlines import Deadlines
from cofferdam_frontend.pipeline import Pipeline
from cofferdam_frontend.responder import Responder
from cofferdam_frontend.upstream import KimUpstream, Upstream, WorkerUpstream
from cofferdam_runtime.channel import Channel
from cofferdam_runtime.entry import Child
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import IDLE_S, Loop

VERSION: Final = (0, 1, 0)
"""Of the service, as ListProviders gives it for the core provider."""


class BrokenPeerError(Exception):
    """Raised when the broker says what it never says; this process must end."""


def now_us() -> int:
    """Return the time of the clock that all deadlines use: monotonic, microseconds."""
    return time.monotonic_ns() // 1000


class Frontend:
    """Serves the connections of one principal."""

    def __init__(self, settings: FrontendSettings, loop: Loop, log: Log) -> None:
        """Serve on this loop; nobody is served before `assign`."""
        self.loop = loop
        self._limits = Limits(body_len=settings.body_len_limit)
        self.budget = Budget(settings.buffer_limit)
        self._settings = settings
        self._log = log
        self._pipeline: Pipeline | None = None
        self._upstreams: dict[tuple[int, int], Upstream] = {}
        self._connections: dict[ClientConnection, None] = {}
        silence, request = settings.read_timeout_ms * 1000, settings.request_timeout_ms * 1000
        idle = settings.idle_connection_ms * 1000
        self._deadlines = Deadlines(
            {
                State.RECEIVING: (silence, request),
                State.IDLE: (idle, idle),
                State.SENDING: (silence, request),
                State.DRAINING: (silence, silence),
            }
        )
        self._draining = False
        self._number = 0
        self._child: Child | None = None

    def watch(self, child: Child) -> None:
        """Show the broker what is going on here."""
        self._child = child
        child.in_flight = self.in_flight
        child.count = lambda: len(self._connections)

    def assign(self, record: Record, _descriptor: int | None) -> None:
        """Become the frontend of a principal, once and for all."""
        store = self._upstreams.get((Role.KIM, 0))
        workers = {
            upstream.number: upstream for upstream in self._upstreams.values() if isinstance(upstream, WorkerUpstream)
        }
        if (
            self._pipeline is not None
            or not isinstance(store, KimUpstream)
            or len(workers) != len(self._settings.providers)
        ):
            raise BrokenPeerError("assigned twice, or before the channels")
        by_provider = {entry.id: workers[index] for index, entry in enumerate(self._settings.providers)}
        self._number = record.b
        self._pipeline = Pipeline(
            Authentication(self._settings.authenticators, record.a),
            Core.of(self._settings, VERSION, store, tuple(by_provider.values())),
            by_provider,
        )

    def add_channel(self, record: Record, descriptor: int | None) -> None:
        """Take the channel to a worker or to the key store, in place of the one before."""
        if descriptor is None:
            raise BrokenPeerError("a channel without descriptor")
        upstream = self._upstreams.get((record.a, record.c))
        if upstream is None:
            upstream = self._add_upstream(record.a, record.c)
        limit = message_limit(self._settings.body_len_limit, self._settings.buffer_size_limit)
        upstream.attach(Channel.of(descriptor, MAX_LISTING if record.a == Role.KIM else limit), record.d)

    def _add_upstream(self, role: int, number: int) -> Upstream:
        if self._pipeline is not None or role not in WORKERS | {Role.KIM}:
            raise BrokenPeerError(f"a channel to role {role}, number {number}")
        kind = KimUpstream if role == Role.KIM else WorkerUpstream
        upstream = self._upstreams[role, number] = kind(role, number, self, self._settings)
        return upstream

    def add_client(self, _record: Record, descriptor: int | None) -> None:
        """Serve a connection that the broker accepted."""
        if descriptor is None:
            raise BrokenPeerError("a client without descriptor")
        connection = ClientConnection(descriptor, self.loop, self._limits, self.budget, self)
        self._connections[connection] = None
        if len(self._connections) > self._settings.max_connections:
            self._log.warning(
                "too many connections of one principal; the newest is closed",
                limit=self._settings.max_connections,
            )
            connection.close()
            return
        connection.start()

    def drain(self) -> None:
        """Finish what was begun and take no further requests."""
        self._draining = True
        for connection in list(self._connections):
            if connection.state is State.IDLE:
                connection.close()

    def in_flight(self) -> int:
        """Return how many requests wait for a server."""
        return sum(map(len, self._upstreams.values()))

    def tick(self) -> float:
        """Do what is due; return the seconds until something is due again."""
        if self._draining and not self._connections:
            self.loop.stop()
            return 0.0
        due = self._deadlines.next()
        for upstream in self._upstreams.values():
            if (when := upstream.next_deadline()) is not None and (due is None or when < due):
                due = when
        if due is None:
            return IDLE_S
        now = now_us()
        if due > now:
            return (due - now) / 1e6 + 0.001
        for connection in self._deadlines.due(now):
            connection.on_time_out()
        for upstream in self._upstreams.values():
            upstream.expire(now)
        return 0.0

    # What connections and upstreams need of their owner.

    def on_request(self, connection: ClientConnection, request: Request) -> None:
        """Have a request answered."""
        if self._pipeline is None or self._child is None:
            raise BrokenPeerError("a client before its principal")
        self._deadlines.suspend(connection)
        self._child.served += 1
        responder = Responder(connection, request.header, self._child.served)
        try:
            self._pipeline.serve(request, responder)
        except ServiceError as error:
            self._log_refusal(request, responder.request_id, error)
            responder.fail(error.status)

    def on_wait(self, connection: ClientConnection) -> None:
        """Bound the wait that a connection begins or goes on with."""
        self._deadlines.wait(connection, now_us())

    def on_refuse(self, status: Status) -> None:
        """Say that somebody sent what is no request."""
        self._log.debug("what came was no request", status=status.value, cause=status.name)

    def on_close(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)
        self._deadlines.forget(connection)

    def keeps_connections(self) -> bool:
        """Tell whether a client may keep its connection: not once the frontend drains."""
        return not self._draining

    def on_lost(self, upstream: Upstream, cause: Exception) -> None:
        """Go on without a server until the broker makes another channel to it."""
        self._log.error(
            "a channel to a server is lost; its requests fail until the broker makes another",
            server=Role(upstream.role).name.lower(),
            number=upstream.number,
            cause=str(cause) or type(cause).__name__,
        )
        if self._child is not None:
            self._child.broken(upstream.role, upstream.number, upstream.before)

    def _log_refusal(self, request: Request, request_id: int, error: ServiceError) -> None:
        header = request.header
        self._log.debug(
            "a request was refused",
            req=f"{self._number}:{request_id:x}",
            op=header.opcode.name,
            provider=header.provider.name,
            status=error.status.value,
            cause=error.detail,
        )
