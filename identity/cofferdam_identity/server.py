"""The identity process: verifies the tokens that frontends show, and tells the servers whom they may speak for.

    a token is shown --refused--> AUTHENTICATION_ERROR, logged, and the uid pays for it (`Patience`)
                     --good-----> GRANT to the servers that will be asked --acknowledged--> handle to the frontend

    a grant ends: the token does, its key is not trusted any more, it is revoked, another takes its place, or the
    frontend is gone; then the servers hear WITHDRAW. They know its end by the clock as well.

A frontend is told a handle and no name, and the servers know it for that frontend's channel alone: by the serial that
the broker has given to both. So a frontend that is taken over can name only identities whose tokens its own clients
have shown, until these end.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from cofferdam_contracts.ipc.control import DownstreamChannel, UpstreamChannel
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.grants import MAX_ANNOUNCED, MAX_VERIFY, SCHEMAS, GrantMessage
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import AuthenticatorSettings
from cofferdam_contracts.status import Status
from cofferdam_identity.files import Files
from cofferdam_identity.patience import Patience
from cofferdam_identity.servers import Servers
from cofferdam_identity.tokens import TokenError, Verified, token_hash
from cofferdam_identity.trust import RevokedError, Trust
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.entry import Reporter
from cofferdam_runtime.grants import now_us
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import HANGUP, IDLE_S, READ, WRITE, Loop

MOST: Final = 256
"""Grants of one frontend; with one more, the longest unused ends."""
LOOK_S: Final = 5.0
"""Seconds between two looks for grants that have ended: the wall clock may be set, and keys grow old."""
_HEADER: Final = 2
_CLIENTS: Final = {Role.FRONTEND: (GrantMessage.VERIFY, MAX_VERIFY), Role.FETCHER: (GrantMessage.BUNDLE, MAX_ANNOUNCED)}
"""What each kind of client may say, and the size of the largest."""


class Grant(Struct):
    """What one frontend's channel may speak for."""

    handle: str
    authenticator: int
    verified: Verified


class Client(Struct, eq=False):
    """A channel of a frontend or of a fetcher."""

    channel: Channel
    role: Role
    number: int
    serial: int
    uid: int
    grants: OrderedDict[tuple[int, str], Grant]
    """A frontend's, by authenticator and hash of the token, the longest unused first."""
    named: set[str]
    """Issuers that a fetcher has named since its last complete answer."""
    closed: bool = False
    last: int = 0
    """Number of its last handle."""


class Server:
    """Serves frontends and fetchers."""

    def __init__(  # noqa: PLR0913  the parts of a server
        self,
        trust: Trust,
        files: Files,
        loop: Loop,
        log: Log,
        reporter: Reporter,
        *,
        authenticators: Sequence[AuthenticatorSettings],
        fetchers: Sequence[int],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Serve on this loop, which has to call `tick`.

        Args:
            trust: Verifies tokens.
            files: Of the administrator.
            loop: Of the process.
            log: Of the process.
            reporter: Tells the broker who broke the protocol.
            authenticators: All that are configured, with their administrators.
            fetchers: Whose keys each fetcher brings, by its number.
            wall_clock: Returns the time of tokens, in seconds.
        """
        self._trust, self._files, self._loop, self._log, self._reporter = trust, files, loop, log, reporter
        self._admins = {entry.auth_type: frozenset(entry.admins) for entry in authenticators}
        self._fetchers = tuple(fetchers)
        self._wall_clock = wall_clock
        self._servers = Servers(loop, log, reporter)
        self._clients: set[Client] = set()
        self._patience = Patience()
        self._resting: dict[Client, float] = {}
        """Frontends that are not listened to for a while, and until when (monotonic seconds)."""
        self._look = 0.0

    def add_upstream(self, record: UpstreamChannel) -> None:
        """Use a channel to a server."""
        self._servers.attach(record)

    def add_channel(self, record: DownstreamChannel) -> None:
        """Serve the channel of a frontend or of a fetcher in place of its previous one.

        Raises:
            ValueError: It is nobody's who may ask.
        """
        role = Role(record.role)
        if role not in _CLIENTS or (role is Role.FETCHER and record.number >= len(self._fetchers)):
            raise ValueError(f"a channel to role {record.role}, number {record.number}")
        channel = Channel.of(record.descriptor, _CLIENTS[role][1], adopted=record.adopted)
        client = Client(channel, role, record.number, record.serial, record.uid, OrderedDict(), set())
        for before in [other for other in self._clients if other.serial == client.serial]:
            self._close(before)
        self._clients.add(client)
        self._loop.add(channel.fileno(), READ, lambda events: self._on_events(client, events))
        if record.adopted:
            # What a predecessor has granted has ended with its channels to the servers, and what it knew is lost.
            self._send(client, (Common.HELLO,))

    def in_flight(self) -> int:
        """Return how much the servers have not acknowledged."""
        return self._servers.waiting()

    def tick(self) -> float:
        """Do what is due; return the seconds until something is due again."""
        now = time.monotonic()
        for client in [client for client, until in self._resting.items() if until <= now]:
            del self._resting[client]
            self._listen(client)
        if self._files.look(now) or now >= self._look:
            self._look = now + LOOK_S
            self.review()
        due = min([IDLE_S, self._files.due(), *(until - now for until in self._resting.values())])
        return max(0.0, min(due, self._look - now) if any(client.grants for client in self._clients) else due)

    def review(self) -> None:
        """End the grants whose tokens would not be accepted any more."""
        now = self._wall_clock()
        for client in list(self._clients):
            gone = [
                key
                for key, grant in client.grants.items()
                if not self._trust.holds(grant.authenticator, grant.verified, now)
            ]
            for key in gone:
                self._end(client, key)

    def _on_events(self, client: Client, events: int) -> None:
        try:
            if events & WRITE:
                client.channel.flush()
                self._listen(client)
            if events & HANGUP and client in self._resting:
                self._close(client)
                return
            # One message at a time: the next one is reported again, after those of others.
            message = None if client.channel.backlog or client in self._resting else client.channel.receive()
            if message is not None:
                self._take(client, message)
        except ChannelClosedError:
            self._close(client)
        except (FramingError, ForbiddenMessageError) as error:
            self._log.error(
                "a process broke the protocol; its channel is closed",
                role=client.role,
                serial=client.serial,
                cause=error,
            )
            self._reporter.violated(client.role, client.serial)
            self._close(client)

    def _take(self, client: Client, message: tuple[Any, ...]) -> None:
        wanted, _ = _CLIENTS[client.role]
        number, fields = message[0], message[_HEADER:]
        if number != wanted or len(message) < _HEADER or type(message[1]) is not int:
            raise ForbiddenMessageError(f"message {number!r:.20} with {len(message)} elements")
        if not SCHEMAS[wanted].accepts(fields):
            raise ForbiddenMessageError(f"{wanted.name} with fields of the wrong number, type or size")
        self._reporter.count_one()
        if client.role is Role.FETCHER:
            self._learn(client, *fields)
        else:
            self._verify(client, message[1], *fields)

    def _learn(self, client: Client, issuer: str, document: bytes) -> None:
        authenticator = self._fetchers[client.number]
        expected = self._trust.settings[authenticator].issuer
        if not issuer:
            # The end of a complete answer.
            named, client.named = frozenset(client.named), set()
            self._trust.keep_only(authenticator, named)
        elif expected not in {None, issuer}:
            raise ForbiddenMessageError("the keys of an issuer that is not the configured one")
        elif document:
            # Without one, its keys are withdrawn.
            client.named.add(issuer)
            self._trust.learn(authenticator, issuer, document, f"fetcher[{client.number}]")
        self.review()

    def _verify(  # noqa: PLR0913, PLR0917  the fields of VERIFY
        self, client: Client, number: int, deadline: int, authenticator: int, servers: int, token: bytes
    ) -> None:
        if authenticator not in self._trust.settings:
            raise ForbiddenMessageError(f"a token of authenticator {authenticator}, which is not configured")
        if deadline < time.monotonic_ns() // 1000:
            return
        try:
            verified = self._trust.verify(authenticator, token, self._wall_clock())
        except (TokenError, RevokedError) as error:
            self._refuse(client, number, authenticator, token, error)
            return
        grant = self._grant(client, authenticator, verified)
        until = now_us() + int((verified.expires_at - self._wall_clock()) * 1e6)
        roles = [role for role in self._servers.all() if servers >> role & 1]
        admin = int(verified.subject in self._admins.get(authenticator, ()))
        answer = (GrantMessage.VERIFY + 1, number, 0, grant.handle, admin, until)
        fields = (client.serial, grant.handle, authenticator, verified.subject, until)
        self._servers.say(roles, GrantMessage.GRANT, fields, lambda: self._send(client, answer))

    def _refuse(
        self, client: Client, number: int, authenticator: int, token: bytes, error: TokenError | RevokedError
    ) -> None:
        status = error.status if isinstance(error, TokenError) else Status.AUTHENTICATION_ERROR
        check = error.check.value if isinstance(error, TokenError) else "revoked"
        detail = error.detail if isinstance(error, TokenError) else str(error)
        self._log.warning(
            "a token is refused",
            check=check,
            cause=detail,
            token=token_hash(token),
            authenticator=authenticator,
            uid=client.uid,
        )
        self._send(client, (GrantMessage.VERIFY + 1, number, int(status)))
        rest = self._patience.fail(client.uid, time.monotonic())
        if rest and not client.closed:
            self._resting[client] = time.monotonic() + rest
            self._listen(client)

    def _grant(self, client: Client, authenticator: int, verified: Verified) -> Grant:
        key = (authenticator, verified.token_hash)
        grant = client.grants.get(key)
        if grant is None:
            client.last += 1
            grant = Grant(f"{client.last:x}", authenticator, verified)
            client.grants[key] = grant
            if len(client.grants) > MOST:
                self._end(client, next(iter(client.grants)))
        grant.verified = verified
        client.grants.move_to_end(key)
        return grant

    def _end(self, client: Client, key: tuple[int, str]) -> None:
        # A server that is lost meanwhile may end a client, and its grants with it.
        grant = client.grants.pop(key, None)
        if grant is not None:
            self._withdraw(client, grant.handle)

    def _withdraw(self, client: Client, handle: str) -> None:
        self._servers.say(self._servers.all(), GrantMessage.WITHDRAW, (client.serial, handle), lambda: None)

    def _send(self, client: Client, message: tuple[object, ...]) -> None:
        if client.closed:
            return
        try:
            client.channel.send(message)
        except ChannelClosedError:
            self._close(client)
            return
        if client.channel.backlog:
            self._listen(client)

    def _listen(self, client: Client) -> None:
        """Wait for what a client is ready for: its end is noticed in any case."""
        ready = WRITE if client.channel.backlog else 0 if client in self._resting else READ
        self._loop.change(client.channel.fileno(), ready)

    def _close(self, client: Client) -> None:
        if client.closed:
            return
        client.closed = True
        self._clients.discard(client)
        self._resting.pop(client, None)
        self._loop.remove(client.channel.fileno())
        client.channel.close()
        if client.grants:
            client.grants.clear()
            self._withdraw(client, "")
