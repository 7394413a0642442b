"""PSA algorithms between the records of protobuf messages and values.

The members of our enumerations have the numbers of the protobuf fields and enumerations. A missing or unknown value is
`INVALID_ENCODING` (docs/reference/parsec-protocol.md, "Mandatory fields").
"""

import enum
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeVar

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
from cofferdam_contracts.wire import messages
from cofferdam_contracts.wire.protobuf import Record, encode

CACHED: Final = 256
"""How many records are remembered with their values; one has at most a few dozen numbers."""

_ANY, _SPECIFIC = 1, 2
"""The members of the oneof of SignHash."""
_PLAIN, _EXTENDED = 1, 2
"""The members of those of Mac, Aead and KeyAgreement: the scheme alone, or with a length or a derivation."""

_Number = TypeVar("_Number", bound=enum.IntEnum)


class Conversion(NamedTuple):
    """How the value of a field becomes one of ours and back."""

    read: Callable[[Any], Any]
    """Raises `ServiceError` with `INVALID_ENCODING` when something is missing or unknown."""
    write: Callable[[Any], Any]
    """A message may be written as its record or as its encoding."""


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


def chosen(record: Record | None, what: str) -> tuple[int, Any]:
    """Return which member of a oneof a message has, and the member's value.

    Raises:
        ServiceError: `INVALID_ENCODING` if the message is missing or has none.
    """
    if record is None or not record[0]:
        raise invalid(f"{what} without variant")
    number, value = record
    return number, value


# From records to values.


@lru_cache(maxsize=CACHED)
def _signature(record: Record | None) -> AsymmetricSignature:
    number, content = chosen(record, "a signature algorithm")
    scheme = SignatureScheme(number)
    if scheme not in HASHED_SIGNATURES:
        return AsymmetricSignature(scheme)
    return AsymmetricSignature(scheme, _sign_hash(*content))


def _sign_hash(record: Record | None) -> Hash | AnyHash:
    number, value = chosen(record, "the hash of a signature algorithm")
    return ANY_HASH if number == _ANY else member(Hash, value)


@lru_cache(maxsize=CACHED)
def _encryption(record: Record | None) -> AsymmetricEncryption:
    number, content = chosen(record, "an encryption algorithm")
    return AsymmetricEncryption(EncryptionScheme(number), *(member(Hash, hash_alg) for hash_alg in content))


@lru_cache(maxsize=CACHED)
def _aead(record: Record | None) -> Aead:
    number, content = chosen(record, "an AEAD")
    if number == _PLAIN:
        return Aead(member(AeadScheme, content))
    scheme, tag_length = content
    return Aead(member(AeadScheme, scheme), tag_length)


@lru_cache(maxsize=CACHED)
def _mac(record: Record | None) -> Mac:
    number, content = chosen(record, "a MAC")
    full, length = (content, None) if number == _PLAIN else content
    number, content = chosen(full, "a full MAC")
    scheme = MacScheme(number)
    return Mac(scheme, member(Hash, *content) if scheme is MacScheme.HMAC else None, length)


def _agreement(record: Record) -> KeyAgreement:
    number, content = chosen(record, "a key agreement")
    if number == _PLAIN:
        return KeyAgreement(member(RawAgreement, content))
    raw, derivation = content
    return KeyAgreement(member(RawAgreement, raw), _derivation(derivation))


def _derivation(record: Record | None) -> KeyDerivation:
    number, (hash_alg,) = chosen(record, "a key derivation")
    return KeyDerivation(DerivationScheme(number), member(Hash, hash_alg))


# From values to records.


@lru_cache(maxsize=CACHED)
def _signature_message(value: AsymmetricSignature) -> bytes:
    content: Record = ()
    if value.hash is ANY_HASH:
        content = ((_ANY, ()),)
    elif value.hash is not None:
        content = ((_SPECIFIC, value.hash.value),)
    return encode(messages.SIGNATURE, (value.scheme.value, content))


@lru_cache(maxsize=CACHED)
def _encryption_message(value: AsymmetricEncryption) -> bytes:
    return encode(messages.ENCRYPTION, (value.scheme.value, _hash(value.hash)))


@lru_cache(maxsize=CACHED)
def _aead_message(value: Aead) -> bytes:
    scheme = value.scheme.value
    return encode(
        messages.AEAD, (_PLAIN, scheme) if value.tag_length is None else (_EXTENDED, (scheme, value.tag_length))
    )


@lru_cache(maxsize=CACHED)
def _mac_message(value: Mac) -> bytes:
    full = (value.scheme.value, _hash(value.hash))
    return encode(messages.MAC, (_PLAIN, full) if value.length is None else (_EXTENDED, (full, value.length)))


def _agreement_record(value: KeyAgreement) -> Record:
    raw = value.raw.value
    return (_PLAIN, raw) if value.derivation is None else (_EXTENDED, (raw, _derivation_record(value.derivation)))


def _derivation_record(value: KeyDerivation) -> Record:
    return value.scheme.value, _hash(value.hash)


def _hash(value: Hash | None) -> Record:
    """Return the record of a message that has a hash, or is empty."""
    return () if value is None else (value.value,)


SIGNATURE: Final = Conversion(_signature, _signature_message)
ENCRYPTION: Final = Conversion(_encryption, _encryption_message)
AEAD: Final = Conversion(_aead, _aead_message)
MAC: Final = Conversion(_mac, _mac_message)
HASH: Final = Conversion(partial(member, Hash), int)
CIPHER: Final = Conversion(lambda number: Cipher(member(CipherMode, number)), lambda value: value.mode.value)
RAW_AGREEMENT: Final = Conversion(
    lambda number: KeyAgreement(member(RawAgreement, number)), lambda value: value.raw.value
)
_ALGORITHMS: Final[dict[int, tuple[type[Algorithm], Conversion]]] = {
    1: (NoAlgorithm, Conversion(lambda _empty: NoAlgorithm(), lambda _value: ())),
    2: (HashAlgorithm, Conversion(lambda number: HashAlgorithm(member(Hash, number)), lambda value: value.hash.value)),
    3: (Mac, MAC),
    4: (Cipher, CIPHER),
    5: (Aead, AEAD),
    6: (AsymmetricSignature, SIGNATURE),
    7: (AsymmetricEncryption, ENCRYPTION),
    8: (KeyAgreement, Conversion(_agreement, _agreement_record)),
    9: (KeyDerivation, Conversion(_derivation, _derivation_record)),
}
"""The members of the oneof of Algorithm."""
_NUMBERS: Final = {kind: number for number, (kind, _conversion) in _ALGORITHMS.items()}


def algorithm(record: Record | None) -> Algorithm:
    """Return the algorithm of a record.

    Raises:
        ServiceError: `INVALID_ENCODING`.
    """
    number, value = chosen(record, "an algorithm")
    result: Algorithm = _ALGORITHMS[number][1].read(value)
    return result


def algorithm_record(value: Algorithm) -> Record:
    """Return the record of an algorithm."""
    number = _NUMBERS[type(value)]
    return number, _ALGORITHMS[number][1].write(value)
