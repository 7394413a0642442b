"""Keys of single providers move between stores: none is lost, and a command that is killed can be repeated."""

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.kim.support import (
    MBED,
    OTHER,
    PKCS11,
    PLANNED,
    PROVIDERS,
    RECORD,
    RSA,
    TPM,
    both,
    client_keys,
    create,
    mapping_row,
    name,
    open_on_disk,
    open_store,
    reference_database,
)

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_kim.convert import main
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore
from cofferdam_kim.stores import Stores

CLIENT = Application(3, "1000")
CODED = KeyRecord(b"\x01\x02\x03\x04", 1, RSA, b"code")
ROOT_KEY = KeyIdentity(INTERNAL_AUTHENTICATOR, "parsec", "RootKeyTPM")
FILED = ("filed", "coded")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mappings"


def fill(store: MappingStore, provider: ProviderEntry = PKCS11) -> None:
    store.enrol(provider, b"check", b"seal", anew=False)
    create(store, name("filed"), provider)
    store.reserve(provider, name("coded"), PLANNED)
    store.activate(provider, name("coded"), CODED, b"new seal")
    create(store, name("own form"), provider, OTHER)
    create(store, name("other", authenticator=1), provider, KeyRecord(b"\x09\0\0\0", 1, RSA))
    create(store, ROOT_KEY, provider, KeyRecord(b"\x0a\0\0\0", 1, RSA))
    store.reserve(provider, name("pending"), PLANNED)
    create(store, name("going"), provider, KeyRecord(b"\x0b\0\0\0", 1, RSA))
    store.mark_deleting(provider, name("going"))


def check(store: MappingStore, provider: ProviderEntry = PKCS11) -> None:
    assert store.report.quarantined == ()
    assert store.lookup(provider, name("filed")) == RECORD
    assert store.lookup(provider, name("coded")) == CODED
    assert store.lookup(provider, name("coded")).code == b"code"
    assert store.lookup(provider, name("own form")) == OTHER
    assert store.lookup(provider, name("other", authenticator=1)).key_id == b"\x09\0\0\0"
    assert store.lookup(provider, ROOT_KEY).key_id == b"\x0a\0\0\0"
    assert client_keys(store, provider, CLIENT) == ["coded", "filed", "own form"]
    assert {(state.name, identity.key_name) for state, identity, _ in store.pending(provider)} == {
        ("RESERVED", "pending"),
        ("DELETING", "going"),
    }
    assert store.state(provider)[:2] == (b"check", b"new seal")


def prepared(path: Path, root: Path, *, filed: bool) -> Stores:
    """Make both stores, with keys of the token in one of them, and one of another provider in each."""
    stores = both(path, root, (PKCS11, TPM) if filed else (TPM,))
    fill(stores.of(PKCS11))
    create(stores.of(MBED), name("mbed"))
    create(stores.of(TPM), name("tpm"), TPM)
    return stores


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.glob("*/**/*") if path.is_file()}


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def move(*words: object) -> int:
    return main(["--provider", "Pkcs11", *map(str, words)])


@pytest.mark.parametrize("filed", [False, True])
def test_there_and_back(path: Path, root: Path, capsys: pytest.CaptureFixture[str], *, filed: bool) -> None:
    prepared(path, root, filed=filed).close()
    words = [("to-files", path, root), ("to-database", root, path)]
    before = files(root)
    for to_database in (filed, not filed):
        assert move(*words[to_database]) == 0
        target = words[to_database][2]
        said = f"7 keys of pkcs11-provider were moved to {target}: set its key_info_manager\n"
        assert capsys.readouterr().out == said
        stores = both(path, root, (TPM,) if to_database else (PKCS11, TPM))
        assert stores.misplaced == ()
        check(stores.of(PKCS11))
        for provider, key_name in ((MBED, "mbed"), (TPM, "tpm")):
            assert stores.of(provider).lookup(provider, name(key_name)) == RECORD
        stores.close()
        assert len(list(root.glob("*/2/*"))) == (0 if to_database else 2)
        assert (root / "parsec" / ".cofferdam-keys").exists() != to_database
    assert files(root) == before
    assert move(*words[not filed]) == 0
    assert "0 keys of" in capsys.readouterr().out


def test_to_stores_that_do_not_exist(path: Path, root: Path, tmp_path: Path) -> None:
    store = open_store(path)
    fill(store)
    store.close()
    new = tmp_path / "new" / "kim.sqlite3"
    before = snapshot(tmp_path)
    assert move("--dry-run", "to-files", path, root) == 0
    assert snapshot(tmp_path) == before
    assert move("to-files", path, root) == 0
    assert move("--dry-run", "to-database", root, new) == 0
    assert not new.parent.exists()
    assert move("to-database", root, new) == 0
    store = open_store(new)
    check(store)
    store.close()


def test_the_line_of_a_refused_provider_has_the_command(path: Path, root: Path) -> None:
    prepared(path, root, filed=False).close()
    for filed in ((PKCS11, TPM), (TPM,)):
        stores = both(path, root, filed)
        (misplaced,) = stores.misplaced
        stores.close()
        command = misplaced.remedy.partition("run: ")[2].partition(";")[0]
        assert main(shlex.split(command)[3:]) == 0
        stores = both(path, root, filed)
        assert stores.misplaced == ()
        check(stores.of(PKCS11))
        stores.close()


def test_what_would_be_overwritten_is_refused(path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stores = both(path, root)
    create(stores.of(MBED), name("same"))
    create(stores.of(PKCS11), name("same"), PKCS11, CODED)
    stores.close()
    before = files(root)
    assert move("to-database", root, path) == 1
    assert "1 keys of other providers that have the names of keys of pkcs11-provider" in capsys.readouterr().err
    store = open_store(path)
    create(store, name("old"), PKCS11, OTHER)
    store.close()
    assert move("to-database", root, path) == 1
    assert "found 1 other keys of pkcs11-provider" in capsys.readouterr().err
    assert files(root) == before
    stores = both(path, root)
    assert [each.provider for each in stores.misplaced] == [PKCS11.name]
    stores.close()


def test_a_store_that_is_not_understood_or_in_use_is_left(
    path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = mapping_row(name("bad"), record=KeyRecord(b"1", 1, b"no"))
    reference_database(path, [mapping_row(name(), PKCS11), bad])
    assert move("to-files", path, root) == 1
    assert "row 2 of key_mapping is not served" in capsys.readouterr().err
    store = open_on_disk(root)
    assert move("to-database", root, path.with_name("new")) == 1
    assert "another process has open" in capsys.readouterr().err
    store.close()


def test_mapping_files_of_the_reference(path: Path, root: Path) -> None:
    """Written by version 1.4.1; what it ignores at the end of a file does not keep the file from being removed."""
    written = json.loads((Path(__file__).parent / "reference_mappings.json").read_text())
    for file, content in written.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(bytes.fromhex(content))
    before = files(root)
    (trailing,) = [file for file in before if "/2/" in str(file)]
    trailing.write_bytes(before[trailing] + b"trailing")
    types = ("MbedCrypto", "Pkcs11", "Tpm")
    for kind, left in zip(types, (2, 1, 0), strict=True):
        assert main(["--provider", kind, "to-database", str(root), str(path)]) == 0
        assert len({file for file in files(root) if file.parts[-2] != "parsec"}) == left
    assert files(root) == {}
    stores = both(path, root, ())
    assert stores.misplaced == ()
    stores.close()
    assert main([*(f"--provider={kind}" for kind in types), "to-files", str(path), str(root)]) == 0
    assert files(root) == before


def test_a_database_of_the_reference_is_given_back_without_the_moved_rows(path: Path, root: Path) -> None:
    reference_database(path, [mapping_row(name()), mapping_row(name("k"), PKCS11, CODED)])
    assert move("to-files", path, root) == 0
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT * FROM key_mapping").fetchall() == [tuple(mapping_row(name()))]
    assert b"\1\2\3\4" not in path.read_bytes()
    assert len(files(root)) == 1


CHILD = """
import itertools, os, signal, sqlite3, sys
from cofferdam_kim.convert import main
counter, last = itertools.count(1), int(sys.argv[1])
def die(*_statement):
    if next(counter) == last:
        os.kill(os.getpid(), signal.SIGKILL)
def counted(call):
    def count(*arguments, **named):
        die()
        return call(*arguments, **named)
    return count
connect = sqlite3.connect
def connected(*arguments, **named):
    connection = connect(*arguments, **named)
    connection.set_trace_callback(die)
    return connection
sqlite3.connect = connected
for call in ("open", "mkdir", "write", "fsync", "rename", "unlink"):
    setattr(os, call, counted(getattr(os, call)))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("filed", [False, True])
def test_a_move_that_is_killed(tmp_path: Path, *, filed: bool) -> None:
    """Whatever is started then serves all keys of the provider, or refuses it; and the command can be repeated."""
    old, new = ((PKCS11, TPM), (TPM,)) if filed else ((TPM,), (PKCS11, TPM))
    ends, seen = [], set()
    for last in range(1, 1000, 7):
        folder = tmp_path / str(last)
        here = folder / "kim" / "kim.sqlite3", folder / "mappings"
        prepared(*here, filed=filed).close()
        words = ["--provider", "Pkcs11", *(("to-database", *here[::-1]) if filed else ("to-files", *here))]
        command = [sys.executable, "-c", CHILD, str(last), *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ends.append(subprocess.run(command, env=environment, capture_output=True, check=False).returncode)
        served = []
        for configured in (old, new):
            stores = both(*here, configured)
            served.append(stores.misplaced == ())
            if served[-1]:
                check(stores.of(PKCS11))
            stores.close()
        seen.add(tuple(served))
        assert main([str(word) for word in words]) == 0
        stores = both(*here, new)
        assert stores.misplaced == ()
        check(stores.of(PKCS11))
        stores.close()
        assert len(list(here[1].glob("*/2/*"))) == (0 if filed else 2)
        if ends[-1] == 0:
            break
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert ends[-1] == 0
    assert len(ends) > 10
    assert seen == {(True, False), (False, False), (False, True)}


@pytest.mark.parametrize("filed", [False, True])
def test_between_stores_of_one_kind(path: Path, root: Path, tmp_path: Path, *, filed: bool) -> None:
    other: Callable[..., MappingStore] = open_on_disk if filed else open_store
    old, new = (root, tmp_path / "more") if filed else (path, path.with_name("more"))
    direction = "to-files" if filed else "to-database"
    store = other(old)
    fill(store)
    create(store, name("mbed"))
    store.close()
    assert move(direction, old, old) == 1
    assert move(direction, old, new) == 0
    stores = Stores((other(old, (MBED, TPM)), other(new, (PKCS11,))), PROVIDERS)
    assert stores.misplaced == ()
    check(stores.of(PKCS11))
    assert stores.of(MBED).lookup(MBED, name("mbed")) == RECORD
    stores.close()
