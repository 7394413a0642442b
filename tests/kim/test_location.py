"""The folder and the file of the database: who owns them, who can read them, what is refused."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kim.support import PROVIDERS, create, name, open_store, reference_database

from cofferdam_kim.errors import StoreError
from cofferdam_kim.location import check_file, prepare
from cofferdam_kim.store import MappingStore

STRANGER = 61_234
"""A uid that nobody has."""


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_missing_is_made(path: Path) -> None:
    deep = path.parent / "a" / "b" / path.name
    assert prepare(str(deep)).warnings == ()
    assert mode(deep) == 0o600
    assert deep.read_bytes() == b""
    assert [mode(deep.parent), mode(deep.parent.parent), mode(path.parent)] == [0o700, 0o755, 0o755]


# With the last one nobody but root could enter a folder that was just made.
@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777 if os.geteuid() == 0 else 0o027])
def test_modes_do_not_depend_on_the_umask(path: Path, mask: int) -> None:
    os.umask(mask)
    prepare(str(path.parent / "sub" / path.name))
    assert [mode(path.parent), mode(path.parent / "sub")] == [0o755, 0o700]
    assert mode(path.parent / "sub" / path.name) == 0o600


def test_every_file_of_the_database_is_private(path: Path) -> None:
    store = open_store(path)
    create(store, name())
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}
    assert {file.name for file in path.parent.iterdir()} == {path.name, path.name + "-wal"}
    store.close()


def test_preparing_again_changes_nothing(path: Path) -> None:
    reference_database(path, [])
    before = path.read_bytes()
    assert prepare(str(path)).warnings == ()
    assert prepare(str(path)).warnings == ()
    assert path.read_bytes() == before


def test_loose_modes_are_tightened_with_a_warning(path: Path) -> None:
    reference_database(path, [])
    path.chmod(0o644)
    path.parent.chmod(0o755)
    journal = path.with_name(path.name + "-journal")
    journal.touch(0o640)
    warnings = prepare(str(path)).warnings
    assert [mode(path), mode(journal), mode(path.parent)] == [0o600, 0o600, 0o700]
    assert len(warnings) == 3
    assert "mode 0644" in " ".join(warnings)


def test_a_folder_with_other_files_is_left_alone(path: Path) -> None:
    reference_database(path, [])
    (path.parent / "notes").touch()
    path.parent.chmod(0o777)
    (warning,) = prepare(str(path)).warnings
    assert "others may replace" in warning
    assert mode(path.parent) == 0o777


@pytest.mark.parametrize("bad", ["kim.sqlite3", "", "/", "/tmp/..", "/tmp/x/.", "/tmp/a\0b"])  # noqa: S108  refused
def test_only_absolute_paths_of_files(bad: str) -> None:
    with pytest.raises(StoreError, match="absolute path"):
        prepare(bad)
    with pytest.raises(StoreError, match="absolute path"):
        check_file(bad)


def test_a_link_in_place_of_the_database_is_refused(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("contents")
    target.chmod(0o644)
    path.parent.mkdir(mode=0o700)
    path.symlink_to(target)
    for action in (prepare, check_file):
        with pytest.raises(StoreError, match="symbolic link"):
            action(str(path))
    assert mode(target) == 0o644


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm"])
def test_a_link_beside_the_database_is_refused(path: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / "elsewhere"
    target.touch(0o644)
    reference_database(path, [])
    path.with_name(path.name + suffix).symlink_to(target)
    with pytest.raises(StoreError, match="symbolic link"):
        prepare(str(path))
    assert mode(target) == 0o644


def test_a_dangling_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "nothing")
    with pytest.raises(StoreError, match="symbolic link"):
        prepare(str(path))
    assert not (tmp_path / "nothing").exists()


def test_a_link_in_place_of_the_folder_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    path.parent.symlink_to(tmp_path / "elsewhere")
    assert prepare(str(path)).path == str(tmp_path / "elsewhere" / path.name)
    assert mode(tmp_path / "elsewhere") == 0o700


def test_a_link_above_the_folder_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    prepare(str(tmp_path / "link" / "kim" / path.name))
    assert mode(tmp_path / "data" / "kim" / path.name) == 0o600
    store = open_store(tmp_path / "link" / "kim" / path.name)
    create(store, name())
    store.close()


def test_a_second_name_of_the_database_is_refused(path: Path, tmp_path: Path) -> None:
    """Somebody who once owned the folder could have linked another file there, to be given to the key store."""
    reference_database(path, [])
    os.link(path, tmp_path / "second")
    with pytest.raises(StoreError, match="2 names"):
        prepare(str(path))


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_only_a_plain_file_is_a_database(path: Path, kind: str) -> None:
    path.parent.mkdir(mode=0o700)
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    for action in (prepare, check_file):
        with pytest.raises(StoreError, match="no plain file"):
            action(str(path))


def test_a_file_in_the_way_of_a_folder(path: Path) -> None:
    path.parent.write_text("")
    with pytest.raises(StoreError, match="found no folder at"):
        prepare(str(path))


def test_a_missing_database_is_not_made_by_opening(path: Path) -> None:
    with pytest.raises(StoreError, match="prepare the store first"):
        check_file(str(path))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
class TestAsRoot:
    @pytest.fixture
    def path(self) -> Iterator[Path]:
        """Stand where everybody can go: the folders of pytest are closed."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Path(folder) / "kim" / "kim.sqlite3"

    def test_everything_is_given_to_the_key_store(self, path: Path) -> None:
        reference_database(path, [])
        path.with_name(path.name + "-journal").touch(0o600)
        prepare(str(path), STRANGER, STRANGER)
        owned = [path.parent, *path.parent.iterdir()]
        assert {(item.stat().st_uid, item.stat().st_gid) for item in owned} == {(STRANGER, STRANGER)}
        assert path.parent.parent.stat().st_uid == os.geteuid()

    def test_the_key_store_can_use_it(self, path: Path) -> None:
        prepare(str(path), STRANGER, STRANGER)
        child = os.fork()
        if child == 0:
            failed = 1
            try:
                os.setgroups([])
                os.setresgid(STRANGER, STRANGER, STRANGER)
                os.setresuid(STRANGER, STRANGER, STRANGER)
                store = MappingStore.open(str(path), PROVIDERS)
                create(store, name())
                store.close()
                failed = 0
            finally:
                os._exit(failed)
        assert os.waitpid(child, 0)[1] == 0
        store = MappingStore.open(str(path), PROVIDERS)
        assert store.report.keys == 1
        store.close()

    def test_a_folder_that_is_closed_above_is_named(self, path: Path) -> None:
        closed = path.parent
        closed.mkdir(mode=0o700)
        with pytest.raises(StoreError) as caught:
            prepare(str(closed / "sub" / path.name), STRANGER, STRANGER)
        assert str(caught.value).startswith(f"{closed}: found mode 0700, owner 0:0")
        assert caught.value.remedy == f"chmod o+x {closed}, or name another place"
        closed.chmod(0o710)
        os.chown(closed, 0, STRANGER)
        prepare(str(closed / "sub" / path.name), STRANGER, STRANGER)

    def test_a_folder_of_others_is_not_taken(self, path: Path) -> None:
        reference_database(path, [])
        (path.parent / "notes").touch()
        with pytest.raises(StoreError, match="such as 'notes'"):
            prepare(str(path), STRANGER, STRANGER)
        assert path.stat().st_uid == 0
