"""Short names for the algorithms of keys."""

from typing import Final

from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    AsymmetricEncryption,
    AsymmetricSignature,
    EncryptionScheme,
    Hash,
    KeyAgreement,
    Mac,
    MacScheme,
    RawAgreement,
    SignatureScheme,
)

RSA_PKCS1V15_ENCRYPTION: Final = AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15)
AES_GCM: Final = Aead(AeadScheme.GCM)
AES_CCM: Final = Aead(AeadScheme.CCM)
CHACHA20_POLY1305: Final = Aead(AeadScheme.CHACHA20_POLY1305)
CMAC: Final = Mac(MacScheme.CMAC)
ECDH: Final = KeyAgreement(RawAgreement.ECDH)


def rsa_pkcs1v15(hash_algorithm: Hash = Hash.SHA_256) -> AsymmetricSignature:
    """Return the RSA signature algorithm of PKCS#1 v1.5."""
    return AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, hash_algorithm)


def rsa_pss(hash_algorithm: Hash = Hash.SHA_256) -> AsymmetricSignature:
    """Return the RSA-PSS signature algorithm, with a salt as long as the digest."""
    return AsymmetricSignature(SignatureScheme.RSA_PSS, hash_algorithm)


def ecdsa(hash_algorithm: Hash = Hash.SHA_256) -> AsymmetricSignature:
    """Return the ECDSA signature algorithm."""
    return AsymmetricSignature(SignatureScheme.ECDSA, hash_algorithm)


def rsa_oaep(hash_algorithm: Hash = Hash.SHA_256) -> AsymmetricEncryption:
    """Return RSA-OAEP, with the same hash for the label and the mask."""
    return AsymmetricEncryption(EncryptionScheme.RSA_OAEP, hash_algorithm)


def hmac_with(hash_algorithm: Hash = Hash.SHA_256) -> Mac:
    """Return HMAC with this hash."""
    return Mac(MacScheme.HMAC, hash_algorithm)


def truncated(mac: Mac, length: int) -> Mac:
    """Return the algorithm that uses only the first `length` bytes of a MAC."""
    return Mac(mac.scheme, mac.hash, length)
