"""The frontend of one principal: takes its connections from the broker, bounds what they may do, has them served."""

import time
from typing import Final

from cofferdam_contracts.ipc.control import Record, Role
from cofferdam_contracts.ipc.keystore import MAX_ANSWER
from cofferdam_contracts.settings import FrontendSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.decoder import Limits, Request
from cofferdam_frontend.auth import Authentication
from cofferdam_frontend.backend import Backend, StoreBackend, WorkerBackend
from cofferdam_frontend.connection import Connection, Owner, State
from cofferdam_frontend.core import Core
from cofferdam_frontend.deadlines import Deadlines
from cofferdam_frontend.pipeline import Pipeline
from cofferdam_frontend.responder import Responder
from cofferdam_runtime.channel import Channel
from cofferdam_runtime.entry import Child
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import IDLE_S, Loop

VERSION: Final = (0, 1, 0)
"""Of the service, as ListProviders gives it for the core provider."""
OVERHEAD: Final = 1 << 16


class BrokenPeerError(Exception):
    """Raised when a channel to a server cannot be used any more; this process must be replaced."""


def now_us() -> int:
    """Return the time of the clock that all deadlines use: monotonic, microseconds."""
    return time.monotonic_ns() // 1000


class Frontend(Owner):
    """Serves the connections of one principal."""

    def __init__(self, settings: FrontendSettings, loop: Loop, log: Log) -> None:
        """Serve on this loop; nobody is served before `assign`."""
        self.loop = loop
        self.limits = Limits(body_len=settings.body_len_limit)
        self._settings = settings
        self._log = log
        self._pipeline: Pipeline | None = None
        self._workers: dict[int, WorkerBackend] = {}
        self._store: StoreBackend | None = None
        self._backends: list[Backend] = []
        self._connections: dict[Connection, None] = {}
        self._deadlines = Deadlines()
        silence, request = settings.read_timeout_ms * 1000, settings.request_timeout_ms * 1000
        idle = settings.idle_connection_ms * 1000
        self._patience = {
            State.RECEIVING: (silence, request),
            State.IDLE: (idle, idle),
            State.SENDING: (silence, request),
            State.DRAINING: (silence, silence),
        }
        self.draining = False
        self._number = 0
        self._child: Child | None = None

    def watch(self, child: Child) -> None:
        """Show the broker what is going on here."""
        self._child = child
        child.in_flight = self.in_flight
        child.count = lambda: len(self._connections)

    def assign(self, record: Record, _descriptor: int | None) -> None:
        """Become the frontend of a principal, once and for all."""
        if self._pipeline is not None or self._store is None:
            raise BrokenPeerError("assigned twice, or before the channels")
        workers = {entry.id: self._workers[index] for index, entry in enumerate(self._settings.providers)}
        self._number = record.b
        self._pipeline = Pipeline(
            Authentication(self._settings.authenticators, record.a),
            Core.of(self._settings, VERSION, self._store, tuple(workers.values())),
            workers,
        )

    def add_channel(self, record: Record, descriptor: int | None) -> None:
        """Take the channel to a worker or to the key store."""
        if descriptor is None:
            raise BrokenPeerError("a channel without descriptor")
        if record.a == Role.KIM:
            channel = Channel.of(descriptor, MAX_ANSWER)
            self._store = StoreBackend(channel, self.loop, self._settings, self._lost)
            self._backends.append(self._store)
            return
        channel = Channel.of(
            descriptor, max(self._settings.body_len_limit, self._settings.buffer_size_limit) + OVERHEAD
        )
        worker = self._workers[record.c] = WorkerBackend(channel, self.loop, self._settings, self._lost)
        self._backends.append(worker)

    def add_client(self, _record: Record, descriptor: int | None) -> None:
        """Serve a connection that the broker accepted."""
        if descriptor is None:
            raise BrokenPeerError("a client without descriptor")
        connection = Connection(descriptor, self)
        self._connections[connection] = None
        if len(self._connections) > self._settings.max_connections:
            self._log.warning(
                "too many connections of one principal; the newest is closed", limit=len(self._connections)
            )
            connection.close()
            return
        connection.start()

    def drain(self) -> None:
        """Finish what was begun and take no further requests."""
        self.draining = True
        for connection in list(self._connections):
            if connection.state is State.IDLE:
                connection.close()

    def in_flight(self) -> int:
        """Return how many requests wait for a server."""
        return sum(map(len, self._backends))

    def tick(self) -> float:
        """Do what is due; return the seconds until something is due again."""
        if self.draining and not self._connections:
            self.loop.stop()
            return 0.0
        due = self._deadlines.next()
        for backend in self._backends:
            if (when := backend.next_deadline()) is not None and (due is None or when < due):
                due = when
        if due is None:
            return IDLE_S
        now = now_us()
        if due > now:
            return (due - now) / 1e6 + 0.001
        for connection in self._deadlines.due(now):
            self._check(connection, now)
        for backend in self._backends:
            backend.expire(now)
        return 0.0

    # What a connection needs of its owner.

    def on_request(self, connection: Connection, request: Request) -> None:
        """Have a request answered."""
        if self._pipeline is None or self._child is None:
            raise BrokenPeerError("a client before its principal")
        self._child.served += 1
        responder = Responder(connection, request.header, self._child.served)
        try:
            self._pipeline.serve(request, responder)
        except ServiceError as error:
            self._log_refusal(request, responder.request_id, error)
            responder.fail(error.status)

    def on_wait(self, connection: Connection) -> None:
        """Bound the wait that a connection begins or goes on with."""
        now = now_us()
        state = connection.state
        if connection.waiting is not state:
            connection.waiting, connection.began = state, now
        silence, total = self._patience[state]
        connection.deadline = min(now + silence, connection.began + total)
        self._deadlines.schedule(connection, connection.deadline)

    def on_refuse(self, status: Status) -> None:
        """Say that somebody sent what is no request."""
        self._log.debug("what came was no request", status=status.value, cause=status.name)

    def on_close(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)

    def _check(self, connection: Connection, now: int) -> None:
        if connection.state is State.WORKING:
            return
        if now >= connection.deadline:
            connection.on_time_out()
        else:
            self._deadlines.schedule(connection, connection.deadline)

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

    def _lost(self, error: Exception) -> None:
        raise BrokenPeerError(str(error)) from error
