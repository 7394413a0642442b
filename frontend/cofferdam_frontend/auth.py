"""Authentication of a request: its authentication field against what the kernel says of the peer.

What is decided here only spares honest clients a round trip: the workers and the key store take the identity from the
channel, see `cofferdam_providers.base.peers`. These are checks 12 and 13 of docs/reference/parsec-protocol.md,
"Order of checks".
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from cofferdam_contracts.identity import MAX_APPLICATION
from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.settings import AuthenticatorSettings
from cofferdam_contracts.status import ServiceError, Status

_UID_LENGTH: Final = 4


class Identity(Opaque, Struct, frozen=True):
    """Who a request claims to be from, as far as this process can tell."""

    authenticator: int
    claimed: str
    """The name to send on: that which a Direct client claims, the handle of a token, or nothing."""
    admin: bool = False


ANONYMOUS: Final = Identity(AuthType.NO_AUTH, "")

IdentitySource: TypeAlias = Callable[[bytes, Callable[[Identity | ServiceError], None]], Callable[[], None]]
"""An authenticator that asks another process. It takes the authentication field and a function that it calls once, now
or later, with the application or with the error that refuses the request. It returns a function that withdraws the
question, or raises the `ServiceError` that refuses the request at once. See `identities.py`."""
Method: TypeAlias = Callable[[bytes, int], Identity | IdentitySource]
"""Decides from the authentication field, and the servers that will be asked, who a request is from, or whom to ask."""
Methods: TypeAlias = Mapping[int, Method]
"""Methods by the number of their authenticator on the wire."""


class Authentication:
    """The active authenticators, for one principal."""

    def __init__(self, authenticators: tuple[AuthenticatorSettings, ...], uid: int, methods: Methods) -> None:
        """Authenticate the clients that run under `uid`; `methods` are those of further authenticators."""
        self._admins = {entry.auth_type: frozenset(entry.admins) for entry in authenticators}
        self._uid = uid
        self._uid_field = uid.to_bytes(_UID_LENGTH, "little")
        self._unix = Identity(
            AuthType.UNIX_PEER_CREDENTIALS, "", str(uid) in self._admins.get(AuthType.UNIX_PEER_CREDENTIALS, ())
        )
        known: Methods = {
            **methods,
            AuthType.UNIX_PEER_CREDENTIALS: self._unix_peer,
            AuthType.DIRECT: self._direct,
        }
        self._methods = {entry.auth_type: known[entry.auth_type] for entry in authenticators}
        self._methods[AuthType.NO_AUTH] = lambda _proof, _servers: ANONYMOUS

    def authenticate(self, auth_type: int, proof: bytes, servers: int) -> Identity | IdentitySource:
        """Return who the request is from, or whom to ask.

        Args:
            auth_type: The authenticator.
            proof: The authentication field.
            servers: The roles that will be asked, as bits: these have to know the identity.

        Raises:
            ServiceError: `AUTHENTICATOR_NOT_REGISTERED` or `AUTHENTICATION_ERROR`.
        """
        method = self._methods.get(auth_type)
        if method is None:
            raise ServiceError(Status.AUTHENTICATOR_NOT_REGISTERED, f"authenticator {auth_type} is not configured")
        return method(proof, servers)

    def _unix_peer(self, proof: bytes, _servers: int) -> Identity:
        if proof != self._uid_field:
            raise ServiceError(Status.AUTHENTICATION_ERROR, f"a client of uid {self._uid} claims to be another")
        return self._unix

    def _direct(self, proof: bytes, _servers: int) -> Identity:
        try:
            name = proof.decode()
        except UnicodeDecodeError as error:
            raise ServiceError(Status.AUTHENTICATION_ERROR, "a Direct name that is not UTF-8") from error
        if not name or len(proof) > MAX_APPLICATION:
            raise ServiceError(Status.AUTHENTICATION_ERROR, f"a Direct name of {len(proof)} bytes")
        return Identity(AuthType.DIRECT, name, name in self._admins[AuthType.DIRECT])
