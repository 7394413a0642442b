"""The frontend of one principal: takes its connections from the broker, bounds what they may do, has them served."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from cofferdam_contracts.ipc.control import Assign, NewClient, UpstreamChannel
from cofferdam_contracts.ipc.grants import MAX_VERIFY
from cofferdam_contracts.ipc.limits import MAX_LISTING, message_limit
from cofferdam_contracts.registry import TOKEN_AUTHENTICATORS
from cofferdam_contracts.roles import WORKERS, Role
from cofferdam_contracts.settings import FrontendSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.decoder import Limits, Request
from cofferdam_frontend.auth import Authentication, Identity, Methods
from cofferdam_frontend.budget import Budget
from cofferdam_frontend.connection import ClientConnection, State
from cofferdam_frontend.core import Core
from cofferdam_frontend.deadlines import Deadlines, now_us
from cofferdam_frontend.identities import PendingIdentities
from cofferdam_frontend.pipeline import Pipeline
from cofferdam_frontend.responder import Responder
from cofferdam_frontend.tokens import IdentityUpstream, Tokens
from cofferdam_frontend.upstream import KimUpstream, Upstream, WorkerUpstream
from cofferdam_runtime.channel import Channel
from cofferdam_runtime.entry import Reporter
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import IDLE_S, Loop

VERSION: Final = (0, 1, 0)
"""Of the service, as ListProviders gives it for the core provider."""


_UPSTREAMS: Final[Mapping[Role, type[Upstream]]] = {
    Role.KIM: KimUpstream,
    Role.IDENTITY: IdentityUpstream,
    **dict.fromkeys(WORKERS, WorkerUpstream),
}
"""The class for each role that a frontend asks."""


class BrokenPeerError(Exception):
    """Raised when the broker breaks the protocol of the control socket; this process must end."""


class Frontend:
    """Serves the connections of one principal."""

    def __init__(
        self, settings: FrontendSettings, loop: Loop, log: Log, reporter: Reporter, methods: Methods | None = None
    ) -> None:
        """Serve on this loop, from `assign` on.

        Args:
            settings: What the configuration says.
            loop: The loop of the process.
            log: Where to log.
            reporter: Tells the broker what was served and which channels are lost.
            methods: Of authenticators besides those that the identity process knows, by their numbers.
        """
        self.loop = loop
        self.budget = Budget(settings.buffer_limit)
        self._limits = Limits(body_len=settings.body_len_limit)
        self._settings = settings
        self._log = log
        self._methods = methods or {}
        self._pipeline: Pipeline | None = None
        self._upstreams: dict[tuple[Role, int], Upstream] = {}
        self._identities = PendingIdentities(settings, self.budget, self._resume)
        self._waiting: list[Upstream | PendingIdentities] = [self._identities]
        """What holds requests that have a deadline."""
        self._connections: dict[ClientConnection, None] = {}
        self._deadlines = Deadlines(_patience(settings))
        self._draining = False
        self._number = 0
        self._last_id = 0
        self._reporter = reporter

    def assign(self, record: Assign) -> None:
        """Become the frontend of a principal, once and for all."""
        store = self._upstreams.get((Role.KIM, 0))
        workers = {
            role.row.provider: upstream
            for (role, _), upstream in self._upstreams.items()
            if isinstance(upstream, WorkerUpstream)
        }
        if (
            self._pipeline is not None
            or not isinstance(store, KimUpstream)
            or workers.keys() != {entry.id for entry in self._settings.providers}
        ):
            raise BrokenPeerError("assigned twice, or before the channels")
        by_provider = {entry.id: workers[entry.id] for entry in self._settings.providers}
        identity = self._upstreams.get((Role.IDENTITY, 0))
        tokens = Tokens(identity) if isinstance(identity, IdentityUpstream) else None
        of_tokens: Methods = {
            int(auth_type): partial(tokens.find, auth_type) for auth_type in TOKEN_AUTHENTICATORS if tokens
        }
        self._number = record.number
        self._pipeline = Pipeline(
            Authentication(self._settings.authenticators, record.uid, {**of_tokens, **self._methods}),
            self._identities,
            Core.of(self._settings, VERSION, store, tuple(by_provider.values())),
            by_provider,
            tokens,
        )

    def add_channel(self, record: UpstreamChannel) -> None:
        """Use this channel to an upstream, in place of the one before."""
        role = Role(record.role)
        upstream = self._upstreams.get((role, record.number))
        if upstream is None:
            upstream = self._add_upstream(role, record.number)
        limit = message_limit(self._settings.body_len_limit, self._settings.buffer_size_limit)
        most = {Role.KIM: MAX_LISTING, Role.IDENTITY: MAX_VERIFY}.get(role, limit)
        upstream.attach(Channel.of(record.descriptor, most), record.before)

    def _add_upstream(self, role: Role, number: int) -> Upstream:
        if self._pipeline is not None or role not in _UPSTREAMS:
            raise BrokenPeerError(f"a channel to role {role.name}, number {number}")
        made = _UPSTREAMS[role]((role, number), self.loop, self.budget, self._settings, self)
        self._upstreams[role, number] = made
        self._waiting.append(made)
        return made

    def add_client(self, record: NewClient) -> None:
        """Serve a connection that the broker accepted."""
        connection = ClientConnection(record.descriptor, self.loop, self._limits, self.budget, self)
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

    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._connections)

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
        if self._pipeline is None:
            raise BrokenPeerError("a client before its principal")
        self._deadlines.suspend(connection)
        self._reporter.served += 1
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
            server=upstream.role.name.lower(),
            number=upstream.number,
            cause=str(cause) or type(cause).__name__,
        )
        self._reporter.broken(upstream.role, upstream.number, upstream.before)

    def _resume(self, found: Identity | ServiceError, request: Request, responder: Responder) -> None:
        """Go on with a request that was pending."""
        if self._pipeline is None:
            raise BrokenPeerError("a client before its principal")
        self._last_id = responder.request_id = self._last_id + 1
        try:
            if isinstance(found, ServiceError):
                responder.give_up()
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
