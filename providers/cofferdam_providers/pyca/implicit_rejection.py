"""Tell a decrypted message from the substitute that OpenSSL returns when the PKCS#1 v1.5 padding is wrong.

Since version 3.2 OpenSSL never reports wrong padding: it returns a message derived from the private exponent and the
ciphertext ("implicit rejection", draft-irtf-cfrg-rsa-guidance section 7). Parsec's contract requires
`PSA_ERROR_INVALID_PADDING`. The library has no other access to the private operation, and doing that operation with
Python's integers would be slow and would leak the key through its timing. The substitute is deterministic, so it is
computed here and compared: the private operation and the check of the padding stay in OpenSSL's constant-time code.

The answer itself tells a client which ciphertexts have good padding, as the contract requires; clients that must not
reveal that should use OAEP.
"""

import hashlib
import hmac
from typing import Final

_CANDIDATES: Final = 128
"""How many candidate lengths are drawn; the last one that fits counts."""
_OVERHEAD: Final = 10
"""Bytes of the padding that no message can occupy: two of the block type and eight of padding."""
_PREFIX: Final = 2


class RejectionPredictor:
    """Computes the substitute of one private key."""

    def __init__(self, exponent: int, size: int) -> None:
        """Take the private exponent and the length of the modulus in bytes."""
        self._size = size
        self._key = hashlib.sha256(exponent.to_bytes(size, "big")).digest()

    def substitute(self, ciphertext: bytes) -> bytes:
        """Return OpenSSL's answer if the padding in this ciphertext, which is as long as the modulus, is wrong."""
        key = hmac.digest(self._key, ciphertext, "sha256")
        message = _expand(key, b"message", self._size)
        lengths = _expand(key, b"length", _CANDIDATES * _PREFIX)
        longest = self._size - _OVERHEAD
        mask = (1 << longest.bit_length()) - 1
        length = 0
        for at in range(0, len(lengths), _PREFIX):
            candidate = int.from_bytes(lengths[at : at + _PREFIX], "big") & mask
            if candidate < longest:
                length = candidate
        return message[self._size - length :]


def _expand(key: bytes, label: bytes, size: int) -> bytes:
    blocks = (size + 31) // 32
    bits = (size * 8).to_bytes(2, "big")
    return b"".join(hmac.digest(key, number.to_bytes(2, "big") + label + bits, "sha256") for number in range(blocks))[
        :size
    ]
