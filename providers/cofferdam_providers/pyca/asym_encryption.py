"""RSA encryption: PKCS#1 v1.5 and OAEP.

PKCS#1 v1.5 decryption runs the private key twice when the padding is wrong: with the exponent as it is, and with an
equivalent one, which gives another substitute (see `implicit_rejection`). A good message is mistaken for a substitute
only if it equals both, which for an empty message happens once in 60 000 ciphertexts, and for longer ones never.
"""

import hmac
import math
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cofferdam_contracts.psa.algorithm import AsymmetricEncryption, EncryptionScheme, Hash
from cofferdam_contracts.psa.policy import oaep_room
from cofferdam_providers.pyca.errors import invalid_argument, invalid_padding, not_supported
from cofferdam_providers.pyca.hashes import PRIMITIVES
from cofferdam_providers.pyca.implicit_rejection import RejectionPredictor
from cofferdam_providers.pyca.keys import Handle, RsaKey

_PKCS1V15: Final = padding.PKCS1v15()
OAEP_HASHES: Final = frozenset({Hash.SHA_1, Hash.SHA_224, Hash.SHA_256, Hash.SHA_384, Hash.SHA_512})
"""Hashes that the library's OAEP accepts."""


def encrypt(key: Handle, algorithm: AsymmetricEncryption, plaintext: bytes, label: bytes) -> bytes:
    """Return the ciphertext.

    Raises:
        ServiceError: The plaintext is too long for the key, or the hash is not supported.
    """
    if not isinstance(key, RsaKey):
        raise invalid_argument("a key that cannot encrypt")
    pad = _padding(algorithm, label, key.bits)
    try:
        return key.public.encrypt(plaintext, pad)
    except ValueError as error:
        raise invalid_argument("a plaintext too long for the key") from error


def decrypt(key: Handle, algorithm: AsymmetricEncryption, ciphertext: bytes, label: bytes) -> bytes:
    """Return the plaintext.

    Raises:
        ServiceError: The ciphertext has the wrong length or size, or the modulus is too short for the padding
            (`PSA_ERROR_INVALID_ARGUMENT`), or the padding or the label is wrong (`PSA_ERROR_INVALID_PADDING`).
    """
    if not isinstance(key, RsaKey) or key.private is None:
        raise invalid_argument("a key that cannot decrypt")
    if len(ciphertext) != key.size or int.from_bytes(ciphertext, "big") >= key.modulus:
        raise invalid_argument("a ciphertext that does not fit the modulus")
    pad = _padding(algorithm, label, key.bits)
    if algorithm.scheme is EncryptionScheme.RSA_PKCS1V15:
        return _decrypt_pkcs1v15(key, key.private, ciphertext)
    try:
        return key.private.decrypt(ciphertext, pad)
    except ValueError as error:
        raise invalid_padding("the padding or the label is wrong") from error


def _padding(algorithm: AsymmetricEncryption, label: bytes, bits: int) -> padding.PKCS1v15 | padding.OAEP:
    if algorithm.scheme is EncryptionScheme.RSA_PKCS1V15:
        return _PKCS1V15
    if algorithm.hash not in OAEP_HASHES:
        raise not_supported(f"OAEP with {algorithm.hash!r}")
    if oaep_room(bits, algorithm.hash) < 0:
        raise invalid_argument("a modulus too short for the padding")
    hashed = PRIMITIVES[algorithm.hash]
    return padding.OAEP(padding.MGF1(hashed), hashed, label or None)


def _decrypt_pkcs1v15(key: RsaKey, private: rsa.RSAPrivateKey, ciphertext: bytes) -> bytes:
    if not key.decrypters:
        key.decrypters.extend(_decrypters(private, key.size))
    for decrypter in key.decrypters:
        plaintext = decrypter(ciphertext)
        if plaintext is not None:
            return plaintext
    raise invalid_padding("the padding is wrong")


def _decrypters(private: rsa.RSAPrivateKey, size: int) -> list[Callable[[bytes], bytes | None]]:
    numbers = private.private_numbers()
    period = math.lcm(numbers.p - 1, numbers.q - 1)
    # The period is at most half of (p - 1)(q - 1), so both of the first two equivalents are below the modulus.
    equivalent = next(d for d in (numbers.d % period, numbers.d % period + period) if d != numbers.d)
    twin = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=equivalent,
        dmp1=numbers.dmp1,
        dmq1=numbers.dmq1,
        iqmp=numbers.iqmp,
        public_numbers=numbers.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    return [_decrypter(private, numbers.d, size), _decrypter(twin, equivalent, size)]


def _decrypter(private: rsa.RSAPrivateKey, exponent: int, size: int) -> Callable[[bytes], bytes | None]:
    predictor = RejectionPredictor(exponent, size)

    def attempt(ciphertext: bytes) -> bytes | None:
        try:
            plaintext = private.decrypt(ciphertext, _PKCS1V15)
        except ValueError:
            return None  # a library without implicit rejection
        return None if hmac.compare_digest(plaintext, predictor.substitute(ciphertext)) else plaintext

    return attempt
