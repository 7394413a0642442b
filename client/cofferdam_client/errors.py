"""Errors of the client library.

ClientError
  ConnectionFailedError   the connection failed, or was lost or silent before the response was complete
  ProtocolError           the service sent something else than a response
  ServiceStatusError      the service refused the operation
    KeyExistsError        as the application has a key of this name, in whichever provider
  NothingUsableError      the service lists no provider, or no authenticator, that this client can use

Arguments that cannot be encoded, and names that no new key may have, raise `ValueError` or `TypeError`, and nothing is
sent.
"""

from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import Status


class ClientError(Exception):
    """Base of all errors that a service can cause."""


class ConnectionFailedError(ClientError):
    """Raised when the connection fails, or is lost or silent before the response is complete.

    `may_have_run` tells whether the service may have carried out the operation.
    """

    def __init__(self, reason: str, *, may_have_run: bool = False) -> None:
        super().__init__(reason)
        self.may_have_run = may_have_run


class ProtocolError(ClientError):
    """Raised when the service sends something else than the response; it may have carried out the operation."""


class ServiceStatusError(ClientError):
    """Raised when the service refuses an operation.

    `status` is a `Status`, or a plain number if this version of the library does not know it.
    """

    def __init__(self, status: int, opcode: Opcode) -> None:
        super().__init__(status, opcode)
        self.status = status
        self.opcode = opcode

    def __str__(self) -> str:
        """Name the operation and the status."""
        name = self.status.name if isinstance(self.status, Status) else "an unknown status"
        return f"{self.opcode.name}: {name} ({int(self.status)})"


class KeyExistsError(ServiceStatusError):
    """Raised when a new key has the name of another one: an application's names are the same for all providers.

    `provider` has the key; it is None if the service lists none of this name, as while it is being made or destroyed.
    """

    def __init__(self, opcode: Opcode, provider: int | None) -> None:
        super().__init__(Status.PSA_ERROR_ALREADY_EXISTS, opcode)
        self.provider = provider

    def __str__(self) -> str:
        """Name the operation, the status and the provider that has the key."""
        who = "" if self.provider is None else f": provider {self.provider} has a key of this name"
        return f"{super().__str__()}{who}"


class NothingUsableError(ClientError):
    """Raised when the service lists no crypto provider, or no authenticator that this client can use."""
