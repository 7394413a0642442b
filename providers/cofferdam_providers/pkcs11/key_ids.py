"""CKA_ID, and its form in the key store.

The reference stores a 32-bit number (four bytes, little-endian) whose big-endian form is the CKA_ID
(docs/reference/parsec-behaviour.md, "CKA_ID"). For its own keys
this service stores the CKA_ID itself, 16 random bytes that cannot be guessed (threat U-4). While a key is being created
its row has that form in either case, so that a successor finds what a crash left behind.
"""

from typing import Final

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import OWN_FORM, REFERENCE_FORM, StoredKey
from cofferdam_providers.pkcs11.quirks import MOST_ID_BYTES

REFERENCE_BYTES: Final = 4


def cka_id(stored: StoredKey) -> bytes:
    """Return the CKA_ID of a stored key.

    Raises:
        ServiceError: The row has none (`PSA_ERROR_DATA_CORRUPT`).
    """
    if stored.version == REFERENCE_FORM and len(stored.key_id) == REFERENCE_BYTES:
        return stored.key_id[::-1]
    if stored.version == OWN_FORM and 0 < len(stored.key_id) <= MOST_ID_BYTES:
        return stored.key_id
    raise ServiceError(
        Status.PSA_ERROR_DATA_CORRUPT, f"{len(stored.key_id)} bytes of form {stored.version} are no key id"
    )


def row_of(identifier: bytes, *, give_back: bool) -> tuple[bytes, int]:
    """Return the form of a CKA_ID in the key store, and the number of that form."""
    if give_back and len(identifier) == REFERENCE_BYTES:
        return identifier[::-1], REFERENCE_FORM
    return identifier, OWN_FORM
