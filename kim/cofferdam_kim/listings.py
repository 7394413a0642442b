"""Listings of keys that are cached in memory, because clients ask for one before each use of a key.

A listing holds provider, name and attributes of an application's keys, and its pages in the form in which they are
sent. It contains only rows that this process read from the table by row number and found sound, and rows that it wrote,
once they were committed. The key store is the only writer, so nothing else changes them. A listing is dropped, and read
again on the next question, when the outcome of a change is unknown and when any row turns out to be bad. Listings are
used for answers to clients only: whether a key exists, what it is and whose it is, is always read from its row.

The memory of a listing is charged to the uid that asked for it. Beyond the budget, the uid that holds most gives up the
listing that it has not asked for longest. No uid gives up anything while it holds at most its share: the budget divided
by the number of uids that hold listings.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.limits import MAX_LISTING
from cofferdam_contracts.ipc.pages import pack_page
from cofferdam_contracts.status import ServiceError, Status

MAX_PAGE: Final = 128
"""Keys of one page, all of which are packed again when one of them changes."""
_PAGES: Final = 4
"""Pages packed in one step."""
BUDGET: Final = 64 << 20
"""Bytes of memory for all cached listings; including those that are being read, it may be twice as much."""
_KEY_OVERHEAD: Final = 64
"""Upper bound of the bytes that an answer has around the name and the attributes of a key."""
_OBJECT_OVERHEAD: Final = 256
"""Upper bound of the bytes of Python's objects for a key, without the two copies of its name."""
_EMPTY: Final = 1024
"""Upper bound of the bytes of a listing without keys."""

_SortKey = tuple[int, str]
"""Position of the provider in the configuration, name of the key: listings are sorted by it."""


class _Page:
    """Consecutive keys of a listing."""

    __slots__ = ("keys", "packed")

    def __init__(self, keys: list[_SortKey]) -> None:
        self.keys = keys
        self.packed: bytes | None = None


class Listing:
    """The keys of one application, in the order of the providers and of their names."""

    def __init__(self, numbers: Sequence[int], owner: int) -> None:
        """Start empty; `numbers` are the providers' numbers by position, `owner` is the uid that asked."""
        self.owner = owner
        self.whole = False
        """Whether all rows have been read."""
        self.source = 0
        """The store that is being read, by its position."""
        self.cursor = b""
        """The name in it from which reading continues."""
        self.lost = False
        """Whether it was dropped and no longer receives changes."""
        self.readers = 0
        """Number of questions that wait for it."""
        self.bytes = _EMPTY
        """Upper bound of its bytes in memory."""
        self.charged = 0
        """Bytes of that which are charged to the owner."""
        self._numbers = numbers
        self._attributes: dict[_SortKey, bytes] = {}
        self._answer = 0
        self._pages: list[_Page] = []

    def put(self, position: int, name: str, attributes: bytes) -> None:
        """Add a key, or replace it."""
        key = (position, name)
        if key in self._attributes:
            self.drop(position, name)
        self._attributes[key] = attributes
        self._weigh(name, attributes, 1)
        at = self._page_of(key)
        page = self._pages[at]
        insort(page.keys, key)
        page.packed = None
        if len(page.keys) > MAX_PAGE:
            half = MAX_PAGE // 2
            self._pages[at : at + 1] = [_Page(page.keys[:half]), _Page(page.keys[half:])]

    def drop(self, position: int, name: str) -> None:
        """Remove a key, if it is there."""
        key = (position, name)
        attributes = self._attributes.pop(key, None)
        if attributes is None:
            return
        self._weigh(name, attributes, -1)
        at = self._page_of(key)
        page = self._pages[at]
        page.keys.remove(key)
        page.packed = None
        if not page.keys:
            del self._pages[at]

    def pack_some(self) -> bool:
        """Pack some of the changed pages; return whether there were any."""
        changed = [page for page in self._pages if page.packed is None][:_PAGES]
        for page in changed:
            self._pack(page)
        return bool(changed)

    def pages(self) -> tuple[bytes, ...]:
        """Return the pages of the whole listing, all of which are packed.

        Raises:
            ServiceError: `RESPONSE_TOO_LARGE`.
        """
        self.check()
        return tuple(page.packed for page in self._pages if page.packed is not None)

    def check(self) -> None:
        """Refuse a listing that is larger than an answer may be.

        Raises:
            ServiceError: `RESPONSE_TOO_LARGE`.
        """
        if self._answer > MAX_LISTING:
            raise ServiceError(Status.RESPONSE_TOO_LARGE, f"a listing of more than {MAX_LISTING} bytes")

    def _page_of(self, key: _SortKey) -> int:
        """Return the index of the page that a key is in or belongs to."""
        if not self._pages:
            self._pages.append(_Page([]))
        return min(bisect_left(self._pages, key, key=_last), len(self._pages) - 1)

    def _pack(self, page: _Page) -> None:
        page.packed = pack_page(
            (self._numbers[position], name, self._attributes[position, name]) for position, name in page.keys
        )

    def _weigh(self, name: str, attributes: bytes, sign: int) -> None:
        length = len(name.encode())
        self._answer += sign * (length + len(attributes) + _KEY_OVERHEAD)
        self.bytes += sign * (2 * length + len(attributes) + _OBJECT_OVERHEAD)


class Listings:
    """The listings in memory, by application and by the uid that they are charged to."""

    def __init__(self, numbers: Sequence[int]) -> None:
        """Start empty; `numbers` are the providers' numbers by position."""
        self._numbers = numbers
        self._by_application: dict[Application, Listing] = {}
        self._by_owner: dict[int, dict[Application, Listing]] = {}
        """The listings of each owner, least recently used first."""
        self._held = Counter[int]()
        self.bytes = 0
        """Bytes of all of them in memory."""
        self.budget = BUDGET

    def of(self, application: Application, owner: int) -> Listing:
        """Return an application's listing, whole or not, or begin one; it becomes the most recently used."""
        listing = self._by_application.get(application)
        if listing is None:
            listing = self._by_application[application] = Listing(self._numbers, owner)
        owned = self._by_owner.setdefault(listing.owner, {})
        owned.pop(application, None)
        owned[application] = listing
        return listing

    def change(self, application: Application, change: Callable[[Listing], None]) -> None:
        """Apply a committed change to the application's listing, if there is one."""
        listing = self._by_application.get(application)
        if listing is not None:
            change(listing)
            self._charge(listing)
            self._make_room()

    def forget(self, application: Application) -> None:
        """Drop an application's listing, so that its keys are read again."""
        listing = self._by_application.pop(application, None)
        if listing is None:
            return
        listing.lost = True
        owned = self._by_owner[listing.owner]
        del owned[application]
        self.bytes -= listing.charged
        self._held[listing.owner] -= listing.charged
        if not owned:
            del self._by_owner[listing.owner], self._held[listing.owner]

    def forget_all(self) -> None:
        """Drop all listings."""
        for application in list(self._by_application):
            self.forget(application)

    def settle(self, application: Application, listing: Listing) -> None:
        """Keep the listing of a finished question only if it is whole and there is room, or while others read it."""
        if not listing.whole and not listing.readers and self._by_application.get(application) is listing:
            self.forget(application)
        self._make_room()

    def make_room(self, listing: Listing) -> None:
        """Charge a listing that is being read, and drop others for it.

        Raises:
            ServiceError: `PSA_ERROR_INSUFFICIENT_MEMORY`: too much is being read at once, and its owner holds most.
        """
        self._charge(listing)
        self._make_room()
        # The cached fair shares of others add up to at most the budget; they must not get a large listing refused.
        if self.bytes > 2 * self.budget and self._held[listing.owner] == max(self._held.values()):
            raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, "too many keys are being listed at once")

    def _make_room(self) -> None:
        """Drop listings that nobody reads until the budget suffices, as far as fair shares permit."""
        while self.bytes > self.budget and (victim := self._idlest()) is not None:
            self.forget(victim)

    def _charge(self, listing: Listing) -> None:
        if not listing.lost:
            more = listing.bytes - listing.charged
            listing.charged += more
            self.bytes += more
            self._held[listing.owner] += more

    def _idlest(self) -> Application | None:
        """Return the least recently used listing of the largest holder; none that is being read or within a share."""
        share = self.budget / len(self._held)
        for owner, held in self._held.most_common():
            if held <= share:
                break
            for application, listing in self._by_owner[owner].items():
                if not listing.readers:
                    return application
        return None


def _last(page: _Page) -> _SortKey:
    # Only a new page can be empty, and then it is the only page.
    return page.keys[-1] if page.keys else (0, "")
