"""The frontend of one principal: takes its connections from the broker, bounds what they may do, has them served."""

from typing import Final

from cofferdam_contracts.ipc.control import WORKERS, Record, Role
from cofferdam_contracts.ipc.limits import MAX_LISTING, message_limit
from cofferdam_contracts.settings import FrontendSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.decoder import Limits, Request
from cofferdam_frontend.auth import Application, Authentication, Sources
from cofferdam_frontend.budget import Budget
from cofferdam_frontend.connection import ClientConnection, State
from cofferdam_frontend.core import Core
from cofferdam_frontend.deadlines import Deadlines, now_us
from cofferdam_frontend.identities import PendingIdentities
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
    """Raised when the broker breaks the protocol of the control socket; this process must end."""


class Frontend:
    """Serves the connections of one principal."""

    def __init__(self, settings: FrontendSettings, loop: Loop, log: Log, sources: Sources | None = None) -> None:
        """Serve on this loop, from `assign` on.

        Args:
            settings: What the configuration says.
            loop: The loop of the process.
            log: Where to log.
            sources: The authenticators that ask another process, by their numbers.
        """
        self.loop = loop
        self.budget = Budget(settings.buffer_limit)
        self._limits = Limits(body_len=settings.body_len_limit)
        self._settings = settings
        self._log = log
        self._sources = sources or {}
        self._pipeline: Pipeline | None = None
        self._upstreams: dict[tuple[int, int], Upstream] = {}
        self._identities = PendingIdentities(settings, self.budget, self._resume)
        self._waiting: list[Upstream | PendingIdentities] = [self._identities] if sources else []
        """What holds requests that have a deadline."""
        self._connections: dict[ClientConnection, None] = {}
        self._deadlines = Deadlines(_patience(settings))
        self._draining = False
        self._number = 0
        self._last_id = 0
        self._child: Child | None = None

    def watch(self, child: Child) -> None:
        """Report load to the broker through this child."""
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
            Authentication(self._settings.authenticators, record.a, self._sources),
            self._identities,
            Core.of(self._settings, VERSION, store, tuple(by_provider.values())),
            by_provider,
        )

    def add_channel(self, record: Record, descriptor: int | None) -> None:
        """Use this channel to a worker or to the key store, in place of the one before."""
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
        upstream = self._upstreams[role, number] = kind((role, number), self.loop, self.budget, self._settings, self)
        self._waiting.append(upstream)
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
        """Return how many requests wait for another process."""
        return sum(map(len, self._waiting))

    def tick(self) -> float:
        """Do what is due; return the seconds until something is due again."""
        if self._draining and not self._connections:
            self.loop.stop()
            return 0.0
        due = self._deadlines.next()
        for waiting in self._waiting:
            if (when := waiting.next_deadline()) is not None and (due is None or when < due):
                due = when
        if due is None:
            return IDLE_S
        now = now_us()
        if due > now:
            return (due - now) / 1e6 + 0.001
        for connection in self._deadlines.due(now):
            connection.on_time_out()
        for waiting in self._waiting:
            waiting.expire(now)
        return 0.0

    # What connections and upstreams need of their owner.

    def on_request(self, connection: ClientConnection, request: Request) -> None:
        """Have a request answered."""
        if self._pipeline is None or self._child is None:
            raise BrokenPeerError("a client before its principal")
        self._deadlines.suspend(connection)
        self._child.served += 1
        self._last_id = request_id = self._last_id + 1
        responder = Responder(connection, request.header, request_id)
        try:
            self._pipeline.serve(request, responder)
        except ServiceError as error:
            self._refuse(request, responder, error)

    def on_wait(self, connection: ClientConnection) -> None:
        """Restart the timer of the connection's state."""
        self._deadlines.wait(connection, now_us())

    def on_refuse(self, status: Status) -> None:
        """Log that a client sent something that is not a request."""
        self._log.debug("a client sent something that is not a request", status=status.value, cause=status.name)

    def on_abandon(self, connection: ClientConnection) -> None:
        """Give up the request of a client that is gone, unless a server has it already."""
        self._identities.abandon(connection)

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

    def _resume(self, found: Application | ServiceError, request: Request, responder: Responder) -> None:
        """Go on with a request that was pending."""
        if self._pipeline is None:
            raise BrokenPeerError("a client before its principal")
        self._last_id = responder.request_id = self._last_id + 1
        try:
            if isinstance(found, ServiceError):
                raise found
            self._pipeline.serve_as(found, request, responder)
        except ServiceError as error:
            self._refuse(request, responder, error)

    def _refuse(self, request: Request, responder: Responder, error: ServiceError) -> None:
        header = request.header
        self._log.debug(
            "a request was refused",
            req=f"{self._number}:{responder.request_id:x}",
            op=header.opcode.name,
            provider=header.provider.name,
            status=error.status.value,
            cause=error.detail,
        )
        responder.fail(error.status)


def _patience(settings: FrontendSettings) -> dict[State, tuple[int, int]]:
    """Return the longest silence and the longest time altogether for each state that waits for the client, in µs."""
    silence, request = settings.read_timeout_ms * 1000, settings.request_timeout_ms * 1000
    idle = settings.idle_connection_ms * 1000
    return {
        State.RECEIVING: (silence, request),
        State.IDLE: (idle, idle),
        State.SENDING: (silence, request),
        State.DRAINING: (silence, silence),
    }
