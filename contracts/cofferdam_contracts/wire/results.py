"""The bodies of successful responses: for every operation its protobuf message, and how to convert its result.

The result of a crypto operation is the tuple of its byte fields: none, one, or three for PrepareKeyAttestation. A
worker answers with the same tuple, see `ipc.requests`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from google.protobuf.message import Message

from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire import parsec_pb2 as pb
from cofferdam_contracts.wire.algorithms import invalid
from cofferdam_contracts.wire.attributes import attributes, attributes_message
from cofferdam_contracts.wire.codec import Codec, codec


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """One entry of ListProviders; the version is (major, minor, revision)."""

    uuid: str
    description: str
    vendor: str
    version: tuple[int, int, int]
    id: int


@dataclass(frozen=True, slots=True)
class AuthenticatorInfo:
    """One entry of ListAuthenticators; the version is (major, minor, revision)."""

    description: str
    version: tuple[int, int, int]
    id: int


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One entry of ListKeys."""

    provider_id: int
    name: str
    attributes: KeyAttributes


Result: TypeAlias = (
    tuple[int, int]
    | Sequence[ProviderInfo]
    | Sequence[int]
    | Sequence[AuthenticatorInfo]
    | Sequence[KeyInfo]
    | Sequence[str]
    | tuple[bytes, ...]
)
"""The result of an operation: Ping has a version; the listings their entries, opcodes as numbers and clients as names;
DeleteClient none, `()`; crypto operations their byte fields."""


_M = TypeVar("_M", bound=Message)


def _nothing(message: type[_M]) -> Codec[Result]:
    def write(result: tuple[()]) -> _M:
        () = result
        return message()

    return codec(message, lambda _message: (), write)


def _one_field(message: type[_M]) -> Codec[Result]:
    (name,) = (field.name for field in message.DESCRIPTOR.fields)

    def write(result: tuple[bytes]) -> _M:
        (value,) = result
        return message(**{name: value})

    return codec(message, lambda answer: (getattr(answer, name),), write)


def _provider(message: pb.ProviderInfo) -> ProviderInfo:
    version = (message.version_maj, message.version_min, message.version_rev)
    return ProviderInfo(message.uuid, message.description, message.vendor, version, message.id)


def _provider_message(info: ProviderInfo) -> pb.ProviderInfo:
    major, minor, revision = info.version
    return pb.ProviderInfo(
        uuid=info.uuid,
        description=info.description,
        vendor=info.vendor,
        version_maj=major,
        version_min=minor,
        version_rev=revision,
        id=info.id,
    )


def _authenticator(message: pb.AuthenticatorInfo) -> AuthenticatorInfo:
    version = (message.version_maj, message.version_min, message.version_rev)
    return AuthenticatorInfo(message.description, version, message.id)


def _authenticator_message(info: AuthenticatorInfo) -> pb.AuthenticatorInfo:
    major, minor, revision = info.version
    return pb.AuthenticatorInfo(
        description=info.description, version_maj=major, version_min=minor, version_rev=revision, id=info.id
    )


def _key(message: pb.KeyInfo) -> KeyInfo:
    return KeyInfo(message.provider_id, message.name, attributes(message.attributes.SerializeToString()))


def _key_message(info: KeyInfo) -> pb.KeyInfo:
    return pb.KeyInfo(provider_id=info.provider_id, name=info.name, attributes=attributes_message(info.attributes))


def _ping_message(version: tuple[int, int]) -> pb.PingResult:
    major, minor = version
    return pb.PingResult(wire_protocol_version_maj=major, wire_protocol_version_min=minor)


def _attestation(message: pb.AttestKeyResult) -> tuple[bytes, ...]:
    if message.output.WhichOneof("mechanism") is None:
        raise invalid("an attestation without mechanism")
    return (message.output.activate_credential.credential,)


def _attestation_message(result: tuple[bytes]) -> pb.AttestKeyResult:
    (credential,) = result
    output = pb.AttestationOutput.ActivateCredential(credential=credential)
    return pb.AttestKeyResult(output=pb.AttestationOutput(activate_credential=output))


def _preparation(message: pb.PrepareKeyAttestationResult) -> tuple[bytes, ...]:
    if message.output.WhichOneof("mechanism") is None:
        raise invalid("an attestation without mechanism")
    output = message.output.activate_credential
    return output.name, output.public, output.attesting_key_pub


def _preparation_message(result: tuple[bytes, bytes, bytes]) -> pb.PrepareKeyAttestationResult:
    name, public, attesting_key_pub = result
    output = pb.PrepareKeyAttestationOutput.ActivateCredential(
        name=name, public=public, attesting_key_pub=attesting_key_pub
    )
    return pb.PrepareKeyAttestationResult(output=pb.PrepareKeyAttestationOutput(activate_credential=output))


RESULTS: Final[dict[Opcode, Codec[Result]]] = {
    Opcode.PING: codec(
        pb.PingResult, lambda m: (m.wire_protocol_version_maj, m.wire_protocol_version_min), _ping_message
    ),
    Opcode.LIST_PROVIDERS: codec(
        pb.ListProvidersResult,
        lambda m: [_provider(info) for info in m.providers],
        lambda infos: pb.ListProvidersResult(providers=map(_provider_message, infos)),
    ),
    Opcode.LIST_OPCODES: codec(
        pb.ListOpcodesResult,
        lambda m: list(m.opcodes),
        lambda opcodes: pb.ListOpcodesResult(opcodes=opcodes),
        ambiguous=True,  # numbers that are not packed may take fewer bytes than packed ones
    ),
    Opcode.LIST_AUTHENTICATORS: codec(
        pb.ListAuthenticatorsResult,
        lambda m: [_authenticator(info) for info in m.authenticators],
        lambda infos: pb.ListAuthenticatorsResult(authenticators=map(_authenticator_message, infos)),
    ),
    Opcode.LIST_KEYS: codec(
        pb.ListKeysResult,
        lambda m: [_key(info) for info in m.keys],
        lambda infos: pb.ListKeysResult(keys=map(_key_message, infos)),
    ),
    Opcode.LIST_CLIENTS: codec(
        pb.ListClientsResult, lambda m: list(m.clients), lambda names: pb.ListClientsResult(clients=names)
    ),
    Opcode.DELETE_CLIENT: _nothing(pb.DeleteClientResult),
    Opcode.PSA_GENERATE_KEY: _nothing(pb.PsaGenerateKeyResult),
    Opcode.PSA_IMPORT_KEY: _nothing(pb.PsaImportKeyResult),
    Opcode.PSA_DESTROY_KEY: _nothing(pb.PsaDestroyKeyResult),
    Opcode.PSA_EXPORT_PUBLIC_KEY: _one_field(pb.PsaExportPublicKeyResult),
    Opcode.PSA_EXPORT_KEY: _one_field(pb.PsaExportKeyResult),
    Opcode.PSA_SIGN_HASH: _one_field(pb.PsaSignHashResult),
    Opcode.PSA_VERIFY_HASH: _nothing(pb.PsaVerifyHashResult),
    Opcode.PSA_SIGN_MESSAGE: _one_field(pb.PsaSignMessageResult),
    Opcode.PSA_VERIFY_MESSAGE: _nothing(pb.PsaVerifyMessageResult),
    Opcode.PSA_ASYMMETRIC_ENCRYPT: _one_field(pb.PsaAsymmetricEncryptResult),
    Opcode.PSA_ASYMMETRIC_DECRYPT: _one_field(pb.PsaAsymmetricDecryptResult),
    Opcode.PSA_AEAD_ENCRYPT: _one_field(pb.PsaAeadEncryptResult),
    Opcode.PSA_AEAD_DECRYPT: _one_field(pb.PsaAeadDecryptResult),
    Opcode.PSA_CIPHER_ENCRYPT: _one_field(pb.PsaCipherEncryptResult),
    Opcode.PSA_CIPHER_DECRYPT: _one_field(pb.PsaCipherDecryptResult),
    Opcode.PSA_MAC_COMPUTE: _one_field(pb.PsaMacComputeResult),
    Opcode.PSA_MAC_VERIFY: _nothing(pb.PsaMacVerifyResult),
    Opcode.PSA_RAW_KEY_AGREEMENT: _one_field(pb.PsaRawKeyAgreementResult),
    Opcode.PSA_GENERATE_RANDOM: _one_field(pb.PsaGenerateRandomResult),
    Opcode.PSA_HASH_COMPUTE: _one_field(pb.PsaHashComputeResult),
    Opcode.PSA_HASH_COMPARE: _nothing(pb.PsaHashCompareResult),
    Opcode.CAN_DO_CRYPTO: _nothing(pb.CanDoCryptoResult),
    Opcode.ATTEST_KEY: codec(pb.AttestKeyResult, _attestation, _attestation_message),
    Opcode.PREPARE_KEY_ATTESTATION: codec(pb.PrepareKeyAttestationResult, _preparation, _preparation_message),
}
"""Every result, complete over `Opcode`."""
