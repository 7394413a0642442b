"""Listings in a frontend: a page is encoded once, and what is kept is bounded."""

import pytest
from tests.kim.support import ECDSA

from cofferdam_contracts.ipc.framing import FramingError
from cofferdam_contracts.ipc.pages import pack_page
from cofferdam_contracts.psa.encoding import decode_attributes
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire.bodies import KeyInfo, encode_result
from cofferdam_contracts.wire.listing import encode_page
from cofferdam_frontend import pages
from cofferdam_frontend.pages import PageCache

NAMES = [f"key {number}" for number in range(20)]
PAGES = [pack_page([(1, key_name, ECDSA)]) for key_name in NAMES]
BODY = encode_result(Opcode.LIST_KEYS, [KeyInfo(1, key_name, decode_attributes(ECDSA)) for key_name in NAMES])


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Collect the pages that are encoded."""
    seen: list[bytes] = []

    def count(page: bytes) -> bytes:
        seen.append(page)
        return encode_page(page)

    monkeypatch.setattr(pages, "encode_page", count)
    return seen


def test_a_page_is_encoded_once(encoded: list[bytes]) -> None:
    cache = PageCache()
    assert cache.encode(PAGES[1:]) + cache.encode([]) != BODY
    assert cache.encode(PAGES) == BODY
    assert encoded == [*PAGES[1:], PAGES[0]]


def test_what_is_kept_is_bounded(encoded: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those not asked for longest go first; all are answered."""
    monkeypatch.setattr(pages, "BUDGET", len(BODY))
    cache = PageCache()
    for page in PAGES:
        cache.encode([PAGES[0], page])
        assert cache.bytes <= len(BODY)
    assert cache.encode(PAGES) == BODY
    assert encoded.count(PAGES[0]) == 1
    assert encoded.count(PAGES[1]) == 2
    monkeypatch.setattr(pages, "BUDGET", 0)
    assert cache.encode(PAGES[:1]) + cache.encode(PAGES[1:]) == BODY


def test_what_is_no_page_is_refused() -> None:
    with pytest.raises(FramingError):
        PageCache().encode([PAGES[0], b""])
