"""What a worker does for each operation: one table from opcode to handler.

A handler returns the results of the answer, or what remains to be done when the answer comes later: `Slow` for key
generation in the slow lane, `Gradual` for what is done in steps.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cofferdam_contracts.identity import Application
from cofferdam_contracts.operations import (
    AttestKey,
    CanDoCrypto,
    DeleteClient,
    DestroyKey,
    ExportKey,
    ExportPublicKey,
    GenerateKey,
    GenerateRandom,
    HashCompare,
    HashCompute,
    ImportKey,
    PrepareKeyAttestation,
)
from cofferdam_contracts.psa.policy import is_deprecated
from cofferdam_contracts.record import replace
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.settings import WorkerSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.checks import can_do_crypto, check_export, check_use
from cofferdam_providers.base.keyring import Keyring, identity_of
from cofferdam_providers.base.provider import Key, Provider, StoredKey
from cofferdam_runtime.log import Log

Results = tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """Making a key, which may take long: `make` may run on another thread, `finish` and `abandon` may not."""

    make: Callable[[], StoredKey]
    finish: Callable[[StoredKey], None]
    abandon: Callable[[BaseException], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradual:
    """Work in many small steps, between which others are served; it is done when the steps end."""

    steps: Iterator[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the handlers of a worker work with."""

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
    context.provider.check_import(attributes, operation.data)
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


def _export_public(context: Context, application: Application, operation: ExportPublicKey) -> Results:
    return (context.provider.export_public_key(context.keyring.get(application, operation.key_name)),)


def _export(context: Context, application: Application, operation: ExportKey) -> Results:
    key = context.keyring.get(application, operation.key_name)
    check_export(key.attributes)
    return (context.provider.export_key(key),)


def _use(opcode: Opcode, method: Callable[[Provider[Any]], Callable[[Key[Any], Any], bytes | None]]) -> Handler:
    def handle(context: Context, application: Application, operation: Any) -> Results:  # noqa: ANN401  many operations
        key = context.keyring.get(application, operation.key_name)
        check_use(key, opcode, operation)
        result = method(context.provider)(key, operation)
        return () if result is None else (result,)

    return handle


def _can_do(context: Context, _application: Application, operation: CanDoCrypto) -> Results:
    can_do_crypto(context.provider, operation.check_type, operation.attributes)
    return ()


def _attest(context: Context, application: Application, operation: AttestKey) -> Results:
    _refuse_attesting_key(operation.attesting_key_name)
    return (context.provider.attest_key(context.keyring.get(application, operation.key_name), operation),)


def _prepare_attestation(context: Context, application: Application, operation: PrepareKeyAttestation) -> Results:
    _refuse_attesting_key(operation.attesting_key_name)
    key = context.keyring.get(application, operation.key_name)
    return context.provider.prepare_key_attestation(key, operation)


def _refuse_attesting_key(name: str) -> None:
    if name:
        raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "an attesting key other than the default one")


def _delete_client(context: Context, application: Application, operation: DeleteClient) -> Gradual:
    for authenticator in context.settings.authenticators:
        if authenticator.auth_type == application.authenticator and application.name in authenticator.admins:
            break
    else:
        raise ServiceError(Status.ADMIN_OPERATION, "the caller is no administrator")
    client = Application(application.authenticator, operation.client)
    return Gradual(steps=context.keyring.destroy_all(client))


def _random(context: Context, operation: GenerateRandom) -> Results:
    if operation.size > context.settings.buffer_size_limit:
        raise ServiceError(Status.RESPONSE_TOO_LARGE, f"{operation.size} random bytes")
    return (context.provider.generate_random(operation.size),)


def _hash_compute(context: Context, operation: HashCompute) -> Results:
    return (context.provider.hash_compute(operation),)


def _hash_compare(context: Context, operation: HashCompare) -> Results:
    context.provider.hash_compare(operation)
    return ()


ANONYMOUS: Final[Mapping[Opcode, AnonymousHandler]] = {
    Opcode.PSA_GENERATE_RANDOM: _random,
    Opcode.PSA_HASH_COMPUTE: _hash_compute,
    Opcode.PSA_HASH_COMPARE: _hash_compare,
}
"""Operations that need no identity."""

HANDLERS: Final[Mapping[Opcode, Handler]] = {
    Opcode.PSA_GENERATE_KEY: _generate,
    Opcode.PSA_IMPORT_KEY: _import,
    Opcode.PSA_DESTROY_KEY: _destroy,
    Opcode.PSA_EXPORT_PUBLIC_KEY: _export_public,
    Opcode.PSA_EXPORT_KEY: _export,
    Opcode.CAN_DO_CRYPTO: _can_do,
    Opcode.ATTEST_KEY: _attest,
    Opcode.PREPARE_KEY_ATTESTATION: _prepare_attestation,
    Opcode.DELETE_CLIENT: _delete_client,
    **{
        opcode: _use(opcode, method)
        for opcode, method in (
            (Opcode.PSA_SIGN_HASH, lambda provider: provider.sign_hash),
            (Opcode.PSA_VERIFY_HASH, lambda provider: provider.verify_hash),
            (Opcode.PSA_SIGN_MESSAGE, lambda provider: provider.sign_message),
            (Opcode.PSA_VERIFY_MESSAGE, lambda provider: provider.verify_message),
            (Opcode.PSA_ASYMMETRIC_ENCRYPT, lambda provider: provider.asymmetric_encrypt),
            (Opcode.PSA_ASYMMETRIC_DECRYPT, lambda provider: provider.asymmetric_decrypt),
            (Opcode.PSA_AEAD_ENCRYPT, lambda provider: provider.aead_encrypt),
            (Opcode.PSA_AEAD_DECRYPT, lambda provider: provider.aead_decrypt),
            (Opcode.PSA_CIPHER_ENCRYPT, lambda provider: provider.cipher_encrypt),
            (Opcode.PSA_CIPHER_DECRYPT, lambda provider: provider.cipher_decrypt),
            (Opcode.PSA_MAC_COMPUTE, lambda provider: provider.mac_compute),
            (Opcode.PSA_MAC_VERIFY, lambda provider: provider.mac_verify),
            (Opcode.PSA_RAW_KEY_AGREEMENT, lambda provider: provider.raw_key_agreement),
        )
    },
}
"""Operations of an authenticated application."""
