"""The exchange of an operation for its result, which all methods of a client share."""

from typing import Final

from cofferdam_client.authentication import Auth, FirstUsable, NoAuth
from cofferdam_client.connection import Connection
from cofferdam_client.errors import NothingUsableError, ProtocolError, ServiceStatusError
from cofferdam_contracts.operations import ListAuthenticators, ListProviders, Operation
from cofferdam_contracts.registry import ANONYMOUS_OPCODES, CORE_OPCODES, Opcode, ProviderId
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.bodies import (
    AuthenticatorInfo,
    ProviderInfo,
    Result,
    decode_result,
    encode_operation,
)
from cofferdam_contracts.wire.header import KEEP_ALIVE, request_bytes

CHANGING_OPCODES: Final = frozenset(
    {Opcode.PSA_GENERATE_KEY, Opcode.PSA_IMPORT_KEY, Opcode.PSA_DESTROY_KEY, Opcode.DELETE_CLIENT}
)
"""Operations that change stored keys, and so are never sent again when they may have run."""
_NO_AUTH: Final = NoAuth()
_STATUSES: Final = {int(status): status for status in Status}


class Session:
    """A service with the provider and the authentication to use; both defaults are requested when first needed."""

    def __init__(self, path: str, provider: int | None, auth: Auth | FirstUsable, timeout: float | None) -> None:
        if timeout is not None and timeout <= 0:
            raise ValueError(f"the timeout must be positive, not {timeout} s")
        self._connection = Connection(path, timeout)
        self._provider = provider
        self._auth = auth

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def provider(self) -> int:
        """Return the provider of crypto operations, by default the first that the service lists.

        Raises:
            NothingUsableError: The service lists no crypto provider.
        """
        if self._provider is None:
            listed = self.providers()
            if not listed or listed[0].id == ProviderId.CORE:
                raise NothingUsableError("the service offers no crypto provider; check its list of providers")
            self._provider = listed[0].id
        return self._provider

    def providers(self) -> list[ProviderInfo]:
        """Request the list of providers."""
        return [entry for entry in self.run(ListProviders()) if isinstance(entry, ProviderInfo)]

    def authenticators(self) -> list[AuthenticatorInfo]:
        """Request the list of authenticators."""
        return [entry for entry in self.run(ListAuthenticators()) if isinstance(entry, AuthenticatorInfo)]

    def run(self, operation: Operation) -> Result:
        """Have the service carry out an operation.

        Raises:
            ClientError: The service refuses, or there is no usable response.
            ValueError: The operation cannot be encoded.
        """
        opcode = operation.opcode
        body = encode_operation(operation)
        provider = ProviderId.CORE if opcode in CORE_OPCODES else self.provider()
        auth = _NO_AUTH if opcode in ANONYMOUS_OPCODES else self._authentication()
        request = request_bytes(opcode, provider, body, auth.type, auth.field(), flags=KEEP_ALIVE)
        header, answer = self._connection.exchange(request, repeatable=opcode not in CHANGING_OPCODES)
        # The status comes first: a service that cannot decode a request answers with the opcode of Ping.
        if header.status != Status.SUCCESS:
            raise ServiceStatusError(_STATUSES.get(header.status, header.status), opcode)
        if (header.opcode, header.provider) != (opcode, provider):
            self.close()
            raise ProtocolError(f"the response is for operation {header.opcode} of provider {header.provider}")
        try:
            return decode_result(opcode, answer)
        except ServiceError as error:
            raise ProtocolError(f"the response to {opcode.name} cannot be decoded: {error.detail}") from error

    def _authentication(self) -> Auth:
        if isinstance(self._auth, FirstUsable):
            self._auth = self._auth.choose(self.authenticators())
        return self._auth
