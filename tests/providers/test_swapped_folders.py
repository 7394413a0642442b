"""A folder that others may replace leads nowhere else, whenever they do: between any two steps of those who walk there.

The work runs again and again; before its first call into the operating system, then before its second, and so on, the
folder is replaced by a link to another one. What is in that other folder must not be made, changed or used.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import FrameType

import pytest
from tests.providers.software.test_credentials import told

from cofferdam_kim.errors import StoreError
from cofferdam_kim.location import prepare
from cofferdam_providers.base.key_encryption_key import CredentialError, read_kek
from cofferdam_providers.pkcs11.module_access import ModuleAccessError, own
from cofferdam_providers.software.credentials import ItsError, read_its_files

KEY = "0000000000000002.psa_its"
FAILURES = (CredentialError, ItsError, ModuleAccessError, StoreError)


def make_kek(folder: Path) -> None:
    with told(0, 0) as start:
        read_kek(str(folder / "software.kek"), start, create=True)


def take_keys(folder: Path) -> None:
    assert read_its_files(str(folder)) == {2: b"right"}


WORK: dict[str, Callable[[Path], object]] = {
    "the folder of a worker": lambda folder: own(str(folder / "state"), None),
    "a folder of a worker in a new one": lambda folder: own(str(folder / "new" / "state"), None),
    "a key-encryption key": make_kek,
    "a key-encryption key in a new folder": lambda folder: make_kek(folder / "new"),
    "a database": lambda folder: prepare(str(folder / "kim.sqlite3")),
    "a database in a new folder": lambda folder: prepare(str(folder / "new" / "kim.sqlite3")),
    "key files": take_keys,
}


@contextmanager
def swapping(folder: Path, other: Path, before: int) -> Iterator[list[str]]:
    """Replace a folder by a link before one of the calls within; the list has the name of that call then."""
    calls, reached = count(), list[str]()

    def watch(_frame: FrameType, event: str, function: object) -> None:
        if event == "c_call" and getattr(function, "__module__", "") == "posix" and next(calls) == before:
            sys.setprofile(None)
            reached.append(getattr(function, "__name__", ""))
            folder.rename(folder.with_name("moved"))
            folder.symlink_to(other)

    sys.setprofile(watch)
    try:
        yield reached
    finally:
        sys.setprofile(None)


def everything(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Return mode, owner and time of change of whatever is in a folder, and of itself."""
    found = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (state.st_mode, state.st_uid, state.st_ctime_ns) for path, state in found.items()}


@pytest.mark.parametrize("what", WORK)
def test_a_folder_that_is_swapped_for_a_link_leads_nowhere_else(what: str) -> None:
    steps: list[str] = []
    for before in count():
        with tempfile.TemporaryDirectory() as name:
            base = Path(name)
            base.chmod(0o755)
            # Anybody may rename what is in it.
            (base / "open").mkdir()
            (base / "open").chmod(0o777)
            folder, other = base / "open" / "folder", base / "other"
            for made, content in ((folder, b"right"), (other, b"wrong")):
                made.mkdir()
                (made / KEY).write_bytes(content)
            (other / "state").mkdir()
            (other / "new").mkdir()
            untouched = everything(other)
            with swapping(folder, other, before) as reached, suppress(*FAILURES):
                WORK[what](folder)
            assert everything(other) == untouched, (before, reached)
        if not reached:
            break
        steps += reached
    assert len(steps) > 10, steps
