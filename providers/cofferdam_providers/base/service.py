"""From a request to its status and results: the one place where errors become statuses."""

import time
from typing import Any

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.requests import ProviderRequest
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.handlers import ANONYMOUS, HANDLERS, Context, Gradual, Slow
from cofferdam_providers.base.provider import Results
from cofferdam_runtime.faults import place_of


def is_past(deadline: int) -> bool:
    """Tell whether a deadline, in microseconds of the monotonic clock, has passed, so that nobody waits any more."""
    return deadline < time.monotonic_ns() // 1000


def check_deadline(deadline: int) -> None:
    """Refuse to begin work that nobody waits for any more."""
    if is_past(deadline):
        raise ServiceError(Status.PSA_ERROR_COMMUNICATION_FAILURE, "the deadline passed before the work began")


class Service:
    """Performs requests; knows nothing of channels."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._offered = context.provider.opcodes | {Opcode.DELETE_CLIENT}

    def perform(self, application: Application | None, request: ProviderRequest) -> Results | Slow | Gradual:
        """Perform the operation of an authenticated or anonymous application.

        Raises:
            ServiceError: With the status for the client.
        """
        check_deadline(request.deadline)
        opcode = request.operation.opcode
        if opcode not in self._offered:
            # Whatever its key: clients find out by it which operations a provider has.
            raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "the provider does not have this operation")
        try:
            anonymous = ANONYMOUS.get(opcode)
            if anonymous is not None:
                return anonymous(self._context, request.operation)
            if application is None:
                raise ServiceError(Status.NOT_AUTHENTICATED, "no identity")
            return HANDLERS[opcode](self._context, application, request.operation)
        except ServiceError:
            raise
        except Exception as error:
            raise self.unexpected(error) from error

    def run(self, slow: Slow, deadline: int) -> Any:  # noqa: ANN401  a stored key or the error, for `conclude`
        """Do the slow part of a request, on whichever thread; return what `conclude` needs."""
        try:
            check_deadline(deadline)
            return slow.make()
        except ServiceError as error:
            return error
        except Exception as error:  # noqa: BLE001  becomes a status in `conclude`
            return self.unexpected(error)

    def conclude(self, slow: Slow, outcome: Any) -> Results:  # noqa: ANN401
        """Finish a slow request on the loop's thread.

        Raises:
            ServiceError: With the status for the client.
        """
        if isinstance(outcome, ServiceError):
            slow.abandon(outcome)
            raise outcome
        slow.finish(outcome)
        return ()

    def unexpected(self, error: Exception) -> ServiceError:
        """Log a bug of ours, without any value in the message, and return the error for the client."""
        place = place_of(error.__traceback__)
        self._context.log.error("an unexpected error; please report it", kind=type(error).__name__, place=place)
        return ServiceError(Status.PSA_ERROR_GENERIC_ERROR, f"an unexpected {type(error).__name__}")
