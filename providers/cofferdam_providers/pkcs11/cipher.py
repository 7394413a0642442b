"""Unauthenticated encryption by the token. The random IV comes first; ECB has none."""

import os
from typing import Final

from pkcs11 import ObjectClass

from cofferdam_contracts.psa.algorithm import CipherMode
from cofferdam_contracts.status import Status
from cofferdam_providers.pkcs11 import mechanisms
from cofferdam_providers.pkcs11.aead import ROOM
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.device import Codes, TokenDevice
from cofferdam_providers.pkcs11.keys import TokenKey
from cofferdam_providers.pyca.errors import invalid_argument, invalid_padding

BLOCK: Final = 16
_WHOLE_BLOCKS: Final = frozenset({CipherMode.ECB_NO_PADDING, CipherMode.CBC_NO_PADDING})
_CODES: Final[Codes] = {
    Return.DATA_LEN_RANGE: Status.PSA_ERROR_INVALID_ARGUMENT,
    Return.ENCRYPTED_DATA_LEN_RANGE: Status.PSA_ERROR_INVALID_ARGUMENT,
}
_WRONG_PADDING: Final[Codes] = {
    **_CODES,
    Return.ENCRYPTED_DATA_INVALID: Status.PSA_ERROR_INVALID_PADDING,
    # SoftHSM's code; a lost session was told apart from it before.
    Return.GENERAL_ERROR: Status.PSA_ERROR_INVALID_PADDING,
}


def encrypt(device: TokenDevice, key: TokenKey, mode: CipherMode, plaintext: bytes) -> bytes:
    """Return IV and ciphertext.

    Raises:
        ServiceError: The plaintext has an invalid length for the mode, or the token does not support the mode.
    """
    _check_length(mode, len(plaintext))
    iv = os.urandom(_iv_length(mode))
    how = mechanisms.cipher(mode, iv)
    device.capabilities.check_mechanism(how.mechanism)
    function, room = device.cryptoki.encrypt, len(plaintext) + ROOM
    ciphertext = device.use(key, ObjectClass.SECRET_KEY, _CODES, function, how, plaintext, room)
    length = len(plaintext) + (BLOCK - len(plaintext) % BLOCK if mode is CipherMode.CBC_PKCS7 else 0)
    if len(ciphertext) != length:
        raise device.unbelievable(f"{len(ciphertext)} bytes of ciphertext for {len(plaintext)}")
    return iv + ciphertext


def decrypt(device: TokenDevice, key: TokenKey, mode: CipherMode, ciphertext: bytes) -> bytes:
    """Return the plaintext of what `encrypt` returned.

    Raises:
        ServiceError: The length is wrong (`PSA_ERROR_INVALID_ARGUMENT`), or the padding
            (`PSA_ERROR_INVALID_PADDING`), or the token does not support the mode.
    """
    length = _iv_length(mode)
    iv, body = ciphertext[:length], ciphertext[length:]
    if len(iv) < length:
        raise invalid_argument("a ciphertext shorter than its IV")
    _check_length(mode, len(body))
    padded = mode is CipherMode.CBC_PKCS7
    if padded and (not body or len(body) % BLOCK):
        raise invalid_argument(f"{len(body)} bytes are not a padded text")
    how = mechanisms.cipher(mode, iv)
    device.capabilities.check_mechanism(how.mechanism)
    function, room = device.cryptoki.decrypt, len(body) + ROOM
    codes = _WRONG_PADDING if padded else _CODES
    plaintext = device.use(key, ObjectClass.SECRET_KEY, codes, function, how, body, room)
    removed = len(body) - len(plaintext)
    if padded and removed >= 0:
        if not 1 <= removed <= BLOCK:
            # This module removes as many bytes as the last one says. A client's ciphertext must not end the worker.
            raise invalid_padding(f"a padding of {removed} bytes")
    elif removed:
        raise device.unbelievable(f"{len(plaintext)} bytes of plaintext for {len(body)}")
    return plaintext


def _iv_length(mode: CipherMode) -> int:
    return 0 if mode is CipherMode.ECB_NO_PADDING else BLOCK


def _check_length(mode: CipherMode, length: int) -> None:
    if mode in _WHOLE_BLOCKS and length % BLOCK:
        raise invalid_argument(f"{length} bytes are not a whole number of blocks")
