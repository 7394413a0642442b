"""A cache of encoded pages of listings: a client that lists its keys again mostly gets the same pages."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from cofferdam_contracts.wire.listing import encode_page

BUDGET: Final = 4 << 20
"""Bytes of cached pages, as the key store sent them and as clients get them, together."""


class PageCache:
    """Encoded pages, the least recently used first."""

    def __init__(self) -> None:
        """Begin empty."""
        self._encoded: OrderedDict[bytes, bytes] = OrderedDict()
        self.bytes = 0

    def encode(self, pages: Iterable[bytes]) -> bytes:
        """Return the body of a ListKeys response with these pages.

        Raises:
            FramingError: One of them is not a page.
        """
        # The encoding of a repeated field is the encodings of its entries, one after the other.
        return b"".join([self._encode(page) for page in pages])

    def _encode(self, page: bytes) -> bytes:
        encoded = self._encoded.get(page)
        if encoded is not None:
            self._encoded.move_to_end(page)
            return encoded
        encoded = encode_page(page)
        self._encoded[page] = encoded
        self.bytes += len(page) + len(encoded)
        while self.bytes > BUDGET:
            known, dropped = self._encoded.popitem(last=False)
            self.bytes -= len(known) + len(dropped)
        return encoded
