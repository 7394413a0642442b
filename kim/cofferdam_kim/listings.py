"""Listings of keys that are kept ready in memory, since clients ask for one before each use of a key.

A listing holds provider, name and attributes of an application's keys, and its pages as they are sent. What may be in
it: rows that this process read from the table by their number and found sound, and rows that it wrote, once they were
committed. The key store is the only writer, so nothing else changes them. A listing is forgotten, and read anew when it
is asked for, when the outcome of a change is unknown, and when any row is found to have gone bad. Only clients are told
what is in a listing: whether a key exists, what it is and whose it is, is always read from its row.

Listings are charged to the uid that asked for them. Beyond the budget the uid that has most gives up what it has not
asked for longest. Nobody who has no more than its share, the budget divided by those who have any, gives up anything.
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
"""Keys of one page: what is packed again when one of them changes."""
_PAGES: Final = 4
"""Pages packed in one step."""
BUDGET: Final = 64 << 20
"""Bytes of memory for all listings that are kept; with those that are being read it may be twice as much."""
_ON_THE_WAY: Final = 64
"""More bytes than an answer has around the name and the attributes of a key."""
_IN_MEMORY: Final = 256
"""More bytes than Python's objects for a key take, without the two copies of its name."""
_EMPTY: Final = 1024
"""More bytes than a listing without keys takes."""

_Place = tuple[int, str]
"""Position of the provider in the configuration, name of the key: listings are in this order."""


class _Page:
    """Some keys that follow each other."""

    __slots__ = ("packed", "places")

    def __init__(self, places: list[_Place]) -> None:
        self.places = places
        self.packed: bytes | None = None


class Listing:
    """The keys of one application, in the order of the providers and of their names."""

    def __init__(self, numbers: Sequence[int], owner: int) -> None:
        """Hold nothing; `numbers` are those of the providers by their position, `owner` is the uid that asked."""
        self.owner = owner
        self.whole = False
        """Whether all rows have been read."""
        self.cursor = b""
        """The name at which reading goes on."""
        self.lost = False
        """Whether changes are not noted here any more."""
        self.readers = 0
        """How many questions wait for it."""
        self.bytes = _EMPTY
        """What it takes in memory, rather too much than too little."""
        self.charged = 0
        """How much of that is charged to the owner."""
        self._numbers = numbers
        self._attributes: dict[_Place, bytes] = {}
        self._answer = 0
        self._pages: list[_Page] = []

    def put(self, position: int, name: str, attributes: bytes) -> None:
        """Note a key, or what it is now."""
        place = (position, name)
        if place in self._attributes:
            self.drop(position, name)
        self._attributes[place] = attributes
        self._weigh(name, attributes, 1)
        at = self._page_of(place)
        page = self._pages[at]
        insort(page.places, place)
        page.packed = None
        if len(page.places) > MAX_PAGE:
            half = MAX_PAGE // 2
            self._pages[at : at + 1] = [_Page(page.places[:half]), _Page(page.places[half:])]

    def drop(self, position: int, name: str) -> None:
        """Forget a key, if it is here."""
        place = (position, name)
        attributes = self._attributes.pop(place, None)
        if attributes is None:
            return
        self._weigh(name, attributes, -1)
        at = self._page_of(place)
        page = self._pages[at]
        page.places.remove(place)
        page.packed = None
        if not page.places:
            del self._pages[at]

    def pack_some(self) -> bool:
        """Pack some of the pages that changed; tell whether there were any."""
        changed = [page for page in self._pages if page.packed is None][:_PAGES]
        for page in changed:
            self._pack(page)
        return bool(changed)

    def pages(self) -> tuple[bytes, ...]:
        """Return the pages of the whole listing, once all are packed.

        Raises:
            ServiceError: `RESPONSE_TOO_LARGE`.
        """
        self.check()
        return tuple(page.packed for page in self._pages if page.packed is not None)

    def check(self) -> None:
        """Refuse to be larger than an answer may be.

        Raises:
            ServiceError: `RESPONSE_TOO_LARGE`.
        """
        if self._answer > MAX_LISTING:
            raise ServiceError(Status.RESPONSE_TOO_LARGE, f"a listing of more than {MAX_LISTING} bytes")

    def _page_of(self, place: _Place) -> int:
        """Return the index of the page where a place is or belongs."""
        if not self._pages:
            self._pages.append(_Page([]))
        return min(bisect_left(self._pages, place, key=_last), len(self._pages) - 1)

    def _pack(self, page: _Page) -> None:
        page.packed = pack_page(
            (self._numbers[position], name, self._attributes[position, name]) for position, name in page.places
        )

    def _weigh(self, name: str, attributes: bytes, sign: int) -> None:
        length = len(name.encode())
        self._answer += sign * (length + len(attributes) + _ON_THE_WAY)
        self.bytes += sign * (2 * length + len(attributes) + _IN_MEMORY)


class Listings:
    """The listings in memory, by application and by the uid that they are charged to."""

    def __init__(self, numbers: Sequence[int]) -> None:
        """Hold none; `numbers` are those of the providers by their position."""
        self._numbers = numbers
        self._by_application: dict[Application, Listing] = {}
        self._by_owner: dict[int, dict[Application, Listing]] = {}
        """Of each owner, the one not asked for longest first."""
        self._held = Counter[int]()
        self.bytes = 0
        """What all of them take in memory."""
        self.budget = BUDGET

    def of(self, application: Application, owner: int) -> Listing:
        """Return an application's listing, whole or not, or begin one; it is the one asked for last now."""
        listing = self._by_application.get(application)
        if listing is None:
            listing = self._by_application[application] = Listing(self._numbers, owner)
        owned = self._by_owner.setdefault(listing.owner, {})
        owned.pop(application, None)
        owned[application] = listing
        return listing

    def change(self, application: Application, change: Callable[[Listing], None]) -> None:
        """Apply what was committed to the application's listing, if there is one."""
        listing = self._by_application.get(application)
        if listing is not None:
            change(listing)
            self._charge(listing)
            self._make_room()

    def forget(self, application: Application) -> None:
        """Have the application's keys read anew."""
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
        """Have all keys read anew."""
        for application in list(self._by_application):
            self.forget(application)

    def settle(self, application: Application, listing: Listing) -> None:
        """Keep what a question leaves only if it is whole and there is room, or if others still read it."""
        if not listing.whole and not listing.readers and self._by_application.get(application) is listing:
            self.forget(application)
        self._make_room()

    def make_room(self, listing: Listing) -> None:
        """Charge what a listing takes that is being read, and give up others for it.

        Raises:
            ServiceError: `PSA_ERROR_INSUFFICIENT_MEMORY`: too much is being read at once, and most for this one.
        """
        self._charge(listing)
        self._make_room()
        # What others keep, a fair share each, is at most the budget; it must not have a large listing refused.
        if self.bytes > 2 * self.budget and self._held[listing.owner] == max(self._held.values()):
            raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, "too many keys are being listed at once")

    def _make_room(self) -> None:
        """Give up listings that nobody reads until the budget suffices, as far as that may be."""
        while self.bytes > self.budget and (victim := self._idlest()) is not None:
            self.forget(victim)

    def _charge(self, listing: Listing) -> None:
        if not listing.lost:
            more = listing.bytes - listing.charged
            listing.charged += more
            self.bytes += more
            self._held[listing.owner] += more

    def _idlest(self) -> Application | None:
        """Return what the owner of most has not asked for longest; nothing that is being read, nor of a fair share."""
        share = self.budget / len(self._held)
        for owner, held in self._held.most_common():
            if held <= share:
                break
            for application, listing in self._by_owner[owner].items():
                if not listing.readers:
                    return application
        return None


def _last(page: _Page) -> _Place:
    # Only a new page is empty, and it is the only one.
    return page.places[-1] if page.places else (0, "")
