"""The key-encryption key: made once, private, whole; refused when anybody else could read it."""

import stat
from pathlib import Path

import pytest

from cofferdam_providers.base.key_encryption_key import KEK_LENGTH, CredentialError, read_kek
from cofferdam_providers.software.credentials import read_its_files


def test_it_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "software.kek"
    kek, made = read_kek(str(path), create=True)
    assert made
    assert len(kek) == KEK_LENGTH
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert [entry.name for entry in path.parent.iterdir()] == ["software.kek"]
    assert read_kek(str(path), create=True) == (kek, False)


def test_a_lost_one_is_not_made_anew_where_it_must_not_be(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="restore it from a backup"):
        read_kek(str(tmp_path / "software.kek"), create=False)


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o666])
def test_one_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "software.kek"
    path.write_bytes(bytes(KEK_LENGTH))
    path.chmod(mode)
    with pytest.raises(CredentialError, match="chmod 0400"):
        read_kek(str(path), create=True)


@pytest.mark.parametrize("length", [0, KEK_LENGTH - 1, KEK_LENGTH + 1, 1 << 16])
def test_one_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "software.kek"
    path.write_bytes(bytes(length))
    path.chmod(0o400)
    with pytest.raises(CredentialError, match="exactly 32 bytes"):
        read_kek(str(path), create=True)


def test_links_folders_and_devices_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(bytes(KEK_LENGTH))
    target.chmod(0o400)
    (tmp_path / "link").symlink_to(target)
    for path in (tmp_path / "link", tmp_path, Path("/dev/zero")):
        with pytest.raises(CredentialError):
            read_kek(str(path), create=True)


def test_key_files_of_the_reference_are_found_by_id(tmp_path: Path) -> None:
    (tmp_path / "0000000000000002.psa_its").write_bytes(b"two")
    (tmp_path / "00000000000000ff.psa_its").write_bytes(b"more")
    (tmp_path / "tempfile.psa_its").write_bytes(b"no")
    (tmp_path / "0000000000000003.psa_its").symlink_to(tmp_path / "tempfile.psa_its")
    assert read_its_files(str(tmp_path)) == {2: b"two", 255: b"more"}
    with pytest.raises(CredentialError):
        read_its_files(str(tmp_path / "missing"))
