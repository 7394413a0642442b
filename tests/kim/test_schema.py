"""Which databases are opened, and how."""

import os
import sqlite3
from pathlib import Path

import pytest
from tests.kim.support import (
    PROVIDERS,
    RECORD,
    REFERENCE_DDL,
    create,
    mapping_row,
    name,
    open_store,
    query,
    reference_database,
    tamper,
)

from cofferdam_kim.errors import StoreError
from cofferdam_kim.location import prepare
from cofferdam_kim.store import MappingStore


def refused(path: Path, match: str) -> StoreError:
    before = path.read_bytes()
    with pytest.raises(StoreError, match=match) as caught:
        open_store(path)
    assert str(path) in str(caught.value)
    assert caught.value.remedy
    assert path.read_bytes()[100:] == before[100:], "a refused database is not changed, but for the journal mode"
    return caught.value


def test_new_tables_are_those_of_the_reference(path: Path, tmp_path: Path) -> None:
    open_store(path).close()
    reference_database(tmp_path / "reference" / "db")
    for table in ("kim_metadata", "key_mapping"):
        for pragma in ("table_info", "index_list"):
            wanted = query(tmp_path / "reference" / "db", f"PRAGMA {pragma}({table})")
            assert query(path, f"PRAGMA {pragma}({table})") == wanted
    assert query(path, "SELECT id, int_value FROM kim_metadata") == [("schema_version", 1)]
    assert query(path, "PRAGMA user_version") == [(0,)]


def test_settings_of_the_connection(store: MappingStore) -> None:
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "temp_store": 2,
        "locking_mode": "exclusive",
        "mmap_size": 0,
        "trusted_schema": 0,
    }
    found = {pragma: store._connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in wanted}
    assert found == wanted


@pytest.mark.parametrize(
    "table", ["cofferdam_pending", "cofferdam_quarantine", "cofferdam_codes", "cofferdam_providers"]
)
def test_keys_are_served_read_only_without_a_table_of_our_own(path: Path, table: str) -> None:
    open_store(path).close()
    tamper(path, f"DROP TABLE {table}")
    store = open_store(path)
    assert store.report.damage is not None
    assert table in store.report.damage.found
    store.close()


@pytest.mark.parametrize("table", ["kim_metadata", "key_mapping"])
def test_half_of_the_tables_is_refused(path: Path, table: str) -> None:
    open_store(path).close()
    tamper(path, f"DROP TABLE {table}")
    error = refused(path, "the tables .* only")
    assert table in error.expected
    assert table not in error.found


@pytest.mark.parametrize("table", ["kim_metadata", "cofferdam_metadata"])
@pytest.mark.parametrize("version", ["2", "0", "'one'", "x'01'", "1.5"])
def test_another_version_is_refused(path: Path, table: str, version: str) -> None:
    open_store(path).close()
    tamper(path, f"UPDATE {table} SET int_value = {version}")
    error = refused(path, "schema version")
    assert error.expected == "1"


def test_a_missing_version_is_taken_for_the_first(path: Path) -> None:
    reference_database(path, [mapping_row(name())])
    tamper(path, "DELETE FROM kim_metadata")
    store = open_store(path)
    assert store.lookup(PROVIDERS[1], name()) == RECORD
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        ("ALTER TABLE key_mapping RENAME COLUMN key_id TO key_info",),
        ("ALTER TABLE key_mapping ADD COLUMN more",),
        ("DROP TABLE key_mapping", "CREATE TABLE key_mapping (a INTEGER)"),
        ("DROP TABLE key_mapping", "CREATE VIEW key_mapping AS SELECT * FROM kim_metadata"),
        ("ALTER TABLE cofferdam_pending ADD COLUMN more",),
    ],
)
def test_other_columns_are_refused(path: Path, change: tuple[str, ...]) -> None:
    open_store(path).close()
    tamper(path, *change)
    refused(path, "with other columns")


def test_a_trigger_is_refused(path: Path) -> None:
    reference_database(path)
    tamper(
        path,
        "CREATE TRIGGER keep AFTER DELETE ON key_mapping BEGIN INSERT INTO key_mapping SELECT old.*; END",
    )
    refused(path, "trigger")


def test_foreign_tables_are_ignored(path: Path) -> None:
    reference_database(path)
    tamper(path, "CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('mine')")
    open_store(path).close()
    assert query(path, "SELECT text FROM notes") == [("mine",)]


@pytest.mark.parametrize("size", [1, 100, 511])
def test_the_stump_of_a_database_is_refused(path: Path, size: int) -> None:
    """SQLite takes it for a new database, and all keys would be gone without a word."""
    reference_database(path, [mapping_row(name())])
    os.truncate(path, size)
    refused(path, f"{size} bytes")


def test_a_second_user_is_refused(path: Path, store: MappingStore) -> None:
    create(store, name())
    with pytest.raises(StoreError, match="another process has open"):
        MappingStore.open(str(path), PROVIDERS)
    assert store.lookup(PROVIDERS[1], name()) == RECORD


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"\0" * 4096, bytes(range(256)) * 40])
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    prepare(str(path))
    path.write_bytes(content)
    error = refused(path, "undamaged SQLite database")
    assert "SQLITE_NOTADB" in error.found


def test_a_missing_file_is_refused(path: Path) -> None:
    with pytest.raises(StoreError, match="prepare the store first"):
        MappingStore.open(str(path), PROVIDERS)


def test_special_marks_in_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=memory#b %41" / "kim&x=1.sqlite3"
    store = open_store(path)
    create(store, name())
    store.close()
    assert query(path, "SELECT count(*) FROM key_mapping") == [(1,)]


def test_the_reference_statements_make_what_the_helper_says() -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(REFERENCE_DDL)
    (count,) = connection.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'").fetchone()
    connection.close()
    assert count == 2
