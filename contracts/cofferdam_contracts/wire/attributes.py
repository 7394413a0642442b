"""Key attributes between the records of protobuf messages and values.

Source: docs/reference/parsec-protocol.md, "Bodies".
"""

from functools import lru_cache
from typing import Final

from cofferdam_contracts.psa.attributes import (
    DH_KINDS,
    ECC_KINDS,
    USAGE_COUNT,
    DhFamily,
    EccFamily,
    KeyAttributes,
    KeyKind,
    KeyType,
    Usage,
)
from cofferdam_contracts.wire.algorithms import (
    CACHED,
    Conversion,
    algorithm,
    algorithm_record,
    chosen,
    invalid,
    member,
)
from cofferdam_contracts.wire.protobuf import Record


@lru_cache(maxsize=CACHED)
def attributes(record: Record | None) -> KeyAttributes:
    """Return the attributes of a record, with the usage flags that others imply.

    Raises:
        ServiceError: `INVALID_ENCODING`.
    """
    if record is None:
        raise invalid("no attributes")
    key_type, bits, policy = record
    if policy is None or policy[0] is None:
        raise invalid("attributes without usage flags")
    flags, key_algorithm = policy
    return KeyAttributes(_key_type(key_type), bits, _usage(flags), algorithm(key_algorithm))


def _key_type(record: Record | None) -> KeyType:
    number, content = chosen(record, "a key type")
    kind = KeyKind(number)
    if kind in ECC_KINDS:
        return KeyType(kind, member(EccFamily, *content))
    if kind in DH_KINDS:
        return KeyType(kind, member(DhFamily, *content))
    return KeyType(kind)


def _usage(flags: Record) -> Usage:
    return Usage(sum(flag << bit for bit, flag in enumerate(flags))).widened()


def attributes_record(value: KeyAttributes) -> Record:
    """Return the record of attributes."""
    family = () if value.type.family is None else (value.type.family.value,)
    flags = tuple(bool(value.usage >> bit & 1) for bit in range(USAGE_COUNT))
    return (value.type.kind.value, family), value.bits, (flags, algorithm_record(value.algorithm))


ATTRIBUTES: Final = Conversion(attributes, attributes_record)
