"""PSA algorithms as mechanisms of PKCS#11: the mechanism of a policy, and its parameters in an operation.

Source: OASIS PKCS#11 "Current Mechanisms" v2.40; RFC 8017 section 9.2 for the prefixes of DigestInfo.
"""

import functools
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from pkcs11 import MGF
from pkcs11 import Mechanism as Number

from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    EncryptionScheme,
    Hash,
    Mac,
    MacScheme,
    SignatureScheme,
)
from cofferdam_providers.pkcs11.cryptoki import (
    CtrParameters,
    GcmParameters,
    Mechanism,
    OaepParameters,
    PssParameters,
    mechanism,
)

_DATA_SPECIFIED: Final = 1
"""CKZ_DATA_SPECIFIED."""
_COUNTER_BITS: Final = 128
"""All of the first block is counter, as in the software provider and in OpenSSL."""


class Padding(Struct, frozen=True):
    """The numbers of a hash, and of the mask generation with it, in PSS and OAEP."""

    hash: Number
    mgf: MGF


PADDINGS: Final[Mapping[Hash, Padding]] = {
    Hash.SHA_1: Padding(Number.SHA_1, MGF.SHA1),
    Hash.SHA_224: Padding(Number.SHA224, MGF.SHA224),
    Hash.SHA_256: Padding(Number.SHA256, MGF.SHA256),
    Hash.SHA_384: Padding(Number.SHA384, MGF.SHA384),
    Hash.SHA_512: Padding(Number.SHA512, MGF.SHA512),
}
"""Hashes for PSS and OAEP."""


def _nist(arc: int, length: int) -> bytes:
    """Return the prefix for a hash below 2.16.840.1.101.3.4.2."""
    return bytes((0x30, length + 17)) + bytes.fromhex("300d06096086480165030402") + bytes((arc, 5, 0, 4, length))


DIGEST_INFO: Final[Mapping[Hash, bytes]] = {
    Hash.MD2: bytes.fromhex("3020300c06082a864886f70d020205000410"),
    Hash.MD4: bytes.fromhex("3020300c06082a864886f70d020405000410"),
    Hash.MD5: bytes.fromhex("3020300c06082a864886f70d020505000410"),
    Hash.RIPEMD160: bytes.fromhex("3021300906052b2403020105000414"),
    Hash.SHA_1: bytes.fromhex("3021300906052b0e03021a05000414"),
    Hash.SHA_256: _nist(1, 32),
    Hash.SHA_384: _nist(2, 48),
    Hash.SHA_512: _nist(3, 64),
    Hash.SHA_224: _nist(4, 28),
    Hash.SHA_512_224: _nist(5, 28),
    Hash.SHA_512_256: _nist(6, 32),
    Hash.SHA3_224: _nist(7, 28),
    Hash.SHA3_256: _nist(8, 32),
    Hash.SHA3_384: _nist(9, 48),
    Hash.SHA3_512: _nist(10, 64),
}
"""Prefix of the digest in a PKCS#1 v1.5 signature."""

_SIGNATURES: Final[Mapping[SignatureScheme, Number]] = {
    SignatureScheme.RSA_PKCS1V15: Number.RSA_PKCS,
    SignatureScheme.RSA_PKCS1V15_RAW: Number.RSA_PKCS,
    SignatureScheme.RSA_PSS: Number.RSA_PKCS_PSS,
    SignatureScheme.ECDSA: Number.ECDSA,
    SignatureScheme.ECDSA_ANY: Number.ECDSA,
}
_ENCRYPTIONS: Final[Mapping[EncryptionScheme, Number]] = {
    EncryptionScheme.RSA_PKCS1V15: Number.RSA_PKCS,
    EncryptionScheme.RSA_OAEP: Number.RSA_PKCS_OAEP,
}
_CIPHERS: Final[Mapping[CipherMode, Number]] = {
    CipherMode.CTR: Number.AES_CTR,
    CipherMode.CFB: Number.AES_CFB128,
    CipherMode.OFB: Number.AES_OFB,
    CipherMode.ECB_NO_PADDING: Number.AES_ECB,
    CipherMode.CBC_NO_PADDING: Number.AES_CBC,
    CipherMode.CBC_PKCS7: Number.AES_CBC_PAD,
}
_HMACS: Final[Mapping[Hash, Number]] = {
    Hash.SHA_1: Number.SHA_1_HMAC,
    Hash.SHA_224: Number.SHA224_HMAC,
    Hash.SHA_256: Number.SHA256_HMAC,
    Hash.SHA_384: Number.SHA384_HMAC,
    Hash.SHA_512: Number.SHA512_HMAC,
    Hash.SHA3_224: Number.SHA3_224_HMAC,
    Hash.SHA3_256: Number.SHA3_256_HMAC,
    Hash.SHA3_384: Number.SHA3_384_HMAC,
    Hash.SHA3_512: Number.SHA3_512_HMAC,
}


def mechanism_of(algorithm: Algorithm) -> Number | None:  # noqa: PLR0911  one return per row of the table
    """Return the one mechanism that a policy permits; None when PKCS#11 has none for it here."""
    match algorithm:
        case AsymmetricSignature(scheme):
            return _SIGNATURES.get(scheme)
        case AsymmetricEncryption(scheme):
            return _ENCRYPTIONS[scheme]
        case Aead(AeadScheme.GCM):
            return Number.AES_GCM
        case Cipher(mode):
            return _CIPHERS.get(mode)
        case Mac(MacScheme.HMAC, Hash() as hash_alg):
            return _HMACS.get(hash_alg)
        case Mac(MacScheme.CMAC):
            return Number.AES_CMAC
        case _:
            return None


@functools.cache
def plain(number: Number) -> Mechanism:
    """Return a mechanism without parameters."""
    return mechanism(number)


@functools.cache
def pss(hash_alg: Hash, salt: int) -> Mechanism:
    """Return RSA-PSS over a digest, with a salt of `salt` bytes."""
    padding = PADDINGS[hash_alg]
    return mechanism(Number.RSA_PKCS_PSS, PssParameters(padding.hash, padding.mgf, salt))


def oaep(hash_alg: Hash, label: bytes) -> Mechanism:
    """Return RSA-OAEP with a label, empty for none."""
    padding = PADDINGS[hash_alg]
    parameters = OaepParameters(padding.hash, padding.mgf, _DATA_SPECIFIED, label or None, len(label))
    return mechanism(Number.RSA_PKCS_OAEP, parameters)


def gcm(nonce: bytes, additional_data: bytes, tag_length: int) -> Mechanism:
    """Return AES-GCM; the length of the tag is in bytes."""
    parameters = GcmParameters(
        nonce, len(nonce), len(nonce) * 8, additional_data or None, len(additional_data), tag_length * 8
    )
    return mechanism(Number.AES_GCM, parameters)


def cipher(mode: CipherMode, iv: bytes) -> Mechanism:
    """Return an unauthenticated mode of AES with its IV, which is empty for ECB."""
    if mode is CipherMode.CTR:
        return mechanism(Number.AES_CTR, CtrParameters(_COUNTER_BITS, (CtrParameters.BLOCK)(*iv)))
    return mechanism(_CIPHERS[mode], iv or None)
