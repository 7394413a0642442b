"""Binary form of attributes and algorithms: bincode 1.x, as in the reference's key store.

Integers are little endian and of fixed width, enumeration variants a u32 index (protobuf number minus one), lengths
u64, booleans one byte. Our processes exchange the same form, so that one codec serves the key store and the channels.
Source: docs/reference/parsec-behaviour.md, "Encoding of attributes".
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

from cofferdam_contracts.byte_reader import ByteReader
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
from cofferdam_contracts.psa.attributes import (
    DH_KINDS,
    ECC_KINDS,
    USAGE_COUNT,
    DhFamily,
    EccFamily,
    KeyAttributes,
    KeyKind,
    KeyType,
    Usage,
)

T = TypeVar("T")
_LIFETIME_VOLATILE, _LIFETIME_PERSISTENT, _LIFETIME_CUSTOM = range(3)
_MAX_ENCODED: Final = 256
"""More bytes than any encoding has; longer input is rejected unread."""


class EncodingError(ValueError):
    """Raised when bytes are not the encoding of attributes or of an algorithm."""


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _variant(member: int) -> bytes:
    return _u32(member - 1)


@lru_cache(maxsize=1024)
def encode_algorithm(algorithm: Algorithm) -> bytes:  # noqa: PLR0911  one return per variant reads best
    """Return the bincode form of an algorithm."""
    match algorithm:
        case NoAlgorithm():
            return _u32(0)
        case HashAlgorithm(hash_alg):
            return _u32(1) + _variant(hash_alg)
        case Mac(scheme, hash_alg, length):
            inner = _variant(scheme) + (_variant(hash_alg) if hash_alg is not None else b"")
            return _u32(2) + (_u32(0) + inner if length is None else _u32(1) + inner + _u64(length))
        case Cipher(mode):
            return _u32(3) + _variant(mode)
        case Aead(aead_scheme, tag_length):
            inner = _variant(aead_scheme)
            return _u32(4) + (_u32(0) + inner if tag_length is None else _u32(1) + inner + _u64(tag_length))
        case AsymmetricSignature(signature, sign_hash):
            return _u32(5) + _variant(signature) + _encode_sign_hash(sign_hash)
        case AsymmetricEncryption(encryption, oaep_hash):
            return _u32(6) + _variant(encryption) + (_variant(oaep_hash) if oaep_hash is not None else b"")
        case KeyAgreement(raw, derivation):
            if derivation is None:
                return _u32(7) + _u32(0) + _variant(raw)
            return _u32(7) + _u32(1) + _variant(raw) + _encode_derivation(derivation)
        case KeyDerivation():
            return _u32(8) + _encode_derivation(algorithm)


def _encode_sign_hash(sign_hash: Hash | AnyHash | None) -> bytes:
    match sign_hash:
        case None:
            return b""
        case AnyHash.ANY:
            return _u32(1)
        case _:
            return _u32(0) + _variant(sign_hash)


def _encode_derivation(derivation: KeyDerivation) -> bytes:
    return _variant(derivation.scheme) + _variant(derivation.hash)


def encode_attributes(attributes: KeyAttributes) -> bytes:
    """Return the bincode form of attributes, lifetime persistent."""
    family = attributes.type.family
    match family:
        case None:
            family_bytes = b""
        case EccFamily():
            family_bytes = _variant(family)
        case _:
            family_bytes = _u32(family)
    usage = bytes(attributes.usage >> bit & 1 for bit in range(USAGE_COUNT))
    return b"".join(
        (
            _u32(_LIFETIME_PERSISTENT),
            _variant(attributes.type.kind),
            family_bytes,
            _u64(attributes.bits),
            usage,
            encode_algorithm(attributes.algorithm),
        )
    )


@lru_cache(maxsize=1024)
def decode_algorithm(data: bytes) -> Algorithm:
    """Return the algorithm that the bytes encode.

    Raises:
        EncodingError: The bytes are not exactly one encoding.
    """
    return _decode(data, _read_algorithm)


@lru_cache(maxsize=1024)
def decode_attributes(data: bytes) -> KeyAttributes:
    """Return the attributes that the bytes encode.

    Raises:
        EncodingError: The bytes are not exactly one encoding.
    """
    return _decode(data, _read_attributes)


def attributes_length(data: bytes) -> int:
    """Return how many of the bytes are the encoding of attributes; other bytes may follow it.

    Raises:
        EncodingError: They do not begin with an encoding.
    """
    _, rest = _decode_some(data, _read_attributes)
    return len(data) - len(rest)


def _decode(data: bytes, read: Callable[[ByteReader], T]) -> T:
    value, rest = _decode_some(data, read)
    if rest:
        raise EncodingError(f"{len(rest)} bytes too long")
    return value


def _decode_some(data: bytes, read: Callable[[ByteReader], T]) -> tuple[T, bytes]:
    """Return the value at the start of the bytes, and those after it."""
    if len(data) > _MAX_ENCODED:
        raise EncodingError(f"{len(data)} bytes are more than any encoding")
    reader = ByteReader(data, EncodingError, "little")
    try:
        value = read(reader)
    except ValueError as error:
        raise EncodingError(str(error)) from error
    return value, reader.rest()


def _read_attributes(reader: ByteReader) -> KeyAttributes:
    lifetime = reader.u32()
    if lifetime == _LIFETIME_CUSTOM:
        reader.u32()
    elif lifetime not in (_LIFETIME_VOLATILE, _LIFETIME_PERSISTENT):
        raise EncodingError(f"lifetime variant {lifetime}")
    kind = KeyKind(reader.u32() + 1)
    family: EccFamily | DhFamily | None = None
    if kind in ECC_KINDS:
        family = EccFamily(reader.u32() + 1)
    elif kind in DH_KINDS:
        family = DhFamily(reader.u32())
    bits = reader.u64()
    flags = reader.take(USAGE_COUNT)
    if any(flag > 1 for flag in flags):
        raise EncodingError("a usage flag is neither 0 nor 1")
    usage = Usage(sum(flag << bit for bit, flag in enumerate(flags)))
    return KeyAttributes(KeyType(kind, family), bits, usage, _read_algorithm(reader))


def _read_algorithm(reader: ByteReader) -> Algorithm:
    variant = reader.u32()
    if variant >= len(_ALGORITHM_READERS):
        raise EncodingError(f"algorithm variant {variant}")
    return _ALGORITHM_READERS[variant](reader)


def _read_hash(reader: ByteReader) -> Hash:
    return Hash(reader.u32() + 1)


def _either(reader: ByteReader) -> bool:
    variant = reader.u32()
    if variant > 1:
        raise EncodingError(f"variant {variant} of two")
    return variant == 1


def _read_mac(reader: ByteReader) -> Mac:
    truncated = _either(reader)
    scheme = MacScheme(reader.u32() + 1)
    hash_alg = _read_hash(reader) if scheme is MacScheme.HMAC else None
    return Mac(scheme, hash_alg, reader.u64() if truncated else None)


def _read_aead(reader: ByteReader) -> Aead:
    shortened = _either(reader)
    scheme = AeadScheme(reader.u32() + 1)
    return Aead(scheme, reader.u64() if shortened else None)


def _read_signature(reader: ByteReader) -> AsymmetricSignature:
    scheme = SignatureScheme(reader.u32() + 1)
    if scheme not in HASHED_SIGNATURES:
        return AsymmetricSignature(scheme)
    return AsymmetricSignature(scheme, ANY_HASH if _either(reader) else _read_hash(reader))


def _read_encryption(reader: ByteReader) -> AsymmetricEncryption:
    scheme = EncryptionScheme(reader.u32() + 1)
    return AsymmetricEncryption(scheme, _read_hash(reader) if scheme is EncryptionScheme.RSA_OAEP else None)


def _read_agreement(reader: ByteReader) -> KeyAgreement:
    derived = _either(reader)
    raw = RawAgreement(reader.u32() + 1)
    return KeyAgreement(raw, _read_derivation(reader) if derived else None)


def _read_derivation(reader: ByteReader) -> KeyDerivation:
    return KeyDerivation(DerivationScheme(reader.u32() + 1), _read_hash(reader))


_ALGORITHM_READERS: Final = (
    lambda _reader: NoAlgorithm(),
    lambda reader: HashAlgorithm(_read_hash(reader)),
    _read_mac,
    lambda reader: Cipher(CipherMode(reader.u32() + 1)),
    _read_aead,
    _read_signature,
    _read_encryption,
    _read_agreement,
    _read_derivation,
)
