"""Reads the names in one store for listings.

Rows are found through the index, a few at a time, and each is read by its row number, so that all its values come from
the table.
"""

import itertools
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from cofferdam_contracts.identity import Application
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim import schema
from cofferdam_kim.rows import COLUMNS, RawRow

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


class RowSource:
    """What there is to list in an open store; every method may raise `ServiceError`."""

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
        """Read for the store.

        Args:
            connection: The store's.
            providers: Those whose keys are in it; rows of others are passed over.
            fault: Returns what is wrong with a row, and withholds the row from then on.
            failed: Converts one of `schema.FAILURES` to an error.
            misled: Returns the error for an index entry that leads to the wrong row.
            refusal: Why nothing can be listed, if so: clients would take an incomplete listing for the whole.
        """
        self._connection = connection
        self._fault, self._failed, self._misled, self._refusal = fault, failed, misled, refusal
        self.served = frozenset(provider.uuid for provider in providers)
        self.listed = self.served
        """Providers whose rows are listed: also one whose keys were left here and are not served."""

    def next_application(self, authenticator: int, last: str | None) -> str | None:
        """Return the name of the first application after `last` that has rows."""
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

    def some_rows(
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
        wanted = (application.authenticator, encoded(application.name), cursor, most)
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

    def _refuse(self) -> None:
        if self._refusal is not None:
            raise ServiceError(Status.KEY_INFO_MANAGER_ERROR, self._refusal)


def encoded(text: str) -> bytes:
    """Return a text as SQLite compares it."""
    return text.encode("utf-8", "surrogateescape")


def _after(text: str) -> bytes:
    """Return the next larger text, as SQLite sorts it."""
    return encoded(text) + b"\0"


def _ascend(cursor: bytes, following: Sequence[bytes]) -> bool:
    return all(one < other for one, other in itertools.pairwise((cursor, *following)))
