"""From a whole request to whoever answers it. The order of checks of the protocol stands here.

The first check that fails decides the status. Source: docs/reference/parsec-protocol.md, "Order of checks", whose
numbers these are; `tests/frontend/test_pipeline.py` has the order a second time, independently.

    Checks  What                                                Where
    1-6     magic number, sizes, version, the limit of bodies   `wire/decoder.py`, before a byte is kept
    7-11    content types and numbers that exist                `wire/decoder.py`, once the request is whole
    12, 13  authenticator configured, identity proved           `Authentication.authenticate`
    14, 15  provider configured, core or not                    `Pipeline._check_destination`
    16, 17  administrator                                       `_check_admin`
    18, 19  body is protobuf and means something                `decode_operation` (`wire/bodies.py`)
    20      operations that need an identity have one           `Pipeline.serve_as`
    21      the operation itself                                `core.py`, or the worker of the provider
"""

from functools import partial

from msgspec import Struct

from cofferdam_contracts.registry import (
    ADMIN_OPCODES,
    ANONYMOUS_OPCODES,
    CORE_OPCODES,
    TOKEN_AUTHENTICATORS,
    Opcode,
    ProviderId,
)
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.bodies import decode_operation
from cofferdam_contracts.wire.decoder import Request
from cofferdam_contracts.wire.header import RequestHeader
from cofferdam_frontend.auth import ANONYMOUS, Authentication, Identity
from cofferdam_frontend.core import CORE_HANDLERS, Core
from cofferdam_frontend.identities import PendingIdentities
from cofferdam_frontend.responder import Responder
from cofferdam_frontend.tokens import Tokens
from cofferdam_frontend.upstream import WorkerUpstream


class Pipeline(Struct, frozen=True):
    """The checks and the destinations, for one principal."""

    authentication: Authentication
    identities: PendingIdentities
    core: Core
    workers: dict[int, WorkerUpstream]
    """The workers by the number of their provider."""
    tokens: Tokens | None = None
    """None where no authenticator takes tokens."""

    def serve(self, request: Request, responder: Responder) -> None:
        """Check a request and have it answered, now or later: checks 12 to 21.

        Raises:
            ServiceError: With the status of the first check that failed.
        """
        header = request.header
        identity = self.authentication.authenticate(header.auth_type, request.auth, self._servers(header))
        if header.auth_type in TOKEN_AUTHENTICATORS and self.tokens is not None:
            again = partial(self._show_again, self.tokens, request, responder)
            if not responder.hold(again, len(request.body) + len(request.auth)):
                raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, "no memory to keep a request with a token")
        if isinstance(identity, Identity):
            self.serve_as(identity, request, responder)
        else:
            self.identities.ask(identity, request, responder)

    def _show_again(self, tokens: Tokens, request: Request, responder: Responder) -> None:
        """Have a token verified anew, as a server does not know its identity."""
        header = request.header
        tokens.forget(header.auth_type, request.auth)
        source = tokens.find(header.auth_type, request.auth, self._servers(header))
        try:
            if not isinstance(source, Identity):
                self.identities.ask(source, request, responder)
        except ServiceError as error:
            responder.fail(error.status)

    def _servers(self, header: RequestHeader) -> int:
        """Return the roles that a request will be passed on to, as bits."""
        if header.provider in self.workers:
            return 1 << self.workers[header.provider].role
        return self.core.servers.get(header.opcode, 0) if header.provider == ProviderId.CORE else 0

    def serve_as(self, identity: Identity, request: Request, responder: Responder) -> None:
        """Serve a request whose sender is known: checks 14 to 21.

        Raises:
            ServiceError: With the status of the first check that failed.
        """
        header = request.header
        self._check_destination(header)
        if header.opcode in ADMIN_OPCODES:
            _check_admin(identity)
        operation = decode_operation(header.opcode, request.body)
        if identity is ANONYMOUS and header.opcode not in ANONYMOUS_OPCODES:
            raise ServiceError(Status.NOT_AUTHENTICATED, "the operation needs an identity")
        handler = CORE_HANDLERS.get(header.opcode)
        if handler is not None:
            handler(self.core, operation, identity, responder)
        else:
            listed = (header.provider, header.opcode) in self.core.listed
            answer = responder.answer if listed else responder.answer_unlisted
            self.workers[header.provider].request(operation, identity, responder.request_id, answer)  # type: ignore[arg-type]

    def _check_destination(self, header: RequestHeader) -> None:
        is_core = header.provider == ProviderId.CORE
        if not is_core and header.provider not in self.workers:
            raise ServiceError(Status.PROVIDER_NOT_REGISTERED, f"provider {header.provider} is not configured")
        if (header.opcode in CORE_OPCODES) != is_core:
            raise ServiceError(
                Status.PSA_ERROR_NOT_SUPPORTED, f"{Opcode(header.opcode).name} at provider {header.provider}"
            )


def _check_admin(identity: Identity) -> None:
    if identity is ANONYMOUS:
        raise ServiceError(Status.NOT_AUTHENTICATED, "an administrator's operation without identity")
    if not identity.admin:
        raise ServiceError(Status.ADMIN_OPERATION, "an administrator's operation by somebody else")
