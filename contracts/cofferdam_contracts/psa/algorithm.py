"""PSA algorithms as values.

Numbers are those of the Parsec operations contract (protobuf enums and oneof members). In the key store, the bincode
variant index of an enumeration is always that number minus one, see `encoding`.
"""

import enum
from typing import Final, TypeAlias

from msgspec import Struct


@enum.unique
class Hash(enum.IntEnum):
    """Hash algorithms (psa_algorithm.Algorithm.Hash)."""

    MD2 = 1
    MD4 = 2
    MD5 = 3
    RIPEMD160 = 4
    SHA_1 = 5
    SHA_224 = 6
    SHA_256 = 7
    SHA_384 = 8
    SHA_512 = 9
    SHA_512_224 = 10
    SHA_512_256 = 11
    SHA3_224 = 12
    SHA3_256 = 13
    SHA3_384 = 14
    SHA3_512 = 15


class AnyHash(enum.Enum):
    """The wildcard of a signature policy: any specific hash (psa_algorithm…SignHash.Any)."""

    ANY = "any"


ANY_HASH: Final = AnyHash.ANY


@enum.unique
class CipherMode(enum.IntEnum):
    """Unauthenticated cipher modes (psa_algorithm.Algorithm.Cipher)."""

    STREAM_CIPHER = 1
    CTR = 2
    CFB = 3
    OFB = 4
    XTS = 5
    ECB_NO_PADDING = 6
    CBC_NO_PADDING = 7
    CBC_PKCS7 = 8


@enum.unique
class AeadScheme(enum.IntEnum):
    """Authenticated ciphers (psa_algorithm.Algorithm.Aead.AeadWithDefaultLengthTag)."""

    CCM = 1
    GCM = 2
    CHACHA20_POLY1305 = 3


@enum.unique
class MacScheme(enum.IntEnum):
    """MAC constructions (psa_algorithm.Algorithm.Mac.FullLength)."""

    HMAC = 1
    CBC_MAC = 2
    CMAC = 3


@enum.unique
class SignatureScheme(enum.IntEnum):
    """Asymmetric signature schemes (psa_algorithm.Algorithm.AsymmetricSignature)."""

    RSA_PKCS1V15 = 1
    RSA_PKCS1V15_RAW = 2
    RSA_PSS = 3
    ECDSA = 4
    ECDSA_ANY = 5
    DETERMINISTIC_ECDSA = 6


HASHED_SIGNATURES: Final = frozenset(
    {SignatureScheme.RSA_PKCS1V15, SignatureScheme.RSA_PSS, SignatureScheme.ECDSA, SignatureScheme.DETERMINISTIC_ECDSA}
)
"""Schemes with a hash; the others sign their input as it is."""


@enum.unique
class EncryptionScheme(enum.IntEnum):
    """Asymmetric encryption schemes (psa_algorithm.Algorithm.AsymmetricEncryption)."""

    RSA_PKCS1V15 = 1
    RSA_OAEP = 2


@enum.unique
class RawAgreement(enum.IntEnum):
    """Raw key agreements (psa_algorithm.Algorithm.KeyAgreement.Raw)."""

    FFDH = 1
    ECDH = 2


@enum.unique
class DerivationScheme(enum.IntEnum):
    """Key derivations (psa_algorithm.Algorithm.KeyDerivation)."""

    HKDF = 1
    TLS12_PRF = 2
    TLS12_PSK_TO_MS = 3


class NoAlgorithm(Struct, frozen=True):
    """The policy algorithm that permits nothing."""


class HashAlgorithm(Struct, frozen=True):
    """A bare hash."""

    hash: Hash


class Mac(Struct, frozen=True):
    """A MAC; `hash` is set for HMAC only, `length` (bytes) only when truncated."""

    scheme: MacScheme
    hash: Hash | None = None
    length: int | None = None


class Cipher(Struct, frozen=True):
    """An unauthenticated cipher mode."""

    mode: CipherMode


class Aead(Struct, frozen=True):
    """An authenticated cipher; `tag_length` (bytes) is set only if it was given, the default is 16."""

    scheme: AeadScheme
    tag_length: int | None = None


class AsymmetricSignature(Struct, frozen=True):
    """A signature scheme; `hash` is None exactly for the schemes outside `HASHED_SIGNATURES`."""

    scheme: SignatureScheme
    hash: Hash | AnyHash | None = None


class AsymmetricEncryption(Struct, frozen=True):
    """An encryption scheme; `hash` is set for OAEP only (label hash and MGF1 hash)."""

    scheme: EncryptionScheme
    hash: Hash | None = None


class KeyDerivation(Struct, frozen=True):
    """A key derivation function with its hash."""

    scheme: DerivationScheme
    hash: Hash


class KeyAgreement(Struct, frozen=True):
    """A key agreement, raw or followed by a derivation."""

    raw: RawAgreement
    derivation: KeyDerivation | None = None


Algorithm: TypeAlias = (
    NoAlgorithm
    | HashAlgorithm
    | Mac
    | Cipher
    | Aead
    | AsymmetricSignature
    | AsymmetricEncryption
    | KeyAgreement
    | KeyDerivation
)

HASH_LENGTH: Final = {
    Hash.MD2: 16,
    Hash.MD4: 16,
    Hash.MD5: 16,
    Hash.RIPEMD160: 20,
    Hash.SHA_1: 20,
    Hash.SHA_224: 28,
    Hash.SHA_256: 32,
    Hash.SHA_384: 48,
    Hash.SHA_512: 64,
    Hash.SHA_512_224: 28,
    Hash.SHA_512_256: 32,
    Hash.SHA3_224: 28,
    Hash.SHA3_256: 32,
    Hash.SHA3_384: 48,
    Hash.SHA3_512: 64,
}
"""Digest length of each hash in bytes."""

DEFAULT_TAG_LENGTH: Final = 16
"""Tag length in bytes of an AEAD without an explicit one."""
