"""What can go wrong between a client and the service.

ClientError
  ConnectionFailedError   no connection, or it was lost or silent before the response was whole
  ProtocolError           a response that is none
  ServiceStatusError      a response that says no
  NothingUsableError      the service lists no provider, or no authenticator, that this client can use

Arguments that no request can carry are a `ValueError` or `TypeError`, as everywhere in Python; nothing was sent then.
"""

from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import Status


class ClientError(Exception):
    """Base of the errors that a service can cause."""


class ConnectionFailedError(ClientError):
    """Raised when there is no connection, or when it is lost or silent before the response is whole.

    `may_have_run` tells whether the service may have carried out the operation all the same.
    """

    def __init__(self, reason: str, *, may_have_run: bool = False) -> None:
        super().__init__(reason)
        self.may_have_run = may_have_run


class ProtocolError(ClientError):
    """Raised when what the service sent is not the response to the request; the operation may have been carried out."""


class ServiceStatusError(ClientError):
    """Raised when the service refuses an operation.

    `status` is a `Status`, or a bare number where this version of the library knows no name for it.
    """

    def __init__(self, status: int, opcode: Opcode) -> None:
        super().__init__(status, opcode)
        self.status = status
        self.opcode = opcode

    def __str__(self) -> str:
        """Name the operation and the status."""
        name = self.status.name if isinstance(self.status, Status) else "an unknown status"
        return f"{self.opcode.name}: {name} ({int(self.status)})"


class NothingUsableError(ClientError):
    """Raised when the service lists no crypto provider, or no authenticator that this client can use."""
