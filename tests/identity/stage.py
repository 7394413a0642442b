"""The server of the identity process with its loop, and the ends of its channels."""

from pathlib import Path
from typing import Any, Self

from tests.harness.broker_end import BrokerEnd
from tests.identity import forge

from cofferdam_contracts.ipc.control import DownstreamChannel, UpstreamChannel
from cofferdam_contracts.ipc.grants import MAX_GRANT, MAX_VERIFY, GrantMessage
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import AuthenticatorSettings, LogSettings
from cofferdam_contracts.token_settings import TokenSettings
from cofferdam_identity.files import Files, Watched
from cofferdam_identity.server import Server
from cofferdam_identity.trust import Trust
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.pairs import socket_pair

VERIFY, GRANT, WITHDRAW, BUNDLE = map(int, GrantMessage)
SVID, JWT = int(AuthType.JWT_SVID), int(AuthType.JWT)
KIM, SOFTWARE = int(Role.KIM), int(Role.SOFTWARE_WORKER)
BOTH = 1 << KIM | 1 << SOFTWARE
FOREVER = 1 << 62
ADMIN = f"spiffe://{forge.DOMAIN}/admin"


def tokens(auth_type: int = SVID, **changes: object) -> TokenSettings:
    rules = forge.SVID if auth_type == SVID else forge.JWT
    settings = TokenSettings(
        auth_type=auth_type,
        audiences=tuple(rules.audiences),
        issuer=rules.issuer,
        subject_claim=rules.subject_claim,
        trust_domains=tuple(rules.trust_domains),
        algorithms=tuple(rules.algorithms),
        leeway_s=60,
        key_file=None,
        fingerprint=None,
        max_age_s=0,
    )
    return settings._replace(**changes)  # type: ignore[arg-type]


class Stage:
    """One server; what it says is collected by channel."""

    def __init__(self, folder: Path, *settings: TokenSettings) -> None:
        self.loop, self.broker, self.now = Loop(), BrokerEnd(), forge.NOW
        self.log = Log("identity", LogSettings(level="debug", timestamp=False))
        self.trust = Trust(settings or (tokens(), tokens(JWT)), self.log, monotonic=lambda: self.now)
        self.revocations = folder / "revocations.toml"
        watched = Watched(
            str(self.revocations),
            "identity.revocations",
            lambda content: self.trust.revoke(content, str(self.revocations)),
            may_be_missing=True,
        )
        self.files = Files([watched], self.log)
        self.server = Server(
            self.trust,
            self.files,
            self.loop,
            self.log,
            self.broker.reporter,
            authenticators=(AuthenticatorSettings(SVID, (ADMIN,)), AuthenticatorSettings(JWT)),
            fetchers=(SVID, JWT),
            wall_clock=lambda: self.now,
        )
        self._ends: list[Channel] = []
        self.servers = {role: self.server_end(role) for role in (KIM, SOFTWARE)}

    def server_end(self, role: int, before: int = 0) -> Channel:
        """Return a server's end of a channel from the identity process."""
        ours, theirs = socket_pair()
        self.server.add_upstream(UpstreamChannel(role, 0, before, theirs.detach()))
        return self._end(ours, MAX_GRANT)

    def client(self, role: Role = Role.FRONTEND, *, uid: int = 1000, number: int = 0, adopted: bool = False) -> Channel:
        """Return the end of a frontend or of a fetcher; its serial is its place among all channels."""
        ours, theirs = socket_pair()
        serial = len(self._ends)
        self.server.add_channel(DownstreamChannel(role, uid, number, serial, adopted, theirs.detach()))
        end = self._end(ours, MAX_VERIFY)
        end._sends = 1 << 20
        return end

    def serial(self, end: Channel) -> int:
        return self._ends.index(end)

    def learn(self, *signers: forge.Signer, issuer: str = forge.DOMAIN, authenticator: int = SVID) -> None:
        """Have the keys of an issuer known."""
        self.trust.learn(authenticator, issuer, forge.jwk_set(*(one.jwk() for one in signers)), "test")
        self.server.review()

    def run(self, rounds: int = 5) -> None:
        for _ in range(rounds):
            self.server.tick()
            self.loop.look()

    def said(self, end: Channel) -> list[tuple[Any, ...]]:
        """Return what was said to this end; a closed one says None at last."""
        self.run()
        found: list[tuple[Any, ...]] = []
        try:
            while (message := end.receive()) is not None:
                found.append(message)
        except ChannelClosedError:
            found.append((None,))
        return found

    def acknowledge(self, *roles: int) -> list[tuple[Any, ...]]:
        """Have servers take what they were told, and return that without its numbers."""
        taken = []
        for role in roles or self.servers:
            for number, message_id, *fields in self.said(self.servers[role]):
                self.servers[role].send((number + 1, message_id))
                taken.append((role, number, *fields))
        self.run()
        return taken

    def show(self, end: Channel, token: bytes, number: int = 1, servers: int = BOTH, authenticator: int = SVID) -> None:
        end.send((VERIFY, number, FOREVER, authenticator, servers, token))

    def verdicts(self, end: Channel, token: bytes, **how: int) -> list[tuple[Any, ...]]:
        """Show a token, let the servers acknowledge, and return what the frontend hears, without the time."""
        self.show(end, token, **how)
        self.run()
        self.acknowledge()
        return [message[2:5] for message in self.said(end)]

    def _end(self, ours: Any, limit: int) -> Channel:  # noqa: ANN401  a socket
        self._ends.append(Channel(ours, limit))
        return self._ends[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end.close()
        self.run()
        for server in list(self.server._servers._servers.values()):
            self.server._servers._drop(server)
        for client in list(self.server._clients):
            self.server._close(client)
        self.broker.close()
