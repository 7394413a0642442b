"""Databases whose structure is damaged: what is sound is served, nothing is denied, and one command mends it."""

import ast
import os
import shlex
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.kim.support import (
    MBED,
    OTHER,
    RECORD,
    client_keys,
    create,
    list_clients,
    list_keys,
    mapping_row,
    name,
    open_store,
    reference_database,
)

from cofferdam_contracts.identity import Application
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim import location, mend
from cofferdam_kim.errors import StoreError
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore

KIM_UID = 59_401
LEAF = 0x0D
INDEX_LEAF = 0x0A
"""First bytes of a page of a table with rows, and of an index with entries."""


def status_of(store: MappingStore, key_name: str) -> Status:
    try:
        store.lookup(MBED, name(key_name))
    except ServiceError as error:
        return error.status
    return Status.SUCCESS


def spoil(path: Path, *marks: bytes, kind: int = LEAF) -> int:
    """Make the pages of a kind that hold a mark unreadable; return how many that are."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    pages = [at for at in range(size, len(data), size) if data[at] == kind]
    spoilt = [at for at in pages if any(mark in data[at : at + size] for mark in marks)]
    for at in spoilt:
        data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    return len(spoilt)


def many(path: Path) -> dict[str, KeyRecord]:
    records = {f"key {number:03}": KeyRecord(b"%03d" % number * 30, 2, RECORD.attributes) for number in range(200)}
    reference_database(path, [mapping_row(name(key), MBED, record) for key, record in records.items()])
    store = open_store(path)
    create(store, name("gone"))
    store.mark_deleting(MBED, name("gone"))
    store.close()
    return records


@pytest.mark.parametrize("marks", [(b"key 000",), (b"key 070",), (b"key 199",), (b"key 050", b"key 070", b"key 120")])
def test_pages_that_cannot_be_read(path: Path, marks: tuple[bytes, ...]) -> None:
    """What is on the others is served; what is missing is not said to be absent, nor left out of a list."""
    records = many(path)
    assert spoil(path, *marks) == len(marks)
    before = path.read_bytes()
    store = open_store(path)
    served = {key for key in records if status_of(store, key) is Status.SUCCESS}
    assert all(store.lookup(MBED, name(key)) == records[key] for key in served)
    assert len(served) >= 200 - 30 * len(marks)
    assert served.isdisjoint(mark.decode() for mark in marks)
    for key in (*records.keys() - served, "gone", "never there"):
        assert status_of(store, key) is Status.KEY_INFO_MANAGER_ERROR
    for listing in (
        partial(list_keys, store, Application(3, "1000")),
        partial(client_keys, store, MBED, Application(3, "1000")),
        partial(list_clients, store),
    ):
        with pytest.raises(ServiceError, match="nobody can tell which keys are missing") as caught:
            listing()
        assert caught.value.status is Status.KEY_INFO_MANAGER_ERROR
    warning = store.report.damaged()
    assert f"{len(served)} sound keys" in warning
    store.close()
    assert path.read_bytes() == before


def test_a_damaged_index_hides_no_key(path: Path) -> None:
    records = many(path)
    assert spoil(path, b"key 070", kind=INDEX_LEAF) == 1
    store = open_store(path)
    assert {key: store.lookup(MBED, name(key)) for key in records} == records
    assert [key for _, key, _ in list_keys(store, Application(3, "1000"))] == sorted(records)
    store.close()


def test_table_and_index_that_are_damaged(path: Path) -> None:
    """What is left of the index says which rows are in their place."""
    records = many(path)
    assert spoil(path, b"key 070", kind=INDEX_LEAF) + spoil(path, b"key 150") == 2
    store = open_store(path)
    served = {key for key in records if status_of(store, key) is Status.SUCCESS}
    assert 50 < len(served) < 180
    assert all(store.lookup(MBED, name(key)) == records[key] for key in served)
    store.close()


def test_a_pointer_to_the_page_of_another_table(path: Path) -> None:
    """Keys that are being destroyed would else be there again."""
    records = many(path)
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    (pending,) = [at for at in range(size, len(data), size) if data[at] == LEAF and b"1000gone" in data[at : at + size]]
    (root,) = [at for at in range(size, len(data), size) if data[at] == 0x05]
    first = root + int.from_bytes(data[root + 12 : root + 14], "big")
    data[first : first + 4] = (pending // size + 1).to_bytes(4, "big")
    path.write_bytes(data)
    connection = sqlite3.connect(path)
    (there,) = connection.execute("SELECT key_name FROM key_mapping NOT INDEXED ORDER BY rowid LIMIT 1").fetchone()
    connection.close()
    assert there == "gone", "the damage is what it is meant to be"
    store = open_store(path)
    assert status_of(store, "gone") is Status.KEY_INFO_MANAGER_ERROR
    assert status_of(store, "key 199") is Status.SUCCESS
    assert sum(status_of(store, key) is Status.SUCCESS for key in records) >= 170
    store.close()


def header(data: bytearray) -> None:
    data[:100] = b"\0" * 100


def magic(data: bytearray) -> None:
    data[3] ^= 4


def file_format(data: bytearray) -> None:
    data[18] |= 0x80


def schema_text(data: bytearray) -> None:
    data[data.index(b"CREATE TABLE key_mapping") + 8] = 0xAC


def table_name(data: bytearray) -> None:
    at = data.index(b"key_mappingkey_mapping")
    data[at] ^= 1


def column_name(data: bytearray) -> None:
    data[data.index(b"key_id_version INTEGER")] ^= 1


def comma(data: bytearray) -> None:
    data[data.index(b"state INTEGER NOT NULL,") + 22] ^= 1


def first_page(data: bytearray) -> None:
    data[:4096] = b"\xa5" * 4096


@pytest.mark.parametrize(
    "damage", [header, magic, file_format, schema_text, table_name, column_name, comma, first_page]
)
def test_the_first_page_is_known(path: Path, damage: Callable[[bytearray], None]) -> None:
    """The header and the schema are the same in every database, and no key is on that page."""
    records = many(path)
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    store = open_store(path)
    assert store.report.damage is not None
    assert {key: store.lookup(MBED, name(key)) for key in records} == records
    assert status_of(store, "gone") is Status.KEY_INFO_MANAGER_ERROR
    assert [key for _, key, _ in list_keys(store, Application(3, "1000"))] == sorted(records)
    store.close()


def test_what_is_in_the_log_is_not_forgotten(path: Path) -> None:
    """A key that was destroyed is not there again because the first page is damaged."""
    many(path)
    store = open_store(path)
    store.mark_deleting(MBED, name("key 100"))
    log = path.with_name(path.name + "-wal")
    files = {file: bytearray(file.read_bytes()) for file in (path, log)}
    assert len(files[log]) > 4096
    store.close()
    first_page(files[path])
    for file, data in files.items():
        file.write_bytes(data)
    try:
        store = open_store(path)
    except StoreError as error:
        assert "restore a backup" in error.remedy
        return
    assert status_of(store, "key 100") is Status.KEY_INFO_MANAGER_ERROR
    store.close()


def test_a_database_of_which_nothing_can_be_read_is_refused(path: Path) -> None:
    many(path)
    assert spoil(path, b"key ") > 5
    data = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        open_store(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy == "restore a backup: no key in it can be read"
    assert path.read_bytes() == data
    assert (mend.main([str(path)]), mend.main([])) == (1, 2)
    assert path.read_bytes() == data


@pytest.mark.parametrize("damage", [None, schema_text, first_page])
def test_the_command_that_mends(path: Path, damage: Callable[[bytearray], None] | None) -> None:
    """As the log gives it: what is served afterwards is what was served before, and changes are possible again."""
    records = many(path)
    before = bytearray(path.read_bytes())
    if damage is None:
        spoil(path, b"key 070")
    else:
        damage(before)
        path.write_bytes(before)
    damaged_bytes = path.read_bytes()
    store = open_store(path)
    served = {key for key in records if status_of(store, key) is Status.SUCCESS}
    warning = store.report.damaged()
    store.close()
    command = warning.partition("stop the service and run: ")[2]
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True, timeout=30)
    assert f"{len(served)} keys" in done.stdout
    assert ("others are lost" in done.stdout) is (len(served) < 200)
    assert path.with_name(path.name + ".damaged").read_bytes() == damaged_bytes
    store = open_store(path)
    assert store.report.damage is None
    assert {key for key in records if status_of(store, key) is Status.SUCCESS} == served
    # Tables that were made after the reference had the database are where only the first page says.
    pending = [] if damage is first_page else ["gone"]
    assert [identity.key_name for _, identity, _ in store.pending(MBED)] == pending
    create(store, name("new"), record=OTHER)
    store.close()
    assert "is not damaged" in mend.mend(str(path))


MENDS = """
import os, sys
from cofferdam_kim import mend
opened = []
def watch(event, arguments):
    if event in ("open", "sqlite3.connect") and sys.argv[1] in str(arguments[0]):
        opened.append((os.getresuid(), os.getresgid(), os.getgroups()))
sys.addaudithook(watch)
status = mend.main(sys.argv[1:])
print(opened, file=sys.stderr)
sys.exit(status)
"""
"""Runs the command, and writes as whom it opened the database and what it wrote beside it."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another")
def test_root_mends_as_the_key_store_itself() -> None:
    """The bytes that it reads may be those of somebody who had the key store in his power."""
    with tempfile.TemporaryDirectory() as public:
        os.chmod(public, 0o755)  # noqa: S103  the key store passes through
        path = Path(public) / "kim" / "kim.sqlite3"
        many(path)
        spoil(path, b"key 070")
        location.prepare(str(path), KIM_UID, KIM_UID)
        done = subprocess.run(
            [sys.executable, "-c", MENDS, str(path)], capture_output=True, text=True, check=False, timeout=30
        )
        assert "keys now" in done.stdout, done.stderr
        opened = ast.literal_eval(done.stderr)
        assert opened
        assert all(ids == ((KIM_UID,) * 3, (KIM_UID,) * 3, []) for ids in opened)
        found = {file.name: (file.stat().st_uid, file.stat().st_gid) for file in path.parent.iterdir()}
        assert set(found) >= {path.name, path.name + ".damaged"}
        assert set(found.values()) == {(KIM_UID, KIM_UID)}


def test_rows_of_a_damaged_database_get_their_codes(path: Path) -> None:
    """Until the service ends: without a code a worker serves none of them, and a code needs its seal."""
    many(path)
    spoil(path, b"key 042")
    store = open_store(path)
    assert store.report.damage is not None
    assert store.report.keys
    (number, identity, _), *_ = store.rows(MBED, 0)
    store.enrol(MBED, b"check", b"", anew=False)
    store.adopt(MBED, [(number, b"code")], b"seal")
    assert store.lookup(MBED, identity).code == b"code"
    assert store.state(MBED) == (b"check", b"seal", b"code")
    store.close()


def test_a_database_is_mended_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many(path)
    data = bytearray(path.read_bytes())
    schema_text(data)
    path.write_bytes(data)
    assert mend.main([str(path)]) == 0
    assert capsys.readouterr().out == f"{path} has 200 keys now; what it was before is {path}.damaged\n"
    assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o600, os.getuid())
    # What somebody else left there is neither used nor replaced.
    path.write_bytes(data)
    path.with_name(path.name + ".mended").symlink_to(path.with_name("elsewhere"))
    assert mend.main([str(path)]) == 1
    assert "not mended" in capsys.readouterr().err
    assert path.read_bytes() == data
    assert not path.with_name("elsewhere").exists()


def test_a_database_in_use_is_not_mended(path: Path, store: MappingStore) -> None:
    create(store, name())
    assert mend.main([str(path)]) == 1
    assert store.lookup(MBED, name()) == RECORD
