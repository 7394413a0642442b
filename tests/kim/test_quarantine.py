"""Rows that cannot be understood, and databases whose structure is damaged: the rest stays served."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.kim.support import (
    MBED,
    PKCS11,
    PLANNED,
    PROVIDERS,
    RECORD,
    client_keys,
    create,
    list_clients,
    list_keys,
    mapping_row,
    name,
    open_store,
    query,
    reference_database,
    tamper,
)

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.keystore import PendingState
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.rows import COLUMNS
from cofferdam_kim.store import MappingStore

BAD_VALUES = [
    ("authenticator_id", 77, "unknown authenticator 77"),
    ("authenticator_id", -1, "unknown authenticator -1"),
    ("authenticator_id", "three", "wrong type in authenticator_id"),
    ("application_name", b"1000", "wrong type in application_name"),
    ("key_name", b"bad", "wrong type in key_name"),
    ("provider_uuid", b"\0", "wrong type in provider_uuid"),
    ("provider_name", b"\0", "wrong type in provider_name"),
    ("key_id", "text", "wrong type in key_id"),
    ("key_id", b"x" * 65_537, "a key id of 65537 bytes"),
    ("key_id_version", 3, "unknown key id version 3"),
    ("key_id_version", 0, "unknown key id version 0"),
    ("key_id_version", "two", "wrong type in key_id_version"),
    ("key_id_version", 1.5, "wrong type in key_id_version"),
    ("key_attributes", b"", "undecodable attributes"),
    ("key_attributes", RECORD.attributes + b"\0", "undecodable attributes"),
    ("key_attributes", RECORD.attributes[:-1], "undecodable attributes"),
    ("key_attributes", "text", "wrong type in key_attributes"),
    ("key_attributes_version", 2, "unknown attributes version 2"),
    ("key_attributes_version", b"", "wrong type in key_attributes_version"),
]
IDENTITY = ("authenticator_id", "application_name", "key_name")
NAMES = COLUMNS.replace(" ", "").split(",")


def bad_row(column: str, value: object) -> list[object]:
    row = mapping_row(name("bad"))
    row[NAMES.index(column)] = value
    return row


def status_of(store: MappingStore, key_name: str) -> Status:
    try:
        store.lookup(MBED, name(key_name))
    except ServiceError as error:
        return error.status
    return Status.SUCCESS


@pytest.mark.parametrize(("column", "value", "reason"), BAD_VALUES)
def test_a_bad_row_is_held_back_and_the_rest_served(path: Path, column: str, value: object, reason: str) -> None:
    reference_database(path, [mapping_row(name("good")), bad_row(column, value)])
    before = query(path, "SELECT * FROM key_mapping ORDER BY rowid")
    store = open_store(path)
    (bad,) = store.report.quarantined
    assert (bad.table, bad.row_id) == ("key_mapping", 2)
    assert reason in bad.reason
    assert store.report.keys == 1
    assert any(reason in line for line in store.report.warnings())
    assert status_of(store, "good") is Status.SUCCESS
    assert status_of(store, "bad") is (
        Status.PSA_ERROR_DOES_NOT_EXIST if column in IDENTITY else Status.PSA_ERROR_DATA_CORRUPT
    )
    assert list_keys(store, Application(3, "1000")) == [(1, "good", RECORD.attributes)]
    assert client_keys(store, MBED, Application(3, "1000")) == ["good"]
    assert list_clients(store) == ["1000"]
    store.close()
    assert query(path, "SELECT * FROM key_mapping ORDER BY rowid") == before
    assert query(path, "SELECT table_name, row_id, reason FROM cofferdam_quarantine") == [
        ("key_mapping", 2, bad.reason)
    ]


def test_a_bad_row_can_be_neither_replaced_nor_destroyed(path: Path) -> None:
    reference_database(path, [bad_row("key_attributes", b"bad")])
    store = open_store(path)
    for provider in (MBED, PKCS11):
        with pytest.raises(ServiceError) as caught:
            store.reserve(provider, name("bad"), PLANNED)
        assert caught.value.status is Status.PSA_ERROR_ALREADY_EXISTS
    with pytest.raises(ServiceError) as caught:
        store.mark_deleting(MBED, name("bad"))
    assert caught.value.status is Status.PSA_ERROR_DATA_CORRUPT
    with pytest.raises(ServiceError) as caught:
        store.lookup(PKCS11, name("bad"))
    assert caught.value.status is Status.PSA_ERROR_DOES_NOT_EXIST
    store.close()


def test_whoever_asks_for_what_is_left_hears_of_a_bad_row_when_all_others_are_gone(path: Path) -> None:
    reference_database(path, [bad_row("key_attributes", b"bad"), mapping_row(name("good"))])
    store = open_store(path)
    assert client_keys(store, MBED, Application(3, "1000")) == ["good"]
    store.mark_deleting(MBED, name("good"))
    with pytest.raises(ServiceError) as caught:
        client_keys(store, MBED, Application(3, "1000"))
    assert caught.value.status is Status.PSA_ERROR_DATA_CORRUPT
    assert client_keys(store, PKCS11, Application(3, "1000")) == []
    store.close()


def test_text_that_is_not_utf8(path: Path) -> None:
    reference_database(path, [mapping_row(name("good")), mapping_row(name("bad")), mapping_row(name("worse"))])
    tamper(
        path,
        "UPDATE key_mapping SET provider_name = CAST(x'ff41' AS TEXT) WHERE key_name = 'bad'",
        "UPDATE key_mapping SET key_name = CAST(x'80' AS TEXT) WHERE key_name = 'worse'",
    )
    store = open_store(path)
    assert [bad.reason for bad in store.report.quarantined] == ["text that is not UTF-8"] * 2
    assert status_of(store, "bad") is Status.PSA_ERROR_DATA_CORRUPT
    assert client_keys(store, MBED, Application(3, "1000")) == ["good"]
    assert list_clients(store) == ["1000"]
    store.close()


def test_a_repaired_row_is_served_after_the_next_start(path: Path) -> None:
    reference_database(path, [bad_row("key_id_version", 9)])
    open_store(path).close()
    open_store(path).close()
    tamper(path, "UPDATE key_mapping SET key_id_version = 1")
    store = open_store(path)
    assert store.report.quarantined == ()
    assert store.lookup(MBED, name("bad")) == RECORD
    store.close()
    assert query(path, "SELECT * FROM cofferdam_quarantine") == []


def test_a_row_that_goes_bad_is_held_back_at_once(path: Path, store: MappingStore) -> None:
    create(store, name("good"))
    create(store, name("bad"))
    store._connection.execute("UPDATE key_mapping SET key_attributes = x'00' WHERE key_name = 'bad'")
    assert status_of(store, "bad") is Status.PSA_ERROR_DATA_CORRUPT
    assert client_keys(store, MBED, Application(3, "1000")) == ["good"]
    ((reason,),) = store._connection.execute("SELECT reason FROM cofferdam_quarantine").fetchall()
    assert "undecodable attributes" in reason
    store._connection.execute("UPDATE key_mapping SET key_attributes = ?", (RECORD.attributes,))
    assert status_of(store, "bad") is Status.PSA_ERROR_DATA_CORRUPT, "until the store is opened again"
    assert status_of(store, "good") is Status.SUCCESS
    assert path.exists()


def test_many_bad_rows_are_summed_up(path: Path) -> None:
    rows = [mapping_row(name(f"bad {number}")) for number in range(25)]
    for row in rows:
        row[6] = 9
    reference_database(path, rows)
    store = open_store(path)
    lines = list(store.report.warnings())
    assert len(lines) == 11
    assert "15 more rows" in lines[-1]
    store.close()


def test_a_bad_pending_row_is_kept_and_not_resolved(path: Path) -> None:
    store = open_store(path)
    for key_name in ("good", "state", "version"):
        store.reserve(MBED, name(key_name), PLANNED)
    store.close()
    tamper(
        path,
        "UPDATE cofferdam_pending SET state = 7 WHERE key_name = 'state'",
        "UPDATE cofferdam_pending SET key_id_version = 7 WHERE key_name = 'version'",
    )
    store = open_store(path)
    assert store.pending(MBED) == [(PendingState.RESERVED, name("good"), PLANNED)]
    assert store.report.pending == 1
    assert [bad.reason for bad in store.report.quarantined] == ["unknown state", "unknown key id version 7"]
    with pytest.raises(ServiceError) as caught:
        store.reserve(MBED, name("state"), PLANNED)
    assert caught.value.status is Status.PSA_ERROR_ALREADY_EXISTS
    store.close()


def corrupt_index(path: Path) -> None:
    """Let the entry of one key in the index point at another client's row."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    leaves = [at for at in range(size, len(data), size) if data[at] == 0x0A and b"1000" in data[at : at + size]]
    (leaf,) = leaves
    entry = data.index(b"1000mine", leaf)
    # The row number is the last byte of the entry: header, authenticator, application, key name, row number.
    assert data[entry + 8] in (1, 2)
    data[entry + 8] = 3
    path.write_bytes(data)


def damaged(path: Path) -> None:
    reference_database(
        path,
        [
            mapping_row(name("other")),
            mapping_row(name("mine")),
            mapping_row(name("theirs", application="2000")),
        ],
    )
    open_store(path).close()
    corrupt_index(path)


def test_a_damaged_index_never_gives_another_clients_key(path: Path) -> None:
    damaged(path)
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT application_name, key_name FROM key_mapping WHERE rowid = (SELECT rowid FROM key_mapping"
        " WHERE authenticator_id = 3 AND application_name = '1000' AND key_name = 'mine')"
    ).fetchall()
    connection.close()
    assert found == [("2000", "theirs")], "the damage is what it is meant to be"
    store = open_store(path)
    assert store.report.damage is not None
    assert {key: status_of(store, key) for key in ("mine", "other")} == {
        "mine": Status.SUCCESS,
        "other": Status.SUCCESS,
    }
    store.close()


def test_damage_while_the_store_is_open(path: Path) -> None:
    """A lookup that the index leads astray is an error, not somebody else's key."""
    damaged(path)
    undamaged = path.with_name("undamaged")
    store = open_store(undamaged)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = lambda raw: str(raw, "utf-8", "surrogateescape")
    store.close()
    astray = MappingStore(connection, str(path), PROVIDERS, store.report)
    assert status_of(astray, "other") is Status.SUCCESS
    assert status_of(astray, "mine") is Status.KEY_INFO_MANAGER_ERROR
    with pytest.raises(ServiceError) as caught:
        astray.mark_deleting(MBED, name("mine"))
    assert caught.value.status is Status.KEY_INFO_MANAGER_ERROR
    with pytest.raises(ServiceError) as caught:
        list_keys(astray, Application(3, "1000"))
    assert caught.value.status is Status.KEY_INFO_MANAGER_ERROR
    astray.close()


def test_a_damaged_database_is_served_and_not_changed(path: Path) -> None:
    damaged(path)
    shutil.copy(path, path.with_name("before"))
    store = open_store(path)
    assert store.report.keys == 3
    warning = store.report.damaged()
    assert list(store.report.warnings()) == []
    assert "no key can be made or destroyed" in warning
    assert f"-m cofferdam_kim.mend {path}" in warning
    assert client_keys(store, MBED, Application(3, "1000")) == ["mine", "other"]
    assert store.pending(MBED) == []
    assert status_of(store, "absent") is Status.KEY_INFO_MANAGER_ERROR, "it may be what the damage took"
    for action, arguments in (
        (store.reserve, (PLANNED,)),
        (store.activate, (RECORD,)),
        (store.cancel, ()),
        (store.mark_deleting, ()),
        (store.remove, ()),
    ):
        with pytest.raises(ServiceError) as caught:
            action(MBED, name("mine"), *arguments)
        assert caught.value.status is Status.KEY_INFO_MANAGER_ERROR
        assert "read only" in caught.value.detail
    store.close()
    assert path.read_bytes() == path.with_name("before").read_bytes()
    tamper(path, "REINDEX")
    store = open_store(path)
    assert store.report.damage is None
    store.mark_deleting(MBED, name("mine"))
    store.close()


def test_two_rows_of_one_name_are_not_served(path: Path) -> None:
    """Nothing tells which of them is right."""
    reference_database(path, [mapping_row(name(key_name)) for key_name in ("one", "two", "three")])
    open_store(path).close()
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    (leaf,) = [at for at in range(size, len(data), size) if data[at] == 0x0D and b"1000one" in data[at : at + size]]
    at = data.index(b"1000one", leaf)
    data[at : at + 7] = b"1000two"
    path.write_bytes(data)
    store = open_store(path)
    assert (store.report.keys, store.report.dropped) == (1, 2)
    assert [status_of(store, key) for key in ("one", "two", "three")] == [
        Status.KEY_INFO_MANAGER_ERROR,
        Status.KEY_INFO_MANAGER_ERROR,
        Status.SUCCESS,
    ]
    store.close()
