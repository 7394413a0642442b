"""Recovers the rows that can still be served from a database whose structure is damaged.

Readable and sound rows are served from a copy in memory, and nothing is changed until the operator has repaired the
file. SQLite rejects a whole page for one wrong byte in its structure; the pages before and after it are read all the
same. The table and its index both record which keys exist. If one of them has a gap, a key counts only when the other
one has it too: a damaged pointer may lead to rows of another table, such as keys that are being destroyed. When keys
are or may be missing, the copy is not `complete`, and nothing is listed.

The first page holds the schema, which is the same in every database of this service and of the reference. If that page
is damaged, the first page of an empty database replaces it in memory.
"""

import os
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from typing import Final

from msgspec import Struct

from cofferdam_contracts.ipc.keystore import PENDING_STATES
from cofferdam_kim import codes, schema
from cofferdam_kim.errors import DamagedError, StoreError
from cofferdam_kim.rows import COLUMNS, IDENTITY, RawRow, fault

# One query reads the table itself, the other one the index alone.
_TABLE: Final = f"SELECT {COLUMNS}, rowid FROM key_mapping NOT INDEXED WHERE rowid >= ? ORDER BY rowid"  # noqa: S608
_NAMES: Final = "authenticator_id, application_name, key_name"
_INDEX: Final = (
    f"SELECT {_NAMES} FROM key_mapping INDEXED BY sqlite_autoindex_key_mapping_1"  # noqa: S608
    " ORDER BY authenticator_id {0}, application_name {0}, key_name {0}"
)
_FIRST: Final = -(1 << 63)
_LAST: Final = (1 << 63) - 1
_PAGE: Final = 4096
_PAGES_AT: Final = slice(28, 32)
"""Position of the number of pages in a database's header."""
_Identities = set[RawRow]


class Salvaged(Struct, frozen=True):
    """A copy in memory of the rows that are served."""

    connection: sqlite3.Connection
    dropped: int
    """Rows that were read and are not served."""
    complete: bool
    """Whether no other keys can be missing."""
    pending: list[RawRow]
    """Readable rows, with their state, of keys whose creation or destruction is unfinished."""


def salvage(path: str, found: DamagedError) -> Salvaged:
    """Copy the readable rows.

    Raises:
        StoreError: Nothing can be read.
    """
    pending: list[RawRow] = []
    for way in (_by_its_schema, _by_its_layout):
        try:
            with closing(way(path)) as connection:
                pending = pending or _read_pending(connection)
                kept = codes.read(connection)
                schema.check_mapping(connection, path)
                rows, complete = _read(connection, trusted=way is _by_its_schema)
        except (*schema.FAILURES, StoreError, OSError):
            continue
        if rows or complete:
            memory, dropped = _copy(path, rows, kept)
            return Salvaged(memory, dropped, complete, pending)
    raise DamagedError(path, found.found, "restore a backup: no key in it can be read")


def _by_its_schema(path: str) -> sqlite3.Connection:
    """Open the file as it is, ignoring tables whose schema cannot be parsed."""
    connection = schema.open_database(path, damaged=True)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _by_its_layout(path: str) -> sqlite3.Connection:
    """Open a copy in memory whose first page is that of an empty database with the same tables."""
    log = path + "-wal"
    if os.path.exists(log) and os.path.getsize(log):
        raise DamagedError(path, "a log that was not written back")
    with open(path, "rb") as file:
        image = file.read()
    if len(image) < 2 * _PAGE:
        raise DamagedError(path, f"{len(image)} bytes")
    with closing(schema.in_memory(path)) as empty:
        first = bytearray(empty.serialize()[:_PAGE])
    first[_PAGES_AT] = (len(image) // _PAGE).to_bytes(4, "big")
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.configure(connection)
    connection.deserialize(bytes(first) + image[_PAGE : len(image) // _PAGE * _PAGE])
    return connection


def _read(connection: sqlite3.Connection, *, trusted: bool) -> tuple[list[RawRow], bool]:
    """Return the rows to serve, and whether no other key can exist; untrusted rows must also be in the index."""
    rows, table_whole = _read_table(connection)
    names, index_whole = _read_index(connection)
    here = {row[IDENTITY] for row in rows}
    if table_whole and (names <= here if index_whole else trusted):
        return rows, True
    return [row for row in rows if row[IDENTITY] in names], False


def _read_table(connection: sqlite3.Connection) -> tuple[list[RawRow], bool]:
    """Return the rows of the table, and whether it could be read completely."""
    rows: dict[int, RawRow] = {}
    at: int | None = _FIRST
    last, whole = _FIRST, True
    while at is not None:
        last = max(last, at)
        try:
            for *row, number in connection.execute(_TABLE, (at,)):
                # A misplaced page may be read twice.
                whole = whole and number >= last
                last = max(last, number + 1)
                rows.setdefault(number, tuple(row))
            return list(rows.values()), whole
        except schema.FAILURES:
            whole = False
            # SQLite assigns row numbers from 1 on.
            at = _beyond(connection, max(last, 0))
    return list(rows.values()), whole


def _beyond(connection: sqlite3.Connection, at: int) -> int | None:
    """Return the next row number from which reading succeeds, or None when there is none."""
    step = 1
    while at + step <= _LAST and not _succeeds(connection, at + step):
        step *= 2
    if at + step > _LAST:
        return None
    bad, good = at + step // 2, at + step
    while good - bad > 1:
        middle = (bad + good) // 2
        if _succeeds(connection, middle):
            good = middle
        else:
            bad = middle
    return good


def _succeeds(connection: sqlite3.Connection, at: int) -> bool:
    try:
        connection.execute(_TABLE, (at,)).fetchone()
    except schema.FAILURES:
        return False
    return True


def _read_index(connection: sqlite3.Connection) -> tuple[_Identities, bool]:
    """Return the names in the index, and whether it could be read completely."""
    names: _Identities = set()
    whole = True
    for direction in ("ASC", "DESC"):
        try:
            for name in connection.execute(_INDEX.format(direction)):
                names.add(name)
        except schema.FAILURES:
            whole = False
    return names, whole


def _read_pending(connection: sqlite3.Connection) -> list[RawRow]:
    rows: list[RawRow] = []
    with suppress(*schema.FAILURES):
        rows.extend(connection.execute(f"SELECT {COLUMNS}, state FROM cofferdam_pending NOT INDEXED"))  # noqa: S608
    return [row for row in rows if row[-1] in PENDING_STATES and fault(row[:-1]) is None]


def _copy(path: str, rows: list[RawRow], kept: codes.Kept) -> tuple[sqlite3.Connection, int]:
    """Return a copy in memory of the sound rows, and the number of rows left out."""
    sound = [row for row in rows if fault(row) is None]
    # If two rows have the same name, nothing tells which one is right.
    seen = Counter(row[IDENTITY] for row in sound)
    single = [row for row in sound if seen[row[IDENTITY]] == 1]
    memory = schema.in_memory(path)
    memory.execute("BEGIN")
    memory.executemany(f"INSERT INTO key_mapping ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", single)  # noqa: S608
    # Workers refuse rows whose codes are missing, which is safe.
    codes.write(memory, kept)
    memory.execute("COMMIT")
    return memory, len(rows) - len(single)
