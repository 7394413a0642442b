"""A frontend without the other processes: a test plays the broker, the servers and the clients.

    with Stage() as stage:
        client = stage.client()
        client.send(request)
        message = stage.worker(0).receive()

Everything that the frontend touches is real: its loop, its control socket, its channels, its connections. `settle`
turns the loop until nothing happens any more, so nothing here waits for a clock.
"""

import _socket
import contextlib
import socket
from collections import deque
from collections.abc import Iterator
from typing import Any, Self

from tests.harness.wire import Response, split_responses

from cofferdam_contracts.ipc.control import Assign, NewClient, Record, UpstreamChannel
from cofferdam_contracts.ipc.limits import MAX_LISTING, message_limit
from cofferdam_contracts.registry import PROVIDERS, AuthType, ProviderId
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import AuthenticatorSettings, FrontendSettings, LogSettings, ProviderEntry
from cofferdam_frontend.auth import Methods
from cofferdam_frontend.frontend import Frontend
from cofferdam_runtime.channel import Channel
from cofferdam_runtime.control import Control, release
from cofferdam_runtime.entry import Child, Handler, Reporter, Start
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.pairs import socket_pair

UID = 1000
ADMIN = "boss"
KIM = (Role.KIM, 0)
WORKERS = ((Role.SOFTWARE_WORKER, 0), (Role.PKCS11_WORKER, 0))
_PROVIDERS = (ProviderId.MBED_CRYPTO, ProviderId.PKCS11)
SETTINGS = FrontendSettings(
    log=LogSettings(level="off"),
    providers=tuple(
        ProviderEntry(
            id=number,
            uuid=PROVIDERS[number].uuid,
            name=number.name,
            opcodes=tuple(sorted(PROVIDERS[number].opcodes)),
        )
        for number in _PROVIDERS
    ),
    authenticators=(
        AuthenticatorSettings(auth_type=AuthType.UNIX_PEER_CREDENTIALS),
        AuthenticatorSettings(auth_type=AuthType.DIRECT, admins=(ADMIN,)),
    ),
    body_len_limit=1 << 20,
    read_timeout_ms=1000,
    request_timeout_ms=5000,
    answer_timeout_ms=10_000,
    idle_connection_ms=30_000,
    max_connections=100,
    max_in_flight=16,
    buffer_limit=16 << 20,
    buffer_size_limit=1 << 20,
)
_TURNS = 2000


def settings(**changes: Any) -> FrontendSettings:  # noqa: ANN401  the fields of the settings
    return SETTINGS._replace(**changes)


class Client:
    """A client's end of a connection."""

    def __init__(self, stage: "Stage", end: socket.socket) -> None:
        self._stage = stage
        self.socket = end

    def send(self, data: bytes) -> None:
        """Send bytes, and let the frontend take them."""
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                return
            self._stage.settle()

    def receive(self) -> bytes:
        """Return all that came."""
        found = bytearray()
        while True:
            self._stage.settle()
            try:
                part = self.socket.recv(1 << 20)
            except BlockingIOError:
                return bytes(found)
            if not part:
                return bytes(found)
            found += part

    def responses(self) -> list[Response]:
        """Return the responses that came."""
        return split_responses(self.receive())

    def statuses(self) -> list[int]:
        """Return their statuses."""
        return [response.status for response in self.responses()]

    def is_closed(self) -> bool:
        """Tell whether the frontend has hung up; what came before is lost."""
        self.receive()
        try:
            return self.socket.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()
        self._stage.settle()


class Stage:
    """A frontend and all that it talks to."""

    def __init__(
        self,
        changed: FrontendSettings = SETTINGS,
        *,
        assign: bool = True,
        channels: bool = True,
        loop: Loop | None = None,
        methods: Methods | None = None,
    ) -> None:
        self.settings = changed
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.broker = Control(ours)
        self.loop = loop or Loop()
        log = Log("frontend", changed.log)
        start = Start(
            role=Role.FRONTEND,
            number=0,
            uid=None,
            parent=0,
            control=Control(theirs),
            document=-1,
            arguments=(),
            early=deque(),
        )
        reporter = Reporter(start.control)
        self.frontend = Frontend(changed, self.loop, log, reporter, methods)
        handlers: dict[type, Handler] = {
            UpstreamChannel: self.frontend.add_channel,
            Assign: self.frontend.assign,
            NewClient: self.frontend.add_client,
        }
        self.child = Child(
            start,
            log,
            self.loop,
            reporter,
            handlers,
            on_stop=self.frontend.drain,
            in_flight=self.frontend.in_flight,
            connections=self.frontend.connections,
        )
        self._cleanup = contextlib.ExitStack()
        self._cleanup.callback(ours.close)
        self._cleanup.callback(theirs.close)
        self.servers: dict[tuple[int, int], Channel] = {}
        if channels:
            for server in (KIM, *WORKERS):
                self.connect(server)
        if assign:
            self.assign()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self.servers.values():
            channel.close()
        for connection in list(self.frontend._connections):
            connection.close()
        for upstream in self.frontend._upstreams.values():
            upstream._detach()
        self._cleanup.close()
        self.loop._epoll.close()

    def assign(self) -> None:
        """Make it the frontend of the one principal."""
        self.tell(Assign(UID, 7))

    def tell(self, record: Record) -> None:
        """Send a record as the broker does; its descriptor is closed here."""
        assert self.broker.send(record)
        release(record)
        self.settle()

    def told(self) -> list[Record]:
        """Return what the frontend told the broker."""
        found = []
        while (received := self.broker.receive()) is not None:
            found.append(received)
        return found

    def connect(self, server: tuple[int, int], before: int = 0) -> None:
        """Make a channel to a server, and have the frontend use it."""
        ours, theirs = socket_pair()
        before_it = self.servers.get(server)
        limit = MAX_LISTING if server == KIM else message_limit(self.settings.body_len_limit, 1 << 23)
        self.servers[server] = Channel(ours, limit)
        self.tell(UpstreamChannel(*server, before, theirs.detach()))
        if before_it is not None:
            before_it.close()

    @property
    def kim(self) -> Channel:
        return self.servers[KIM]

    def worker(self, index: int) -> Channel:
        return self.servers[WORKERS[index]]

    def messages(self, server: Channel) -> list[tuple[Any, ...]]:
        """Return what a server was asked."""
        found = []
        self.settle()
        while (message := server.receive()) is not None:
            found.append(message)
            self.settle()
        return found

    def say(self, server: Channel, *message: object) -> None:
        """Send a message as a server does."""
        server.send(message)
        while server.backlog:
            self.settle()
            server.flush()
        self.settle()

    def client(self) -> Client:
        """Connect a client."""
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        self._cleanup.callback(ours.close)
        self.tell(NewClient(theirs.detach()))
        return Client(self, ours)

    def settle(self) -> None:
        """Turn the loop until nothing is there any more."""
        for _ in self._turns():
            pass

    def _turns(self) -> Iterator[None]:
        for _ in range(_TURNS):
            self.frontend.tick()
            events = self.loop._epoll.poll(0)
            if not events:
                return
            for descriptor, mask in events:
                callback = self.loop._callbacks.get(descriptor)
                if callback is not None:
                    callback(mask)
            yield
        raise AssertionError("the loop never comes to rest")
