"""From a whole request to whoever answers it, in the order of checks of the protocol.

Source: facts on the wire, section 1.3, checks 12 to 21; those before are the decoder's.
"""

from dataclasses import dataclass

from cofferdam_contracts.registry import ADMIN_OPCODES, ANONYMOUS_OPCODES, CORE_OPCODES, Opcode, ProviderId
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.bodies import decode_operation
from cofferdam_contracts.wire.decoder import Request
from cofferdam_contracts.wire.header import RequestHeader
from cofferdam_frontend.auth import ANONYMOUS, Application, Authentication
from cofferdam_frontend.core import CORE_HANDLERS, Core
from cofferdam_frontend.responder import Responder
from cofferdam_frontend.upstream import WorkerUpstream


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The checks and the destinations, for one principal."""

    authentication: Authentication
    core: Core
    workers: dict[int, WorkerUpstream]
    """The workers by the number of their provider."""

    def serve(self, request: Request, responder: Responder) -> None:
        """Check a request and have it answered, now or later.

        Raises:
            ServiceError: With the status of the first check that failed.
        """
        header = request.header
        application = self.authentication.authenticate(header.auth_type, request.auth)
        self._check_destination(header)
        if header.opcode in ADMIN_OPCODES:
            _check_admin(application)
        operation = decode_operation(header.opcode, request.body)
        if application is ANONYMOUS and header.opcode not in ANONYMOUS_OPCODES:
            raise ServiceError(Status.NOT_AUTHENTICATED, "the operation needs an identity")
        handler = CORE_HANDLERS.get(header.opcode)
        if handler is not None:
            handler(self.core, operation, application, responder)
        else:
            worker = self.workers[header.provider]
            worker.request(operation, application, responder.request_id, responder.answer)  # type: ignore[arg-type]

    def _check_destination(self, header: RequestHeader) -> None:
        is_core = header.provider == ProviderId.CORE
        if not is_core and header.provider not in self.workers:
            raise ServiceError(Status.PROVIDER_NOT_REGISTERED, f"provider {header.provider} is not configured")
        if (header.opcode in CORE_OPCODES) != is_core:
            raise ServiceError(
                Status.PSA_ERROR_NOT_SUPPORTED, f"{Opcode(header.opcode).name} at provider {header.provider}"
            )


def _check_admin(application: Application) -> None:
    if application is ANONYMOUS:
        raise ServiceError(Status.NOT_AUTHENTICATED, "an administrator's operation without identity")
    if not application.admin:
        raise ServiceError(Status.ADMIN_OPERATION, "an administrator's operation by somebody else")
