"""What a process says of an error of the operating system, and of one that nobody catches."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.interpreter import CHECKOUT
from tests.harness.service import acting_as

from cofferdam_runtime.faults import explain, obstacle

_PROGRAM = """
import sys
sys.path[:0] = {paths!r}
from cofferdam_runtime.faults import log_what_nobody_catches
log_what_nobody_catches("kim")
{end}
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("bytearray(1 << 62)", 'event="the process cannot go on" cause="no memory is left; raise MemoryMax='),
        ('raise RuntimeError("can\'t start new thread")', "no thread can be started"),
        ("raise OSError(24, 'Too many open files')", "raise LimitNOFILE= of the unit"),
        ("raise KeyError('a secret')", 'event="an unexpected error; please report it" kind=KeyError place='),
    ],
)
def test_the_last_line_says_what_has_run_out_and_no_secret(end: str, said: str) -> None:
    paths = [str(CHECKOUT / "contracts"), str(CHECKOUT / "runtime")]
    words = [sys.executable, "-c", _PROGRAM.format(paths=paths, end=end)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    (line,) = ended.stderr.splitlines()
    assert said in line
    assert "secret" not in line
    assert ended.returncode == 1


UID = 60_312
"""A uid without rights to anything of these tests."""


@pytest.fixture
def tree() -> Iterator[Path]:
    """Yield a folder that everybody can pass through, with a file and a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        folder.joinpath("file").touch()
        folder.joinpath("folder").mkdir()
        folder.joinpath("folder", "file").touch()
        yield folder


def refused(path: str) -> OSError:
    """Return the error of opening or making a file."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  every error number
        os.close(os.open(path, os.O_RDWR | os.O_CREAT))
    return caught.value


@pytest.mark.parametrize(
    ("path", "element"), [("none/a/b", "none"), ("folder/none/a", "folder/none"), ("/folder//none/a", "/folder//none")]
)
def test_the_first_element_that_is_not_there_is_named(tree: Path, path: str, element: str) -> None:
    given = f"{tree}/{path}"
    assert obstacle(refused(given), given) == f"nothing at {tree}/{element}"
    assert obstacle(refused(f"/{given}"), f"/{given}") == f"nothing at /{tree}/{element}"


def test_the_first_element_that_is_no_folder_is_named(tree: Path) -> None:
    path = f"{tree}/file/a/b"
    told = explain(refused(path), path, "a file", "table.key")
    assert told == f"{path}: found no folder at {tree}/file, needed a file; correct table.key"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    ("path", "modes", "closed"),
    [
        ("folder/file", {"folder": 0o750}, "folder with mode 0750"),
        ("folder/file", {"folder": 0o750, "folder/file": 0o600}, "folder with mode 0750"),
        ("folder/file", {"folder": 0o755, "folder/file": 0o600}, "folder/file with mode 0600"),
        ("folder/file", {"folder": 0o755, "folder/file": 0o644}, "folder/file with mode 0644"),
        ("folder/new", {"folder": 0o755}, "folder with mode 0755"),
    ],
)
def test_the_element_that_is_closed_is_named(tree: Path, path: str, modes: dict[str, int], closed: str) -> None:
    for name, mode in modes.items():
        os.chown(tree / name, 0, 60_300)
        os.chmod(tree / name, mode)
    given = f"{tree}/{path}"
    with acting_as(UID):
        told = explain(refused(given), given, "a file", "table.key")
    assert f"found {tree}/{closed} and owner 0:60300, closed to uid {UID}, groups [" in told
    assert told.endswith("], needed a file; change its owner or mode, or correct table.key")


@pytest.mark.parametrize(
    ("number", "path", "found", "remedy"),
    [
        (
            errno.ENOENT,
            "/dev/none",
            "found nothing at /dev/none",
            "plug it in, allow it in the unit (PrivateDevices=no, ",
        ),
        (errno.ENOENT, "/etc/none", "found nothing at /etc/none", "make it, or correct provider.tcti"),
        (errno.EPERM, "/dev/null", "which the unit or the container withholds", "DeviceAllow= with the device)"),
        (errno.EPERM, "/etc/passwd", "closed to", "change its owner or mode, or correct provider.tcti"),
        (errno.EPERM, "/dev/none", "closed to", "change its owner or mode, or correct provider.tcti"),
    ],
)
def test_a_device_is_not_made_and_its_mode_is_not_to_blame(number: int, path: str, found: str, remedy: str) -> None:
    """A unit hides devices (ENOENT), or has a control group that withholds them whatever their mode is (EPERM)."""
    said = explain(OSError(number, os.strerror(number)), path, "a TPM", "provider.tcti")
    before, _, after = said.partition("; ")
    assert found in before
    assert remedy in after
