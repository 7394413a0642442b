"""Pages: the format in which the key store sends a listing of keys to a frontend.

A listing is a sequence of pages; each is the packed array `[kinds, keys]`. `kinds` holds the distinct pairs of provider
number and encoded attributes, which are few; `keys` is the flat sequence of each key's name and the index of its kind.
A change of one key changes one page, so that both sides can keep the other pages in their encoded form.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import msgpack

from cofferdam_contracts.ipc.framing import FramingError
from cofferdam_contracts.ipc.limits import MAX_ITEMS

Kind: TypeAlias = tuple[int, bytes]
"""Provider number and encoded attributes."""
Key: TypeAlias = tuple[int, str, bytes]
"""Provider number, name, encoded attributes."""
_FIELDS: Final = 2


def pack_page(keys: Iterable[Key]) -> bytes:
    """Return the page with these keys, in their order."""
    kinds: dict[Kind, int] = {}
    flat: list[str | int] = []
    for provider, name, attributes in keys:
        flat += name, kinds.setdefault((provider, attributes), len(kinds))
    packed: bytes = msgpack.packb((list(kinds), flat))
    return packed


def unpack_page(page: bytes) -> tuple[tuple[Kind, ...], Iterator[tuple[str, int]]]:
    """Return the kinds of a page, and name and index of the kind of each key.

    Raises:
        FramingError: It is not a page.
    """
    try:
        message: Any = msgpack.unpackb(page, use_list=False, max_array_len=MAX_ITEMS, max_map_len=0, max_ext_len=0)
    except (ValueError, RecursionError, msgpack.UnpackException, msgpack.StackError) as error:
        raise FramingError(f"not a page of a listing: {type(error).__name__}") from error
    if not _is_page(message):
        raise FramingError("not a page of a listing")
    kinds, keys = message
    return kinds, zip(keys[::2], keys[1::2], strict=True)


def keys_of(pages: Iterable[bytes]) -> Iterator[Key]:
    """Yield the keys of a listing.

    Raises:
        FramingError: An element is not a page.
    """
    for page in pages:
        kinds, keys = unpack_page(page)
        for name, kind in keys:
            provider, attributes = kinds[kind]
            yield provider, name, attributes


def _is_page(message: object) -> bool:
    if type(message) is not tuple or [type(part) for part in message] != [tuple, tuple]:
        return False
    kinds, keys = message
    if len(keys) % _FIELDS or not all(_is_kind(kind) for kind in kinds):
        return False
    names, indices = keys[::2], keys[1::2]
    return (
        set(map(type, names)) <= {str}
        and set(map(type, indices)) <= {int}
        and (not indices or (min(indices) >= 0 and max(indices) < len(kinds)))
    )


def _is_kind(kind: object) -> bool:
    return type(kind) is tuple and [type(part) for part in kind] == [int, bytes]
