"""The ways in which a client identifies itself (Parsec wire protocol, "authentication types")."""

import os
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

from msgspec import Struct

from cofferdam_client.errors import NothingUsableError
from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.wire.bodies import AuthenticatorInfo
from cofferdam_contracts.wire.header import MAX_AUTH


class NoAuth(Struct, frozen=True):
    """Send no identity; enough for listings, random numbers and hashes."""

    type: ClassVar[AuthType] = AuthType.NO_AUTH

    def field(self) -> bytes:
        """Return the authentication field of a request."""
        return b""


class UnixPeerCredentials(Struct, frozen=True):
    """Send the effective uid of this process, which the service compares with the peer credentials of the kernel."""

    type: ClassVar[AuthType] = AuthType.UNIX_PEER_CREDENTIALS

    def field(self) -> bytes:
        """Return the authentication field of a request."""
        return os.geteuid().to_bytes(4, "little")


class Direct(Struct, frozen=True):
    """Send an application name. The service cannot verify it, so this is for clients that trust each other."""

    type: ClassVar[AuthType] = AuthType.DIRECT
    application: str

    def __post_init__(self) -> None:
        """Reject a name that the service would reject.

        Raises:
            ValueError: The name is empty, too long, or contains a lone surrogate.
        """
        if not 0 < len(self.field()) <= MAX_AUTH:
            raise ValueError(f"an application name has 1 to {MAX_AUTH} bytes")

    def field(self) -> bytes:
        """Return the authentication field of a request."""
        return self.application.encode()


class _Token(Opaque, Struct, frozen=True):
    token: str | Callable[[], str]
    """The token, or what returns a current one: it is called for every request, as tokens end."""

    def field(self) -> bytes:
        """Return the authentication field of a request."""
        return (self.token if isinstance(self.token, str) else self.token()).encode()


class Jwt(_Token, frozen=True):
    """Send a JSON Web Token of the issuer that the service's authenticator of type `Jwt` trusts."""

    type: ClassVar[AuthType] = AuthType.JWT


class JwtSvid(_Token, frozen=True):
    """Send a SPIFFE token, whose audience is `parsec` unless the service has another."""

    type: ClassVar[AuthType] = AuthType.JWT_SVID


Auth: TypeAlias = NoAuth | UnixPeerCredentials | Direct | Jwt | JwtSvid


class FirstUsable(Struct, frozen=True):
    """Use the first listed authenticator that the client supports; Direct is one only with an application name."""

    application: str | None = None

    def choose(self, listed: Sequence[AuthenticatorInfo]) -> Auth:
        """Return the authentication to use with a service that lists these authenticators.

        Raises:
            NothingUsableError: The client can use none of them.
        """
        for authenticator in listed:
            if authenticator.id == AuthType.UNIX_PEER_CREDENTIALS:
                return UnixPeerCredentials()
            if authenticator.id == AuthType.DIRECT and self.application is not None:
                return Direct(self.application)
        numbers = ", ".join(str(authenticator.id) for authenticator in listed) or "none"
        raise NothingUsableError(f"no authenticator of the service works without further information: {numbers}")
