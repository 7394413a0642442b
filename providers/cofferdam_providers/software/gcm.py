"""GCM with nonces that the library rejects: shorter than 8 bytes or longer than 128.

Everything runs on the library's own GCM and AES. GHASH is extracted from it: encrypt under an accepted nonce, choosing
the plaintext so that a given ciphertext results, and remove the mask from the tag:

    tag = GHASH(additional data, ciphertext) xor E(nonce | 1)

The starting counter for any other nonce is GHASH of no additional data and the nonce as ciphertext (NIST SP 800-38D
section 7.1, step 2). Nothing computed under the inner nonce is ever returned, so it may be the same each time.
"""

import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cofferdam_providers.pyca.errors import invalid_signature

TAG: Final = 16
_BLOCK: Final = 16
_INNER_NONCE: Final = bytes(12)
_COUNTERS: Final = 1 << 32
_USUAL_NONCE: Final = 12


class AnyNonceGcm:
    """AES-GCM for one key and nonces of any length; the returned tag is complete."""

    def __init__(self, key: bytes) -> None:
        self._aes = algorithms.AES(key)
        self._gcm = AESGCM(key)
        self._mask = self._block(_INNER_NONCE + b"\0\0\0\1")

    def encrypt(self, nonce: bytes, additional_data: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        """Return ciphertext and tag."""
        start = self._start(nonce)
        ciphertext = self._count(start, plaintext)
        return ciphertext, self._tag(start, additional_data, ciphertext)

    def decrypt(self, nonce: bytes, additional_data: bytes, ciphertext: bytes, tag: bytes) -> bytes:
        """Return the plaintext; `tag` may be shortened.

        Raises:
            ServiceError: The tag is wrong (`PSA_ERROR_INVALID_SIGNATURE`).
        """
        start = self._start(nonce)
        if not hmac.compare_digest(self._tag(start, additional_data, ciphertext)[: len(tag)], tag):
            raise invalid_signature("the tag is wrong")
        return self._count(start, ciphertext)

    def _start(self, nonce: bytes) -> bytes:
        if len(nonce) == _USUAL_NONCE:
            return nonce + b"\0\0\0\1"
        return self._ghash(b"", nonce)

    def _tag(self, start: bytes, additional_data: bytes, ciphertext: bytes) -> bytes:
        return _xor(self._ghash(additional_data, ciphertext), self._block(start))

    def _ghash(self, additional_data: bytes, ciphertext: bytes) -> bytes:
        stream = self._gcm.encrypt(_INNER_NONCE, bytes(len(ciphertext)), None)[: len(ciphertext)]
        sealed = self._gcm.encrypt(_INNER_NONCE, _xor(ciphertext, stream), additional_data)
        return _xor(sealed[-TAG:], self._mask)

    def _block(self, block: bytes) -> bytes:
        encryptor = Cipher(self._aes, modes.ECB()).encryptor()  # noqa: S305  one block, as the mode is defined
        return encryptor.update(block) + encryptor.finalize()

    def _count(self, start: bytes, text: bytes) -> bytes:
        """Encrypt or decrypt in counter mode, beginning one after `start`; only the last 32 bits count."""
        first = (int.from_bytes(start[12:], "big") + 1) % _COUNTERS
        # The library's counter has 128 bits, so the text is split where 32 bits overflow.
        before = (_COUNTERS - first) * _BLOCK
        return self._stream(start[:12], first, text[:before]) + self._stream(start[:12], 0, text[before:])

    def _stream(self, prefix: bytes, first: int, text: bytes) -> bytes:
        if not text:
            return b""
        encryptor = Cipher(self._aes, modes.CTR(prefix + first.to_bytes(4, "big"))).encryptor()
        return encryptor.update(text) + encryptor.finalize()


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")
