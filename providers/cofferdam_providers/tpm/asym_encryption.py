"""Encryption with RSA keys.

Source: TCG part 1, B.4 and B.5; part 3, 14.1 and 14.2.
"""

from typing import Final

from cofferdam_contracts.psa.algorithm import AsymmetricEncryption, EncryptionScheme
from cofferdam_contracts.psa.policy import oaep_room
from cofferdam_providers.pyca.errors import invalid_argument, invalid_padding, not_supported
from cofferdam_providers.tpm import public
from cofferdam_providers.tpm.codes import Algorithm, Command
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.errors import Code, CommandFailedError, TpmError
from cofferdam_providers.tpm.keys import TpmKey, require_pair
from cofferdam_providers.tpm.marshal import U16, sized

_PKCS1V15_OVERHEAD: Final = 11
_MOST_LABEL: Final = 64
"""Bytes of a label that every TPM accepts."""


def encrypt(device: TpmDevice, key: TpmKey, algorithm: AsymmetricEncryption, plaintext: bytes, label: bytes) -> bytes:
    """Return the ciphertext.

    Raises:
        ServiceError: The plaintext is too long for the key, or the TPM refuses.
    """
    scheme = _scheme(algorithm, label)
    most = _room(key, algorithm)
    if len(plaintext) > most:
        raise invalid_argument(f"a plaintext of {len(plaintext)} bytes, where the key allows {max(most, 0)}")
    parameters = sized(plaintext) + scheme
    return device.execute_with(Command.RSA_ENCRYPT, key, parameters, authorized=False).sized()


def decrypt(device: TpmDevice, key: TpmKey, algorithm: AsymmetricEncryption, ciphertext: bytes, label: bytes) -> bytes:
    """Return the plaintext.

    Raises:
        ServiceError: The padding is wrong (`PSA_ERROR_INVALID_PADDING`), or the TPM refuses.
    """
    require_pair(key)
    scheme = _scheme(algorithm, label)
    if _room(key, algorithm) < 0:
        raise invalid_argument("a modulus too short for the padding")
    if len(ciphertext) != key.size:
        raise invalid_argument(f"a ciphertext of {len(ciphertext)} bytes")
    if isinstance(key.part, public.RsaPart) and ciphertext >= key.part.modulus:
        raise invalid_argument("a ciphertext that is not below the modulus")
    parameters = sized(ciphertext) + scheme
    try:
        return device.execute_with(Command.RSA_DECRYPT, key, parameters).sized()
    except TpmError as error:
        if error.code in (Code.VALUE, Code.SIZE) or isinstance(error, CommandFailedError):
            raise invalid_padding("the padding is wrong") from error
        raise


def _scheme(algorithm: AsymmetricEncryption, label: bytes) -> bytes:
    """Return the TPMT_RSA_DECRYPT and the label."""
    if algorithm.scheme is EncryptionScheme.RSA_PKCS1V15:
        return U16.pack(Algorithm.RSAES) + sized(b"")
    if label and not label.endswith(b"\0"):
        # The TPM takes a label for a string that ends with a zero byte, and has no way to use any other.
        raise not_supported("a label that does not end with a zero byte in a TPM")
    if len(label) > _MOST_LABEL:
        raise not_supported(f"a label of more than {_MOST_LABEL} bytes in a TPM")
    return U16.pack(Algorithm.OAEP) + U16.pack(public.hash_of(algorithm.hash)) + sized(label)


def _room(key: TpmKey, algorithm: AsymmetricEncryption) -> int:
    """Return how many bytes the padding leaves; negative when it does not fit."""
    return key.size - _PKCS1V15_OVERHEAD if algorithm.hash is None else oaep_room(8 * key.size, algorithm.hash)
