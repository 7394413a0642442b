"""The key-encryption key: created once, private and whole; rejected when anybody else could read it."""

import socket
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cofferdam_contracts.ipc.control import Ping, Sealed
from cofferdam_contracts.roles import Role
from cofferdam_providers.base.key_encryption_key import KEK_LENGTH, CredentialError, read_kek
from cofferdam_providers.software.credentials import ItsError, read_its_files
from cofferdam_runtime.control import Control
from cofferdam_runtime.entry import Start


@contextmanager
def told(check: int, rows: int) -> Iterator[Start]:
    """Simulate a worker whose broker says what depends on its key, after records about something else."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        broker = Control(ours)
        broker.send(Ping(1))
        broker.send(Sealed(bool(check), bool(rows)))
        start = Start(
            role=Role.SOFTWARE_WORKER,
            number=0,
            uid=None,
            parent=1,
            control=Control(theirs),
            document=-1,
            arguments=(),
            early=deque(),
        )
        yield start


def test_it_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "software.kek"
    with told(0, 0) as start:
        kek = read_kek(str(path), start, create=True)
        assert kek.is_new
        assert len(kek.key) == KEK_LENGTH
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert [entry.name for entry in path.parent.iterdir()] == ["software.kek"]
        # The broker is not asked this time, and no earlier record is lost.
        again = read_kek(str(path), start, create=True)
        assert (again.key, again.is_new) == (kek.key, False)
        assert list(start.early) == [Ping(1)]


@pytest.mark.parametrize(
    ("check", "rows", "create", "seals", "adopt"),
    [
        # A key that the administrator has to provide is never created.
        (0, 0, False, True, False),
        # The key store knows a key, or has rows that were sealed by a version that kept no check value.
        *((check, rows, True, True, adopt) for check, rows in ((1, 0), (0, 1), (1, 1)) for adopt in (False, True)),
        # Rows that are only authenticated with it need their key as well, unless they are trusted anew.
        *((1, rows, True, False, False) for rows in (0, 1)),
    ],
)
def test_a_lost_one_is_not_made_anew(  # noqa: PLR0913, PLR0917  a row of the table
    tmp_path: Path, check: int, rows: int, create: bool, seals: bool, adopt: bool
) -> None:
    path = tmp_path / "software.kek"
    with told(check, rows) as start, pytest.raises(CredentialError, match=f"^{path} does not exist"):
        read_kek(str(path), start, create=create, seals=seals, adopt=adopt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("check", "rows", "adopt"), [(0, 0, False), (0, 1, False), (1, 1, True)])
def test_rows_that_are_not_encrypted_outlive_their_key(tmp_path: Path, check: int, rows: int, adopt: bool) -> None:
    with told(check, rows) as start:
        assert read_kek(str(tmp_path / "pkcs11.kek"), start, create=True, seals=False, adopt=adopt).is_new


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o666])
def test_one_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "software.kek"
    path.write_bytes(bytes(KEK_LENGTH))
    path.chmod(mode)
    with told(0, 0) as start, pytest.raises(CredentialError, match="chmod 0400"):
        read_kek(str(path), start, create=True)


@pytest.mark.parametrize("length", [0, KEK_LENGTH - 1, KEK_LENGTH + 1, 1 << 16])
def test_one_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "software.kek"
    path.write_bytes(bytes(length))
    path.chmod(0o400)
    with told(0, 0) as start, pytest.raises(CredentialError, match="exactly 32 bytes"):
        read_kek(str(path), start, create=True)


def test_links_folders_and_devices_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(bytes(KEK_LENGTH))
    target.chmod(0o400)
    (tmp_path / "link").symlink_to(target)
    for path in (tmp_path / "link", tmp_path, Path("/dev/zero")):
        with told(0, 0) as start, pytest.raises(CredentialError):
            read_kek(str(path), start, create=True)


def test_key_files_of_the_reference_are_found_by_id(tmp_path: Path) -> None:
    (tmp_path / "0000000000000002.psa_its").write_bytes(b"two")
    (tmp_path / "00000000000000ff.psa_its").write_bytes(b"more")
    (tmp_path / "tempfile.psa_its").write_bytes(b"no")
    (tmp_path / "0000000000000003.psa_its").symlink_to(tmp_path / "tempfile.psa_its")
    assert read_its_files(str(tmp_path)) == {2: b"two", 255: b"more"}
    with pytest.raises(ItsError, match="found nothing at"):
        read_its_files(str(tmp_path / "missing"))
