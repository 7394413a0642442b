"""Using each kind of operation with a public key once: what the library imports late is imported then.

A provider that computes on private keys too has a self-test, which does more than this.
"""

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
from cofferdam_providers.pyca.der import write_integers
from cofferdam_providers.pyca.keys import Handle, export_public, read_key

MODULUS: Final = bytes.fromhex(
    "a8b3b284af8eb50b387034a860f146c4919f318763cd6c5598c8ae4811a1e0ab"
    "c4c7e0b082d693a5e7fced675cf4668512772c0cbc64a742c6c630f533c8cc72"
    "f62ae833c40bf25842e984bb78bdbf97c0107d55bdb662f5c4e0fab9845cb514"
    "48ef7392dd3aaff93ae1e6b667bb3d4247616d4f5ba10d4cfd226de88d39f16f"
)
"""RSA Laboratories' example 1 of RSAES-PKCS1-v1_5: nobody's key."""
EXPONENT: Final = 65537
_POINT: Final = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
"""The base point of P-256 (SEC 2, section 2.4.2), for a public key."""
_SCALAR: Final = bytes(31) + b"\1"
_DIGEST: Final = bytes(32)
_TEXT: Final = b"text"


def warm_up() -> None:
    """Verify bad signatures and encrypt, with public keys and every scheme.

    Raises:
        RuntimeError: The library takes a signature that is none.
    """
    modulus = int.from_bytes(MODULUS, "big")
    rsa = read_key(KeyType(KeyKind.RSA_PUBLIC_KEY), 0, write_integers(modulus, EXPONENT), vouched=False)
    ecc = read_key(KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily.SECP_R1), 0, _POINT, vouched=False)
    pair = read_key(KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1), 0, _SCALAR, vouched=False)
    _refuses(rsa, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256), len(MODULUS))
    _refuses(rsa, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.RIPEMD160), len(MODULUS))
    _refuses(rsa, AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_256), len(MODULUS))
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
        raise RuntimeError(f"verifying with {algorithm.scheme.name} takes a signature that is none")
