"""What a path leads through is what the kernel follows, and all of it."""

import os
import tempfile
from pathlib import Path

import pytest
from tests.harness.service import UNPRIVILEGED_UID, acting_as

from cofferdam_runtime.files import LinkError, look, open_folder, real_path


def _paths(path: str | Path) -> list[str]:
    return [element.path for element in look(str(path)).elements]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "relative").symlink_to("real/deep/..")
    (tmp_path / "absolute").symlink_to(tmp_path / "relative")
    (tmp_path / "gone").symlink_to("nowhere/file")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["real/file", "real//./file", "real/deep/../file", "relative/file", "absolute/file", "absolute", "real/.."],
)
def test_a_path_leads_where_the_kernel_says(tree: Path, name: str) -> None:
    path = f"{tree}/{name}"
    last, expected = look(path).last, os.stat(path)
    assert last is not None
    assert (last.path, last.mode, last.uid, last.gid) == (
        os.path.realpath(path),
        expected.st_mode,
        expected.st_uid,
        expected.st_gid,
    )


def test_links_and_what_they_lead_through_are_elements(tree: Path) -> None:
    assert _paths(tree / "absolute" / "file")[-4:] == [
        str(tree / name) for name in ("relative", "real", "real/deep", "real/file")
    ]
    assert str(tree / "absolute") in _paths(tree / "absolute" / "file")
    assert _paths("/")[:1] == ["/"]


@pytest.mark.parametrize(
    ("name", "missing", "reason"),
    [
        ("none", "none", "No such file or directory"),
        ("none/file", "none", "No such file or directory"),
        ("gone", "nowhere", "No such file or directory"),
        ("real/file/below", "real/file/below", "Not a directory"),
        ("loop", "loop", "too many symbolic links"),
        ("a\0b", "a\0b", "not a path"),
    ],
)
def test_what_is_missing_is_named(tree: Path, name: str, missing: str, reason: str) -> None:
    found = look(f"{tree}/{name}")
    assert (found.last, found.missing, found.reason) == (None, f"{tree}/{missing}", reason)


@pytest.mark.parametrize(
    ("name", "real"),
    [
        ("real/file", "real/file"),
        ("absolute/file", "real/file"),
        ("relative", "real"),
        ("absolute/new/folder", "real/new/folder"),
        ("gone", "nowhere/file"),
        ("gone/new", "nowhere/file/new"),
    ],
)
def test_a_path_without_links_leads_to_the_same(tree: Path, name: str, real: str) -> None:
    tree.chmod(0o755)
    assert real_path(f"{tree}/{name}") == str(tree / real)
    tree.chmod(0o777)
    if name == real:
        assert real_path(f"{tree}/{name}") == str(tree / real)
    else:
        with pytest.raises(LinkError, match=f"chmod go-w {tree}"):
            real_path(f"{tree}/{name}")


def opened(path: Path, mode: int | None = None) -> bool:
    """Open a folder, and tell whether it was made."""
    descriptor, made = open_folder(str(path), mode)
    found = os.fstat(descriptor)
    os.close(descriptor)
    assert os.path.samestat(found, path.stat())
    return made


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_folders_are_made_whatever_the_umask(tree: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert [opened(tree / "real" / "a" / "b", 0o700) for _ in range(2)] == [True, False]
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert [(tree / "real" / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o755, 0o700]


@pytest.mark.parametrize(
    ("name", "element", "reason"),
    [
        ("real/file/a", "real/file", "Not a directory"),
        ("relative/a", "relative", "Not a directory"),
        ("relative", "relative", "Not a directory"),
        ("gone/a", "gone", "Not a directory"),
    ],
)
@pytest.mark.parametrize("mode", [None, 0o700])
def test_no_link_is_followed_and_the_element_is_named(
    tree: Path, name: str, element: str, reason: str, mode: int | None
) -> None:
    with pytest.raises(OSError, match=reason) as caught:
        open_folder(f"{tree}/{name}", mode)
    assert caught.value.filename == f"{tree}/{element}"
    assert not (tree / "nowhere").exists()


def test_nothing_is_made_that_is_not_wanted(tree: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_folder(f"{tree}/real/a/b")
    assert caught.value.filename == f"{tree}/real/a"
    assert not (tree / "real" / "a").exists()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_folder_on_the_way_need_not_be_readable() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        Path(name, "below").mkdir(mode=0o777)
        Path(name, "below").chmod(0o777)
        with acting_as(UNPRIVILEGED_UID):
            assert opened(Path(name, "below", "own"), 0o700)


def test_every_folder_above_is_visited(tree: Path) -> None:
    seen: list[tuple[str, int]] = []
    descriptor, _ = open_folder(f"{tree}/real/deep", visit=lambda path, state: seen.append((path, state.st_ino)))
    os.close(descriptor)
    above = [*reversed((tree / "real").parents), tree / "real"]
    assert seen == [(str(path), path.stat().st_ino) for path in above]
