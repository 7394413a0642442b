"""Listings of keys and applications, produced in steps between which other questions are answered.

They are put together from the rows of all stores, a few at a time. Listings of keys are kept in memory; `listings` says
what may be in one.
"""

from collections.abc import Generator, Sequence
from typing import Final, TypeAlias, TypeVar

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.limits import AROUND, MAX_LISTING
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.listings import Listing, Listings
from cofferdam_kim.row_source import RowSource, encoded
from cofferdam_kim.rows import PROVIDER_UUID, RawRow, belongs

STEP: Final = 64
"""Rows read in one step of a listing."""
_CLIENTS: Final = 32
"""Applications looked up in one step."""
_SOME: Final = 1000
"""Names in an answer to a worker, well below what fits into a message."""
_ATTRIBUTES: Final = 7
"""Index of the attributes in a row of `COLUMNS`."""

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""A computation that takes so long that other questions are answered between its steps."""


class Catalogue:
    """Reads the rows of open stores; every method may raise `ServiceError`."""

    def __init__(self, sources: Sequence[RowSource], providers: Sequence[ProviderEntry]) -> None:
        """List the keys of these providers, in the order of the configuration, from these stores."""
        self._sources = tuple(sources)
        self._order = {provider.uuid: position for position, provider in enumerate(providers)}
        self.listings = Listings([provider.id for provider in providers])

    def add(self, row: RawRow) -> None:
        """Add a row, once it is committed, to the listing in memory."""
        position, attributes = self._order[row[PROVIDER_UUID]], row[_ATTRIBUTES]
        self.listings.change(_owner(row), lambda listing: listing.put(position, row[2], attributes))

    def remove(self, row: RawRow) -> None:
        """Remove a row, once its deletion is committed, from the listing in memory."""
        position = self._order[row[PROVIDER_UUID]]
        self.listings.change(_owner(row), lambda listing: listing.drop(position, row[2]))

    def client_keys(self, provider: ProviderEntry, application: Application) -> Steps[list[str]]:
        """Return some names of an application's keys in one provider; the worker destroys those and asks again.

        `PSA_ERROR_DATA_CORRUPT` when only withheld rows are left: their keys still exist.
        """
        names: list[str] = []
        bad = 0
        cursor: bytes | None = b""
        (source,) = (source for source in self._sources if provider.uuid in source.served)
        while cursor is not None and len(names) < _SOME:
            rows, cursor, withheld = source.some_rows(application, cursor, STEP)
            names += [row[2] for row in rows if row[PROVIDER_UUID] == provider.uuid]
            bad += sum(belongs(row, provider) for row in withheld)
            if cursor is not None:
                yield
        if bad and not names:
            raise ServiceError(Status.PSA_ERROR_DATA_CORRUPT, f"rows of the application that are held back: {bad}")
        return names[:_SOME]

    def list_keys(self, application: Application, owner: int) -> Steps[tuple[bytes, ...]]:
        """Return the pages of an application's listing, in the order of the providers; a uid is charged for them."""
        while True:
            listing = self.listings.of(application, owner)
            listing.readers += 1
            try:
                while not listing.lost and (not listing.whole or listing.pack_some()):
                    if not listing.whole:
                        self._read_on(application, listing)
                    yield
                if not listing.lost:
                    return listing.pages()
            finally:
                listing.readers -= 1
                self.listings.settle(application, listing)

    def list_clients(self, authenticator: int) -> Steps[tuple[str, ...]]:
        """Return the names of the applications of one authenticator that have keys, in order."""
        clients: list[str] = []
        room = MAX_LISTING
        looked = 0
        last: str | None = None
        while (found := self._next_application(authenticator, last)) is not None:
            last = found
            if (yield from self._has_keys(Application(authenticator, found))):
                clients.append(found)
                room -= len(found.encode()) + AROUND
                if room < 0:
                    raise ServiceError(Status.RESPONSE_TOO_LARGE, f"a listing of more than {len(clients)} clients")
            looked += 1
            if looked % _CLIENTS == 0:
                yield
        return tuple(clients)

    def _read_on(self, application: Application, listing: Listing) -> None:
        """Read the next rows into a listing."""
        source = self._sources[listing.source]
        rows, cursor, _ = source.some_rows(application, listing.cursor, STEP)
        for row in rows:
            position = self._order.get(row[PROVIDER_UUID])
            if position is not None and row[PROVIDER_UUID] in source.listed:
                listing.put(position, row[2], row[_ATTRIBUTES])
        listing.cursor = cursor or b""
        listing.source += cursor is None
        listing.whole = listing.source == len(self._sources)
        listing.check()
        self.listings.make_room(listing)

    def _has_keys(self, application: Application) -> Steps[bool]:
        """Tell whether any row of an application would be listed; usually the first one is."""
        for source in self._sources:
            cursor: bytes | None = b""
            most = 1
            while cursor is not None:
                rows, cursor, _ = source.some_rows(application, cursor, most)
                if any(row[PROVIDER_UUID] in source.listed for row in rows):
                    return True
                if most > 1:
                    yield
                most = STEP
        return False

    def _next_application(self, authenticator: int, last: str | None) -> str | None:
        found = (source.next_application(authenticator, last) for source in self._sources)
        return min((name for name in found if name is not None), key=encoded, default=None)


def _owner(row: RawRow) -> Application:
    return Application(row[0], row[1])
