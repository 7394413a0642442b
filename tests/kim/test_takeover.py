"""A database of the reference service is served as it is, and can be given back."""

import sqlite3
from pathlib import Path

import pytest
from tests.kim.support import (
    ECDSA,
    MBED,
    OTHER,
    PKCS11,
    PLANNED,
    PROVIDERS,
    RSA,
    TPM,
    client_keys,
    create,
    list_clients,
    list_keys,
    mapping_row,
    name,
    open_store,
    query,
    reference_database,
)

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.keystore import PendingState
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.rows import KeyRecord

U32 = KeyRecord((4).to_bytes(4, "little"), 1, RSA)
TOKEN = KeyRecord((0xDEADBEEF).to_bytes(4, "little"), 1, ECDSA)
# Vector of 34 bytes: TPM Name, algorithm SHA-256 and digest.
ROOT = KeyRecord((34).to_bytes(8, "little") + b"\x00\x0b" + bytes(32), 1, RSA)
ROOT_NAME = name("tpmRootKeyTPM", application="parsec", authenticator=INTERNAL_AUTHENTICATOR)
ROWS = [
    mapping_row(name("mbed", "1000", 3), MBED, U32),
    mapping_row(name("token", "1000", 3), PKCS11, TOKEN),
    mapping_row(name("direct", "app", 1), MBED, U32),
    mapping_row(ROOT_NAME, TPM, ROOT),
]


class Reference:
    """The questions that the reference service puts to its database, as documented."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)

    def load(self) -> dict[tuple[int, str, str], tuple[object, ...]]:
        """Start: check the tables and the versions, read every row."""
        tables = self._connection.execute(
            "SELECT * FROM sqlite_master WHERE type='table' AND (name='key_mapping' OR name='kim_metadata')"
        ).fetchall()
        assert len(tables) == 2
        versions = self._connection.execute("SELECT * FROM kim_metadata WHERE id = 'schema_version'").fetchall()
        assert versions == [("schema_version", 1)]
        wrong = "SELECT * FROM key_mapping WHERE key_id_version != 1 OR key_attributes_version != 1"
        assert self._connection.execute(wrong).fetchall() == []
        return {row[:3]: row[3:] for row in self._connection.execute("SELECT * FROM key_mapping")}

    def insert(self, row: list[object]) -> None:
        self._connection.execute("REPLACE INTO key_mapping VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._connection.commit()

    def delete(self, *identity: object) -> None:
        self._connection.execute(
            "DELETE FROM key_mapping WHERE authenticator_id = ? AND application_name = ? AND key_name = ?", identity
        )
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def taken(path: Path) -> Path:
    reference_database(path, ROWS)
    return path


def test_every_row_is_served(taken: Path) -> None:
    store = open_store(taken)
    assert (store.report.keys, store.report.quarantined, store.report.unconfigured) == (4, (), 0)
    assert list(store.report.warnings()) == []
    assert store.lookup(MBED, name("mbed")) == U32
    assert store.lookup(PKCS11, name("token")) == TOKEN
    assert store.lookup(MBED, name("direct", "app", 1)) == U32
    assert store.lookup(TPM, ROOT_NAME) == ROOT
    assert list_keys(store, Application(3, "1000")) == [(2, "token", ECDSA), (1, "mbed", RSA)]
    assert (list_clients(store, 3), list_clients(store, 1)) == (["1000"], ["app"])
    store.close()


def test_a_name_of_one_provider_does_not_open_the_key_of_another(taken: Path) -> None:
    """The reference finds the software key 4 through PKCS#11, where 4 is somebody else's key."""
    store = open_store(taken)
    for provider in (PKCS11, TPM):
        with pytest.raises(ServiceError) as caught:
            store.lookup(provider, name("mbed"))
        assert caught.value.status is Status.PSA_ERROR_DOES_NOT_EXIST
    store.close()


def test_the_reference_reads_what_was_written(taken: Path) -> None:
    store = open_store(taken)
    create(store, name("new", "1001"), PKCS11, TOKEN)
    store.mark_deleting(MBED, name("mbed"))
    store.remove(MBED, name("mbed"))
    store.reserve(MBED, name("reserved"), PLANNED)
    store.close()
    reference = Reference(taken)
    rows = reference.load()
    reference.close()
    assert set(rows) == {
        (3, "1000", "token"),
        (1, "app", "direct"),
        (255, "parsec", "tpmRootKeyTPM"),
        (3, "1001", "new"),
    }
    assert rows[3, "1001", "new"] == (PKCS11.uuid, PKCS11.name, TOKEN.key_id, 1, ECDSA, 1)


def test_the_reference_can_go_on_after_a_crash_of_ours(taken: Path) -> None:
    """What is only in the log counts for everybody."""
    store = open_store(taken)
    create(store, name("new"), PKCS11, TOKEN)
    copy = taken.with_name("copy")
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(taken.with_name(taken.name + suffix).read_bytes())
    store.close()
    reference = Reference(copy)
    assert (3, "1000", "new") in reference.load()
    reference.close()


def test_keys_in_our_own_form_stop_the_reference(taken: Path) -> None:
    """Better than being dropped by it: it deletes the mapping of an id that it cannot read."""
    store = open_store(taken)
    create(store, name("own"), MBED, OTHER)
    store.close()
    assert query(taken, "SELECT key_name FROM key_mapping WHERE key_id_version != 1") == [("own",)]
    assert query(taken, "SELECT count(*) FROM key_mapping WHERE key_attributes_version != 1") == [(0,)]


def test_there_and_back(taken: Path) -> None:
    store = open_store(taken)
    store.reserve(PKCS11, name("half made"), KeyRecord(b"\1\0\0\0", 1, ECDSA))
    store.reserve(MBED, name("pending"), PLANNED)
    store.mark_deleting(MBED, name("mbed"))
    store.close()
    reference = Reference(taken)
    reference.load()
    # The names are free for the reference, which also gives the id of the key being destroyed to a new one.
    reference.insert(mapping_row(name("pending"), PKCS11, TOKEN))
    reference.insert(mapping_row(name("reuse"), MBED, U32))
    reference.delete(3, "1000", "token")
    reference.close()
    store = open_store(taken)
    assert store.lookup(PKCS11, name("pending")) == TOKEN
    assert store.lookup(MBED, name("reuse")) == U32
    assert store.pending(MBED) == [(PendingState.RESERVED, name("pending"), PLANNED)], "key 4 is in use again"
    assert store.pending(PKCS11) == [(PendingState.RESERVED, name("half made"), KeyRecord(b"\1\0\0\0", 1, ECDSA))]
    with pytest.raises(ServiceError) as caught:
        store.activate(MBED, name("pending"), OTHER)
    assert caught.value.status is Status.PSA_ERROR_ALREADY_EXISTS
    with pytest.raises(ServiceError) as caught:
        store.mark_deleting(PKCS11, name("pending"))
    assert caught.value.status is Status.PSA_ERROR_BAD_STATE
    store.cancel(MBED, name("pending"))
    store.mark_deleting(PKCS11, name("pending"))
    store.close()


def test_a_journal_that_the_reference_left_is_honoured(taken: Path) -> None:
    """A crash of the reference in the middle of a write leaves a journal; it has to be played back."""
    connection = sqlite3.connect(taken, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("PRAGMA cache_spill = 1")
    connection.execute("BEGIN")
    for number in range(300):
        connection.execute(
            "INSERT INTO key_mapping VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", mapping_row(name(f"lost {number}"))
        )
    copy = taken.with_name("copy")
    for suffix in ("", "-journal"):
        copy.with_name(copy.name + suffix).write_bytes(taken.with_name(taken.name + suffix).read_bytes())
    connection.execute("ROLLBACK")
    connection.close()
    assert b"lost" in copy.read_bytes(), "the write has reached the file"
    store = open_store(copy, PROVIDERS)
    assert store.report.keys == 4
    assert client_keys(store, MBED, Application(3, "1000")) == ["mbed"]
    store.close()
