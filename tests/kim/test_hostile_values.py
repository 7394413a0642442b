"""One value that nobody wrote, in any column of any table: its row is set aside, and the key store serves the rest."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.kim.support import MBED, PKCS11, PLANNED, RECORD, TPM, alone, create, name, open_store
from tests.kim.test_serve import Kim

from cofferdam_contracts.ipc.control import KeyOwner, Record, Violation
from cofferdam_contracts.ipc.keystore import ROWS_AT_ONCE, Asker, KimMessage
from cofferdam_contracts.ipc.limits import (
    MAX_ATTRIBUTES,
    MAX_CODE,
    MAX_KEY_ID,
    MAX_LISTING,
    MAX_SEAL,
    MAX_STORED_KEY_NAME,
)
from cofferdam_contracts.ipc.pages import keys_of
from cofferdam_contracts.roles import Role
from cofferdam_contracts.status import Status
from cofferdam_kim.owners import OwnerNotifier
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore

LARGEST = 4 * MAX_KEY_ID
"""Bytes of the largest answer here: the real limit would have each test write the database of a year."""
VALUES = {
    "blob": ("?", b"1000"),
    "number": ("?", 1000),
    "fraction": ("?", 0.5),
    "text": ("?", "x"),
    "no text": ("CAST(? AS TEXT)", b"1000\xff"),
    "large blob": ("?", b"9" * (LARGEST + 1)),
    "large text": ("?", "9" * (LARGEST + 1)),
}
CODE = b"c" * MAX_CODE
SEAL = b"s" * MAX_SEAL
CODED = KeyRecord(RECORD.key_id, RECORD.version, RECORD.attributes, CODE)
CHECK = b"check"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cofferdam_kim.serve.MOST_ANSWERED", dict.fromkeys(Asker, LARGEST))
    monkeypatch.setattr("cofferdam_kim.service.MAX_ANSWER", LARGEST)
    for module in ("catalogue", "listings"):
        monkeypatch.setattr(f"cofferdam_kim.{module}.MAX_LISTING", LARGEST)
    # As little of a listing as in a service.
    monkeypatch.setattr("cofferdam_kim.rows.MAX_STORED_KEY_NAME", LARGEST * MAX_STORED_KEY_NAME // MAX_LISTING)


def spoil(path: Path, marks: str, value: object) -> None:
    """Copy the rows of each table for each of its columns, with this value in that column."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [table for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in tables:
            if table.endswith("metadata"):
                continue  # another version is not served at all
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for column in names:
                # Rows of the mapping need names of their own, those of providers are what is spoilt.
                others = {"key_name": f"'bad {column}'", column: marks}
                values = ", ".join(others.get(other, other) for other in names)
                connection.execute(
                    f"INSERT OR IGNORE INTO {table} SELECT {values} FROM {table} WHERE rowid = 1", (value,)
                )
        connection.execute(f"INSERT INTO cofferdam_providers VALUES ('{PKCS11.uuid}', {marks}, x'')", (value,))
        connection.execute(f"INSERT INTO cofferdam_providers VALUES ('{TPM.uuid}', x'', {marks})", (value,))
        connection.commit()


@pytest.fixture
def made(path: Path) -> Path:
    """Return a database with one sound row in each table."""
    store = open_store(path)
    store.enrol(MBED, CHECK, b"", anew=False)
    create(store, name("good"), MBED, CODED)
    store.reserve(MBED, name("planned"), PLANNED)
    store._connection.execute("INSERT INTO cofferdam_quarantine VALUES ('nothing', 1, 'sound')")
    store.close()
    return path


def owners_told(store: MappingStore) -> list[Record]:
    told: list[Record] = []

    def send(record: Record) -> bool:
        told.append(record)
        return True

    OwnerNotifier(alone(store), send).tell()
    return told


def ask(kim: Kim, role: Role, *questions: tuple[int, tuple[object, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield status and fields of each answer; every question has one."""
    end, _ = kim.connect(role, 1000 if role is Role.FRONTEND else 0)
    for number, fields in questions:
        end.send((int(number), 1, *fields))
    kim.run()
    for (number, _), (answered, _, *answer) in zip(questions, kim.answers[end], strict=True):
        assert answered == number + 1
        yield tuple(answer)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("value", VALUES)
def test_one_value_takes_no_other_row_along(made: Path, value: str) -> None:
    spoil(made, *VALUES[value])
    store = open_store(made)
    assert len(list(store.report.warnings())) > 1
    assert KeyOwner(1000, owns=True) in owners_told(store)
    kim = Kim(store)
    spoilt = [(KimMessage.LOOKUP, (3, "1000", f"bad {column}")) for column in ("state", "code", "provider_uuid")]
    looked, rows, pending, state, names, *_ = ask(
        kim,
        Role.SOFTWARE_WORKER,
        (KimMessage.LOOKUP, (3, "1000", "good")),
        (KimMessage.ROWS, (0,)),
        (KimMessage.PENDING, ()),
        (KimMessage.STATE, ()),
        (KimMessage.CLIENT_KEYS, (3, "1000")),
        *spoilt,
    )
    assert looked[:5] == (Status.SUCCESS, RECORD.key_id, RECORD.version, RECORD.attributes, CODE)
    assert "good" in [row[3] for row in rows[1]]
    assert "planned" in [row[3] for row in pending[1]]
    assert state[:2] == (Status.SUCCESS, CHECK)
    assert CODE in state[3]
    assert "good" in names[1]
    (listed, _) = ask(kim, Role.FRONTEND, (KimMessage.LIST_KEYS, (3, "")), (KimMessage.LIST_CLIENTS, (3, "")))
    assert "good" in [key_name for _, key_name, _ in keys_of(listed[1])]
    for role in (Role.PKCS11_WORKER, Role.TPM_WORKER):
        assert [status for status, *_ in ask(kim, role, (KimMessage.STATE, ()))] == [Status.SUCCESS]
    kim.close()
    store.close()


@pytest.mark.usefixtures("small")
def test_a_code_of_any_size_is_one_that_no_row_has(made: Path) -> None:
    """On either side of the limit; it may neither stop a worker's questions nor be taken for a code."""
    for size, found in ((MAX_CODE, bytes(MAX_CODE)), (MAX_CODE + 1, b"\0"), (LARGEST, b"\0")):
        with closing(sqlite3.connect(made)) as connection:
            connection.execute("UPDATE cofferdam_codes SET code = zeroblob(?) WHERE key_name = 'good'", (size,))
            connection.commit()
        store = open_store(made)
        assert store.lookup(MBED, name("good")).code == found
        assert store.state(MBED)[2] == found
        store.close()


@pytest.mark.usefixtures("small")
def test_an_answer_too_large_to_send_is_refused(made: Path) -> None:
    """Nobody tampered: these are the codes of so many rows."""
    store = open_store(made)
    store._connection.execute(
        "WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?)"
        " INSERT INTO cofferdam_codes SELECT 3, '1000', number, 0, ?, ? FROM numbers",
        (LARGEST // MAX_CODE, MBED.uuid, CODE),
    )
    kim = Kim(store)
    state, looked = ask(kim, Role.SOFTWARE_WORKER, (KimMessage.STATE, ()), (KimMessage.LOOKUP, (3, "1000", "good")))
    assert state == (Status.RESPONSE_TOO_LARGE,)
    assert looked[0] == Status.SUCCESS
    assert kim.broker.told(Violation) == []
    kim.close()
    store.close()


def test_bad_rows_do_not_end_those_that_are_adopted(made: Path) -> None:
    """An answer without rows says that there are no more."""
    store = open_store(made)
    store._connection.execute(
        "WITH RECURSIVE numbers(number) AS (SELECT 2 UNION ALL SELECT number + 1 FROM numbers WHERE number <= ?)"
        " INSERT INTO key_mapping SELECT 3, '1000', number, ?, '', x'', 9, zeroblob(?), 1 FROM numbers",
        (ROWS_AT_ONCE, MBED.uuid, MAX_ATTRIBUTES),
    )
    create(store, name("last"), MBED, KeyRecord(b"other", 1, RECORD.attributes))
    assert [identity.key_name for _, identity, _ in store.rows(MBED, 1)] == ["last"]
    assert store.lookup(MBED, name("good")) == RECORD
    store.close()


def test_the_store_is_opened_whatever_is_in_it(tmp_path: Path) -> None:
    """`names` tells what owns rows, sound or not: only texts of uids are owners."""
    store = open_store(tmp_path / "kim" / "kim.sqlite3")
    create(store, name("good"))
    store._connection.execute("UPDATE key_mapping SET application_name = CAST(application_name AS BLOB)")
    assert store.names(3) == [b"1000"]
    assert owners_told(store) == []
    store.close()
