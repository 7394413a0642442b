"""The bodies of requests: for every operation how the record of its message becomes the operation and back."""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from cofferdam_contracts.identity import MAX_APPLICATION
from cofferdam_contracts.operations import (
    AeadDecrypt,
    AeadEncrypt,
    AsymmetricDecrypt,
    AsymmetricEncrypt,
    AttestKey,
    CanDoCrypto,
    CheckType,
    CipherDecrypt,
    CipherEncrypt,
    DeleteClient,
    DestroyKey,
    ExportKey,
    ExportPublicKey,
    GenerateKey,
    GenerateRandom,
    HashCompare,
    HashCompute,
    ImportKey,
    ListAuthenticators,
    ListClients,
    ListKeys,
    ListOpcodes,
    ListProviders,
    MacCompute,
    MacVerify,
    Operation,
    Ping,
    PrepareKeyAttestation,
    RawKeyAgreement,
    SignHash,
    SignMessage,
    VerifyHash,
    VerifyMessage,
)
from cofferdam_contracts.registry import Opcode, ProviderId
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire import messages
from cofferdam_contracts.wire.algorithms import (
    AEAD,
    CIPHER,
    ENCRYPTION,
    HASH,
    MAC,
    RAW_AGREEMENT,
    SIGNATURE,
    Conversion,
    chosen,
    member,
)
from cofferdam_contracts.wire.attributes import ATTRIBUTES
from cofferdam_contracts.wire.codec import Codec
from cofferdam_contracts.wire.protobuf import Record

_MAX_PROVIDER: Final = max(ProviderId)
_CHECK_TYPE: Final = Conversion(partial(member, CheckType), int)

_O = TypeVar("_O", bound=Operation)
_Row = tuple[Opcode, Codec[Operation]]


def _row(kind: type[_O], read: Callable[..., _O], write: Callable[[_O], Record]) -> _Row:
    """Return the codec of an operation; `read` takes the values of its message."""
    return kind.opcode, Codec(messages.OPERATIONS[kind.opcode], lambda record: read(*record), write)


def _same(kind: type[Operation], **conversions: Conversion) -> _Row:
    """Return the codec of an operation with the same fields as its message, some of them converted."""
    message = messages.OPERATIONS[kind.opcode]
    names = tuple(message.fields)
    readers = [(names.index(name), conversion.read) for name, conversion in conversions.items()]
    writers = [(names.index(name), conversion.write) for name, conversion in conversions.items()]

    def read(record: Record) -> Operation:
        values = [*record]
        for place, convert in readers:
            values[place] = convert(values[place])
        return kind(*values)

    def write(operation: Operation) -> Record:
        values = [getattr(operation, name) for name in names]
        for place, convert in writers:
            values[place] = convert(values[place])
        return tuple(values)

    return kind.opcode, Codec(message, read, write)


def _list_opcodes(provider: int) -> ListOpcodes:
    if provider > _MAX_PROVIDER:
        raise ServiceError(Status.PROVIDER_DOES_NOT_EXIST, f"provider {provider}")
    return ListOpcodes(provider)


def _delete_client(client: str) -> DeleteClient:
    if len(client.encode()) > MAX_APPLICATION:
        # No client of this service has such a name; success would claim that its keys are gone.
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"a client name of more than {MAX_APPLICATION} bytes")
    return DeleteClient(client)


def _agreement(alg: int, key_name: str, peer_key: bytes) -> RawKeyAgreement:
    return RawKeyAgreement(key_name, RAW_AGREEMENT.read(alg), peer_key)


def _attest_key(key_name: str, parameters: Record | None, attesting_key_name: str) -> AttestKey:
    _mechanism, (credential_blob, secret) = chosen(parameters, "an attestation")
    return AttestKey(key_name, attesting_key_name, credential_blob, secret)


def _prepare(parameters: Record | None) -> PrepareKeyAttestation:
    _mechanism, names = chosen(parameters, "an attestation")
    return PrepareKeyAttestation(*names)


REQUESTS: Final[dict[Opcode, Codec[Operation]]] = dict(
    (
        _same(Ping),
        _same(ListProviders),
        _row(ListOpcodes, _list_opcodes, lambda o: (o.provider_id,)),
        _same(ListAuthenticators),
        _same(ListKeys),
        _same(ListClients),
        _row(DeleteClient, _delete_client, lambda o: (o.client,)),
        _same(GenerateKey, attributes=ATTRIBUTES),
        _same(ImportKey, attributes=ATTRIBUTES),
        _same(DestroyKey),
        _same(ExportPublicKey),
        _same(ExportKey),
        _same(SignHash, alg=SIGNATURE),
        _same(VerifyHash, alg=SIGNATURE),
        _same(SignMessage, alg=SIGNATURE),
        _same(VerifyMessage, alg=SIGNATURE),
        _same(AsymmetricEncrypt, alg=ENCRYPTION),
        _same(AsymmetricDecrypt, alg=ENCRYPTION),
        _same(AeadEncrypt, alg=AEAD),
        _same(AeadDecrypt, alg=AEAD),
        _same(CipherEncrypt, alg=CIPHER),
        _same(CipherDecrypt, alg=CIPHER),
        _same(MacCompute, alg=MAC),
        _same(MacVerify, alg=MAC),
        _row(RawKeyAgreement, _agreement, lambda o: (o.alg.raw.value, o.key_name, o.peer_key)),
        _same(GenerateRandom),
        _same(HashCompute, alg=HASH),
        _same(HashCompare, alg=HASH),
        _same(CanDoCrypto, check_type=_CHECK_TYPE, attributes=ATTRIBUTES),
        _row(AttestKey, _attest_key, lambda o: (o.key_name, (1, (o.credential_blob, o.secret)), o.attesting_key_name)),
        _row(PrepareKeyAttestation, _prepare, lambda o: ((1, (o.key_name, o.attesting_key_name)),)),
    )
)
"""Every operation, complete over `Opcode`.

Reading raises `ServiceError` with `INVALID_ENCODING`, for ListOpcodes with `PROVIDER_DOES_NOT_EXIST`, for DeleteClient
with `PSA_ERROR_INVALID_ARGUMENT` when the name is longer than that of any client.
"""
