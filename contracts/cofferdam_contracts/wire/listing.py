"""ListKeys results put together from encoded pieces, bit for bit as protobuf would write them.

A listing has thousands of keys and few different attributes. A key is `1: provider id, 2: name, 3: attributes` within
field 1 of the result; what is before and after the name is encoded once for each kind of key.
"""

from functools import lru_cache
from typing import Final

from cofferdam_contracts.ipc.pages import Kind, unpack_page
from cofferdam_contracts.psa.encoding import EncodingError, decode_attributes
from cofferdam_contracts.wire import parsec_pb2 as pb
from cofferdam_contracts.wire.attributes import attributes_message

_KEY: Final = b"\x0a"
"""Tag of a key in the result."""
_NAME: Final = b"\x12"
"""Tag of the name in a key."""
_ONE_BYTE: Final = 128
_SHORT: Final = tuple(bytes([length]) for length in range(_ONE_BYTE))


def encode_page(page: bytes) -> bytes:
    """Return the part of a ListKeys result that a page of a listing stands for.

    A key that no client could read would make it refuse the whole listing, so it is left out.

    Raises:
        FramingError: It is no page.
    """
    kinds, keys = unpack_page(page)
    around = [_around_name(kind) for kind in kinds]
    parts: list[bytes] = []
    for name, kind in keys:
        pieces = around[kind]
        if pieces is None:
            continue
        before, after = pieces
        text = name.encode()
        size = len(text)
        # A field with its default value is not written.
        if size:
            before += _NAME + (_SHORT[size] if size < _ONE_BYTE else _varint(size))
        size += len(before) + len(after)
        parts += (_KEY, _SHORT[size] if size < _ONE_BYTE else _varint(size), before, text, after)
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _around_name(kind: Kind) -> tuple[bytes, bytes] | None:
    """Return the fields of a key before and after its name, or None when it cannot be encoded."""
    provider, attributes = kind
    try:
        before = pb.KeyInfo(provider_id=provider)
        after = pb.KeyInfo(attributes=attributes_message(decode_attributes(attributes)))
    except (EncodingError, ValueError):
        return None
    return before.SerializeToString(), after.SerializeToString()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _ONE_BYTE:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
