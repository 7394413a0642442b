"""RSA encryption: PKCS#1 v1.5 and OAEP with its label.

How a module answers wrong PKCS#1 v1.5 padding is up to the module: SoftHSM 2.6.1 returns an error, NSS random text
(implicit rejection), which cannot be detected here as it is in the software provider, since the exponent stays in the
token.
"""

from typing import Final

from pkcs11 import Mechanism as Number
from pkcs11 import MechanismFlag, ObjectClass

from cofferdam_contracts.psa.algorithm import AsymmetricEncryption, EncryptionScheme, Hash
from cofferdam_contracts.psa.policy import oaep_room
from cofferdam_contracts.status import Status
from cofferdam_providers.pkcs11 import mechanisms
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.cryptoki import Mechanism
from cofferdam_providers.pkcs11.device import Codes, TokenDevice
from cofferdam_providers.pkcs11.errors import INPUT
from cofferdam_providers.pkcs11.keys import TokenKey
from cofferdam_providers.pyca import asym_encryption as in_memory
from cofferdam_providers.pyca.errors import invalid_argument, not_supported

_PKCS1V15_OVERHEAD: Final = 11
_DECRYPT: Final[Codes] = {
    **INPUT,
    Return.ENCRYPTED_DATA_INVALID: Status.PSA_ERROR_INVALID_PADDING,
    Return.ENCRYPTED_DATA_LEN_RANGE: Status.PSA_ERROR_INVALID_ARGUMENT,
    # SoftHSM's code for wrong padding; a lost session was told apart from it before.
    Return.GENERAL_ERROR: Status.PSA_ERROR_INVALID_PADDING,
}


def encrypt(
    device: TokenDevice, key: TokenKey, algorithm: AsymmetricEncryption, plaintext: bytes, label: bytes
) -> bytes:
    """Return the ciphertext.

    Raises:
        ServiceError: The plaintext is too long for the key, or the token does not support the scheme.
    """
    number = Number(_mechanism(device, algorithm, b"").mechanism)
    if ObjectClass.PUBLIC_KEY not in key.handles or device.capabilities.in_software(number, MechanismFlag.ENCRYPT):
        return in_memory.encrypt(device.public_of(key), algorithm, plaintext, label)
    if len(plaintext) > _room(key, algorithm):
        raise invalid_argument("a plaintext too long for the key")
    how = _mechanism(device, algorithm, label)
    ciphertext = device.use(key, ObjectClass.PUBLIC_KEY, INPUT, device.cryptoki.encrypt, how, plaintext, key.size)
    if len(ciphertext) != key.size:
        raise device.unbelievable(f"{len(ciphertext)} bytes of ciphertext in place of {key.size}")
    return ciphertext


def decrypt(
    device: TokenDevice, key: TokenKey, algorithm: AsymmetricEncryption, ciphertext: bytes, label: bytes
) -> bytes:
    """Return the plaintext.

    Raises:
        ServiceError: The ciphertext has the wrong length (`PSA_ERROR_INVALID_ARGUMENT`), the padding in it or the
            label is wrong (`PSA_ERROR_INVALID_PADDING`), or the token does not support the scheme.
    """
    if len(ciphertext) != key.size:
        raise invalid_argument("a ciphertext that does not fit the modulus")
    if _room(key, algorithm) < 0:
        raise invalid_argument("a modulus too short for the padding")
    how = _mechanism(device, algorithm, label)
    pin = device.pin_for(key)
    return device.use(key, ObjectClass.PRIVATE_KEY, _DECRYPT, device.cryptoki.decrypt, how, ciphertext, key.size, pin)


def _mechanism(device: TokenDevice, algorithm: AsymmetricEncryption, label: bytes) -> Mechanism:
    if algorithm.scheme is EncryptionScheme.RSA_PKCS1V15:
        return mechanisms.plain(Number.RSA_PKCS)
    device.capabilities.check_parameters(algorithm)
    if label and not device.capabilities.labels:
        raise not_supported("OAEP with a label by this token")
    if not isinstance(algorithm.hash, Hash):
        raise invalid_argument("OAEP without a hash")
    return mechanisms.oaep(algorithm.hash, label)


def _room(key: TokenKey, algorithm: AsymmetricEncryption) -> int:
    """Return how many bytes the padding leaves; negative when it does not fit (RFC 8017 section 7.2.1)."""
    if isinstance(algorithm.hash, Hash):
        return oaep_room(key.bits, algorithm.hash)
    return key.size - _PKCS1V15_OVERHEAD
