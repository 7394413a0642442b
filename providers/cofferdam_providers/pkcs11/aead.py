"""Authenticated encryption by the token: AES-GCM, with whole and shortened tags."""

from typing import Final

from pkcs11 import ObjectClass

from cofferdam_contracts.psa.algorithm import Aead, AeadScheme
from cofferdam_contracts.psa.policy import TAG_LENGTHS, tag_length
from cofferdam_contracts.status import Status
from cofferdam_providers.pkcs11 import mechanisms
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.device import Codes, TokenDevice
from cofferdam_providers.pkcs11.keys import TokenKey
from cofferdam_providers.pyca.errors import invalid_argument, not_supported

ROOM: Final = 1024
"""Bytes of output buffer beyond the length of the input: modules require more room than they finally use."""
_PARAMETERS: Final[Codes] = {
    Return.ARGUMENTS_BAD: Status.PSA_ERROR_INVALID_ARGUMENT,
    Return.MECHANISM_PARAM_INVALID: Status.PSA_ERROR_INVALID_ARGUMENT,
    Return.DATA_LEN_RANGE: Status.PSA_ERROR_INVALID_ARGUMENT,
    Return.ENCRYPTED_DATA_LEN_RANGE: Status.PSA_ERROR_INVALID_ARGUMENT,
}
_WRONG_TAG: Final[Codes] = {
    **_PARAMETERS,
    Return.AEAD_DECRYPT_FAILED: Status.PSA_ERROR_INVALID_SIGNATURE,
    Return.ENCRYPTED_DATA_INVALID: Status.PSA_ERROR_INVALID_SIGNATURE,
    # SoftHSM's code; a lost session was told apart from it before.
    Return.GENERAL_ERROR: Status.PSA_ERROR_INVALID_SIGNATURE,
}


def encrypt(  # noqa: PLR0913, PLR0917  the operation's own values
    device: TokenDevice, key: TokenKey, algorithm: Aead, nonce: bytes, additional_data: bytes, plaintext: bytes
) -> bytes:
    """Return ciphertext and tag.

    Raises:
        ServiceError: GCM has no such tag (`PSA_ERROR_INVALID_ARGUMENT`), or the token does not support the scheme, or
            gives wrong results with these lengths (`PSA_ERROR_NOT_SUPPORTED`).
    """
    tag = _tag(algorithm)
    device.capabilities.check_gcm(len(nonce), len(additional_data), tag)
    how = mechanisms.gcm(nonce, additional_data, tag)
    function, room = device.cryptoki.encrypt, len(plaintext) + ROOM
    sealed = device.use(key, ObjectClass.SECRET_KEY, _PARAMETERS, function, how, plaintext, room)
    if len(sealed) != len(plaintext) + tag:
        raise device.unbelievable(f"{len(sealed)} bytes of ciphertext and tag for {len(plaintext)}")
    return sealed


def decrypt(  # noqa: PLR0913, PLR0917  the operation's own values
    device: TokenDevice, key: TokenKey, algorithm: Aead, nonce: bytes, additional_data: bytes, ciphertext: bytes
) -> bytes:
    """Return the plaintext.

    Raises:
        ServiceError: The tag does not match (`PSA_ERROR_INVALID_SIGNATURE`); otherwise as for `encrypt`.
    """
    tag = _tag(algorithm)
    if len(ciphertext) < tag:
        raise invalid_argument("a ciphertext shorter than its tag")
    device.capabilities.check_gcm(len(nonce), len(additional_data), tag)
    how = mechanisms.gcm(nonce, additional_data, tag)
    function, room = device.cryptoki.decrypt, len(ciphertext) + ROOM
    plaintext = device.use(key, ObjectClass.SECRET_KEY, _WRONG_TAG, function, how, ciphertext, room)
    if len(plaintext) != len(ciphertext) - tag:
        raise device.unbelievable(f"{len(plaintext)} bytes of plaintext for {len(ciphertext)}")
    return plaintext


def _tag(algorithm: Aead) -> int:
    if algorithm.scheme is not AeadScheme.GCM:
        raise not_supported(f"{algorithm.scheme.name} by a token")
    tag = tag_length(algorithm)
    if tag not in TAG_LENGTHS[AeadScheme.GCM]:
        raise invalid_argument(f"a tag of {tag} bytes with GCM")
    return tag
