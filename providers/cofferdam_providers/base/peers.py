"""Who a request comes from: decided by the channel it came on, never by its content.

A frontend's channel belongs to one principal, whose uid the broker has from the kernel. With Unix peer credentials the
application is that uid. With Direct authentication, if the administrator configured it, clients trust each other, and
the name is what the request says, if it is no longer than the key store accepts. With a token, the identity process has
said whom the channel may speak for (`cofferdam_runtime.grants`), and the request only says which of these it means.
"""

from collections.abc import Callable, Generator

from msgspec import Struct

from cofferdam_contracts.identity import MAX_APPLICATION, Application
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.requests import ProviderRequest
from cofferdam_contracts.registry import TOKEN_AUTHENTICATORS, AuthType
from cofferdam_runtime.channel import Channel


class Principal:
    """The owner of a channel: its uid, the authenticators that are configured, and what tokens it has shown."""

    __slots__ = ("authenticators", "by_uid", "granted", "number", "uid")

    def __init__(
        self, *, uid: int, number: int, authenticators: frozenset[int], granted: Callable[[int, str], Application]
    ) -> None:
        """Describe an owner.

        Args:
            uid: Of its clients.
            number: The frontend's, for the log.
            authenticators: Those that are configured.
            granted: Returns the application that a handle of an authenticator stands for on this channel.
        """
        self.uid, self.number, self.authenticators, self.granted = uid, number, authenticators, granted
        self.by_uid = Application(AuthType.UNIX_PEER_CREDENTIALS, str(uid))
        """The application of clients with Unix peer credentials, made once and not for every request."""

    def application(self, request: ProviderRequest) -> Application | None:
        """Return the identity that a request has on this channel, None for a request without authentication.

        Raises:
            ForbiddenMessageError: No honest frontend sends this.
            ServiceError: AUTHENTICATION_ERROR: no such identity is granted now.
        """
        if request.authenticator is AuthType.NO_AUTH:
            if request.application:
                raise ForbiddenMessageError("a name without authentication")
            return None
        if request.authenticator not in self.authenticators:
            raise ForbiddenMessageError(f"authenticator {request.authenticator} is not configured")
        if request.authenticator is AuthType.UNIX_PEER_CREDENTIALS:
            if request.application:
                raise ForbiddenMessageError("a name beside Unix peer credentials")
            return self.by_uid
        if request.authenticator is AuthType.DIRECT and 0 < len(request.application.encode()) <= MAX_APPLICATION:
            return Application(request.authenticator, request.application)
        if request.authenticator in TOKEN_AUTHENTICATORS and request.application:
            return self.granted(request.authenticator, request.application)
        raise ForbiddenMessageError(f"authenticator {request.authenticator} cannot vouch for this")


class Peer(Struct, eq=False):
    """A frontend's channel, whom it belongs to, and what it waits for."""

    channel: Channel
    principal: Principal
    serial: int
    blocks: int = -1
    """How many keys the worker had generated on its own thread when this channel had its last turn."""
    slow: int = 0
    """Its requests in the slow lane."""
    sync: int | None = None
    """The token of a SYNC that waits for them."""
    gradual: tuple[ProviderRequest, Generator[None, None, bool]] | None = None
    """A request that is worked on in steps, one in each turn, before the next one is taken."""
    closed: bool = False
