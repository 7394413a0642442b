"""Conversion between a database and mapping files: nothing is lost, and a command that is killed can be repeated."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kim.support import (
    MBED,
    OTHER,
    PKCS11,
    PLANNED,
    RECORD,
    RSA,
    client_keys,
    create,
    mapping_row,
    name,
    open_on_disk,
    open_store,
    reference_database,
)

from cofferdam_contracts.identity import Application
from cofferdam_kim.convert import main
from cofferdam_kim.mapping_mirror import DATABASE
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore

CODED = KeyRecord(b"\x01\x02\x03\x04", 1, RSA, b"code")
CLIENT = Application(3, "1000")


def fill(store: MappingStore) -> None:
    create(store, name("mbed"))
    create(store, name("coded"), PKCS11, CODED)
    create(store, name("own form"), record=OTHER)
    create(store, name("other", authenticator=1), record=KeyRecord(b"\x09\0\0\0", 1, RSA))
    store.reserve(MBED, name("pending"), PLANNED)
    store.close()


def check(store: MappingStore) -> None:
    assert store.report.quarantined == ()
    assert store.lookup(MBED, name("mbed")) == RECORD
    assert store.lookup(PKCS11, name("coded")) == CODED
    assert store.lookup(PKCS11, name("coded")).code == b"code"
    assert store.lookup(MBED, name("own form")) == OTHER
    assert store.lookup(MBED, name("other", authenticator=1)).key_id == b"\x09\0\0\0"
    assert client_keys(store, MBED, CLIENT) == ["mbed", "own form"]
    assert [identity.key_name for _, identity, _ in store.pending(MBED)] == ["pending"]
    store.close()


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_and_back(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(open_store(path))
    root, back = tmp_path / "mappings", tmp_path / "back" / "kim.sqlite3"
    before = snapshot(path.parent)
    assert main(["--dry-run", "to-files", str(path), str(root)]) == 0
    assert not root.exists()
    assert main(["to-files", str(path), str(root)]) == 0
    said = "rows with mapping files: 2; others, which Parsec cannot use, in the database beside them: 2\n"
    assert capsys.readouterr().out == f"{said}{said}files to go: 0\n{root} is ready: set manager_type and store_path\n"
    assert snapshot(path.parent) == before
    assert len(list(root.glob("*/[0-5]/*"))) == 2
    check(open_on_disk(root))
    assert main(["--dry-run", "to-database", str(root), str(back)]) == 0
    assert not back.parent.exists()
    assert main(["to-database", str(root), str(back)]) == 0
    check(open_store(back))


def test_what_would_be_lost_or_overwritten_is_refused(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(open_store(path))
    root, back = tmp_path / "mappings", tmp_path / "back" / "kim.sqlite3"
    fill(open_on_disk(root))
    assert main(["to-files", str(path), str(root)]) == 1
    assert main(["to-database", str(root), str(path)]) == 1
    (root / "stray" / "1").mkdir(parents=True)
    (root / "stray" / "1" / "a2V5").write_bytes(b"")
    assert main(["to-database", str(root), str(back)]) == 1
    refusals = capsys.readouterr().err.splitlines()
    assert [line.split(": found ")[1].split(",")[0] for line in refusals[:2]] == ["a store"] * 2
    assert "is not served" in refusals[2]
    assert not back.exists()
    (root / DATABASE).rename(tmp_path / "elsewhere")
    assert main(["to-files", str(path), str(root)]) == 1


def test_a_database_of_the_reference(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "mappings"
    reference_database(path, [mapping_row(name()), mapping_row(name("k"), PKCS11, CODED)])
    before = snapshot(path.parent)
    assert main(["--dry-run", "to-files", str(path), str(root)]) == 0
    assert capsys.readouterr().out.startswith(
        "rows with mapping files: 2; others, which Parsec cannot use, in the database beside them: 0"
    )
    assert snapshot(path.parent) == before
    assert main(["to-files", str(path), str(root)]) == 0
    store = open_on_disk(root)
    assert client_keys(store, PKCS11, CLIENT) == ["k"]
    store.close()


def test_a_row_that_is_not_understood_is_not_lost(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference_database(path, [mapping_row(name()), mapping_row(name("bad"), record=KeyRecord(b"1", 1, b"no"))])
    for more in ((), ("--dry-run",)):
        assert main([*more, "to-files", str(path), str(tmp_path / "mappings")]) == 1
        assert "row 2 of key_mapping is not served" in capsys.readouterr().err


CHILD = """
import itertools, os, signal, sys
from cofferdam_kim.convert import main
counter, last = itertools.count(1), int(sys.argv[1])
def counted(call):
    def count(*arguments, **named):
        if next(counter) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return count
for call in ("open", "mkdir", "write", "fsync", "rename", "unlink"):
    setattr(os, call, counted(getattr(os, call)))
sys.exit(main(sys.argv[2:]))
"""


def test_a_conversion_that_is_killed(path: Path, tmp_path: Path) -> None:
    fill(open_store(path))
    ends = []
    for last in range(1, 400, 3):
        root = tmp_path / str(last) / "mappings"
        command = [sys.executable, "-c", CHILD, str(last), "to-files", str(path), str(root)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ends.append(subprocess.run(command, env=environment, capture_output=True, check=False).returncode)
        if not (root / DATABASE).exists():
            assert main(["to-files", str(path), str(root)]) == 0
        check(open_on_disk(root))
        assert len(list(root.glob("*/[0-5]/*"))) == 2
        if ends[-1] == 0:
            break
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert ends[-1] == 0
    assert len(ends) > 10
