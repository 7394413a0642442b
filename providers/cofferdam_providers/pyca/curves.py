"""Elliptic curves: the sizes that each family has, and those of them that the library has.

The tables are static: a capability that depended on trials would change with the build of OpenSSL.
Source: PSA Crypto API, "Elliptic curve families".
"""

from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from cofferdam_contracts.psa.attributes import EccFamily
from cofferdam_providers.pyca.errors import invalid_argument, not_supported

KNOWN_SIZES: Final[Mapping[EccFamily, tuple[int, ...]]] = {
    EccFamily.SECP_K1: (192, 224, 256),
    EccFamily.SECP_R1: (192, 224, 256, 384, 521),
    EccFamily.SECP_R2: (160,),
    EccFamily.SECT_K1: (163, 233, 239, 283, 409, 571),
    EccFamily.SECT_R1: (163, 233, 283, 409, 571),
    EccFamily.SECT_R2: (163,),
    EccFamily.BRAINPOOL_P_R1: (160, 192, 224, 256, 320, 384, 512),
    EccFamily.FRP: (256,),
    EccFamily.MONTGOMERY: (255, 448),
}
"""Sizes in bits that a family has at all; any other size is an invalid argument, not an unsupported one."""


class CurveParameters(Struct, frozen=True):
    """A supported curve; `group` is None for the Montgomery curves, which cannot sign.

    `size` is the length in bytes of a coordinate and of a private value.
    """

    family: EccFamily
    bits: int
    size: int
    group: ec.EllipticCurve | None


def _curve(family: EccFamily, bits: int, group: ec.EllipticCurve | None) -> CurveParameters:
    return CurveParameters(family, bits, (bits + 7) // 8, group)


CURVES: Final[Mapping[tuple[EccFamily, int], CurveParameters]] = {
    (curve.family, curve.bits): curve
    for curve in (
        _curve(EccFamily.SECP_K1, 256, ec.SECP256K1()),
        _curve(EccFamily.SECP_R1, 192, ec.SECP192R1()),
        _curve(EccFamily.SECP_R1, 224, ec.SECP224R1()),
        _curve(EccFamily.SECP_R1, 256, ec.SECP256R1()),
        _curve(EccFamily.SECP_R1, 384, ec.SECP384R1()),
        _curve(EccFamily.SECP_R1, 521, ec.SECP521R1()),
        _curve(EccFamily.BRAINPOOL_P_R1, 256, ec.BrainpoolP256R1()),
        _curve(EccFamily.BRAINPOOL_P_R1, 384, ec.BrainpoolP384R1()),
        _curve(EccFamily.BRAINPOOL_P_R1, 512, ec.BrainpoolP512R1()),
        _curve(EccFamily.MONTGOMERY, 255, None),
        _curve(EccFamily.MONTGOMERY, 448, None),
    )
}
"""The supported curves, by family and size in bits."""


def find_curve(family: EccFamily, bits: int) -> CurveParameters:
    """Return the curve of a family with this size.

    Raises:
        ServiceError: No curve of the family has this size (`PSA_ERROR_INVALID_ARGUMENT`), or the library does not have
            the curve (`PSA_ERROR_NOT_SUPPORTED`).
    """
    curve = CURVES.get((family, bits))
    if curve is not None:
        return curve
    if bits not in KNOWN_SIZES[family]:
        raise invalid_argument(f"{family.name} has no curve of {bits} bits")
    raise not_supported(f"the {family.name} curve of {bits} bits")


def find_curve_by_size(family: EccFamily, size: int) -> CurveParameters:
    """Return the curve of a family whose values have this many bytes; errors as for `find_curve`."""
    sizes = [bits for bits in KNOWN_SIZES[family] if (bits + 7) // 8 == size]
    if not sizes:
        raise invalid_argument(f"{family.name} has no curve with values of {size} bytes")
    return find_curve(family, sizes[0])


def has_curves(family: EccFamily) -> bool:
    """Tell whether any curve of the family is supported."""
    return any(known is family for known, _ in CURVES)
