"""Keys that the reference's software provider left behind: the files of Mbed Crypto's internal trusted storage.

A `.psa_its` file is, all little endian, a header of 16 bytes (magic, length of the rest, flags), a key header of 36
bytes (magic, version, lifetime, type, bits, usage, two algorithms, length of the key) and the key in the format of
export. Source: docs/reference/parsec-behaviour.md, "Key files of the software provider"; type numbers: PSA Crypto API,
"Key types".
"""

import struct
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.psa.attributes import PUBLIC_KINDS, DhFamily, EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.status import ServiceError, Status

_HEADER: Final = struct.Struct("<8sII")
_KEY_HEADER: Final = struct.Struct("<8sIIHHIIII")
_KEY_ID: Final = struct.Struct("<I")
_MAGIC: Final = b"PSA\0ITS\0"
_KEY_MAGIC: Final = b"PSA\0KEY\0"
_PERSISTENT: Final = 1
_FAMILY_MASK: Final = 0xFF
_MAX_FILE: Final = 16384
"""More bytes than any key's file has."""

_USAGE_BITS: Final[Mapping[int, Usage]] = {
    0x0001: Usage.EXPORT,
    0x0100: Usage.ENCRYPT,
    0x0200: Usage.DECRYPT,
    0x1000: Usage.SIGN_HASH,
    0x2000: Usage.VERIFY_HASH,
    0x4000: Usage.DERIVE,
}
"""PSA Crypto API, "Key usage flags": those that the reference passed on and that have a meaning here."""
_CHECKED: Final = Usage(sum(_USAGE_BITS.values()))
_PLAIN_TYPES: Final[Mapping[int, KeyKind]] = {
    0x1001: KeyKind.RAW_DATA,
    0x1100: KeyKind.HMAC,
    0x1200: KeyKind.DERIVE,
    0x2002: KeyKind.ARC4,
    0x2004: KeyKind.CHACHA20,
    0x2301: KeyKind.DES,
    0x2400: KeyKind.AES,
    0x2403: KeyKind.CAMELLIA,
    0x4001: KeyKind.RSA_PUBLIC_KEY,
    0x7001: KeyKind.RSA_KEY_PAIR,
}
_FAMILY_TYPES: Final[Mapping[int, KeyKind]] = {
    0x4100: KeyKind.ECC_PUBLIC_KEY,
    0x7100: KeyKind.ECC_KEY_PAIR,
    0x4200: KeyKind.DH_PUBLIC_KEY,
    0x7200: KeyKind.DH_KEY_PAIR,
}
_ECC_FAMILIES: Final[Mapping[int, EccFamily]] = {
    0x12: EccFamily.SECP_R1,
    0x17: EccFamily.SECP_K1,
    0x1B: EccFamily.SECP_R2,
    0x22: EccFamily.SECT_R1,
    0x27: EccFamily.SECT_K1,
    0x2B: EccFamily.SECT_R2,
    0x30: EccFamily.BRAINPOOL_P_R1,
    0x33: EccFamily.FRP,
    0x41: EccFamily.MONTGOMERY,
}
_DH_FAMILIES: Final[Mapping[int, DhFamily]] = {0x03: DhFamily.RFC7919}


class ItsKey(Opaque, Struct, frozen=True):
    """The description of a key in a file, without its algorithm, as that of the key store counts."""

    type: KeyType
    bits: int
    usage: Usage
    """What the reference's library allowed the key to be used for."""
    material: bytes


def parse_its_file(data: bytes) -> ItsKey:
    """Read a `.psa_its` file.

    Raises:
        ServiceError: The bytes are not such a file (`PSA_ERROR_DATA_CORRUPT`).
    """
    try:
        return _parse(data)
    except (ValueError, KeyError, struct.error) as error:
        raise ServiceError(
            Status.PSA_ERROR_DATA_CORRUPT, f"a malformed file of the reference's store: {error}"
        ) from error


def has_its_key(files: Mapping[int, bytes], key_id: bytes) -> bool:
    """Tell whether there is a file for a row of the reference's key store; a malformed row counts as having one."""
    return len(key_id) != _KEY_ID.size or _KEY_ID.unpack(key_id)[0] in files


def find_its_key(files: Mapping[int, bytes], key_id: bytes, attributes: KeyAttributes) -> ItsKey:
    """Return the key that a row of the reference's key store names.

    Raises:
        ServiceError: The row is malformed (`PSA_ERROR_DATA_CORRUPT`), the file is missing
            (`PSA_ERROR_DOES_NOT_EXIST`), or it holds another kind or size of key (`PSA_ERROR_CORRUPTION_DETECTED`).
    """
    if len(key_id) != _KEY_ID.size:
        raise ServiceError(Status.PSA_ERROR_DATA_CORRUPT, "a key id of another length than the reference's")
    content = files.get(_KEY_ID.unpack(key_id)[0])
    if content is None:
        raise ServiceError(Status.PSA_ERROR_DOES_NOT_EXIST, "no file of the reference's store has this key")
    key = parse_its_file(content)
    # The reference stores 0 bits for a key that was imported with 0 bits.
    if key.type != attributes.type or attributes.bits not in (0, key.bits):
        raise ServiceError(Status.PSA_ERROR_CORRUPTION_DETECTED, "the file holds another key than the row says")
    if attributes.usage & _CHECKED & ~key.usage and key.type.kind not in PUBLIC_KINDS:
        raise ServiceError(Status.PSA_ERROR_CORRUPTION_DETECTED, "the row allows more than the file does")
    return key


def _parse(data: bytes) -> ItsKey:
    if len(data) > _MAX_FILE:
        raise ValueError("too long")
    magic, size, _flags = _HEADER.unpack_from(data)
    if magic != _MAGIC or size != len(data) - _HEADER.size:
        raise ValueError("not a file of the store, or cut off")
    magic, version, lifetime, type_number, bits, usage, _alg, _alg2, length = _KEY_HEADER.unpack_from(
        data, _HEADER.size
    )
    material = data[_HEADER.size + _KEY_HEADER.size :]
    if magic != _KEY_MAGIC or version != 0 or lifetime != _PERSISTENT or length != len(material):
        raise ValueError("not a persistent key, or cut off")
    allowed = Usage(sum(flag for bit, flag in _USAGE_BITS.items() if usage & bit))
    return ItsKey(_type(type_number), bits, allowed, material)


def _type(number: int) -> KeyType:
    kind = _PLAIN_TYPES.get(number)
    if kind is not None:
        return KeyType(kind)
    kind = _FAMILY_TYPES[number & ~_FAMILY_MASK]
    family = number & _FAMILY_MASK
    if kind in (KeyKind.ECC_PUBLIC_KEY, KeyKind.ECC_KEY_PAIR):
        return KeyType(kind, _ECC_FAMILIES[family])
    return KeyType(kind, _DH_FAMILIES[family])
