"""Key attributes between protobuf messages and values.

Source: docs/reference/parsec-protocol.md, "Bodies".
"""

from functools import lru_cache
from typing import Final

from cofferdam_contracts.psa.attributes import (
    DH_KINDS,
    ECC_KINDS,
    DhFamily,
    EccFamily,
    KeyAttributes,
    KeyKind,
    KeyType,
    Usage,
)
from cofferdam_contracts.wire import parsec_pb2 as pb
from cofferdam_contracts.wire.algorithms import CACHED, algorithm, algorithm_message, invalid, member, number, variants

_KINDS: Final = variants(pb.KeyType, KeyKind)
_NAMES: Final = {kind: str(name) for name, kind in _KINDS.items()}
_FLAGS: Final = tuple((field.name, Usage(1 << field.number - 1)) for field in pb.UsageFlags.DESCRIPTOR.fields)


@lru_cache(maxsize=CACHED)
def attributes(serialised: bytes) -> KeyAttributes:
    """Return the attributes of a serialised message, with the usage flags that others imply.

    Raises:
        ServiceError: `INVALID_ENCODING`.
    """
    message = pb.KeyAttributes.FromString(serialised)
    policy = message.key_policy
    if not policy.HasField("key_usage_flags"):
        raise invalid("attributes without usage flags")
    return KeyAttributes(
        _key_type(message.key_type), message.key_bits, _usage(policy.key_usage_flags), algorithm(policy.key_algorithm)
    )


def _key_type(message: pb.KeyType) -> KeyType:
    name = message.WhichOneof("variant")
    if name is None:
        raise invalid("attributes without key type")
    kind = _KINDS[name]
    if kind in ECC_KINDS:
        return KeyType(kind, member(EccFamily, getattr(message, name).curve_family))
    if kind in DH_KINDS:
        return KeyType(kind, member(DhFamily, getattr(message, name).group_family))
    return KeyType(kind)


def _usage(message: pb.UsageFlags) -> Usage:
    usage = Usage.NONE
    for name, flag in _FLAGS:
        if getattr(message, name):
            usage |= flag
    return usage.widened()


def attributes_message(value: KeyAttributes) -> pb.KeyAttributes:
    """Return the message of attributes.

    Raises:
        ValueError: A number does not fit into 32 bits.
    """
    key_type = pb.KeyType()
    inner = getattr(key_type, _NAMES[value.type.kind])
    inner.SetInParent()
    match value.type.family:
        case EccFamily() as curve:
            inner.curve_family = number(curve)
        case DhFamily() as group:
            inner.group_family = number(group)
        case None:
            pass
    policy = pb.KeyPolicy(
        key_usage_flags=pb.UsageFlags(**{name: True for name, flag in _FLAGS if flag in value.usage}),
        key_algorithm=algorithm_message(value.algorithm),
    )
    return pb.KeyAttributes(key_type=key_type, key_bits=value.bits, key_policy=policy)
