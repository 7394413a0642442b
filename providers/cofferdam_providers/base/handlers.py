"""What a worker does for each operation: one table from opcode to handler.

A handler returns the results, or what remains to be done when the answer comes later: `Slow` for key generation in the
slow lane, `Gradual` for work in steps.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from cofferdam_contracts.identity import Application
from cofferdam_contracts.operations import (
    AttestKey,
    CanDoCrypto,
    DeleteClient,
    DestroyKey,
    ExportKey,
    GenerateKey,
    GenerateRandom,
    HashCompare,
    HashCompute,
    ImportKey,
    PrepareKeyAttestation,
)
from cofferdam_contracts.psa.policy import is_deprecated
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.settings import WorkerSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.checks import USAGE_NEEDED, can_do_crypto, check_export, check_use
from cofferdam_providers.base.keyring import Keyring, identity_of
from cofferdam_providers.base.provider import Provider, Results, StoredKey
from cofferdam_runtime.log import Log


class Slow(Struct, frozen=True, kw_only=True):
    """Creation of a key, which may take long: `make` may run on another thread, `finish` and `abandon` may not."""

    make: Callable[[], StoredKey]
    finish: Callable[[StoredKey], None]
    abandon: Callable[[BaseException], None]


class Gradual(Struct, frozen=True, kw_only=True):
    """Work in many small steps, between which others are served; it is complete when the steps end.

    They end by telling whether anything was changed.
    """

    steps: Generator[None, None, bool]


class Context(Struct, frozen=True, kw_only=True):
    """What the handlers of a worker use."""

    provider: Provider[Any]
    keyring: Keyring[Any]
    settings: WorkerSettings
    log: Log


Handler = Callable[[Context, Application, Any], Results | Slow | Gradual]
AnonymousHandler = Callable[[Context, Any], Results]


def _generate(context: Context, application: Application, operation: GenerateKey) -> Results | Slow:
    attributes = replace(operation.attributes, usage=operation.attributes.usage.widened())
    if is_deprecated(attributes) and not context.settings.allow_deprecated:
        raise ServiceError(Status.DEPRECATED_PRIMITIVE, "a deprecated algorithm or key type")
    context.provider.check_generate(attributes)
    identity = identity_of(application, operation.key_name)
    planned = context.keyring.begin(identity, attributes)
    slow = Slow(
        make=lambda: context.provider.generate_key(identity, attributes, planned),
        finish=lambda made: context.keyring.finish(identity, made),
        abandon=lambda error: context.keyring.abandon(identity, error),
    )
    return slow if context.provider.is_slow(attributes) else _at_once(slow)


def _import(context: Context, application: Application, operation: ImportKey) -> Results:
    attributes = replace(operation.attributes, usage=operation.attributes.usage.widened())
    if is_deprecated(attributes):
        context.log.warning("a key with a deprecated algorithm or type is imported")
    # Whether the announced size is that of the data comes before whether the provider has keys of that size.
    context.provider.check_import(replace(attributes, bits=0), operation.data)
    identity = identity_of(application, operation.key_name)
    planned = context.keyring.begin(identity, attributes)
    return _at_once(
        Slow(
            make=lambda: context.provider.import_key(identity, attributes, operation.data, planned),
            finish=lambda made: context.keyring.finish(identity, made),
            abandon=lambda error: context.keyring.abandon(identity, error),
        )
    )


def _at_once(making: Slow) -> Results:
    try:
        made = making.make()
    except BaseException as error:
        making.abandon(error)
        raise
    making.finish(made)
    return ()


def _destroy(context: Context, application: Application, operation: DestroyKey) -> Results:
    context.keyring.destroy(application, operation.key_name)
    return ()


def _with_key(context: Context, application: Application, operation: Any) -> Results:  # noqa: ANN401  many operations
    return context.provider.perform(context.keyring.get(application, operation.key_name), operation)


def _export(context: Context, application: Application, operation: ExportKey) -> Results:
    key = context.keyring.get(application, operation.key_name)
    check_export(key.attributes)
    return context.provider.perform(key, operation)


def _use(opcode: Opcode) -> Handler:
    def handle(context: Context, application: Application, operation: Any) -> Results:  # noqa: ANN401
        key = context.keyring.get(application, operation.key_name)
        check_use(key, opcode, operation)
        return context.provider.perform(key, operation)

    return handle


def _can_do(context: Context, _application: Application, operation: CanDoCrypto) -> Results:
    can_do_crypto(context.provider, operation.check_type, operation.attributes)
    return ()


def _attest(context: Context, application: Application, operation: AttestKey | PrepareKeyAttestation) -> Results:
    if operation.attesting_key_name:
        raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "an attesting key other than the default one")
    return _with_key(context, application, operation)


def _delete_client(context: Context, application: Application, operation: DeleteClient) -> Gradual:
    for authenticator in context.settings.authenticators:
        if authenticator.auth_type == application.authenticator and application.name in authenticator.admins:
            break
    else:
        raise ServiceError(Status.ADMIN_OPERATION, "the caller is not an administrator")
    client = Application(application.authenticator, operation.client)
    return Gradual(steps=context.keyring.destroy_all(client))


def _random(context: Context, operation: GenerateRandom) -> Results:
    if operation.size > context.settings.buffer_size_limit:
        raise ServiceError(Status.RESPONSE_TOO_LARGE, f"{operation.size} random bytes")
    return context.provider.perform(None, operation)


def _without_key(context: Context, operation: HashCompute | HashCompare) -> Results:
    return context.provider.perform(None, operation)


ANONYMOUS: Final[Mapping[Opcode, AnonymousHandler]] = {
    Opcode.PSA_GENERATE_RANDOM: _random,
    Opcode.PSA_HASH_COMPUTE: _without_key,
    Opcode.PSA_HASH_COMPARE: _without_key,
}
"""Operations that need no identity."""

HANDLERS: Final[Mapping[Opcode, Handler]] = {
    Opcode.PSA_GENERATE_KEY: _generate,
    Opcode.PSA_IMPORT_KEY: _import,
    Opcode.PSA_DESTROY_KEY: _destroy,
    Opcode.PSA_EXPORT_PUBLIC_KEY: _with_key,
    Opcode.PSA_EXPORT_KEY: _export,
    Opcode.CAN_DO_CRYPTO: _can_do,
    Opcode.ATTEST_KEY: _attest,
    Opcode.PREPARE_KEY_ATTESTATION: _attest,
    Opcode.DELETE_CLIENT: _delete_client,
    **{opcode: _use(opcode) for opcode in USAGE_NEEDED},
}
"""Operations of an authenticated application."""
