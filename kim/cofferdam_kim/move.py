"""Moves the keys of single providers from one store to another, while the service is stopped.

The keys are in the new store, and on the disk, before they are removed from the old one; each of the two is one
transaction. Whoever stops the command, or the machine, in between has them in both: the service refuses the provider
then, and the command can be repeated, which finds the same keys there and goes on. Other differences are refused.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final, NamedTuple

from cofferdam_contracts.registry import PROVIDERS, ProviderId
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_kim import location, schema
from cofferdam_kim.errors import StoreError
from cofferdam_kim.mapping_mirror import DATABASE, FileMirror
from cofferdam_kim.report import StoreReport, inspect
from cofferdam_kim.rows import COLUMNS, IDENTITY, RawRow
from cofferdam_kim.whereabouts import put_note

ALL_PROVIDERS: Final = tuple(
    ProviderEntry(id=entry.id, uuid=entry.uuid, name=entry.name, opcodes=()) for entry in PROVIDERS.values()
)
UUIDS: Final = frozenset(provider.uuid for provider in ALL_PROVIDERS)
TYPES: Final = {"MbedCrypto": ProviderId.MBED_CRYPTO, "Pkcs11": ProviderId.PKCS11, "Tpm": ProviderId.TPM}
"""Providers by their `provider_type`."""
_TABLES: Final = {
    "key_mapping": COLUMNS,
    "cofferdam_pending": f"{COLUMNS}, state",
    "cofferdam_codes": "authenticator_id, application_name, key_name, state, provider_uuid, code",
    "cofferdam_providers": "provider_uuid, key_check, seal",
}
"""The columns of the tables with rows of providers."""
_KEYS: Final = ("key_mapping", "cofferdam_pending")
_TAKEN: Final = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE authenticator_id = ? AND application_name = ? AND key_name = ? AND provider_uuid <> ?"  # noqa: S608
    for table in _KEYS
)
Rows = dict[str, list[RawRow]]
"""The rows of one provider, by table, in order."""


class Store(NamedTuple):
    """An open store, with mapping files or without."""

    place: str
    connection: sqlite3.Connection
    files: FileMirror | None


@contextmanager
def opened(place: str, authenticator: int) -> Iterator[Store]:
    """Open a database, or a folder with mapping files, that has been prepared; all of it has to be understood.

    Raises:
        StoreError: It cannot be used.
    """
    path = f"{place}/{DATABASE}" if os.path.isdir(place) else place
    location.check_file(path)
    with closing(schema.open_sound(path)) as connection:
        if path == place:
            refuse_unsound(place, inspect(connection, path, UUIDS))
            yield Store(place, connection, None)
        else:
            files = FileMirror(place, authenticator, ALL_PROVIDERS)
            try:
                refuse_unsound(place, inspect(connection, path, UUIDS, files.reconcile(connection)))
                yield Store(place, connection, files)
            finally:
                files.close(connection)
        with suppress(*schema.FAILURES):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def move(old: Store, new: Store, provider: ProviderEntry) -> int:
    """Move a provider's keys, finished or not, with what belongs to them; return how many there were.

    Raises:
        StoreError: The new store has other keys of the provider, or other providers' keys with the same names.
        OSError: Mapping files cannot be written.
    """
    rows, there = _rows(old.connection, provider), _rows(new.connection, provider)
    count = sum(len(rows[table]) for table in _KEYS)
    if not count:
        for store, place in ((new, None), (old, new.place)):
            with schema.transaction(store.connection):
                put_note(store.connection, provider, place)
        return 0
    if rows != there:
        _refuse_others(new, provider, there)
        _refuse_taken(new, provider, rows)
        with schema.transaction(new.connection):
            _insert(new, provider, rows)
    put_files_in_line(new)
    with schema.transaction(old.connection):
        if old.files is not None:
            old.files.announce_removal(old.connection, rows["key_mapping"])
        _delete(old.connection, provider)
        put_note(old.connection, provider, new.place)
    put_files_in_line(old)
    return count


def put_files_in_line(store: Store, show: Callable[[int], object] = lambda _left: None) -> None:
    """Make and remove the files of a store that are announced."""
    if store.files is not None:
        for left in store.files.finish(store.connection):
            show(left)
        store.files.set_mark(store.connection)


def refuse_unsound(where: str, report: StoreReport) -> None:
    """Refuse to convert a store with a key that would be lost."""
    if report.quarantined or report.damage:
        raise StoreError(
            where,
            found="; ".join(report.warnings()),
            expected="a store that is wholly understood",
            remedy="mend or move away what is not served",
        )


def _rows(connection: sqlite3.Connection, provider: ProviderEntry) -> Rows:
    return {
        table: connection.execute(
            f"SELECT {columns} FROM {table} WHERE provider_uuid = ? ORDER BY 1, 2, 3",  # noqa: S608
            (provider.uuid,),
        ).fetchall()
        for table, columns in _TABLES.items()
    }


def _refuse_others(new: Store, provider: ProviderEntry, there: Rows) -> None:
    count = sum(len(there[table]) for table in _KEYS)
    if count:
        raise StoreError(
            new.place,
            found=f"{count} other keys of {provider.name}",
            expected="none, or those that an interrupted command moved there",
            remedy="find out which are current, and remove the others",
        )


def _refuse_taken(new: Store, provider: ProviderEntry, rows: Rows) -> None:
    """Refuse names that other providers have: the new store can have each only once."""
    names = [(*row[IDENTITY], provider.uuid) for table in _KEYS for row in rows[table]]
    taken = sum(new.connection.execute(_TAKEN, name * 2).fetchone() is not None for name in names)
    if taken:
        raise StoreError(
            new.place,
            found=f"{taken} keys of other providers that have the names of keys of {provider.name}",
            expected="each name once for each client",
            remedy="destroy, or make anew under other names, one key of each pair",
        )


def _insert(new: Store, provider: ProviderEntry, rows: Rows) -> None:
    """Put rows into a store that has none of the provider's keys; an earlier key-encryption key counts no more."""
    _delete(new.connection, provider)
    for table, columns in _TABLES.items():
        marks = ", ".join("?" * len(columns.split(",")))
        new.connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows[table])  # noqa: S608
    put_note(new.connection, provider, None)
    if new.files is not None:
        new.files.announce_making(new.connection, rows["key_mapping"])


def _delete(connection: sqlite3.Connection, provider: ProviderEntry) -> None:
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table} WHERE provider_uuid = ?", (provider.uuid,))  # noqa: S608
