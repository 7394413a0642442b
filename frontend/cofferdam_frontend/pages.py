"""What this frontend has encoded of listings: a client that lists its keys again gets mostly the same pages."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from cofferdam_contracts.wire.listing import encode_page

BUDGET: Final = 4 << 20
"""Bytes of pages, as they came and as clients get them."""


class PageCache:
    """Encoded pages, those not asked for longest first."""

    def __init__(self) -> None:
        """Hold none."""
        self._encoded: OrderedDict[bytes, bytes] = OrderedDict()
        self.bytes = 0

    def encode(self, pages: Iterable[bytes]) -> bytes:
        """Return the body of a ListKeys response with these pages.

        Raises:
            FramingError: One of them is no page.
        """
        # The encoding of a repeated field is that of its entries one after the other.
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
