"""Generation of keys in the TPM, and import of public keys."""

import os
from collections.abc import Callable

from msgspec.structs import replace

from cofferdam_contracts.psa.attributes import PUBLIC_KINDS, KeyAttributes
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.errors import invalid_argument, not_supported
from cofferdam_providers.pyca.keys import EccKey, RsaKey, read_key
from cofferdam_providers.tpm import public
from cofferdam_providers.tpm.blobs import Blob
from cofferdam_providers.tpm.codes import EXPONENT, Command
from cofferdam_providers.tpm.device import AUTH_BYTES, TpmDevice
from cofferdam_providers.tpm.keys import TpmKey
from cofferdam_providers.tpm.marshal import U32, sized
from cofferdam_providers.tpm.objects import TpmObject


def check_generate(attributes: KeyAttributes) -> None:
    """Reject attributes that no key generated in a TPM can have.

    Raises:
        ServiceError: `PSA_ERROR_INVALID_ARGUMENT` or `PSA_ERROR_NOT_SUPPORTED`.
    """
    if attributes.type.kind in PUBLIC_KINDS:
        raise invalid_argument("a public key cannot be generated")
    public.key(attributes)


def check_import(attributes: KeyAttributes) -> None:
    """Reject attributes that no imported key can have, whatever its size.

    Raises:
        ServiceError: `PSA_ERROR_NOT_SUPPORTED`.
    """
    if attributes.type.kind not in PUBLIC_KINDS:
        raise not_supported("importing a key pair into a TPM")


def generate(device: TpmDevice, parent: TpmObject, which: int, attributes: KeyAttributes) -> Blob:
    """Generate a key under a parent; `which` is the parent's number in the key store.

    Raises:
        ServiceError: The TPM refuses.
    """
    template = public.key(attributes)
    auth = os.urandom(AUTH_BYTES)
    parameters = sized(sized(auth) + sized(b"")) + sized(template) + sized(b"") + U32.pack(0)
    # The TPM generates the key in a slot, which it frees again.
    reader = device.execute_with(Command.CREATE, parent, parameters, others=1)
    private, area = reader.sized(), reader.sized()
    part = public.part_of(area)
    if public.key(attributes, part) != area:
        raise ServiceError(Status.PSA_ERROR_HARDWARE_FAILURE, "the TPM made another key than the one requested")
    return Blob(part=part, private=private, auth=auth, parent=which)


def import_key(
    device: TpmDevice, attributes: KeyAttributes, data: bytes, check: Callable[[KeyAttributes], object]
) -> tuple[Blob, KeyAttributes]:
    """Import a public key; return it with its attributes, which have the actual size and pass the check.

    Raises:
        ServiceError: No TPM can load it, or the attributes describe another key.
    """
    key = read_key(attributes.type, attributes.bits, data, vouched=False)
    if isinstance(key, RsaKey):
        numbers = key.public.public_numbers()
        if numbers.e != EXPONENT:
            raise not_supported(f"the public exponent {numbers.e} in a TPM")
        attributes = replace(attributes, bits=key.bits)
        blob = Blob(part=public.RsaPart(numbers.n.to_bytes(attributes.bits // 8, "big")))
    elif isinstance(key, EccKey) and data[:1] == b"\4":
        size = len(data) // 2
        attributes = replace(attributes, bits=key.bits)
        blob = Blob(part=public.EccPart(data[1 : 1 + size], data[1 + size :]))
    else:
        raise not_supported("a public key of this type in a TPM")
    check(attributes)
    loaded = TpmKey(device, attributes, blob, device.root)
    device.retry_after_reset(lambda: _load_once(device, loaded))
    return blob, attributes


def _load_once(device: TpmDevice, key: TpmKey) -> None:
    device.slots.ensure_loaded(key)
    device.slots.drop(key)
