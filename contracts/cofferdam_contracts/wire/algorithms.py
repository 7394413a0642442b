"""PSA algorithms between protobuf messages and values.

The members of our enumerations have the numbers of the protobuf fields and enumerations, so the tables are made from
descriptors. A missing or unknown value is `INVALID_ENCODING` (docs/reference/parsec-protocol.md, "Mandatory fields").
"""

import enum
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

from google.protobuf import message as protobuf

from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    HASHED_SIGNATURES,
    Aead,
    AeadScheme,
    Algorithm,
    AnyHash,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    DerivationScheme,
    EncryptionScheme,
    Hash,
    HashAlgorithm,
    KeyAgreement,
    KeyDerivation,
    Mac,
    MacScheme,
    NoAlgorithm,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.parsec_pb2 import Algorithm as Message

CACHED: Final = 256
"""Serialised messages remembered with their values; one has at most a few dozen bytes."""

_Number = TypeVar("_Number", bound=enum.IntEnum)


def invalid(detail: str) -> ServiceError:
    """Return the error of a body that is protobuf but not an operation."""
    return ServiceError(Status.INVALID_ENCODING, detail)


def member(kind: type[_Number], number: int) -> _Number:
    """Return the member of an enumeration with this number.

    Raises:
        ServiceError: `INVALID_ENCODING` if there is none.
    """
    try:
        return kind(number)
    except ValueError as error:
        raise invalid(f"{kind.__name__} {number}") from error


def number(value: enum.IntEnum) -> Any:  # noqa: ANN401  the stubs ask for a generated type that has no values at run time
    """Return what a protobuf message takes for a member of one of our enumerations."""
    return int(value)


def variants(message: type[protobuf.Message], kind: type[_Number]) -> dict[str | None, _Number]:
    """Return the member for each name in a message's only oneof."""
    return {field.name: kind(field.number) for field in message.DESCRIPTOR.oneofs[0].fields}


def _variant(table: Mapping[str | None, _Number], name: str | None) -> _Number:
    if name is None:
        raise invalid("an algorithm without variant")
    return table[name]


_SIGNATURES: Final = variants(Message.AsymmetricSignature, SignatureScheme)
_ENCRYPTIONS: Final = variants(Message.AsymmetricEncryption, EncryptionScheme)
_MACS: Final = variants(Message.Mac.FullLength, MacScheme)
_DERIVATIONS: Final = variants(Message.KeyDerivation, DerivationScheme)


# From messages to values.


@lru_cache(maxsize=CACHED)
def signature(serialised: bytes) -> AsymmetricSignature:
    """Return the signature algorithm of a serialised message.

    Raises:
        ServiceError: `INVALID_ENCODING`.
    """
    return _signature(Message.AsymmetricSignature.FromString(serialised))


@lru_cache(maxsize=CACHED)
def encryption(serialised: bytes) -> AsymmetricEncryption:
    """Return the encryption algorithm of a serialised message.

    Raises:
        ServiceError: `INVALID_ENCODING`.
    """
    return _encryption(Message.AsymmetricEncryption.FromString(serialised))


@lru_cache(maxsize=CACHED)
def aead(serialised: bytes) -> Aead:
    """Return the AEAD algorithm of a serialised message.

    Raises:
        ServiceError: `INVALID_ENCODING`.
    """
    return _aead(Message.Aead.FromString(serialised))


@lru_cache(maxsize=CACHED)
def mac(serialised: bytes) -> Mac:
    """Return the MAC algorithm of a serialised message.

    Raises:
        ServiceError: `INVALID_ENCODING`.
    """
    return _mac(Message.Mac.FromString(serialised))


def algorithm(message: Message) -> Algorithm:
    """Return the algorithm of a message.

    Raises:
        ServiceError: `INVALID_ENCODING`.
    """
    name = message.WhichOneof("variant")
    if name is None:
        raise invalid("an algorithm without variant")
    return _READERS[name](getattr(message, name))


def _signature(message: Message.AsymmetricSignature) -> AsymmetricSignature:
    name = message.WhichOneof("variant")
    scheme = _variant(_SIGNATURES, name)
    if name is None or scheme not in HASHED_SIGNATURES:
        return AsymmetricSignature(scheme)
    return AsymmetricSignature(scheme, _sign_hash(getattr(message, name).hash_alg))


def _sign_hash(message: Message.AsymmetricSignature.SignHash) -> Hash | AnyHash:
    match message.WhichOneof("variant"):
        case "any":
            return ANY_HASH
        case "specific":
            return member(Hash, message.specific)
        case _:
            raise invalid("a signature algorithm without hash")


def _encryption(message: Message.AsymmetricEncryption) -> AsymmetricEncryption:
    scheme = _variant(_ENCRYPTIONS, message.WhichOneof("variant"))
    if scheme is EncryptionScheme.RSA_OAEP:
        return AsymmetricEncryption(scheme, member(Hash, message.rsa_oaep.hash_alg))
    return AsymmetricEncryption(scheme)


def _aead(message: Message.Aead) -> Aead:
    match message.WhichOneof("variant"):
        case "aead_with_default_length_tag":
            return Aead(member(AeadScheme, message.aead_with_default_length_tag))
        case "aead_with_shortened_tag":
            shortened = message.aead_with_shortened_tag
            return Aead(member(AeadScheme, shortened.aead_alg), shortened.tag_length)
        case _:
            raise invalid("an AEAD without variant")


def _mac(message: Message.Mac) -> Mac:
    match message.WhichOneof("variant"):
        case "full_length":
            return _mac_of(message.full_length, None)
        case "truncated":
            return _mac_of(message.truncated.mac_alg, message.truncated.mac_length)
        case _:
            raise invalid("a MAC without variant")


def _mac_of(message: Message.Mac.FullLength, length: int | None) -> Mac:
    scheme = _variant(_MACS, message.WhichOneof("variant"))
    return Mac(scheme, member(Hash, message.hmac.hash_alg) if scheme is MacScheme.HMAC else None, length)


def _agreement(message: Message.KeyAgreement) -> KeyAgreement:
    match message.WhichOneof("variant"):
        case "raw":
            return KeyAgreement(member(RawAgreement, message.raw))
        case "with_key_derivation":
            derived = message.with_key_derivation
            return KeyAgreement(member(RawAgreement, derived.ka_alg), _derivation(derived.kdf_alg))
        case _:
            raise invalid("a key agreement without variant")


def _derivation(message: Message.KeyDerivation) -> KeyDerivation:
    name = message.WhichOneof("variant")
    scheme = _variant(_DERIVATIONS, name)
    return KeyDerivation(scheme, member(Hash, getattr(message, str(name)).hash_alg))


_READERS: Final[Mapping[str, Callable[[Any], Algorithm]]] = {
    "none": lambda _empty: NoAlgorithm(),
    "hash": lambda value: HashAlgorithm(member(Hash, value)),
    "mac": _mac,
    "cipher": lambda value: Cipher(member(CipherMode, value)),
    "aead": _aead,
    "asymmetric_signature": _signature,
    "asymmetric_encryption": _encryption,
    "key_agreement": _agreement,
    "key_derivation": _derivation,
}


# From values to messages.


def _name(table: Mapping[str | None, _Number], scheme: _Number) -> str:
    return next(str(name) for name, known in table.items() if known is scheme)


def _chosen(message: Any, name: str) -> Any:  # noqa: ANN401  any message with a oneof of messages, and the chosen one
    """Choose a member of a oneof, so that it is written even when it is empty."""
    inner = getattr(message, name)
    inner.SetInParent()
    return inner


def signature_message(value: AsymmetricSignature) -> Message.AsymmetricSignature:
    """Return the message of a signature algorithm."""
    message = Message.AsymmetricSignature()
    inner = _chosen(message, _name(_SIGNATURES, value.scheme))
    if value.hash is ANY_HASH:
        inner.hash_alg.any.SetInParent()
    elif value.hash is not None:
        inner.hash_alg.specific = value.hash.value
    return message


def encryption_message(value: AsymmetricEncryption) -> Message.AsymmetricEncryption:
    """Return the message of an encryption algorithm."""
    message = Message.AsymmetricEncryption()
    inner = _chosen(message, _name(_ENCRYPTIONS, value.scheme))
    if value.hash is not None:
        inner.hash_alg = number(value.hash)
    return message


def aead_message(value: Aead) -> Message.Aead:
    """Return the message of an AEAD algorithm."""
    scheme = number(value.scheme)
    if value.tag_length is None:
        return Message.Aead(aead_with_default_length_tag=scheme)
    shortened = Message.Aead.AeadWithShortenedTag(aead_alg=scheme, tag_length=value.tag_length)
    return Message.Aead(aead_with_shortened_tag=shortened)


def mac_message(value: Mac) -> Message.Mac:
    """Return the message of a MAC algorithm."""
    full = Message.Mac.FullLength()
    inner = _chosen(full, _name(_MACS, value.scheme))
    if value.hash is not None:
        inner.hash_alg = number(value.hash)
    if value.length is None:
        return Message.Mac(full_length=full)
    return Message.Mac(truncated=Message.Mac.Truncated(mac_alg=full, mac_length=value.length))


def _agreement_message(value: KeyAgreement) -> Message.KeyAgreement:
    raw = number(value.raw)
    if value.derivation is None:
        return Message.KeyAgreement(raw=raw)
    derived = Message.KeyAgreement.WithKeyDerivation(ka_alg=raw, kdf_alg=_derivation_message(value.derivation))
    return Message.KeyAgreement(with_key_derivation=derived)


def _derivation_message(value: KeyDerivation) -> Message.KeyDerivation:
    message = Message.KeyDerivation()
    _chosen(message, _name(_DERIVATIONS, value.scheme)).hash_alg = number(value.hash)
    return message


def algorithm_message(value: Algorithm) -> Message:  # noqa: PLR0911  one return per variant reads best
    """Return the message of an algorithm."""
    match value:
        case NoAlgorithm():
            return Message(none=Message.NoAlgorithm())
        case HashAlgorithm(hash_alg):
            return Message(hash=number(hash_alg))
        case Mac():
            return Message(mac=mac_message(value))
        case Cipher(mode):
            return Message(cipher=number(mode))
        case Aead():
            return Message(aead=aead_message(value))
        case AsymmetricSignature():
            return Message(asymmetric_signature=signature_message(value))
        case AsymmetricEncryption():
            return Message(asymmetric_encryption=encryption_message(value))
        case KeyAgreement():
            return Message(key_agreement=_agreement_message(value))
        case KeyDerivation():
            return Message(key_derivation=_derivation_message(value))
