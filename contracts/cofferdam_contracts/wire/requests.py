"""The bodies of requests: for every operation its protobuf message, and how to convert one into the other."""

from collections.abc import Callable
from typing import Final, TypeVar

from google.protobuf.message import Message

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
from cofferdam_contracts.psa.algorithm import Cipher, CipherMode, Hash, KeyAgreement, RawAgreement
from cofferdam_contracts.registry import Opcode, ProviderId
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire import parsec_pb2 as pb
from cofferdam_contracts.wire.algorithms import (
    aead,
    aead_message,
    encryption,
    encryption_message,
    invalid,
    mac,
    mac_message,
    member,
    number,
    signature,
    signature_message,
)
from cofferdam_contracts.wire.attributes import attributes, attributes_message
from cofferdam_contracts.wire.codec import Codec
from cofferdam_contracts.wire.strict import schema_of

_MAX_PROVIDER: Final = max(ProviderId)


_O = TypeVar("_O", bound=Operation)
_M = TypeVar("_M", bound=Message)


def _codec(  # as `codec.codec`, but the type of the operation ties the two directions together
    kind: type[_O], message: type[_M], read: Callable[[_M], _O], write: Callable[[_O], _M], *, ambiguous: bool = False
) -> tuple[Opcode, Codec[Operation]]:
    return kind.opcode, Codec(message.FromString, schema_of(message), read, write, ambiguous)


def _list_opcodes(message: pb.ListOpcodesOperation) -> ListOpcodes:
    if message.provider_id > _MAX_PROVIDER:
        raise ServiceError(Status.PROVIDER_DOES_NOT_EXIST, f"provider {message.provider_id}")
    return ListOpcodes(message.provider_id)


def _delete_client(message: pb.DeleteClientOperation) -> DeleteClient:
    if len(message.client.encode()) > MAX_APPLICATION:
        # No client of this service has such a name; success would claim that its keys are gone.
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"a client name of more than {MAX_APPLICATION} bytes")
    return DeleteClient(message.client)


def _attest_key(message: pb.AttestKeyOperation) -> AttestKey:
    if message.parameters.WhichOneof("mechanism") is None:
        raise invalid("an attestation without mechanism")
    credential = message.parameters.activate_credential
    return AttestKey(
        message.attested_key_name, message.attesting_key_name, credential.credential_blob, credential.secret
    )


def _attest_key_message(value: AttestKey) -> pb.AttestKeyOperation:
    credential = pb.AttestationMechanismParams.ActivateCredential(
        credential_blob=value.credential_blob, secret=value.secret
    )
    return pb.AttestKeyOperation(
        attested_key_name=value.key_name,
        parameters=pb.AttestationMechanismParams(activate_credential=credential),
        attesting_key_name=value.attesting_key_name,
    )


def _prepare(message: pb.PrepareKeyAttestationOperation) -> PrepareKeyAttestation:
    if message.parameters.WhichOneof("mechanism") is None:
        raise invalid("an attestation without mechanism")
    names = message.parameters.activate_credential
    return PrepareKeyAttestation(names.attested_key_name, names.attesting_key_name)


def _prepare_message(value: PrepareKeyAttestation) -> pb.PrepareKeyAttestationOperation:
    names = pb.PrepareKeyAttestationParams.ActivateCredential(
        attested_key_name=value.key_name, attesting_key_name=value.attesting_key_name
    )
    return pb.PrepareKeyAttestationOperation(parameters=pb.PrepareKeyAttestationParams(activate_credential=names))


REQUESTS: Final[dict[Opcode, Codec[Operation]]] = dict(
    (
        _codec(Ping, pb.PingOperation, lambda _m: Ping(), lambda _o: pb.PingOperation()),
        _codec(
            ListProviders,
            pb.ListProvidersOperation,
            lambda _m: ListProviders(),
            lambda _o: pb.ListProvidersOperation(),
        ),
        _codec(
            ListOpcodes,
            pb.ListOpcodesOperation,
            _list_opcodes,
            lambda o: pb.ListOpcodesOperation(provider_id=o.provider_id),
        ),
        _codec(
            ListAuthenticators,
            pb.ListAuthenticatorsOperation,
            lambda _m: ListAuthenticators(),
            lambda _o: pb.ListAuthenticatorsOperation(),
        ),
        _codec(ListKeys, pb.ListKeysOperation, lambda _m: ListKeys(), lambda _o: pb.ListKeysOperation()),
        _codec(ListClients, pb.ListClientsOperation, lambda _m: ListClients(), lambda _o: pb.ListClientsOperation()),
        _codec(
            DeleteClient,
            pb.DeleteClientOperation,
            _delete_client,
            lambda o: pb.DeleteClientOperation(client=o.client),
        ),
        _codec(
            GenerateKey,
            pb.PsaGenerateKeyOperation,
            lambda m: GenerateKey(m.key_name, attributes(m.attributes.SerializeToString())),
            lambda o: pb.PsaGenerateKeyOperation(key_name=o.key_name, attributes=attributes_message(o.attributes)),
        ),
        _codec(
            ImportKey,
            pb.PsaImportKeyOperation,
            lambda m: ImportKey(m.key_name, attributes(m.attributes.SerializeToString()), m.data),
            lambda o: pb.PsaImportKeyOperation(
                key_name=o.key_name, attributes=attributes_message(o.attributes), data=o.data
            ),
        ),
        _codec(
            DestroyKey,
            pb.PsaDestroyKeyOperation,
            lambda m: DestroyKey(m.key_name),
            lambda o: pb.PsaDestroyKeyOperation(key_name=o.key_name),
        ),
        _codec(
            ExportPublicKey,
            pb.PsaExportPublicKeyOperation,
            lambda m: ExportPublicKey(m.key_name),
            lambda o: pb.PsaExportPublicKeyOperation(key_name=o.key_name),
        ),
        _codec(
            ExportKey,
            pb.PsaExportKeyOperation,
            lambda m: ExportKey(m.key_name),
            lambda o: pb.PsaExportKeyOperation(key_name=o.key_name),
        ),
        _codec(
            SignHash,
            pb.PsaSignHashOperation,
            lambda m: SignHash(m.key_name, signature(m.alg.SerializeToString()), m.hash),
            lambda o: pb.PsaSignHashOperation(key_name=o.key_name, alg=signature_message(o.alg), hash=o.hash),
        ),
        _codec(
            VerifyHash,
            pb.PsaVerifyHashOperation,
            lambda m: VerifyHash(m.key_name, signature(m.alg.SerializeToString()), m.hash, m.signature),
            lambda o: pb.PsaVerifyHashOperation(
                key_name=o.key_name, alg=signature_message(o.alg), hash=o.hash, signature=o.signature
            ),
        ),
        _codec(
            SignMessage,
            pb.PsaSignMessageOperation,
            lambda m: SignMessage(m.key_name, signature(m.alg.SerializeToString()), m.message),
            lambda o: pb.PsaSignMessageOperation(key_name=o.key_name, alg=signature_message(o.alg), message=o.message),
        ),
        _codec(
            VerifyMessage,
            pb.PsaVerifyMessageOperation,
            lambda m: VerifyMessage(m.key_name, signature(m.alg.SerializeToString()), m.message, m.signature),
            lambda o: pb.PsaVerifyMessageOperation(
                key_name=o.key_name, alg=signature_message(o.alg), message=o.message, signature=o.signature
            ),
        ),
        _codec(
            AsymmetricEncrypt,
            pb.PsaAsymmetricEncryptOperation,
            lambda m: AsymmetricEncrypt(m.key_name, encryption(m.alg.SerializeToString()), m.plaintext, m.salt),
            lambda o: pb.PsaAsymmetricEncryptOperation(
                key_name=o.key_name, alg=encryption_message(o.alg), plaintext=o.plaintext, salt=o.salt
            ),
        ),
        _codec(
            AsymmetricDecrypt,
            pb.PsaAsymmetricDecryptOperation,
            lambda m: AsymmetricDecrypt(m.key_name, encryption(m.alg.SerializeToString()), m.ciphertext, m.salt),
            lambda o: pb.PsaAsymmetricDecryptOperation(
                key_name=o.key_name, alg=encryption_message(o.alg), ciphertext=o.ciphertext, salt=o.salt
            ),
        ),
        _codec(
            AeadEncrypt,
            pb.PsaAeadEncryptOperation,
            lambda m: AeadEncrypt(m.key_name, aead(m.alg.SerializeToString()), m.nonce, m.additional_data, m.plaintext),
            lambda o: pb.PsaAeadEncryptOperation(
                key_name=o.key_name,
                alg=aead_message(o.alg),
                nonce=o.nonce,
                additional_data=o.additional_data,
                plaintext=o.plaintext,
            ),
        ),
        _codec(
            AeadDecrypt,
            pb.PsaAeadDecryptOperation,
            lambda m: AeadDecrypt(
                m.key_name, aead(m.alg.SerializeToString()), m.nonce, m.additional_data, m.ciphertext
            ),
            lambda o: pb.PsaAeadDecryptOperation(
                key_name=o.key_name,
                alg=aead_message(o.alg),
                nonce=o.nonce,
                additional_data=o.additional_data,
                ciphertext=o.ciphertext,
            ),
        ),
        _codec(
            CipherEncrypt,
            pb.PsaCipherEncryptOperation,
            lambda m: CipherEncrypt(m.key_name, Cipher(member(CipherMode, m.alg)), m.plaintext),
            lambda o: pb.PsaCipherEncryptOperation(key_name=o.key_name, alg=number(o.alg.mode), plaintext=o.plaintext),
        ),
        _codec(
            CipherDecrypt,
            pb.PsaCipherDecryptOperation,
            lambda m: CipherDecrypt(m.key_name, Cipher(member(CipherMode, m.alg)), m.ciphertext),
            lambda o: pb.PsaCipherDecryptOperation(
                key_name=o.key_name, alg=number(o.alg.mode), ciphertext=o.ciphertext
            ),
        ),
        _codec(
            MacCompute,
            pb.PsaMacComputeOperation,
            lambda m: MacCompute(m.key_name, mac(m.alg.SerializeToString()), m.input),
            lambda o: pb.PsaMacComputeOperation(key_name=o.key_name, alg=mac_message(o.alg), input=o.input),
        ),
        _codec(
            MacVerify,
            pb.PsaMacVerifyOperation,
            lambda m: MacVerify(m.key_name, mac(m.alg.SerializeToString()), m.input, m.mac),
            lambda o: pb.PsaMacVerifyOperation(key_name=o.key_name, alg=mac_message(o.alg), input=o.input, mac=o.mac),
        ),
        _codec(
            RawKeyAgreement,
            pb.PsaRawKeyAgreementOperation,
            lambda m: RawKeyAgreement(m.private_key_name, KeyAgreement(member(RawAgreement, m.alg)), m.peer_key),
            lambda o: pb.PsaRawKeyAgreementOperation(
                alg=number(o.alg.raw), private_key_name=o.key_name, peer_key=o.peer_key
            ),
        ),
        _codec(
            GenerateRandom,
            pb.PsaGenerateRandomOperation,
            lambda m: GenerateRandom(m.size),
            lambda o: pb.PsaGenerateRandomOperation(size=o.size),
            ambiguous=True,  # ten bytes of a 64-bit number may have bits beyond the 64th
        ),
        _codec(
            HashCompute,
            pb.PsaHashComputeOperation,
            lambda m: HashCompute(member(Hash, m.alg), m.input),
            lambda o: pb.PsaHashComputeOperation(alg=number(o.alg), input=o.input),
        ),
        _codec(
            HashCompare,
            pb.PsaHashCompareOperation,
            lambda m: HashCompare(member(Hash, m.alg), m.input, m.hash),
            lambda o: pb.PsaHashCompareOperation(alg=number(o.alg), input=o.input, hash=o.hash),
        ),
        _codec(
            CanDoCrypto,
            pb.CanDoCryptoOperation,
            lambda m: CanDoCrypto(member(CheckType, m.check_type), attributes(m.attributes.SerializeToString())),
            lambda o: pb.CanDoCryptoOperation(
                check_type=number(o.check_type), attributes=attributes_message(o.attributes)
            ),
        ),
        _codec(AttestKey, pb.AttestKeyOperation, _attest_key, _attest_key_message),
        _codec(PrepareKeyAttestation, pb.PrepareKeyAttestationOperation, _prepare, _prepare_message),
    )
)
"""Every operation, complete over `Opcode`.

Reading raises `ServiceError` with `INVALID_ENCODING`, for ListOpcodes with `PROVIDER_DOES_NOT_EXIST`, for DeleteClient
with `PSA_ERROR_INVALID_ARGUMENT` when the name is longer than that of any client.
"""
