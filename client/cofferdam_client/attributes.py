"""Attributes for common kinds of keys: type, size, and the one permitted algorithm."""

import enum
from typing import Final

from cofferdam_client.algorithms import (
    AES_GCM,
    CHACHA20_POLY1305,
    CMAC,
    ECDH,
    RSA_PKCS1V15_ENCRYPTION,
    ecdsa,
    hmac_with,
    rsa_oaep,
    rsa_pkcs1v15,
    rsa_pss,
)
from cofferdam_contracts.psa.algorithm import HASH_LENGTH, Algorithm, Hash
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage

_SIGNING: Final = Usage.SIGN_HASH | Usage.VERIFY_HASH | Usage.SIGN_MESSAGE | Usage.VERIFY_MESSAGE
_AUTHENTICATING: Final = Usage.SIGN_MESSAGE | Usage.VERIFY_MESSAGE
_ENCRYPTING: Final = Usage.ENCRYPT | Usage.DECRYPT


@enum.unique
class Curve(enum.Enum):
    """Elliptic curves by their common names; the value is the PSA family and the size in bits."""

    P_256 = (EccFamily.SECP_R1, 256)
    P_384 = (EccFamily.SECP_R1, 384)
    P_521 = (EccFamily.SECP_R1, 521)
    SECP256K1 = (EccFamily.SECP_K1, 256)
    BRAINPOOL_P256R1 = (EccFamily.BRAINPOOL_P_R1, 256)
    BRAINPOOL_P384R1 = (EccFamily.BRAINPOOL_P_R1, 384)
    BRAINPOOL_P512R1 = (EccFamily.BRAINPOOL_P_R1, 512)
    X25519 = (EccFamily.MONTGOMERY, 255)
    X448 = (EccFamily.MONTGOMERY, 448)


def rsa_signing_key(
    bits: int = 2048, hash_algorithm: Hash = Hash.SHA_256, *, pss: bool = False, exportable: bool = False
) -> KeyAttributes:
    """Return the attributes of an RSA key that signs, by PKCS#1 v1.5 or by PSS."""
    algorithm = rsa_pss(hash_algorithm) if pss else rsa_pkcs1v15(hash_algorithm)
    return _attributes(KeyType(KeyKind.RSA_KEY_PAIR), bits, _SIGNING, algorithm, exportable=exportable)


def rsa_encryption_key(bits: int = 2048, *, oaep: Hash | None = None, exportable: bool = False) -> KeyAttributes:
    """Return the attributes of an RSA key that decrypts: OAEP with the given hash, or PKCS#1 v1.5 without one."""
    algorithm = RSA_PKCS1V15_ENCRYPTION if oaep is None else rsa_oaep(oaep)
    return _attributes(KeyType(KeyKind.RSA_KEY_PAIR), bits, _ENCRYPTING, algorithm, exportable=exportable)


def ecc_signing_key(
    curve: Curve = Curve.P_256, hash_algorithm: Hash = Hash.SHA_256, *, exportable: bool = False
) -> KeyAttributes:
    """Return the attributes of an elliptic-curve key that signs by ECDSA."""
    family, bits = curve.value
    key_type = KeyType(KeyKind.ECC_KEY_PAIR, family)
    return _attributes(key_type, bits, _SIGNING, ecdsa(hash_algorithm), exportable=exportable)


def ecdh_key(curve: Curve = Curve.P_256, *, exportable: bool = False) -> KeyAttributes:
    """Return the attributes of an elliptic-curve key for key agreement."""
    family, bits = curve.value
    return _attributes(KeyType(KeyKind.ECC_KEY_PAIR, family), bits, Usage.DERIVE, ECDH, exportable=exportable)


def aes_gcm_key(bits: int = 256, *, exportable: bool = False) -> KeyAttributes:
    """Return the attributes of an AES key for GCM."""
    return _attributes(KeyType(KeyKind.AES), bits, _ENCRYPTING, AES_GCM, exportable=exportable)


def chacha20_poly1305_key(*, exportable: bool = False) -> KeyAttributes:
    """Return the attributes of a ChaCha20-Poly1305 key."""
    return _attributes(KeyType(KeyKind.CHACHA20), 256, _ENCRYPTING, CHACHA20_POLY1305, exportable=exportable)


def hmac_key(
    hash_algorithm: Hash = Hash.SHA_256, *, bits: int | None = None, exportable: bool = False
) -> KeyAttributes:
    """Return the attributes of an HMAC key; its default size is that of the digest."""
    size = HASH_LENGTH[hash_algorithm] * 8 if bits is None else bits
    return _attributes(KeyType(KeyKind.HMAC), size, _AUTHENTICATING, hmac_with(hash_algorithm), exportable=exportable)


def aes_cmac_key(bits: int = 256, *, exportable: bool = False) -> KeyAttributes:
    """Return the attributes of an AES key for CMAC."""
    return _attributes(KeyType(KeyKind.AES), bits, _AUTHENTICATING, CMAC, exportable=exportable)


def public_key_of(pair: KeyAttributes) -> KeyAttributes:
    """Return the attributes for importing the public key of such a pair, which can only verify or encrypt."""
    kind = {KeyKind.RSA_KEY_PAIR: KeyKind.RSA_PUBLIC_KEY, KeyKind.ECC_KEY_PAIR: KeyKind.ECC_PUBLIC_KEY}[pair.type.kind]
    usage = pair.usage & (Usage.VERIFY_HASH | Usage.VERIFY_MESSAGE | Usage.ENCRYPT | Usage.EXPORT)
    return KeyAttributes(KeyType(kind, pair.type.family), pair.bits, usage, pair.algorithm)


def _attributes(key_type: KeyType, bits: int, usage: Usage, algorithm: Algorithm, *, exportable: bool) -> KeyAttributes:
    return KeyAttributes(key_type, bits, usage | Usage.EXPORT if exportable else usage, algorithm)
