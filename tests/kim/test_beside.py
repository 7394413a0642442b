"""A database among other files: its process can neither make nor remove anything in the folder."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.kim.crash_child import STRANGER, lock_out
from tests.kim.support import PROVIDERS, create, mapping_row, name, open_store, reference_database
from tests.kim.test_crash import CHILD, HISTORIES, reopen

from cofferdam_kim.errors import StoreError
from cofferdam_kim.location import Prepared, prepare
from cofferdam_kim.store import MappingStore

IS_ROOT = os.geteuid() == 0
OWNER = STRANGER if IS_ROOT else os.geteuid()
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can take over files of another uid")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody can pass through; those of pytest are closed."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    for path in (made, *made.iterdir()):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(made)


def beside(path: Path, *, shared: bool = True) -> Prepared:
    return prepare(str(path), OWNER, OWNER, shared=shared)


def locked_out(path: Path, work: Callable[[], object]) -> None:
    """Do something in a process that cannot write to the folder of the database."""
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            lock_out(path)
            work()
            failed = 0
        finally:
            os._exit(failed)
    assert os.waitpid(child, 0)[1] == 0


def state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_mode & 0o7777


def test_killed_before_any_statement_from_the_first_start_on(folder: Path) -> None:
    swept = subprocess.run(
        [sys.executable, CHILD, "--sweep-beside", folder], capture_output=True, check=True, timeout=90
    )
    ends = [tuple(map(int, line.split())) for line in swept.stdout.splitlines()]
    for statement, acknowledged, status in ends:
        assert status == (0 if statement == len(ends) else -signal.SIGKILL)
        path = folder / str(statement) / "kim.sqlite3"
        locked_out(path, lambda: _check_history(path, acknowledged))  # noqa: B023  called at once
    assert len(ends) > 60


def _check_history(path: Path, acknowledged: int) -> None:
    store = MappingStore.open(str(path), PROVIDERS)
    assert reopen(path, store) in HISTORIES[acknowledged : acknowledged + 2]


def test_the_folder_stays_as_it_is_and_commits_cost_what_they_do_elsewhere(folder: Path) -> None:
    (folder / "notes").touch()
    path = folder / "kim.sqlite3"
    before = state(folder)
    prepared = beside(path, shared=False)
    assert prepared.path == str(path)
    assert prepared.writable == (str(path), f"{path}-wal", f"{path}-journal")
    assert prepared.warnings == ()
    assert state(folder) == before
    assert {state(Path(file)) for file in prepared.writable} == {(OWNER, 0o600)}

    def work() -> None:
        for attempt in range(2):
            store = MappingStore.open(str(path), PROVIDERS)
            assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            create(store, name(f"key {attempt}"))
            assert path.with_name(f"{path.name}-wal").stat().st_size
            store.close()
            assert path.with_name(f"{path.name}-wal").stat().st_size == 0

    locked_out(path, work)
    assert {file.name for file in folder.iterdir()} == {"notes", *(Path(file).name for file in prepared.writable)}


def test_it_does_not_matter_who_comes_first(folder: Path) -> None:
    """What other processes make in a folder that all share is there before, after, or meanwhile."""
    for order in ("first", "last"):
        path = folder / order / "kim.sqlite3"
        if order == "last":
            (path.parent / "cofferdam").mkdir(parents=True)
        prepared = beside(path)
        (path.parent / "cofferdam").mkdir(exist_ok=True)
        assert state(path.parent) == (os.geteuid(), 0o755)
        assert len(prepared.writable) == 3
        assert beside(path) == prepared


def test_an_interrupted_change_of_the_reference_is_rolled_back(folder: Path) -> None:
    path = folder / "kim.sqlite3"
    reference_database(path, [mapping_row(name("a"))])
    folder.chmod(0o755)
    spoil = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA cache_size=1'); c.execute('BEGIN'); c.execute('DELETE FROM key_mapping');"
        "c.executemany('INSERT INTO kim_metadata VALUES (?, 1)', [(f'{n:01000}',) for n in range(200)]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", spoil, path], check=True, timeout=30)
    assert path.with_name(f"{path.name}-journal").read_bytes()[:1] == b"\xd9"
    beside(path)

    def work() -> None:
        for _ in range(2):
            store = MappingStore.open(str(path), PROVIDERS)
            assert (store.report.keys, store.report.damage) == (1, None)
            store.close()

    locked_out(path, work)
    folder.chmod(0o755)
    # The reference goes on with it.
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM key_mapping").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)


@needs_root
class TestAsRoot:
    def test_a_closed_folder_of_the_database_alone_is_taken_over_with_a_line(self, folder: Path) -> None:
        path = folder / "kim.sqlite3"
        reference_database(path)
        prepared = beside(path, shared=False)
        assert prepared.writable == (str(folder),)
        (warning,) = prepared.warnings
        assert warning == (
            f"{folder} had owner 0:0 and mode 0700, and has {OWNER}:{OWNER} and 0700 now, as only the database is in it"
        )
        assert beside(path, shared=False).warnings == ()

    @pytest.mark.parametrize("shared", [False, True])
    def test_a_closed_folder_with_other_files_is_refused(self, folder: Path, shared: bool) -> None:
        folder.chmod(0o700)
        if not shared:
            (folder / "notes").touch()
        with pytest.raises(StoreError) as caught:
            beside(folder / "kim.sqlite3", shared=shared)
        assert caught.value.where == str(folder)
        assert caught.value.remedy == f"chmod o+x {folder}, or name another place"
        assert state(folder) == (0, 0o700)

    def test_who_else_could_replace_it_is_said(self, folder: Path) -> None:
        (folder / "notes").touch()
        for uid, mode, words in ((0, 0o777, "has mode 0777"), (12345, 0o755, "belongs to uid 12345")):
            os.chown(folder, uid, uid)
            folder.chmod(mode)
            assert beside(folder / "kim.sqlite3").warnings == (
                f"{folder} has other files in it and {words}: others may replace the database",
            )

    @pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
    def test_a_file_of_somebody_else_in_an_open_folder_is_refused(self, folder: Path, suffix: str) -> None:
        folder.chmod(0o1777)
        planted = folder / f"kim.sqlite3{suffix}"
        planted.touch()
        os.chown(planted, 12345, 12345)
        with pytest.raises(StoreError, match="a file of uid 12345 in a folder that others can write to"):
            beside(folder / "kim.sqlite3")
        assert planted.stat().st_uid == 12345

    def test_a_link_that_others_can_change_is_not_followed(self, folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "link").symlink_to("data")
        path = folder / "link" / "kim.sqlite3"
        for place, uid, mode in ((folder, 12345, 0o755), (folder, 0, 0o777), (folder / "link", 12345, None)):
            os.chown(place, uid, uid, follow_symlinks=False)
            if mode is not None:
                place.chmod(mode)
            with pytest.raises(StoreError, match="can change"):
                beside(path)
            os.chown(folder, 0, 0)
            folder.chmod(0o755)
        assert list((folder / "data").iterdir()) == []
        os.chown(folder / "link", 0, 0, follow_symlinks=False)
        assert beside(path).path == str(folder / "data" / "kim.sqlite3")

    def test_it_is_mended_and_converted(self, folder: Path) -> None:
        (folder / "notes").touch()
        path = folder / "kim.sqlite3"
        prepared = beside(path)
        locked_out(path, lambda: _fill(path))
        run = ["python", "-m", "cofferdam_kim.convert", "--dry-run", "to-files", str(path), str(folder / "files")]
        assert _run(*run).startswith("rows with mapping files: 40;")
        run.remove("--dry-run")
        assert "is ready" in _run(*run)
        data = bytearray(path.read_bytes())
        data[100:108] = b"\xff" * 8
        path.write_bytes(data)
        assert "40 keys now" in _run("python", "-m", "cofferdam_kim.mend", str(path))
        assert beside(path) == prepared
        assert state(folder) == (0, 0o755)
        store = open_store(path)
        assert (store.report.keys, store.report.damage) == (40, None)
        store.close()


def _fill(path: Path) -> None:
    store = MappingStore.open(str(path), PROVIDERS)
    for number in range(40):
        create(store, name(f"key {number}"))
    store.close()


def _run(_python: str, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
