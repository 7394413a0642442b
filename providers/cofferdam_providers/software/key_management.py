"""Generation and import of keys, and which keys they are possible for."""

from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec.structs import replace

from cofferdam_contracts.psa.attributes import ECC_KINDS, PUBLIC_KINDS, RSA_KINDS, EccFamily, KeyAttributes, KeyKind
from cofferdam_providers.pyca.curves import CurveParameters, find_curve, has_curves
from cofferdam_providers.pyca.errors import invalid_argument, not_supported
from cofferdam_providers.pyca.keys import (
    SECRET_SIZES,
    Handle,
    check_rsa_size,
    check_secret_size,
    read_key,
    read_montgomery_private,
)
from cofferdam_providers.software import capability_discovery
from cofferdam_providers.software.generate_random import random_bytes

PUBLIC_EXPONENT: Final = 65537


def check_generate(attributes: KeyAttributes) -> None:
    """Reject attributes that no generated key can have.

    Raises:
        ServiceError: `PSA_ERROR_INVALID_ARGUMENT` for impossible attributes, `PSA_ERROR_NOT_SUPPORTED` for unsupported
            ones.
    """
    if attributes.type.kind in PUBLIC_KINDS:
        raise invalid_argument("a public key cannot be generated")
    _check_type(attributes)
    capability_discovery.check_policy(attributes)


def check_import(attributes: KeyAttributes) -> None:
    """Reject attributes that no imported key can have; 0 bits means the size of the data."""
    _check_type_or_any_size(attributes)
    capability_discovery.check_policy(attributes)


def check_use(attributes: KeyAttributes) -> None:
    """Reject attributes with which no key could be used as its policy says; 0 bits means any size."""
    _check_type_or_any_size(attributes)
    capability_discovery.check_use(attributes)


def generate(attributes: KeyAttributes) -> bytes:
    """Generate a key and return it in the format of import; safe to call from several threads."""
    check_generate(attributes)
    kind = attributes.type.kind
    if kind is KeyKind.RSA_KEY_PAIR:
        return _generate_rsa(attributes.bits)
    if kind is KeyKind.ECC_KEY_PAIR and isinstance(attributes.type.family, EccFamily):
        return _generate_ecc(find_curve(attributes.type.family, attributes.bits))
    return random_bytes(attributes.bits // 8)


def import_key(attributes: KeyAttributes, data: bytes) -> Handle:
    """Read and check an imported key.

    Raises:
        ServiceError: As for `check_import` and `keys.read_key`.
    """
    check_import(replace(attributes, bits=0))
    handle = read_key(attributes.type, attributes.bits, data, vouched=False)
    # Only the data tells the size: what is announced may be 0 or contradict it.
    check_import(replace(attributes, bits=handle.bits))
    return handle


def _check_type_or_any_size(attributes: KeyAttributes) -> None:
    if attributes.bits:
        _check_type(attributes)
    else:
        _check_kind(attributes)


def _check_kind(attributes: KeyAttributes) -> None:
    kind, family = attributes.type.kind, attributes.type.family
    if kind not in RSA_KINDS | ECC_KINDS | SECRET_SIZES.keys():
        raise not_supported(f"keys of type {kind.name}")
    if isinstance(family, EccFamily) and not has_curves(family):
        raise not_supported(f"curves of the family {family.name}")


def _check_type(attributes: KeyAttributes) -> None:
    kind, family, bits = attributes.type.kind, attributes.type.family, attributes.bits
    if kind in SECRET_SIZES:
        check_secret_size(kind, bits)
    elif kind in RSA_KINDS:
        check_rsa_size(bits)
    elif isinstance(family, EccFamily):
        find_curve(family, bits)
    else:
        raise not_supported(f"keys of type {kind.name}")


def _generate_rsa(bits: int) -> bytes:
    return rsa.generate_private_key(PUBLIC_EXPONENT, bits).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _generate_ecc(curve: CurveParameters) -> bytes:
    if curve.group is None:
        return read_montgomery_private(curve, random_bytes(curve.size)).material
    return ec.generate_private_key(curve.group).private_numbers().private_value.to_bytes(curve.size, "big")
