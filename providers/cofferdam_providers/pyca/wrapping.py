"""Keys at rest: encrypted, and bound to their name and attributes.

A stored key is

    format (1 byte, 1) | salt (32 bytes) | AES-256-GCM of the provider's data, with its tag

under a key that HKDF-SHA256 derives from the key-encryption key and the salt. Each derived key encrypts only once, so
the nonce may be constant and the number of keys is not limited. The additional data consists of the format, the
provider, the full name and the attributes: a row that was copied to another name or application, or whose policy was
changed, does not open.
"""

import os
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.psa.encoding import encode_attributes
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.key_encryption_key import KEK_LENGTH

FORMAT: Final = b"\1"
_SALT: Final = 32
_TAG: Final = 16
_NONCE: Final = bytes(12)
_LENGTH: Final = struct.Struct("<I")


class Wrapping:
    """Seals keys for the key store and opens them again."""

    def __init__(self, kek: bytes, provider_uuid: str, purpose: bytes) -> None:
        """Use this key-encryption key for the keys of this provider; the purpose separates it from its other uses.

        Raises:
            ValueError: The key-encryption key is not 32 bytes long.
        """
        if len(kek) != KEK_LENGTH:
            raise ValueError(f"a key-encryption key has {KEK_LENGTH} bytes, not {len(kek)}")
        self._kek = kek
        self._uuid = provider_uuid.encode()
        self._purpose = purpose

    def seal(self, identity: KeyIdentity, attributes: KeyAttributes, material: bytes) -> bytes:
        """Return the form in which the key store keeps a key."""
        salt = os.urandom(_SALT)
        return FORMAT + salt + self._cipher(salt).encrypt(_NONCE, material, self._bound(identity, attributes))

    def open(self, identity: KeyIdentity, attributes: KeyAttributes, sealed: bytes) -> bytes:
        """Return the key that was sealed for this identity and these attributes.

        Raises:
            ServiceError: It was sealed for others, or the bytes were changed (`PSA_ERROR_CORRUPTION_DETECTED`).
        """
        start = len(FORMAT) + _SALT
        if sealed[:1] != FORMAT or len(sealed) < start + _TAG:
            raise ServiceError(Status.PSA_ERROR_CORRUPTION_DETECTED, "a stored key of unknown format")
        try:
            cipher = self._cipher(sealed[len(FORMAT) : start])
            return cipher.decrypt(_NONCE, sealed[start:], self._bound(identity, attributes))
        except InvalidTag as error:
            raise ServiceError(
                Status.PSA_ERROR_CORRUPTION_DETECTED,
                "a stored key that was changed, moved, or sealed with another key-encryption key",
            ) from error

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(hashes.SHA256(), KEK_LENGTH, salt, self._purpose).derive(self._kek))

    def _bound(self, identity: KeyIdentity, attributes: KeyAttributes) -> bytes:
        fields = (
            FORMAT,
            self._uuid,
            _LENGTH.pack(identity.authenticator),
            identity.application.encode(),
            identity.key_name.encode(),
            encode_attributes(attributes),
        )
        return b"".join(_LENGTH.pack(len(field)) + field for field in fields)
