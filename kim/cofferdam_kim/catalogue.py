"""Listings of keys and applications, produced in steps between which other questions are answered.

Rows are found through the index, a few at a time, and each is read by its row number, so that all its values come from
the table. Listings of keys are kept in memory; `listings` says what may be in one.
"""

import itertools
import sqlite3
from collections.abc import Callable, Generator, Sequence
from typing import Final, TypeAlias, TypeVar

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.limits import AROUND, MAX_LISTING
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim import schema
from cofferdam_kim.listings import Listing, Listings
from cofferdam_kim.rows import COLUMNS, PROVIDER_UUID, RawRow, belongs

# The name in an index entry is returned beside the row that the entry leads to. Text is compared as bytes because it
# may be damaged; values that are not text sort elsewhere and are not names.
_SOME_ROWS: Final = f"""
    SELECT {", ".join(f"row.{column}" for column in COLUMNS.split(", "))}, row.rowid, entry.key_name FROM (
        SELECT rowid AS number, key_name FROM key_mapping
        WHERE authenticator_id = ? AND application_name = CAST(? AS TEXT)
        AND key_name >= CAST(? AS TEXT) AND key_name < x'' ORDER BY key_name LIMIT ?
    ) AS entry LEFT JOIN key_mapping AS row ON row.rowid = entry.number"""  # noqa: S608
_NEXT_APPLICATION: Final = (
    "SELECT application_name FROM key_mapping WHERE authenticator_id = ? AND application_name >= CAST(? AS TEXT)"
    " AND application_name < x'' ORDER BY application_name LIMIT 1"
)
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
    """Reads the rows of an open store; every method may raise `ServiceError`."""

    def __init__(  # noqa: PLR0913  what it needs of the store
        self,
        connection: sqlite3.Connection,
        providers: Sequence[ProviderEntry],
        fault: Callable[[RawRow], str | None],
        failed: Callable[[Exception], ServiceError],
        misled: Callable[[], ServiceError],
        *,
        refusal: str | None,
    ) -> None:
        """List keys of these providers.

        Args:
            connection: The store's.
            providers: In the order of the configuration.
            fault: Returns what is wrong with a row, and withholds the row from then on.
            failed: Converts one of `schema.FAILURES` to an error.
            misled: Returns the error for an index entry that leads to the wrong row.
            refusal: Why nothing can be listed, if so: clients would take an incomplete listing for the whole.
        """
        self._connection = connection
        self._order = {provider.uuid: position for position, provider in enumerate(providers)}
        self._fault, self._failed, self._misled, self._refusal = fault, failed, misled, refusal
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
        while cursor is not None and len(names) < _SOME:
            rows, cursor, withheld = self._some_rows(application, cursor, STEP)
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
        rows, cursor, _ = self._some_rows(application, listing.cursor, STEP)
        for row in rows:
            position = self._order.get(row[PROVIDER_UUID])
            if position is not None:
                listing.put(position, row[2], row[_ATTRIBUTES])
        listing.whole, listing.cursor = cursor is None, cursor or b""
        listing.check()
        self.listings.make_room(listing)

    def _has_keys(self, application: Application) -> Steps[bool]:
        """Tell whether any row of an application would be listed; usually the first one is."""
        cursor: bytes | None = b""
        most = 1
        while cursor is not None:
            rows, cursor, _ = self._some_rows(application, cursor, most)
            if any(row[PROVIDER_UUID] in self._order for row in rows):
                return True
            if most > 1:
                yield
            most = STEP
        return False

    def _next_application(self, authenticator: int, last: str | None) -> str | None:
        after = b"" if last is None else _after(last)
        if authenticator == INTERNAL_AUTHENTICATOR:
            return None
        self._refuse()
        try:
            row = self._connection.execute(_NEXT_APPLICATION, (authenticator, after)).fetchone()
        except schema.FAILURES as error:
            raise self._failed(error) from error
        if row is not None and not _ascend(after, [_after(row[0])]):
            raise self._misled()
        return None if row is None else row[0]

    def _refuse(self) -> None:
        if self._refusal is not None:
            raise ServiceError(Status.KEY_INFO_MANAGER_ERROR, self._refusal)

    def _some_rows(
        self, application: Application, cursor: bytes, most: int
    ) -> tuple[list[RawRow], bytes | None, list[RawRow]]:
        """Read an application's next rows, in the order of their names.

        Returns:
            The sound rows, where to continue (None when there are no more), and the withheld rows.
        """
        if application.authenticator == INTERNAL_AUTHENTICATOR:
            return [], None, []
        self._refuse()
        owner = (application.authenticator, application.name)
        wanted = (application.authenticator, _bytes(application.name), cursor, most)
        try:
            rows = self._connection.execute(_SOME_ROWS, wanted).fetchall()
        except schema.FAILURES as error:
            raise self._failed(error) from error
        following = [_after(row[-1]) for row in rows]
        # An entry of a damaged index may lead to another row, or back to where the search began.
        if any(row[:2] != owner or row[2] != row[-1] for row in rows) or not _ascend(cursor, following):
            raise self._misled()
        sound: list[RawRow] = []
        bad: list[RawRow] = []
        for row in rows:
            (sound if self._fault(row[:-1]) is None else bad).append(row)
        return sound, following[-1] if len(rows) == most else None, bad


def _owner(row: RawRow) -> Application:
    return Application(row[0], row[1])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _after(text: str) -> bytes:
    """Return the next larger text, as SQLite sorts it."""
    return _bytes(text) + b"\0"


def _ascend(cursor: bytes, following: Sequence[bytes]) -> bool:
    return all(one < other for one, other in itertools.pairwise((cursor, *following)))
