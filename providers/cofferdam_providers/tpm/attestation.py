"""Attestation that a key is in this TPM: TPM2_ActivateCredential with the default endorsement key.

A verifier who trusts the endorsement key encrypts a credential so that the TPM reveals it only while the key with the
given Name is loaded. Source: TCG part 1, 24 (credential protection), part 3, 12.5.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cofferdam_contracts.operations import AttestKey
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.errors import invalid_argument
from cofferdam_providers.tpm import public
from cofferdam_providers.tpm.codes import Command
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.errors import Code, CommandFailedError, TpmError
from cofferdam_providers.tpm.keys import TpmKey, require_pair
from cofferdam_providers.tpm.marshal import sized

_ENDORSEMENT_SIZE: Final = 256
_MOST_CREDENTIAL: Final = 132
"""Bytes of the longest TPMS_ID_OBJECT: two sized buffers of 64 bytes (TCG part 2, 12.4.3)."""


def prepare(device: TpmDevice, key: TpmKey) -> tuple[bytes, bytes, bytes]:
    """Return the key's Name, its public area, and the endorsement key in the format of PsaExportPublicKey.

    Raises:
        ServiceError: The TPM refuses.
    """
    require_pair(key)
    if not device.endorsement.area:
        with _explained():
            device.retry_after_reset(lambda: device.slots.ensure_loaded(device.endorsement))
    return key.name, key.area, public.exported(public.part_of(device.endorsement.area), _ENDORSEMENT_SIZE)


def attest(device: TpmDevice, key: TpmKey, operation: AttestKey) -> bytes:
    """Return the credential.

    Raises:
        ServiceError: It is for another key or TPM, or the TPM refuses.
    """
    require_pair(key)
    if len(operation.credential_blob) > _MOST_CREDENTIAL or len(operation.secret) > _ENDORSEMENT_SIZE:
        raise invalid_argument("a credential that is longer than any for this TPM")
    with _explained():
        return device.retry_after_reset(lambda: _activate(device, key, operation))


@contextmanager
def _explained() -> Iterator[None]:
    """Give the TPM's errors the statuses that they have in both steps of an attestation."""
    try:
        yield
    except CommandFailedError as error:
        # libtpms returns this for a secret with wrong padding.
        raise ServiceError(error.status, "a credential whose secret is not for this TPM") from error
    except TpmError as error:
        if error.code in (Code.VALUE, Code.SIZE):
            raise invalid_argument("a credential that is not for this TPM") from error
        if error.code == Code.BAD_AUTH:
            raise ServiceError(Status.PSA_ERROR_GENERIC_ERROR, error.detail) from error
        raise


def _activate(device: TpmDevice, key: TpmKey, operation: AttestKey) -> bytes:
    parameters = sized(operation.credential_blob) + sized(operation.secret)
    handles = device.slots.ensure_loaded(key, device.endorsement)
    policy = device.endorsement_policy()
    authorizations = [device.authorize(key.auth), policy]
    try:
        answer = device.execute(Command.ACTIVATE_CREDENTIAL, handles, parameters, authorizations)
    except TpmError:
        # The TPM ends the session only on success.
        device.flush(policy.handle)
        raise
    key.proved = True
    return answer.parameters.sized()
