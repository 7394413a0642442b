"""Elliptic curves as PKCS#11 names them, and points in the two forms that modules use.

CKA_EC_POINT is the DER encoding of an OCTET STRING by the specification, and the bare point with some modules. Which
one it is follows from its length, which the curve determines, and never from whether it parses as DER: a bare point
can, too.
"""

from collections.abc import Mapping
from typing import Final

from cofferdam_contracts.psa.attributes import EccFamily
from cofferdam_contracts.status import ServiceError, Status

OIDS: Final[Mapping[int, bytes]] = {
    192: bytes.fromhex("06082a8648ce3d030101"),
    224: bytes.fromhex("06052b81040021"),
    256: bytes.fromhex("06082a8648ce3d030107"),
    384: bytes.fromhex("06052b81040022"),
    521: bytes.fromhex("06052b81040023"),
}
"""CKA_EC_PARAMS of the curves of SECP_R1 by their size in bits: namedCurve of SEC 1, appendix C.2."""
FAMILY: Final = EccFamily.SECP_R1
_OCTET_STRING: Final = 4
_UNCOMPRESSED: Final = 4
_LONG: Final = 0x80


def bits_of(parameters: bytes) -> int:
    """Return the size of the curve with these CKA_EC_PARAMS, 0 for an unsupported one."""
    return next((bits for bits, oid in OIDS.items() if oid == parameters), 0)


def point_from(value: bytes, bits: int) -> bytes:
    """Return the uncompressed point that a CKA_EC_POINT holds, in either form.

    Raises:
        ServiceError: It holds no such point of a curve of this size (`PSA_ERROR_DATA_CORRUPT`).
    """
    length = 1 + 2 * ((bits + 7) // 8)
    header = point_to(bytes(length))[:-length]
    if len(value) == len(header) + length and value.startswith(header):
        value = value[len(header) :]
    if len(value) != length or value[0] != _UNCOMPRESSED:
        raise ServiceError(
            Status.PSA_ERROR_DATA_CORRUPT, f"a CKA_EC_POINT of {len(value)} bytes on a curve of {bits} bits"
        )
    return value


def point_to(point: bytes, *, raw: bool = False) -> bytes:
    """Return the CKA_EC_POINT of an uncompressed point: the DER encoding of an OCTET STRING, or the bare point."""
    if raw:
        return point
    length = bytes((len(point),)) if len(point) < _LONG else bytes((_LONG | 1, len(point)))
    return bytes((_OCTET_STRING,)) + length + point
