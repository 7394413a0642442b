"""Unauthenticated encryption. The random IV (or nonce, or tweak) comes first; ECB has none."""

import hmac
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from cryptography.hazmat.decrepit.ciphers.algorithms import Camellia
from cryptography.hazmat.decrepit.ciphers.modes import CFB, OFB
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from cofferdam_contracts.psa.algorithm import CipherMode
from cofferdam_contracts.psa.attributes import KeyKind
from cofferdam_providers.pyca.errors import invalid_argument, invalid_padding, not_supported
from cofferdam_providers.pyca.keys import Handle, SecretKey
from cofferdam_providers.software.generate_random import random_bytes

BLOCK: Final = 16
XTS_BITS: Final = 256
"""AES-XTS takes two keys; a key type with at most 256 bits can hold two of 128 bits."""
_NONCE: Final = 12
_COUNTER: Final = bytes(4)

_Mode: TypeAlias = modes.ModeWithInitializationVector | modes.ModeWithNonce | modes.ModeWithTweak | modes.ECB | None
_Maker: TypeAlias = Callable[[bytes, bytes], Cipher[_Mode]]
"""From key and IV to the cipher."""


def _aes(mode: Callable[[bytes], _Mode]) -> _Maker:
    return lambda key, iv: Cipher(algorithms.AES(key), mode(iv))


def _camellia(mode: Callable[[bytes], _Mode]) -> _Maker:
    return lambda key, iv: Cipher(Camellia(key), mode(iv))


def _ecb(algorithm: Callable[[bytes], CipherAlgorithm]) -> _Maker:
    return lambda key, _iv: Cipher(algorithm(key), modes.ECB())  # noqa: S305  the policy decides about the mode


def _chacha20(key: bytes, nonce: bytes) -> Cipher[None]:
    # RFC 8439: the counter starts at 0; the library expects it in front of the nonce.
    return Cipher(algorithms.ChaCha20(key, _COUNTER + nonce), None)


MAKERS: Final[Mapping[tuple[KeyKind, CipherMode], _Maker]] = {
    (KeyKind.AES, CipherMode.CTR): _aes(modes.CTR),
    (KeyKind.AES, CipherMode.CFB): _aes(CFB),
    (KeyKind.AES, CipherMode.OFB): _aes(OFB),
    (KeyKind.AES, CipherMode.XTS): _aes(modes.XTS),
    (KeyKind.AES, CipherMode.ECB_NO_PADDING): _ecb(algorithms.AES),
    (KeyKind.AES, CipherMode.CBC_NO_PADDING): _aes(modes.CBC),
    (KeyKind.AES, CipherMode.CBC_PKCS7): _aes(modes.CBC),
    (KeyKind.CAMELLIA, CipherMode.CFB): _camellia(CFB),
    (KeyKind.CAMELLIA, CipherMode.OFB): _camellia(OFB),
    (KeyKind.CAMELLIA, CipherMode.ECB_NO_PADDING): _ecb(Camellia),
    (KeyKind.CAMELLIA, CipherMode.CBC_NO_PADDING): _camellia(modes.CBC),
    (KeyKind.CAMELLIA, CipherMode.CBC_PKCS7): _camellia(modes.CBC),
    (KeyKind.CHACHA20, CipherMode.STREAM_CIPHER): _chacha20,
}
"""Supported combinations; the library has no Camellia in CTR and XTS."""
IV_LENGTH: Final[Mapping[CipherMode, int]] = {
    **dict.fromkeys(CipherMode, BLOCK),
    CipherMode.STREAM_CIPHER: _NONCE,
    CipherMode.ECB_NO_PADDING: 0,
}
"""Bytes in front of the ciphertext."""
_WHOLE_BLOCKS: Final = frozenset({CipherMode.ECB_NO_PADDING, CipherMode.CBC_NO_PADDING})


def encrypt(key: Handle, mode: CipherMode, plaintext: bytes) -> bytes:
    """Return IV and ciphertext.

    Raises:
        ServiceError: The plaintext has an invalid length for the mode, or the mode is not supported.
    """
    return encrypt_with_iv(key, mode, random_bytes(IV_LENGTH[mode]), plaintext)


def encrypt_with_iv(key: Handle, mode: CipherMode, iv: bytes, plaintext: bytes) -> bytes:
    """Return IV and ciphertext for a given IV, which must be a new one each time."""
    if mode is CipherMode.CBC_PKCS7:
        padder = PKCS7(BLOCK * 8).padder()
        plaintext = padder.update(plaintext) + padder.finalize()
    cipher = _cipher(key, mode, iv, len(plaintext))
    encryptor = cipher.encryptor()
    return iv + encryptor.update(plaintext) + encryptor.finalize()


def decrypt(key: Handle, mode: CipherMode, ciphertext: bytes) -> bytes:
    """Return the plaintext of what `encrypt` returned.

    Raises:
        ServiceError: The length is wrong (`PSA_ERROR_INVALID_ARGUMENT`), or the padding
            (`PSA_ERROR_INVALID_PADDING`), or the mode is not supported.
    """
    length = IV_LENGTH[mode]
    if len(ciphertext) < length:
        raise invalid_argument("a ciphertext shorter than its IV")
    iv, body = ciphertext[:length], ciphertext[length:]
    cipher = _cipher(key, mode, iv, len(body))
    decryptor = cipher.decryptor()
    plaintext = decryptor.update(body) + decryptor.finalize()
    return _without_padding(plaintext) if mode is CipherMode.CBC_PKCS7 else plaintext


def _cipher(key: Handle, mode: CipherMode, iv: bytes, length: int) -> Cipher[_Mode]:
    if not isinstance(key, SecretKey):
        raise invalid_argument("a key that is not symmetric")
    maker = MAKERS.get((key.kind, mode))
    if maker is None:
        raise not_supported(f"{mode.name} with {key.kind.name}")
    if mode is CipherMode.XTS:
        _check_xts(key.material, length)
    if mode in _WHOLE_BLOCKS and length % BLOCK:
        raise invalid_argument(f"{length} bytes are not a whole number of blocks")
    if mode is CipherMode.CBC_PKCS7 and (length == 0 or length % BLOCK):
        raise invalid_argument(f"{length} bytes are not a padded text")
    return maker(key.material, iv)


def _check_xts(material: bytes, length: int) -> None:
    half = XTS_BITS // 16
    if len(material) != 2 * half:
        raise not_supported(f"XTS with a key of {len(material) * 8} bits")
    # With equal keys the mode is weak (FIPS 140 implementation guidance A.9).
    if hmac.compare_digest(material[:half], material[half:]) or length < BLOCK:
        raise invalid_argument("two equal keys, or less than a block, with XTS")


def _without_padding(padded: bytes) -> bytes:
    unpadder = PKCS7(BLOCK * 8).unpadder()
    try:
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError as error:
        raise invalid_padding("the padding is wrong") from error
