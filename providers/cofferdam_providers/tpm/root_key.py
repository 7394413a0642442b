"""Whether the stored keys belong to the TPM's storage root key.

The key store keeps its Name where the reference keeps it: under an application without a name, which no client can be.
A TPM that was cleared or replaced makes a different storage root key, and can load none of the keys.
"""

from typing import Final

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.algorithm import NoAlgorithm
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import REFERENCE_FORM, Rows, StoredKey
from cofferdam_providers.tpm import blobs

_IDENTITY: Final = KeyIdentity(INTERNAL_AUTHENTICATOR, "parsec", "RootKeyTPM")
_BITS: Final = 2048


class RootKeyError(ServiceError):
    """Raised when the storage root key is not that of the stored keys."""


def check(rows: Rows, name: bytes) -> None:
    """Compare the Name of the storage root key with the stored one; store it when there is none.

    Raises:
        RootKeyError: They differ.
        ServiceError: The key store does not answer.
    """
    try:
        kept = blobs.decode_name(rows.lookup(_IDENTITY).key_id)
    except ServiceError as error:
        if error.status is Status.PSA_ERROR_CORRUPTION_DETECTED:
            raise RootKeyError(Status.PSA_ERROR_CORRUPTION_DETECTED, f"row RootKeyTPM: {error.detail}") from error
        if error.status is not Status.PSA_ERROR_DOES_NOT_EXIST:
            raise
    else:
        if kept != name:
            raise RootKeyError(
                Status.PSA_ERROR_HARDWARE_FAILURE,
                "the TPM makes another storage root key than the one that the stored keys are under: it was cleared, "
                "or is another TPM; destroy the row RootKeyTPM of the key store only if the keys are lost anyway",
            )
        return
    attributes = KeyAttributes(
        type=KeyType(KeyKind.RSA_PUBLIC_KEY), bits=_BITS, usage=Usage.NONE, algorithm=NoAlgorithm()
    )
    record = StoredKey(key_id=blobs.encode_name(name), version=REFERENCE_FORM, attributes=attributes)
    rows.reserve(_IDENTITY, record)
    rows.activate(_IDENTITY, record)
