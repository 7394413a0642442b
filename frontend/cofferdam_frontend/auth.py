"""Authentication of a request: the authentication field against the kernel's word for the peer.

What is decided here only spares honest clients a round trip: the workers and the key store take the identity from the
channel, see `cofferdam_providers.base.peers`. Source: facts on the wire, sections 1.3 (checks 12, 13) and 2.3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cofferdam_contracts.ipc.keystore import MAX_APPLICATION
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.settings import AuthenticatorSettings
from cofferdam_contracts.status import ServiceError, Status

_UID_LENGTH: Final = 4


@dataclass(frozen=True, slots=True)
class Application:
    """Who a request claims to be from, as far as this process can tell."""

    authenticator: int
    claimed: str = field(repr=False)
    """The name to send on: empty unless the authenticator is Direct."""
    admin: bool = False


ANONYMOUS: Final = Application(AuthType.NO_AUTH, "")


class Authentication:
    """The active authenticators, for one principal."""

    def __init__(self, authenticators: tuple[AuthenticatorSettings, ...], uid: int) -> None:
        """Authenticate the clients that run under `uid`."""
        self._admins = {entry.auth_type: frozenset(entry.admins) for entry in authenticators}
        self._uid = uid
        self._uid_field = uid.to_bytes(_UID_LENGTH, "little")
        self._unix = Application(
            AuthType.UNIX_PEER_CREDENTIALS, "", str(uid) in self._admins.get(AuthType.UNIX_PEER_CREDENTIALS, ())
        )

    def authenticate(self, auth_type: int, proof: bytes) -> Application:
        """Return who the request is from.

        Raises:
            ServiceError: `AUTHENTICATOR_NOT_REGISTERED` or `AUTHENTICATION_ERROR`.
        """
        if auth_type == AuthType.NO_AUTH:
            return ANONYMOUS
        if auth_type not in self._admins:
            raise ServiceError(Status.AUTHENTICATOR_NOT_REGISTERED, f"authenticator {auth_type} is not configured")
        return _METHODS[auth_type](self, proof)

    def _unix_peer(self, proof: bytes) -> Application:
        if proof != self._uid_field:
            raise ServiceError(Status.AUTHENTICATION_ERROR, f"a client of uid {self._uid} claims to be another")
        return self._unix

    def _direct(self, proof: bytes) -> Application:
        try:
            name = proof.decode()
        except UnicodeDecodeError as error:
            raise ServiceError(Status.AUTHENTICATION_ERROR, "a Direct name that is not UTF-8") from error
        if not name or len(proof) > MAX_APPLICATION:
            raise ServiceError(Status.AUTHENTICATION_ERROR, f"a Direct name of {len(proof)} bytes")
        return Application(AuthType.DIRECT, name, name in self._admins[AuthType.DIRECT])


_METHODS: Final[Mapping[int, Callable[[Authentication, bytes], Application]]] = {
    AuthType.UNIX_PEER_CREDENTIALS: Authentication._unix_peer,  # noqa: SLF001  the table of this module
    AuthType.DIRECT: Authentication._direct,  # noqa: SLF001
}
