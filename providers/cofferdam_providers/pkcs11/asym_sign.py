"""Signatures by the token: RSA PKCS#1 v1.5 and PSS, ECDSA. Messages are hashed here; the token gets the digest."""

from typing import Final

from pkcs11 import Mechanism as Number
from pkcs11 import MechanismFlag, ObjectClass

from cofferdam_contracts.psa.algorithm import HASH_LENGTH, AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import RSA_KINDS
from cofferdam_contracts.psa.policy import pss_salt_length
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import DeviceLostError
from cofferdam_providers.pkcs11 import mechanisms
from cofferdam_providers.pkcs11.cryptoki import CryptokiError, Mechanism
from cofferdam_providers.pkcs11.device import TokenDevice
from cofferdam_providers.pkcs11.errors import INPUT
from cofferdam_providers.pkcs11.keys import TokenKey
from cofferdam_providers.pyca import asym_sign as in_memory
from cofferdam_providers.pyca.errors import invalid_argument, invalid_signature, not_supported

_PADDING: Final = 11
"""Bytes that PKCS#1 v1.5 adds to what is signed (RFC 8017 section 9.2)."""


def sign_hash(device: TokenDevice, key: TokenKey, algorithm: AsymmetricSignature, digest: bytes) -> bytes:
    """Return the signature of a digest.

    Raises:
        ServiceError: The token does not support the algorithm, or the digest does not fit the key.
    """
    how, data = _input(device, key, algorithm, digest)
    size = key.size if key.kind in RSA_KINDS else 2 * key.size
    pin = device.pin_for(key)
    if pin is None:
        signature = device.use(key, ObjectClass.PRIVATE_KEY, INPUT, device.cryptoki.sign, how, data, size)
    else:
        sign = device.cryptoki.sign_with_login
        signature = device.use(key, ObjectClass.PRIVATE_KEY, INPUT, sign, how, data, size, pin)
    if len(signature) != size:
        raise device.unbelievable(f"a signature of {len(signature)} bytes in place of {size}")
    if _is_salted_unusually(key, algorithm):
        _check_salt(device, key, algorithm, digest, signature)
    return signature


def verify_hash(
    device: TokenDevice, key: TokenKey, algorithm: AsymmetricSignature, digest: bytes, signature: bytes
) -> None:
    """Reject an invalid signature of the digest.

    Raises:
        ServiceError: `PSA_ERROR_INVALID_SIGNATURE`, or the token does not support the algorithm.
    """
    how, data = _input(device, key, algorithm, digest)
    number = Number(how.mechanism)
    if (
        ObjectClass.PUBLIC_KEY not in key.handles
        or device.capabilities.in_software(number, MechanismFlag.VERIFY)
        or _is_salted_unusually(key, algorithm)
    ):
        in_memory.verify_hash(device.public_of(key), algorithm, digest, signature)
        return
    if len(signature) != (key.size if key.kind in RSA_KINDS else 2 * key.size):
        raise invalid_signature("a signature of another length than the key's")
    try:
        device.use(key, ObjectClass.PUBLIC_KEY, INPUT, device.cryptoki.verify, how, data, signature)
    except DeviceLostError:
        raise
    except ServiceError as error:
        if error.status is Status.PSA_ERROR_INVALID_SIGNATURE or not isinstance(error.__cause__, CryptokiError):
            raise
        # The token works, and its code may be unrelated: NSS rejects an invalid signature with the last error of its
        # thread. The public part is enough to decide.
        in_memory.verify_hash(device.public_of(key), algorithm, digest, signature)


def _is_salted_unusually(key: TokenKey, algorithm: AsymmetricSignature) -> bool:
    """Tell whether the key is too short for a salt as long as the digest; tokens are not tried with shorter salts."""
    match algorithm:
        case AsymmetricSignature(SignatureScheme.RSA_PSS, Hash() as hash_alg):
            return pss_salt_length(key.bits, hash_alg) != HASH_LENGTH[hash_alg]
        case _:
            return False


def _check_salt(
    device: TokenDevice, key: TokenKey, algorithm: AsymmetricSignature, digest: bytes, signature: bytes
) -> None:
    try:
        in_memory.verify_hash(device.public_of(key), algorithm, digest, signature)
    except ServiceError as error:
        raise not_supported("RSA-PSS with a salt shorter than the digest by this token") from error


def _input(
    device: TokenDevice, key: TokenKey, algorithm: AsymmetricSignature, digest: bytes
) -> tuple[Mechanism, bytes]:
    """Return the mechanism, and its input."""
    match algorithm:
        case AsymmetricSignature(SignatureScheme.ECDSA | SignatureScheme.ECDSA_ANY):
            # FIPS 186-5 section 6.4: the leftmost bits count. Some tokens refuse longer digests instead of truncating
            # them.
            shortened = digest if key.bits % 8 else digest[: key.size]
            if not shortened:
                raise invalid_argument("an empty digest")
            return mechanisms.plain(Number.ECDSA), shortened
        case AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash() as hash_alg):
            return mechanisms.plain(Number.RSA_PKCS), _fitting(key, mechanisms.DIGEST_INFO[hash_alg] + digest)
        case AsymmetricSignature(SignatureScheme.RSA_PKCS1V15_RAW):
            return mechanisms.plain(Number.RSA_PKCS), _fitting(key, digest)
        case AsymmetricSignature(SignatureScheme.RSA_PSS, Hash() as hash_alg):
            device.capabilities.check_parameters(algorithm)
            salt = pss_salt_length(key.bits, hash_alg)
            # With NSS an operation that fails for this reason stays active for good.
            if salt < 0:
                raise invalid_argument("a digest that does not fit into the modulus")
            return mechanisms.pss(hash_alg, salt), digest
        case _:
            raise not_supported(f"{algorithm.scheme.name} by a token")


def _fitting(key: TokenKey, data: bytes) -> bytes:
    if len(data) > key.size - _PADDING:
        raise invalid_argument("more to sign than fits into the modulus")
    return data
