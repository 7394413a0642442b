"""The core provider: operations about the service itself, answered here, by the key store or by the workers."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct, field

from cofferdam_contracts.ipc.keystore import KimMessage
from cofferdam_contracts.operations import DeleteClient, ListOpcodes
from cofferdam_contracts.registry import AUTHENTICATORS, PROVIDERS, AuthType, Opcode, ProviderId
from cofferdam_contracts.settings import FrontendSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.bodies import AuthenticatorInfo, ProviderInfo, encode_result
from cofferdam_frontend.auth import Identity
from cofferdam_frontend.pages import PageCache
from cofferdam_frontend.responder import Responder
from cofferdam_frontend.upstream import KimUpstream, WorkerUpstream

WIRE_VERSION: Final = (1, 0)
PROVIDER_VERSION: Final = (0, 1, 0)
"""The version that the reference gives of each provider but Core."""
AUTHENTICATOR_VERSION: Final = (0, 1, 0)


class Core(Struct, kw_only=True):
    """The data of the core operations; answers that never change are encoded once."""

    opcodes: Mapping[int, bytes]
    listed: frozenset[tuple[int, int]]
    """What `opcodes` says: the providers and their operations, without the core provider's."""
    constant: Mapping[Opcode, bytes]
    store: KimUpstream
    workers: tuple[WorkerUpstream, ...]
    servers: Mapping[int, int]
    """The roles that an operation is passed on to, as bits; none for one that is answered here."""
    pages: PageCache = field(default_factory=PageCache)

    @classmethod
    def of(
        cls,
        settings: FrontendSettings,
        version: tuple[int, int, int],
        store: KimUpstream,
        workers: tuple[WorkerUpstream, ...],
    ) -> "Core":
        """Prepare the core provider of a service of this version."""
        providers = [_provider(entry.id, entry.uuid, PROVIDER_VERSION) for entry in settings.providers]
        core = PROVIDERS[ProviderId.CORE]
        providers.append(_provider(core.id, core.uuid, version))
        authenticators = [
            AuthenticatorInfo(
                id=entry.auth_type,
                description=AUTHENTICATORS[AuthType(entry.auth_type)].description,
                version=AUTHENTICATOR_VERSION,
            )
            for entry in settings.authenticators
        ]
        opcodes = {int(ProviderId.CORE): encode_result(Opcode.LIST_OPCODES, sorted(core.opcodes))}
        for entry in settings.providers:
            opcodes[entry.id] = encode_result(Opcode.LIST_OPCODES, entry.opcodes)
        return cls(
            opcodes=opcodes,
            listed=frozenset((entry.id, opcode) for entry in settings.providers for opcode in entry.opcodes),
            constant={
                Opcode.PING: encode_result(Opcode.PING, WIRE_VERSION),
                Opcode.LIST_PROVIDERS: encode_result(Opcode.LIST_PROVIDERS, providers),
                Opcode.LIST_AUTHENTICATORS: encode_result(Opcode.LIST_AUTHENTICATORS, authenticators),
            },
            store=store,
            workers=workers,
            servers={
                Opcode.LIST_KEYS: 1 << store.role,
                Opcode.LIST_CLIENTS: 1 << store.role,
                Opcode.DELETE_CLIENT: sum(1 << worker.role for worker in workers),
            },
        )


def _provider(provider_id: int, uuid: str, version: tuple[int, int, int]) -> ProviderInfo:
    known = PROVIDERS[ProviderId(provider_id)]
    return ProviderInfo(uuid=uuid, description=known.description, vendor=known.vendor, version=version, id=provider_id)


def _constant(core: Core, operation: Any, _identity: Identity, responder: Responder) -> None:  # noqa: ANN401
    responder.send(core.constant[operation.opcode])


def _list_opcodes(core: Core, operation: ListOpcodes, _identity: Identity, responder: Responder) -> None:
    listed = core.opcodes.get(operation.provider_id)
    if listed is None:
        raise ServiceError(Status.PROVIDER_NOT_REGISTERED, f"provider {operation.provider_id} is not configured")
    responder.send(listed)


def _list_keys(core: Core, _operation: object, identity: Identity, responder: Responder) -> None:
    def answer(status: int, results: tuple[Any, ...]) -> None:
        if status != Status.SUCCESS:
            responder.fail(status)
            return
        responder.encode(core.pages.encode, results[0])

    core.store.ask(KimMessage.LIST_KEYS, identity, responder.request_id, answer)


def _list_clients(core: Core, _operation: object, identity: Identity, responder: Responder) -> None:
    def answer(status: int, results: tuple[Any, ...]) -> None:
        if status == Status.SUCCESS:
            responder.succeed(results[0])
        else:
            responder.fail(status)

    core.store.ask(KimMessage.LIST_CLIENTS, identity, responder.request_id, answer)


def _delete_client(core: Core, operation: DeleteClient, identity: Identity, responder: Responder) -> None:
    statuses: list[int] = []

    def answer(status: int, _results: tuple[Any, ...]) -> None:
        statuses.append(status)
        if len(statuses) < len(core.workers):
            return
        failed = [status for status in statuses if status != Status.SUCCESS]
        if failed:
            responder.fail(failed[0])
        else:
            responder.send(b"")

    for worker in core.workers:
        try:
            worker.request(operation, identity, responder.request_id, answer)
        except ServiceError as error:
            # The other providers still delete what they have.
            answer(error.status, ())


Handler = Callable[[Core, Any, Identity, Responder], None]

CORE_HANDLERS: Final[Mapping[Opcode, Handler]] = {
    Opcode.PING: _constant,
    Opcode.LIST_PROVIDERS: _constant,
    Opcode.LIST_AUTHENTICATORS: _constant,
    Opcode.LIST_OPCODES: _list_opcodes,
    Opcode.LIST_KEYS: _list_keys,
    Opcode.LIST_CLIENTS: _list_clients,
    Opcode.DELETE_CLIENT: _delete_client,
}
"""The operations of the core provider, complete over `CORE_OPCODES`."""
