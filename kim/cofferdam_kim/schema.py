"""The schema of the database: exactly the two tables of the reference service, and our own beside them.

The reference ignores other tables, so a database can be taken over from it and given back. Unlike in the reference, the
database is in WAL mode and locked while it is open: two services on one store would undo each other's unfinished
changes. Source: docs/reference/parsec-behaviour.md, "The SQLite store".
"""

import itertools
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

from cofferdam_kim.errors import DamagedError, StoreError, in_use
from cofferdam_kim.rows import RawRow

VERSION: Final = 1
"""`schema_version` in both metadata tables: the reference's and ours."""
_LOCK_PATIENCE: Final = 2.0
"""Seconds to wait for a predecessor that is about to exit."""


# A damaged schema is recognised by its text, so these have to stay as they are to the last space.
def _metadata(name: str) -> str:
    return f"""
        CREATE TABLE {name} (
            id TEXT NOT NULL,
            int_value INTEGER NOT NULL,
            PRIMARY KEY (id)
        )"""


def _key_table(name: str, more: str = "") -> str:
    return f"""
        CREATE TABLE {name} (
            authenticator_id INTEGER NOT NULL,
            application_name TEXT NOT NULL,
            key_name TEXT NOT NULL,
            provider_uuid TEXT NOT NULL,
            provider_name TEXT NOT NULL,
            key_id BLOB NOT NULL,
            key_id_version INTEGER NOT NULL,
            key_attributes BLOB NOT NULL,
            key_attributes_version INTEGER NOT NULL,
            {more}PRIMARY KEY (authenticator_id, application_name, key_name)
        )"""


_REFERENCE_TABLES: Final = {
    "kim_metadata": _metadata("kim_metadata"),
    "key_mapping": _key_table("key_mapping"),
}
_OWN_TABLES: Final = {
    "cofferdam_metadata": _metadata("cofferdam_metadata"),
    # Keys that are being created (state 1) or destroyed (state 2).
    "cofferdam_pending": _key_table("cofferdam_pending", "state INTEGER NOT NULL,\n            "),
    # Rows of the named table that are not served, for the operator to inspect and repair.
    "cofferdam_quarantine": """
        CREATE TABLE cofferdam_quarantine (
            table_name TEXT NOT NULL,
            row_id INTEGER NOT NULL,
            reason TEXT NOT NULL,
            PRIMARY KEY (table_name, row_id)
        )""",
}
_CODE_TABLES: Final = {
    "cofferdam_codes_metadata": _metadata("cofferdam_codes_metadata"),
    # Authentication codes of rows, with the state of the row (0 for an active one).
    "cofferdam_codes": """
        CREATE TABLE cofferdam_codes (
            authenticator_id INTEGER NOT NULL,
            application_name TEXT NOT NULL,
            key_name TEXT NOT NULL,
            state INTEGER NOT NULL,
            provider_uuid TEXT NOT NULL,
            code BLOB NOT NULL,
            PRIMARY KEY (authenticator_id, application_name, key_name, state)
        )""",
    # For each provider, the check value of its key and the seal that authenticates the set of its codes.
    "cofferdam_providers": """
        CREATE TABLE cofferdam_providers (
            provider_uuid TEXT NOT NULL,
            key_check BLOB NOT NULL,
            seal BLOB NOT NULL,
            PRIMARY KEY (provider_uuid)
        )""",
}
_GROUPS: Final = (
    ("kim_metadata", _REFERENCE_TABLES),
    ("cofferdam_metadata", _OWN_TABLES),
    ("cofferdam_codes_metadata", _CODE_TABLES),
)
"""Groups of tables that exist together or not at all, each with the table that holds its version."""
FAILURES: Final = (sqlite3.Error, UnicodeDecodeError, MemoryError)
"""What the sqlite3 module raises, also for messages that quote damaged text and for damaged lengths."""
_WORDS: Final = {
    "SQLITE_FULL": "the disk is full; make room on it",
    # SQLite reports some full disks and quotas like this.
    "SQLITE_IOERR": "the disk is full or fails; see df and dmesg",
    "SQLITE_READONLY": "the file system, the file or its folder is read-only; see mount and its mode",
    "SQLITE_CANTOPEN": "the file or its folder is gone, or its owner or mode was changed; bring it back",
    "SQLITE_NOMEM": "memory has run out; raise MemoryMax=",
    "SQLITE_CORRUPT": "the file is damaged; restart the service, which then says what to do",
    "SQLITE_NOTADB": "the file is damaged; restart the service, which then says what to do",
}
"""What errors mean, by the beginning of their names."""
_FORMAT: Final = 18
"""Offset of the format version for writing in the header."""
_FORMATS: Final = frozenset({b"\1", b"\2"})
_FLIPPED: Final = 2
"""Most bits in which a damaged word of the schema differs from the original; with more it is another word."""


def open_database(path: str, *, damaged: bool = False) -> sqlite3.Connection:
    """Open an existing database file and lock it; if it is `damaged`, tables with a parsable schema can be read.

    Raises:
        StoreError: It is in use, or it is not a database.
    """
    try:
        connection = sqlite3.connect(
            f"file:{urllib.parse.quote(path)}?mode=rw", uri=True, isolation_level=None, timeout=_LOCK_PATIENCE
        )
    except FAILURES as error:
        raise unusable(path, error) from error
    try:
        if damaged:
            # A fault in one table must not prevent others from being read.
            connection.execute("PRAGMA writable_schema = ON")
        configure(connection)
        # The first access takes the lock, which is then kept.
        mode = _use_log(connection, path)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except FAILURES as error:
        connection.close()
        raise unusable(path, error) from error
    if mode != "wal":
        connection.close()
        raise StoreError(
            path, found=f"journal mode {mode}", expected="wal", remedy="move the database to a local file system"
        )
    return connection


def _use_log(connection: sqlite3.Connection, path: str) -> str:
    """Switch to the write-ahead log, and return the mode.

    The switch removes the journal, which fails where the folder is not ours: a journal that is there already was made
    for that (`location`), or is recovered and emptied by the first statement.
    """
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal" and os.path.lexists(f"{path}-journal"):
        # The only change is one of a few bytes in the first sector.
        connection.execute("PRAGMA journal_mode = MEMORY")
    return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])


def configure(connection: sqlite3.Connection) -> None:
    """Apply the safe settings to a connection before it accesses the file."""
    for pragma in (
        "locking_mode = EXCLUSIVE",
        "synchronous = FULL",
        "secure_delete = ON",
        "temp_store = MEMORY",
        "mmap_size = 0",
        "cell_size_check = ON",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")
    # Text that is not UTF-8 must not stop a scan; such names are recognised by their surrogates.
    connection.text_factory = _text


def establish(connection: sqlite3.Connection, path: str) -> None:
    """Create missing tables and check existing ones.

    Raises:
        StoreError: The tables are not those of this version.
    """
    try:
        missing = [group for group in _GROUPS if not _check_group(connection, path, group)]
        _refuse_triggers(connection, path)
        if missing:
            _create(connection, missing)
    except FAILURES as error:
        raise unusable(path, error) from error


def in_memory(path: str) -> sqlite3.Connection:
    """Return an empty database with the tables of this version, in memory; `path` is for errors."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    configure(connection)
    establish(connection, path)
    return connection


def check_mapping(connection: sqlite3.Connection, path: str) -> None:
    """Check that a damaged database has the mapping and, if its version can be read, that it is the right one.

    Raises:
        StoreError: It has no mapping, or that of another version.
    """
    _check_columns(connection, path, "key_mapping", _REFERENCE_TABLES["key_mapping"])
    with suppress(*FAILURES):
        _check_version(connection, path, "kim_metadata")


def open_sound(path: str) -> sqlite3.Connection:
    """Open a database, check its structure, and create missing tables.

    Raises:
        DamagedError: Its structure is damaged.
        StoreError: It cannot be used.
    """
    connection = open_database(path)
    with closed_on_error(connection):
        finding = damage(connection)
        if finding is not None:
            raise DamagedError(path, finding)
        establish(connection, path)
    return connection


@contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """Close the connection if the block fails."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the changes of the block, or roll them back if it fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with suppress(*FAILURES):
                connection.execute("ROLLBACK")


def damage(connection: sqlite3.Connection) -> str | None:
    """Return the first fault in the structure of the database, or None."""
    try:
        # Unlike quick_check, this compares the indices, which lookups use, with the tables.
        (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except FAILURES as error:
        return error_name(error)
    if finding == "ok":
        return None
    # The first line may be a heading, and names in the text may be damaged.
    return ascii(str(finding).removeprefix("*** in database main ***").strip()).strip("'\"")


def error_name(error: Exception) -> str:
    """Return SQLite's name of an error; its text may quote values."""
    if isinstance(error, UnicodeDecodeError):
        return "SQLITE_CORRUPT (text that is not UTF-8)"
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


def in_words(name: str) -> str:
    """Return what an operator should look at after an error of this name."""
    return next((words for prefix, words in _WORDS.items() if name.startswith(prefix)), "see sqlite.org/rescode.html")


def unusable(path: str, error: Exception) -> StoreError:
    """Return the error for a database that SQLite fails to open or to read."""
    name = error_name(error)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return in_use(path)
    if name.startswith("SQLITE_READONLY") and _is_of_another_format(path):
        return DamagedError(path, "an unknown format of the file")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")):
        return StoreError(
            path,
            found=name,
            expected="a file and folder that can be written",
            remedy="check owner, mode, free space and mount options of the folder",
        )
    return DamagedError(path, name)


def _is_of_another_format(path: str) -> bool:
    """Tell whether SQLite refuses to write because of the header, not because of owner and mode."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(_FORMAT + 1)[_FORMAT:] not in _FORMATS
    return False


def _text(raw: bytes) -> str:
    return str(raw, "utf-8", "surrogateescape")


def _check_group(connection: sqlite3.Connection, path: str, group: tuple[str, dict[str, str]]) -> bool:
    """Tell whether the tables of a group exist, and check them if so."""
    metadata, tables = group
    rows = connection.execute("SELECT name, type FROM sqlite_schema").fetchall()
    # An entry with a damaged type may have a sound name.
    names = {name for name, _ in rows if isinstance(name, str)}
    present = {name for name, kind in rows if kind in {"table", "view"}} & set(tables)
    if not present and not any(_alike(name, table) for name in names for table in tables):
        return False
    if present != set(tables):
        missing = set(tables) - present
        if tables is not _REFERENCE_TABLES or all(any(_alike(name, table) for name in names) for table in missing):
            raise DamagedError(path, f"a damaged name of a table, one of {', '.join(sorted(missing))}")
        raise StoreError(
            path,
            found=f"the tables {', '.join(sorted(present))} only",
            expected=", ".join(tables),
            remedy="restore a backup",
        )
    for table, statement in tables.items():
        _check_columns(connection, path, table, statement)
    _check_version(connection, path, metadata)
    return True


def _create(connection: sqlite3.Connection, groups: list[tuple[str, dict[str, str]]]) -> None:
    with transaction(connection):
        for metadata, tables in groups:
            for statement in tables.values():
                connection.execute(statement)
            version = f"INSERT INTO {metadata} (id, int_value) VALUES ('schema_version', ?)"  # noqa: S608  a constant
            connection.execute(version, (VERSION,))


def _check_version(connection: sqlite3.Connection, path: str, metadata: str) -> None:
    # The reference treats a missing row as its own version.
    rows = connection.execute(f"SELECT int_value FROM {metadata} WHERE id = 'schema_version'")  # noqa: S608
    for (version,) in rows:
        if version != VERSION:
            raise StoreError(
                path,
                found=f"schema version {version!r} in {metadata}",
                expected=str(VERSION),
                remedy="use the version of the service that wrote this database",
            )


def _check_columns(connection: sqlite3.Connection, path: str, table: str, statement: str) -> None:
    found = connection.execute(f"PRAGMA table_info({table})").fetchall()
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.execute(statement)
        expected = scratch.execute(f"PRAGMA table_info({table})").fetchall()
    if found != expected:
        if _is_flipped(connection, table, statement, found, expected):
            raise DamagedError(path, f"a damaged column of {table}")
        different = next(
            (name for name, other in zip([row[1] for row in found], expected, strict=False) if name != other[1]), None
        )
        raise StoreError(
            path,
            found=f"a table {table} with other columns" + (f", such as {different!r}" if different else ""),
            expected=", ".join(row[1] for row in expected),
            remedy="use the version of the service that wrote this database",
        )


def _refuse_triggers(connection: sqlite3.Connection, path: str) -> None:
    """Refuse triggers: one on our tables would see every key and could restore deleted ones."""
    row = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchone()
    if row is not None:
        raise StoreError(path, found=f"a trigger {row[0]!r}", expected="no triggers", remedy="drop it")


def _is_flipped(
    connection: sqlite3.Connection, table: str, statement: str, found: list[RawRow], expected: list[RawRow]
) -> bool:
    """Tell whether a table's columns, or its SQL text, differ from the expected ones in a few bits only."""
    if len(found) == len(expected) and all(map(_alike, itertools.chain(*found), itertools.chain(*expected))):
        return True
    row = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    return row is not None and _alike(row[0], statement.strip())


def _alike(found: object, expected: object) -> bool:
    """Tell whether a word or a number differs from the expected one in a few bits only."""
    one, other = (str(value).encode("utf-8", "surrogateescape") for value in (found, expected))
    if len(one) != len(other):
        return False
    return sum((left ^ right).bit_count() for left, right in zip(one, other, strict=True)) <= _FLIPPED
