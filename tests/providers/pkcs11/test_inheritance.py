"""What a worker left under another uid of the service's workers, and what is nobody's to give."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cofferdam_contracts.roles import Role
from cofferdam_providers.pkcs11 import inheritance
from cofferdam_providers.pkcs11.inheritance import inherit, uids_of_workers
from cofferdam_providers.pkcs11.module_access import ModuleAccessError, own

BASE = 60000
UID = BASE + Role.PKCS11_WORKER.row.uid_offset
START: Any = SimpleNamespace(uid=UID, role=Role.PKCS11_WORKER)
PLACES = [uid for uid in range(BASE + 8, BASE + 32) if uid != UID]
"""The uids that this worker had at other places in the list of providers."""
STRANGERS = [0, BASE + 1, BASE + 7, BASE + 32, 1000]

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def tree(folder: Path, uid: int) -> dict[Path, int]:
    """Make a token's folder as a worker with this uid leaves it, beside files of others; return all owners."""
    (folder / "tokens" / "one").mkdir(parents=True)
    (folder / "link").symlink_to("/etc/passwd")
    for name in ("tokens/one/token.object", "tokens/generation", "foreign"):
        (folder / name).touch(mode=0o600)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)
    os.chown(folder / "foreign", 1000, 1000)
    return owners(folder)


def owners(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


@pytest.mark.parametrize("uid", PLACES)
def test_a_worker_inherits_what_it_had_at_any_place(tmp_path: Path, uid: int) -> None:
    before = os.stat("/etc/passwd")
    made = tree(tmp_path / "softhsm", uid)
    assert inherit([str(tmp_path / "softhsm"), str(tmp_path / "missing")], START) == {str(tmp_path / "softhsm"): 6}
    assert owners(tmp_path / "softhsm") == {path: UID if owner == uid else owner for path, owner in made.items()}
    assert os.stat("/etc/passwd") == before
    assert not inherit([str(tmp_path / "softhsm")], START), "a second start has nothing to do"


@pytest.mark.parametrize("uid", STRANGERS)
def test_nobody_elses_files_are_given_away(tmp_path: Path, uid: int) -> None:
    made = tree(tmp_path / "softhsm", uid)
    assert not inherit([str(tmp_path / "softhsm")], START)
    assert owners(tmp_path / "softhsm") == made
    with pytest.raises(ModuleAccessError, match=r"is not empty.*state_folder"):
        own(str(tmp_path / "softhsm"), UID, uids_of_workers(START))
    assert owners(tmp_path / "softhsm") == made


def test_a_file_with_another_name_is_not_given_away(tmp_path: Path) -> None:
    """It may be the key of another worker, which somebody linked into the folder."""
    folder, key = tmp_path / "softhsm", tmp_path / "key"
    tree(folder, PLACES[0])
    key.touch(mode=0o600)
    os.chown(key, PLACES[1], PLACES[1])
    (folder / "tokens" / "key").hardlink_to(key)
    with pytest.raises(ModuleAccessError, match=r"tokens/key of uid \d+ has 2 names"):
        inherit([str(folder)], START)
    assert key.stat().st_uid == PLACES[1]
    (folder / "tokens" / "key").unlink()
    inherit([str(folder)], START)
    assert set(owners(folder).values()) == {UID, 1000}


def test_what_was_interrupted_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "softhsm"
    tree(folder, PLACES[0])
    monkeypatch.setattr(inheritance, "MOST", 1)
    with pytest.raises(ModuleAccessError, match=f"chown -R {UID}:{UID} {folder}"):
        inherit([str(folder)], START)
    assert folder.stat().st_uid == PLACES[0]
    monkeypatch.undo()
    inherit([str(folder)], START)
    assert set(owners(folder).values()) == {UID, 1000}


@pytest.mark.parametrize("uid", [*PLACES[:2], UID + 5000])
def test_the_record_of_logins_is_kept(tmp_path: Path, uid: int) -> None:
    """From any uid, as `isolation.uid_base` may have changed."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "login").touch(mode=0o600)
    for path in (folder, folder / "login"):
        os.chown(path, uid, uid)
    own(str(folder), UID, uids_of_workers(START))
    inherit([str(folder)], START)
    assert set(owners(folder).values()) == {UID}


def test_a_record_of_logins_with_another_name_is_not_given_away(tmp_path: Path) -> None:
    """The folder's owner may have linked anybody's file there."""
    folder, other = tmp_path / "state", tmp_path / "other"
    folder.mkdir()
    os.chown(folder, 1000, 1000)
    other.touch()
    (folder / "login").hardlink_to(other)
    with pytest.raises(ModuleAccessError, match=r"state/login of uid 0 has 2 names"):
        own(str(folder), UID, uids_of_workers(START))
    assert (other.stat().st_uid, folder.stat().st_uid) == (0, 1000)


def test_where_no_process_has_a_uid_of_its_own_nothing_is_given(tmp_path: Path) -> None:
    made = tree(tmp_path / "softhsm", PLACES[0])
    assert not inherit([str(tmp_path / "softhsm")], SimpleNamespace(uid=None, role=Role.PKCS11_WORKER))  # type: ignore[arg-type]
    assert owners(tmp_path / "softhsm") == made
