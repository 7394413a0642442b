"""Whose keys are in a store, and what is known of keys that are in another one.

Each provider's keys are in the store of its key manager. A store also has a note of the providers whose keys are
elsewhere, in a table that exists only where there is more than one store: so keys are missed also when the other store
is not configured any more.
"""

import sqlite3
from contextlib import suppress
from typing import Final

from cofferdam_contracts.settings import ProviderEntry
from cofferdam_kim import schema
from cofferdam_kim.mapping_mirror import FileMirror

_MAKE: Final = "CREATE TABLE IF NOT EXISTS cofferdam_elsewhere (provider_uuid TEXT PRIMARY KEY, place TEXT NOT NULL)"
_FIND: Final = "SELECT place FROM cofferdam_elsewhere WHERE provider_uuid = ?"
_PUT: Final = "INSERT OR REPLACE INTO cofferdam_elsewhere VALUES (?, ?)"
_DROP: Final = "DELETE FROM cofferdam_elsewhere WHERE provider_uuid = ?"
_COUNT: Final = (
    "SELECT provider_uuid, count(*) FROM"
    " (SELECT provider_uuid FROM key_mapping UNION ALL SELECT provider_uuid FROM cofferdam_pending)"
    " GROUP BY provider_uuid"
)


class Whereabouts:
    """What one open store knows of it."""

    def __init__(self, connection: sqlite3.Connection, path: str, files: FileMirror | None, *, frozen: bool) -> None:
        """Look into a store's database, and at its mapping files; a `frozen` one gets no notes."""
        self._connection, self._path, self._files, self._frozen = connection, path, files, frozen
        self.place = path if files is None else files.root
        """The path of the database, or of the folder with the mapping files."""
        self.is_folder = files is not None

    def held(self) -> dict[object, int]:
        """Return how many keys there are of each provider, by its UUID, whether they are served, unfinished or neither.

        Of the mapping files of a provider that is none of this store's, each is a key, whatever its row says.

        Raises:
            StoreError: The database cannot be read.
        """
        try:
            rows = dict(self._connection.execute(_COUNT))
        except schema.FAILURES as error:
            raise schema.unusable(self._path, error) from error
        return rows | (self._files.left if self._files is not None else {})

    def noted(self, provider: ProviderEntry) -> str | None:
        """Return the place of another store that had a provider's keys last."""
        try:
            found = self._connection.execute(_FIND, (provider.uuid,)).fetchone()
        except schema.FAILURES:
            return None
        return None if found is None else str(found[0])

    def note(self, provider: ProviderEntry, place: str | None) -> None:
        """Note that another store has a provider's keys from now on, or that this one has them."""
        if not self._frozen and self.noted(provider) != place:
            # On a full disk the service starts all the same.
            with suppress(*schema.FAILURES), schema.transaction(self._connection):
                put_note(self._connection, provider, place)


def put_note(connection: sqlite3.Connection, provider: ProviderEntry, place: str | None) -> None:
    """Note in a database where a provider's keys are; None stands for this database."""
    connection.execute(_MAKE)
    if place is None:
        connection.execute(_DROP, (provider.uuid,))
    else:
        connection.execute(_PUT, (provider.uuid, place))
