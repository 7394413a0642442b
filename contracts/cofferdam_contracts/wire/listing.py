"""ListKeys results assembled from encoded pieces, byte for byte as protobuf would write them.

A listing has thousands of keys but few different attributes. A key is `1: provider id, 2: name, 3: attributes` within
field 1 of the result; the bytes before and after the name are encoded once for each combination.
"""

from functools import lru_cache
from typing import Final

from cofferdam_contracts.ipc.pages import Kind, unpack_page
from cofferdam_contracts.psa.encoding import EncodingError, decode_attributes
from cofferdam_contracts.wire.attributes import attributes_record
from cofferdam_contracts.wire.messages import KEY_INFO
from cofferdam_contracts.wire.protobuf import encode, write_varint

_KEY: Final = b"\x0a"
"""Tag of a key in the result."""
_NAME: Final = b"\x12"
"""Tag of the name in a key."""


def encode_page(page: bytes) -> bytes:
    """Return the part of a ListKeys result for one page of a listing.

    A key that a client cannot read would make it refuse the whole listing, so such a key is left out.

    Raises:
        FramingError: It is not a page.
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
        # Protobuf does not write a field that has its default value.
        if size:
            before += _NAME + write_varint(size)
        size += len(before) + len(after)
        parts += (_KEY, write_varint(size), before, text, after)
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _around_name(kind: Kind) -> tuple[bytes, bytes] | None:
    """Return the fields of a key before and after its name, None if they cannot be encoded."""
    provider, attributes = kind
    try:
        before = encode(KEY_INFO, (provider, "", None))
        after = encode(KEY_INFO, (0, "", attributes_record(decode_attributes(attributes))))
    except (EncodingError, ValueError):
        return None
    return before, after
