"""Rules that decide whether an operation is allowed from the key's stored attributes alone.

Sources: docs/reference/parsec-protocol.md, "Policy", "Key types and algorithms" and "Deprecated primitives"; for MAC
lengths PSA Certified Crypto API 1.2, section 10.3.1; for the RSA-PSS salt its version 1.1, PSA_ALG_RSA_PSS.
"""

from collections.abc import Mapping
from typing import Final

from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    DEFAULT_TAG_LENGTH,
    HASH_LENGTH,
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
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
    RSA_KINDS,
    EccFamily,
    KeyAttributes,
    KeyKind,
    KeyType,
)

DEPRECATED_HASHES: Final = frozenset({Hash.MD2, Hash.MD4, Hash.MD5, Hash.SHA_1})
DEPRECATED_KINDS: Final = frozenset({KeyKind.DES, KeyKind.ARC4})
_DEPRECATED_FAMILIES: Final = frozenset({EccFamily.SECP_R2, EccFamily.SECT_R2})
_DEPRECATED_CURVES: Final = frozenset(
    {(EccFamily.BRAINPOOL_P_R1, 160), (EccFamily.SECT_R1, 163), (EccFamily.SECT_K1, 163)}
)
_BLOCK_LENGTH: Final = {KeyKind.AES: 16, KeyKind.CAMELLIA: 16, KeyKind.DES: 8}
"""Block length of each block cipher in bytes, which is also that of MACs made with it."""
_AEAD_BLOCK_CIPHERS: Final = frozenset({KeyKind.AES, KeyKind.CAMELLIA})
TAG_LENGTHS: Final[Mapping[AeadScheme, frozenset[int]]] = {
    AeadScheme.GCM: frozenset({4, 8, 12, 13, 14, 15, 16}),
    AeadScheme.CCM: frozenset({4, 6, 8, 10, 12, 14, 16}),
    AeadScheme.CHACHA20_POLY1305: frozenset({16}),
}
"""Tag lengths in bytes that each scheme defines."""
SHORTEST_MAC: Final = 4
"""Shortest truncated MAC in bytes: the reference's choice, which the specification leaves to the implementation."""
_PSS_OVERHEAD: Final = 2
_OAEP_OVERHEAD: Final = 2
"""Bytes that the paddings add to the digest and the salt or label hash."""
_RSA_SIGNATURES: Final = frozenset(
    {SignatureScheme.RSA_PKCS1V15, SignatureScheme.RSA_PKCS1V15_RAW, SignatureScheme.RSA_PSS}
)


def is_permitted(policy: Algorithm, operation: Algorithm) -> bool:
    """Tell whether a key's policy algorithm permits the algorithm of an operation."""
    if isinstance(policy, NoAlgorithm):
        return False
    if isinstance(operation, AsymmetricSignature):
        if operation.hash is ANY_HASH:
            return False
        if isinstance(policy, AsymmetricSignature) and policy.hash is ANY_HASH:
            return policy.scheme is operation.scheme
    return policy == operation


def is_compatible(key_type: KeyType, algorithm: Algorithm) -> bool:  # noqa: PLR0911  one return per row of the table
    """Tell whether keys of this type can be used with the algorithm."""
    kind = key_type.kind
    match algorithm:
        case Mac(scheme):
            return kind is KeyKind.HMAC if scheme is MacScheme.HMAC else kind in _BLOCK_LENGTH
        case Cipher(mode):
            if mode is CipherMode.STREAM_CIPHER:
                return kind in {KeyKind.ARC4, KeyKind.CHACHA20}
            return kind in _BLOCK_LENGTH
        case Aead(aead_scheme):
            if aead_scheme is AeadScheme.CHACHA20_POLY1305:
                return kind is KeyKind.CHACHA20
            return kind in _AEAD_BLOCK_CIPHERS
        case AsymmetricSignature(signature):
            return kind in (RSA_KINDS if signature in _RSA_SIGNATURES else ECC_KINDS)
        case AsymmetricEncryption():
            return kind in RSA_KINDS
        case KeyAgreement(raw):
            return kind in (ECC_KINDS if raw is RawAgreement.ECDH else DH_KINDS)
        case KeyDerivation():
            return kind is KeyKind.DERIVE
        case HashAlgorithm() | NoAlgorithm():
            return False


def hashes_of(algorithm: Algorithm) -> frozenset[Hash]:
    """Return every specific hash that an algorithm mentions."""
    match algorithm:
        case KeyAgreement(_, KeyDerivation(_, hash_alg)):
            found: object = hash_alg
        case NoAlgorithm() | Cipher() | Aead() | KeyAgreement():
            found = None
        case _:
            found = algorithm.hash
    return frozenset({found}) if isinstance(found, Hash) else frozenset()


def is_deprecated(attributes: KeyAttributes) -> bool:
    """Tell whether generating such a key requires `allow_deprecated`.

    The reference checks only public-key types, so a key pair on a deprecated curve escapes its check. Key pairs are
    checked here as well, as the reference intended.
    """
    if attributes.type.kind in DEPRECATED_KINDS or hashes_of(attributes.algorithm) & DEPRECATED_HASHES:
        return True
    family = attributes.type.family
    return family in _DEPRECATED_FAMILIES or (family, attributes.bits) in _DEPRECATED_CURVES


def digest_length_fits(algorithm: AsymmetricSignature, length: int) -> bool:
    """Tell whether a digest of `length` bytes fits the operation's hash; schemes without a hash accept any length."""
    return not isinstance(algorithm.hash, Hash) or HASH_LENGTH[algorithm.hash] == length


def pss_salt_length(bits: int, hash_alg: Hash) -> int:
    """Return the salt length in bytes of RSA-PSS signatures with a modulus of `bits` bits.

    It is the length of the digest, or less if no more fits beside it (RFC 8017 section 9.1.1); negative if not even an
    empty salt fits.
    """
    digest = HASH_LENGTH[hash_alg]
    return min(digest, (bits + 6) // 8 - digest - _PSS_OVERHEAD)


def oaep_room(bits: int, hash_alg: Hash) -> int:
    """Return how many bytes RSA-OAEP can encrypt with a modulus of `bits` bits (RFC 8017 section 7.1.1).

    Negative if the padding alone does not fit.
    """
    return (bits + 7) // 8 - 2 * HASH_LENGTH[hash_alg] - _OAEP_OVERHEAD


def has_room(attributes: KeyAttributes) -> bool:
    """Tell whether a key of this size has room for its algorithm's padding; 0 bits means any size.

    PKCS#1 v1.5 needs no rule: every hash fits into the smallest supported modulus, 1024 bits.
    """
    bits = attributes.bits
    match attributes.algorithm:
        case AsymmetricSignature(SignatureScheme.RSA_PSS, Hash() as hash_alg):
            return not bits or pss_salt_length(bits, hash_alg) >= 0
        case AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash() as hash_alg):
            # An empty plaintext is not supported.
            return not bits or oaep_room(bits, hash_alg) > 0
        case _:
            return True


def tag_length(algorithm: Aead) -> int:
    """Return the tag length of an authenticated cipher in bytes."""
    return DEFAULT_TAG_LENGTH if algorithm.tag_length is None else algorithm.tag_length


def full_mac_length(kind: KeyKind, algorithm: Mac) -> int:
    """Return the length of an untruncated MAC in bytes; the key must be compatible with the algorithm."""
    return HASH_LENGTH[algorithm.hash] if algorithm.hash is not None else _BLOCK_LENGTH[kind]


def mac_length_fits(kind: KeyKind, algorithm: Mac) -> bool:
    """Tell whether a MAC can be truncated to the operation's length: at least one byte, at most its full length."""
    return algorithm.length is None or 0 < algorithm.length <= full_mac_length(kind, algorithm)


def mac_is_long_enough(algorithm: Mac) -> bool:
    """Tell whether a MAC has at least `SHORTEST_MAC` bytes, as one that is not truncated always has."""
    return algorithm.length is None or algorithm.length >= SHORTEST_MAC
