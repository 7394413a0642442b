"""One use of each kind of operation with a public key, so that the library imports its late modules now.

A provider that also computes on private keys has a self-test, which does more than this.
"""

import base64
from typing import Final

from cofferdam_contracts.psa.algorithm import (
    AsymmetricEncryption,
    AsymmetricSignature,
    EncryptionScheme,
    Hash,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind, KeyType
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.asym_encryption import encrypt
from cofferdam_providers.pyca.asym_sign import verify_hash
from cofferdam_providers.pyca.der import read_integers, write_integers
from cofferdam_providers.pyca.keys import Handle, export_public, read_key

RSA_KEY: Final = base64.b64decode(
    "MIICXAIBAAKBgQCos7KEr461CzhwNKhg8UbEkZ8xh2PNbFWYyK5IEaHgq8TH4LCC1pOl5/ztZ1z0ZoUSdywMvGSnQsbGMPUzyMxy9iroM8QL8l"
    "hC6YS7eL2/l8AQfVW9tmL1xOD6uYRctRSO9zkt06r/k64ea2Z7s9QkdhbU9boQ1M/SJt6I058W+wIDAQABAoGAUzOc/befyEZqZVxzFqyoXFX9"
    "j23YmP2vEZUX709S6P2OJY35P+4YD6DkqylpPNg7FSpVPUrE0YEri5+lrw5/Vf5zBN9BVwkm8zEfFcTWWnMsSDEW7j09LQrzVJrZv3y/t4rYhP"
    "hNW+sEck3HNpsx3vN9DPU56c/N095lNynq1dECQQDTJzfnJn/+E0Gy1cDRUKgbWG+zEyvtL41SYoZKnLnzCvOL5EhZjUE6Fy77gCwhrPHBHFIM"
    "LyakcdytIS6sfKOdAkEAzIhT0dVNpjD6wAT0cfKBx7iYLYIkpJDtvrM9Pj1cyTxHZXA9HdeRZC8fEWoN2FK+JBmyr3K/6aAw6GCwKItddwJADh"
    "K/FxjpzvVZm6HDiC/oBGqQh07vzo8szCDk8nQfsKM6OEiuyckwX77L0tdoGZZ9RnGsxkMeQDeWjbN4eOaVwQJBAJUpew+Vovpn0AcH1gnf1PwF"
    "yJ2vwu9tbqVb7HceozNzTZJR55CC7NqGbv7xPEWeGmMThrfjVMiZ9fESyoXXFYMCQE9FbFAkk73A7Sq3VqOm7U1nNSppfUIW6TISsSemPVQRzm"
    "+pjV2+/XMmPjcoFCdDgYFm7X3WNofdKoyh0vT72OE="
)
"""RSAES-PKCS1-v1_5 test vectors of RSA Laboratories, example 1: a published pair."""
EXPONENT: Final = 65537
_MODULUS: Final = read_integers(RSA_KEY)[1]
_SIZE: Final = 128
_POINT: Final = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
"""The base point of P-256 (SEC 2, section 2.4.2), for a public key."""
_SCALAR: Final = bytes(31) + b"\1"
_DIGEST: Final = bytes(32)
_TEXT: Final = b"text"


def warm_up() -> None:
    """Verify invalid signatures and encrypt, with public keys and every scheme.

    Raises:
        RuntimeError: The library accepts an invalid signature.
    """
    rsa = read_key(KeyType(KeyKind.RSA_PUBLIC_KEY), 0, write_integers(_MODULUS, EXPONENT), vouched=False)
    ecc = read_key(KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily.SECP_R1), 0, _POINT, vouched=False)
    pair = read_key(KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1), 0, _SCALAR, vouched=False)
    _refuses(rsa, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256), _SIZE)
    _refuses(rsa, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.RIPEMD160), _SIZE)
    _refuses(rsa, AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_256), _SIZE)
    _refuses(ecc, AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256), len(_POINT) - 1)
    encrypt(rsa, AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15), _TEXT, b"")
    encrypt(rsa, AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256), _TEXT, b"label")
    if export_public(pair) != _POINT:
        raise RuntimeError("the library has another base point")
    export_public(rsa)


def _refuses(key: Handle, algorithm: AsymmetricSignature, size: int) -> None:
    try:
        verify_hash(key, algorithm, _DIGEST, bytes(size))
    except ServiceError as error:
        if error.status is not Status.PSA_ERROR_INVALID_SIGNATURE:
            raise RuntimeError(f"verifying with {algorithm.scheme.name} fails: {error}") from error
    else:
        raise RuntimeError(f"verifying with {algorithm.scheme.name} accepts an invalid signature")
