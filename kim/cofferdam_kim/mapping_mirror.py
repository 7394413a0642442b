"""Keeps the mapping files of an `OnDisk` store and the rows of the database beside them in line.

The files say which keys in the reference's form there are; the database has a row for each of them, with its code, and
everything that the format has no place for: unfinished changes, keys in our own form, and those of additional
authenticators. A change of a file is announced in the database first, then made, and committed together with its row.
So when the store is opened, an announced file that does not fit its row was left by an interrupted change and is
brought in line with the row; every other difference comes from the reference, or from the administrator, and the row is
brought in line with the file. A content that cannot be understood becomes a row that cannot: it is quarantined and
keeps its name.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR, PROVIDERS, AuthType, ProviderId
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim import schema
from cofferdam_kim.errors import StoreError
from cofferdam_kim.mapping_files import INTERNAL, Mapped, MappingError, Parts, decode, encode, mapped_by, parts_of
from cofferdam_kim.mapping_tree import MARK, Found, MappingTree
from cofferdam_kim.report import FILE, Quarantined
from cofferdam_kim.rows import ATTRIBUTES_VERSION, COLUMNS, IDENTITY, PROVIDER_UUID, RawRow, fault

DATABASE: Final = "cofferdam.sqlite3"
"""Name of the database in the root of the store, where the reference ignores files."""
_NAMED: Final = "authenticator_id = ? AND application_name = ? AND key_name = ?"
ANNOUNCEMENTS: Final = "cofferdam_files"
"""The table of changes of files that may be unfinished."""
_ANNOUNCED: Final = """
    CREATE TABLE IF NOT EXISTS cofferdam_files (
        authenticator_id INTEGER NOT NULL,
        application_name TEXT NOT NULL,
        key_name TEXT NOT NULL,
        provider_uuid TEXT NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (authenticator_id, application_name, key_name, provider_uuid)
    )"""
_ANNOUNCE: Final = "INSERT OR REPLACE INTO cofferdam_files VALUES (?, ?, ?, ?, ?)"
_DONE: Final = f"DELETE FROM cofferdam_files WHERE {_NAMED} AND provider_uuid = ?"  # noqa: S608
_ALL: Final = "SELECT * FROM cofferdam_files"
_FIND: Final = f"SELECT {COLUMNS} FROM key_mapping WHERE {_NAMED}"  # noqa: S608
_INSERT: Final = f"INSERT INTO key_mapping ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_UPDATE: Final = f"UPDATE key_mapping SET key_id = ?, key_attributes = ? WHERE {_NAMED}"  # noqa: S608
_DELETE: Final = f"DELETE FROM key_mapping WHERE {_NAMED}"  # noqa: S608
_FILED: Final = f"SELECT {COLUMNS} FROM key_mapping WHERE key_id_version = 1"  # noqa: S608
# After a change of the authenticator, the same file names a key of the new one.
_MOVED: Final = (
    "DELETE FROM key_mapping WHERE authenticator_id = ? AND application_name = ? AND key_name = ?"
    " AND provider_uuid = ? AND key_id_version = 1 AND key_id = ?"
)
_IS_KNOWN: Final = (
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?) OR EXISTS (SELECT 1 FROM key_mapping)"
)
_OWN_FORM: Final = "SELECT 1 FROM key_mapping WHERE key_id_version <> 1 LIMIT 1"
_VERSION: Final = 6
"""Index of the version of the key id in a row of `COLUMNS`; 1 is the reference's form."""
_BAD: Final = b"\xff" * 4
"""No attributes begin with it."""
_INTERNAL: Final = (INTERNAL_AUTHENTICATOR, INTERNAL)
"""Authenticator and application of the service's own keys."""
_SHOWN: Final = 1024
"""Bytes of a content that cannot be understood that its row holds."""
_MARK: Final = b"Some keys of this store are in a form that only Cofferdam reads: see kim.give_back.\n"


class FileMirror:
    """The mapping files of one store."""

    def __init__(self, root: str, authenticator: int, providers: Sequence[ProviderEntry]) -> None:
        """Open the root folder, which has been prepared.

        Args:
            root: Path of the folder.
            authenticator: The authenticator whose clients the files are of: nothing in them names one.
            providers: Those whose keys are in this store; files of others are left alone.

        Raises:
            StoreError: The folder cannot be opened.
        """
        self.root = root
        self._authenticator = authenticator
        self._others = sorted(set(map(int, AuthType)) - {authenticator})
        self._by_number = {provider.id: provider for provider in providers}
        self._by_uuid = {provider.uuid: provider for provider in providers}
        self._marked = False
        self.left = Counter[object]()
        """Files of other providers, by their UUIDs."""
        with self._opening():
            self._tree = MappingTree(root)

    def reconcile(self, connection: sqlite3.Connection) -> tuple[Quarantined, ...]:
        """Bring files and rows in line when the store is opened; return the files that no row can stand for.

        Raises:
            StoreError: A folder or the database cannot be read or written.
        """
        try:
            with self._opening():
                self._refuse_lost(connection)
                for _ in self.finish(connection):
                    pass
                with schema.transaction(connection):
                    bad = tuple(self._take_all(connection))
                self.set_mark(connection)
        except schema.FAILURES as error:
            raise schema.unusable(f"{self.root}/{DATABASE}", error) from error
        return bad

    def finish(self, connection: sqlite3.Connection) -> Iterator[int]:
        """Finish or undo each announced change, and yield how many are left."""
        connection.execute(_ANNOUNCED)
        announced = connection.execute(_ALL).fetchall()
        for left, row in zip(reversed(range(len(announced))), announced, strict=True):
            self._settle(connection, row)
            yield left

    def announce_all(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """Announce a file for each row that has one; return how many those are, and how many keys have none."""
        rows = connection.execute(f"SELECT {COLUMNS} FROM key_mapping").fetchall()  # noqa: S608
        filed = self.announce_making(connection, rows)
        return filed, len(rows) - filed

    def announce_making(self, connection: sqlite3.Connection, rows: Sequence[RawRow]) -> int:
        """Announce the files of those rows that have one; return how many those are."""
        connection.execute(_ANNOUNCED)
        filed = [_announced(row) for row in rows if fault(row) is None and self.concerns(row)]
        connection.executemany(_ANNOUNCE, filed)
        return len(filed)

    def announce_removal(self, connection: sqlite3.Connection, rows: Sequence[RawRow]) -> None:
        """Announce that the files of rows are removed that are about to be deleted, whatever follows their contents."""
        connection.execute(_ANNOUNCED)
        for row in filter(self.concerns, rows):
            content = self._tree.read(self._parts(row))
            if content is not None and decode(content) == (row[5], row[7]):
                connection.execute(_ANNOUNCE, (*row[: PROVIDER_UUID + 1], content))

    def check_name(self, identity: KeyIdentity) -> None:
        """Refuse a key that could have no file, whatever its form, as the reference does."""
        provider = next(iter(self._by_number))
        if identity.authenticator == self._authenticator:
            try:
                parts_of(Mapped(provider, identity.application, identity.key_name))
            except MappingError as error:
                raise ServiceError(Status.KEY_INFO_MANAGER_ERROR, str(error)) from error

    def concerns(self, row: RawRow) -> bool:
        """Tell whether an active row has a file."""
        if row[_VERSION] != 1 or row[PROVIDER_UUID] not in self._by_uuid:
            return False
        if row[0] != self._authenticator and (row[0], row[1]) != _INTERNAL:
            return False
        try:
            return bool(self._parts(row))
        except (ValueError, AttributeError):  # values of damaged rows may have any type
            return False

    def announce(self, connection: sqlite3.Connection, row: RawRow) -> None:
        """Note, on the disk, that the file of a row is about to be made or removed."""
        connection.execute(_ANNOUNCE, _announced(row))

    def settle(self, connection: sqlite3.Connection, row: RawRow) -> None:
        """Bring the file of a row in line with the database after a change that failed."""
        # What cannot be done now is done when the store is opened.
        with suppress(OSError, *schema.FAILURES):
            self._settle(connection, _announced(row))

    def put(self, connection: sqlite3.Connection, row: RawRow) -> None:
        """Write the file of a row that is about to be committed; the rest is for rows that have no file."""
        if not self.concerns(row):
            if row[_VERSION] != 1 and not self._marked:
                with _failing():
                    self._tree.write(MARK, _MARK)
                self._marked = True
            return
        parts, content = self._parts(row), encode(row[5], row[7])
        with _failing():
            if self._tree.read(parts) not in (None, content):
                raise ServiceError(Status.PSA_ERROR_ALREADY_EXISTS, "a mapping file that is not served has this name")
            self._tree.write(parts, content)
        connection.execute(_DONE, row[: PROVIDER_UUID + 1])

    def drop(self, connection: sqlite3.Connection, row: RawRow) -> None:
        """Remove the file of a row whose deletion is about to be committed."""
        if self.concerns(row):
            with _failing():
                self._tree.remove(self._parts(row))
            connection.execute(_DONE, row[: PROVIDER_UUID + 1])

    def set_mark(self, connection: sqlite3.Connection) -> None:
        """Leave a mark for the reference if there are keys that have no file, and remove it if there are none."""
        self._marked = connection.execute(_OWN_FORM).fetchone() is not None
        if not self._marked:
            self._tree.remove(MARK)
        elif self._tree.read(MARK) is None:
            self._tree.write(MARK, _MARK)

    def close(self, connection: sqlite3.Connection) -> None:
        """Leave everything as the reference may find it."""
        with suppress(OSError, *schema.FAILURES):
            self.set_mark(connection)
        self._tree.close()

    def _refuse_lost(self, connection: sqlite3.Connection) -> None:
        """Refuse a new database where there was one with keys that have no files."""
        known = connection.execute(_IS_KNOWN, (ANNOUNCEMENTS,)).fetchone() is not None
        if not known and self._tree.read(MARK) is not None:
            raise StoreError(
                self.root,
                found=f"the mark {'/'.join(MARK)} of keys in Cofferdam's own form, but not their database",
                expected=f"the database {DATABASE}",
                remedy="restore it from a backup; or remove the mark, which gives up those keys",
            )

    def _settle(self, connection: sqlite3.Connection, announced: RawRow) -> None:
        """Finish or undo an announced change of a file, as its row says."""
        *name, uuid, content = announced
        if uuid not in self._by_uuid:
            # It waits until the provider is configured again: the file of a destroyed key would be its revival.
            return
        row = connection.execute(_FIND, name).fetchone()
        parts = self._parts((*name, uuid))
        there = self._tree.read(parts)
        if row is None and there == content:
            self._tree.remove(parts)
        elif row is not None and there is None and row[PROVIDER_UUID] == uuid and self.concerns(row):
            self._tree.write(parts, encode(row[5], row[7]))
        connection.execute(_DONE, (*name, uuid))

    def _take_all(self, connection: sqlite3.Connection) -> Iterator[Quarantined]:
        """Bring the rows in line with the files."""
        there: set[RawRow] = set()
        for found in self._tree.files():
            try:
                row = self._row(found)
                if row is not None:
                    there.add(row[: PROVIDER_UUID + 1])
                    self._take(connection, row)
            except MappingError as error:
                yield Quarantined(FILE, found.number, str(error))
        for row in connection.execute(_FILED).fetchall():
            if row[: PROVIDER_UUID + 1] not in there and self.concerns(row):
                connection.execute(_DELETE, row[IDENTITY])

    def _row(self, found: Found) -> RawRow | None:
        """Return the row that stands for a file."""
        mapped = mapped_by(found.parts)
        if mapped is None:
            return None
        provider = self._by_number.get(mapped.provider)
        if provider is None:
            self.left[_uuid_of(mapped.provider)] += 1
            return None
        try:
            key_id, attributes = decode(found.content)
        except MappingError:
            key_id, attributes = b"", _BAD + found.content[:_SHOWN]
        owner = _INTERNAL if mapped.application is None else (self._authenticator, mapped.application)
        names = (*owner, mapped.key_name, provider.uuid, provider.name)
        return (*names, key_id, 1, attributes, ATTRIBUTES_VERSION)

    def _take(self, connection: sqlite3.Connection, row: RawRow) -> None:
        present = connection.execute(_FIND, row[IDENTITY]).fetchone()
        if present is None:
            # One by one, so that each is found through the index.
            connection.executemany(_MOVED, [(other, *row[1:4], row[5]) for other in self._others])
            connection.execute(_INSERT, row)
        elif present[PROVIDER_UUID] != row[PROVIDER_UUID]:
            raise MappingError("a key of another provider has the same name")
        elif present[_VERSION] != 1:
            raise MappingError("a key in Cofferdam's own form has the same name")
        elif (present[5], present[7]) != (row[5], row[7]):
            connection.execute(_UPDATE, (row[5], row[7], *row[IDENTITY]))

    def _parts(self, row: RawRow) -> Parts:
        authenticator, application, key_name, uuid, *_ = row
        internal = authenticator == INTERNAL_AUTHENTICATOR
        return parts_of(Mapped(self._by_uuid[uuid].id, None if internal else application, key_name))

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                self.root,
                found=str(error.strerror),
                expected="folders and files that can be read and written",
                remedy="check owner, mode and free space of the folder and of what is in it",
            ) from error


def _uuid_of(number: int) -> str:
    described = PROVIDERS.get(ProviderId(number))
    return described.uuid if described else f"provider {number}"


def _announced(row: RawRow) -> RawRow:
    return (*row[: PROVIDER_UUID + 1], encode(row[5], row[7]))


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServiceError(Status.KEY_INFO_MANAGER_ERROR, f"a mapping file: {error.strerror}") from error
