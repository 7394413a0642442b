"""A store of mapping files: what is read from them, what is written to them, and what may be in their place."""

import errno
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.kim.support import (
    ECDSA,
    MBED,
    OTHER,
    PKCS11,
    PLANNED,
    RECORD,
    RSA,
    TPM,
    client_keys,
    create,
    list_keys,
    name,
    open_on_disk,
    query,
)

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.errors import StoreError
from cofferdam_kim.location import prepare_tree
from cofferdam_kim.mapping_files import Mapped, encode, parts_of
from cofferdam_kim.mapping_mirror import DATABASE
from cofferdam_kim.mapping_tree import MARK, UNFINISHED
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore

CONTENT = encode(RECORD.key_id, RECORD.attributes)
SECOND = KeyRecord(b"\x08\x00\x00\x00", 1, RSA)
CLIENT = Application(3, "1000")
ROOT_KEY = KeyIdentity(INTERNAL_AUTHENTICATOR, "parsec", "RootKeyTPM")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mappings"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every uid can pass through."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def store(root: Path) -> Iterator[MappingStore]:
    opened = open_on_disk(root)
    yield opened
    opened.close()


def path_of(
    root: Path, key_name: str = "key", application: str | None = "1000", provider: ProviderEntry = MBED
) -> Path:
    return root.joinpath(*parts_of(Mapped(provider.id, application, key_name)))


def put(path: Path, content: bytes = CONTENT) -> Path:
    """Write a file as the reference does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(root: Path) -> dict[Path, bytes]:
    """Return what the reference would read."""
    return {path: path.read_bytes() for path in root.glob("*/**/*") if path.is_file()}


def refused(status: int, ask: Callable[[], object]) -> str:
    with pytest.raises(ServiceError) as caught:
        ask()
    assert caught.value.status == status
    return str(caught.value)


def test_a_store_of_the_reference_is_served_and_given_back_as_it_was(root: Path) -> None:
    put(path_of(root))
    put(path_of(root, "rsa", provider=PKCS11), encode(b"\1\0\0\0", RSA) + b"trailing bytes")
    put(path_of(root, "RootKeyTPM", None, TPM), encode(b"name", RSA))
    put(path_of(root, "ä/..", "ö", MBED))
    put(root / "stray", b"ignored")
    put(root / "MTAwMA==" / "stray", b"ignored")
    before = files(root)
    store = open_on_disk(root)
    assert store.report.quarantined == ()
    assert store.report.keys == 4
    assert store.lookup(MBED, name()) == RECORD
    assert store.lookup(PKCS11, name("rsa")) == KeyRecord(b"\1\0\0\0", 1, RSA)
    assert store.lookup(TPM, ROOT_KEY) == KeyRecord(b"name", 1, RSA)
    assert store.lookup(MBED, name("ä/..", "ö")) == RECORD
    assert [(key[0], key[1]) for key in list_keys(store, CLIENT)] == [(2, "rsa"), (1, "key")]
    store.close()
    assert files(root) == before


def test_files_that_the_reference_wrote(root: Path) -> None:
    """Version 1.4.1, with its three providers and UnixPeerCredentials."""
    written = json.loads((Path(__file__).parent / "reference_mappings.json").read_text())
    for path, content in written.items():
        put(root / path, bytes.fromhex(content))
    before = files(root)
    store = open_on_disk(root)
    assert store.report.quarantined == ()
    owner = Application(3, "39871")
    assert {(key[0], key[1]) for key in list_keys(store, owner)} == {
        (2, "pkey/..ü"),
        (1, "mkey"),
        (1, "rkey"),
        (3, "tkey"),
    }
    assert store.lookup(TPM, ROOT_KEY).key_id[:10] == (34).to_bytes(8, "little") + b"\0\x0b"
    # Made anew from the row, a file is the same to the last byte.
    for provider, key_name in ((MBED, "mkey"), (PKCS11, "pkey/..ü"), (TPM, "tkey")):
        identity = name(key_name, "39871")
        record = store.lookup(provider, identity)
        store.mark_deleting(provider, identity)
        store.remove(provider, identity)
        create(store, identity, provider, record)
    store.close()
    assert files(root) == before


def test_a_key_has_its_file_while_it_is_active(store: MappingStore, root: Path) -> None:
    path = path_of(root)
    store.reserve(MBED, name(), PLANNED)
    assert files(root) == {}
    store.activate(MBED, name(), RECORD)
    assert files(root) == {path: CONTENT}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [folder.stat().st_mode & 0o777 for folder in (path.parent, path.parent.parent, root)] == [0o700] * 3
    store.activate(MBED, name(), RECORD)
    store.mark_deleting(MBED, name())
    assert files(root) == {}
    store.mark_deleting(MBED, name())
    store.remove(MBED, name())
    create(store, name(), record=SECOND)
    assert files(root) == {path: encode(SECOND.key_id, RSA)}


def test_the_services_own_keys_have_files(store: MappingStore, root: Path) -> None:
    create(store, ROOT_KEY, TPM)
    assert files(root) == {root / "parsec" / "dHBtUm9vdEtleVRQTQ==": CONTENT}


def test_the_reference_is_told_of_keys_it_would_not_see(root: Path) -> None:
    """It does not start with a file that has no base64 as its name in this folder."""
    store = open_on_disk(root)
    create(store, name(), record=OTHER)
    marked = files(root)
    assert [path.name for path in marked] == [".cofferdam-keys"]
    store.close()
    store = open_on_disk(root)
    assert files(root) == marked
    assert store.report.quarantined == ()
    assert store.lookup(MBED, name()) == OTHER
    store.mark_deleting(MBED, name())
    store.remove(MBED, name())
    store.close()
    assert files(root) == {}


def test_a_lost_database_with_keys_that_have_no_files_is_missed(root: Path) -> None:
    store = open_on_disk(root)
    create(store, name(), record=OTHER)
    create(store, name("filed"))
    store.close()
    (root / DATABASE).rename(root / "kept")
    for _ in range(2):
        with pytest.raises(StoreError, match="restore it from a backup"):
            open_on_disk(root)
    (root / "kept").rename(root / DATABASE)
    store = open_on_disk(root)
    assert store.lookup(MBED, name()) == OTHER
    store.close()
    (root / DATABASE).unlink()
    root.joinpath(*MARK).unlink()
    store = open_on_disk(root)
    assert client_keys(store, MBED, CLIENT) == ["filed"]
    store.close()


def test_keys_of_an_additional_authenticator_have_no_files(store: MappingStore, root: Path) -> None:
    create(store, name(authenticator=1))
    create(store, name(), record=SECOND)
    assert files(root) == {path_of(root): encode(SECOND.key_id, RSA)}
    assert store.lookup(MBED, name(authenticator=1)) == RECORD


def test_rows_follow_what_the_reference_did(root: Path) -> None:
    store = open_on_disk(root)
    for key_name in ("gone", "changed", "kept"):
        create(store, name(key_name), record=KeyRecord(key_name.encode(), 1, ECDSA, b"code"))
    store.close()
    path_of(root, "gone").unlink()
    put(path_of(root, "changed"), encode(SECOND.key_id, RSA))
    put(path_of(root, "new"))
    store = open_on_disk(root)
    assert client_keys(store, MBED, CLIENT) == ["changed", "kept", "new"]
    assert store.lookup(MBED, name("changed")) == SECOND
    # The worker refuses the changed row, whose code does not fit, until the administrator adopts it.
    assert store.lookup(MBED, name("changed")).code == b"code"
    assert store.lookup(MBED, name("kept")).code == b"code"
    assert store.lookup(MBED, name("new")).code == b""
    store.close()


def test_the_owner_is_of_the_authenticator_in_force(root: Path) -> None:
    """As in the reference, where no file says whose its application is; the old owner does not keep the key."""
    store = open_on_disk(root)
    create(store, name())
    store.close()
    store = open_on_disk(root, authenticator=1)
    assert store.lookup(MBED, name(authenticator=1)) == RECORD
    refused(Status.PSA_ERROR_DOES_NOT_EXIST, lambda: store.lookup(MBED, name()))
    store.close()


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], b"\xff" * 8, bytes(8), bytes(8) + b"\3" * 100_000])
def test_a_content_that_cannot_be_understood_is_quarantined(root: Path, content: bytes) -> None:
    put(path_of(root), content)
    put(path_of(root, "sound"))
    open_on_disk(root).close()
    store = open_on_disk(root)
    assert [bad.table for bad in store.report.quarantined] == ["key_mapping"]
    assert client_keys(store, MBED, CLIENT) == ["sound"]
    refused(Status.PSA_ERROR_DATA_CORRUPT, lambda: store.lookup(MBED, name()))
    refused(Status.PSA_ERROR_DATA_CORRUPT, lambda: store.mark_deleting(MBED, name()))
    refused(Status.PSA_ERROR_ALREADY_EXISTS, lambda: store.reserve(MBED, name(), PLANNED))
    store.close()
    assert path_of(root).read_bytes() == content
    put(path_of(root))
    store = open_on_disk(root)
    assert store.report.quarantined == ()
    assert store.lookup(MBED, name()) == RECORD
    store.close()


def _link(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(put(path.parents[3] / "secret"))


def _hard_link(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(put(path.parents[3] / "secret"))


def _fifo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("make", [_link, _hard_link, _fifo, lambda path: path.mkdir(parents=True)])
def test_what_is_no_plain_file_is_not_read_and_keeps_its_name(root: Path, make: Callable[[Path], None]) -> None:
    make(path_of(root))
    secret = root.parent / "secret"
    mode = secret.stat().st_mode if secret.exists() else None
    store = open_on_disk(root)
    assert len(store.report.quarantined) == 1
    refused(Status.PSA_ERROR_DATA_CORRUPT, lambda: store.lookup(MBED, name()))
    refused(Status.PSA_ERROR_ALREADY_EXISTS, lambda: store.reserve(MBED, name(), PLANNED))
    store.close()
    assert mode is None or secret.stat().st_mode == mode


@pytest.mark.parametrize(
    "where",
    ["MTAwMA==/1/not base64", "MTAwMA==/9/a2V5", "MTAwMA==/x/a2V5", "MTAwMA/1/a2V5", "parsec/stray", "a/1/stray"],
)
def test_a_stray_file_is_reported_by_its_inode_and_left(root: Path, where: str) -> None:
    stray = put(root / where)
    put(path_of(root, "sound", "1001"))
    store = open_on_disk(root)
    (warning,) = store.report.warnings()
    assert warning.startswith(f"the file with inode {stray.stat().st_ino} is not served: ")
    assert stray.name not in warning
    assert client_keys(store, MBED, Application(3, "1001")) == ["sound"]
    store.close()
    assert stray.read_bytes() == CONTENT
    assert query(root / DATABASE, "SELECT table_name, row_id FROM cofferdam_quarantine") == [
        ("file", stray.stat().st_ino)
    ]


def test_one_name_for_two_providers(root: Path) -> None:
    """The reference allows it here, but not with SQLite."""
    put(path_of(root))
    second = put(path_of(root, provider=PKCS11), encode(SECOND.key_id, RSA))
    store = open_on_disk(root)
    assert store.lookup(MBED, name()) == RECORD
    assert [bad.reason for bad in store.report.quarantined] == ["a key of another provider has the same name"]
    store.mark_deleting(MBED, name())
    store.remove(MBED, name())
    store.reserve(PKCS11, name(), PLANNED)
    refused(Status.PSA_ERROR_ALREADY_EXISTS, lambda: store.activate(PKCS11, name(), RECORD))
    store.cancel(PKCS11, name())
    store.close()
    assert files(root) == {second: encode(SECOND.key_id, RSA)}
    store = open_on_disk(root)
    assert store.lookup(PKCS11, name()) == SECOND
    store.close()


def test_files_of_a_provider_that_is_not_configured_are_left(root: Path) -> None:
    put(path_of(root))
    store = open_on_disk(root, [PKCS11])
    assert list(store.report.warnings()) == [
        "1 keys belong to providers that are not configured; they are kept and not served"
    ]
    store.close()
    assert files(root) == {path_of(root): CONTENT}


def test_a_destroyed_key_does_not_revive_while_its_provider_is_not_configured(root: Path) -> None:
    """Its row was gone and its file not yet, when the service was killed, and then started without the provider."""
    store = open_on_disk(root)
    create(store, name())
    store.close()
    with closing(sqlite3.connect(root / DATABASE)) as database:
        database.execute("DELETE FROM key_mapping")
        identity = name()
        values = (identity.authenticator, identity.application, identity.key_name, MBED.uuid, CONTENT)
        database.execute("INSERT INTO cofferdam_files VALUES (?, ?, ?, ?, ?)", values)
        database.commit()
    open_on_disk(root, [PKCS11]).close()
    assert files(root) == {path_of(root): CONTENT}
    store = open_on_disk(root)
    assert list_keys(store, CLIENT) == []
    store.close()
    assert files(root) == {}


@pytest.mark.parametrize("key_name", ["", "n" * 190])
def test_names_that_no_file_can_have_are_refused(store: MappingStore, key_name: str) -> None:
    refused(Status.KEY_INFO_MANAGER_ERROR, lambda: store.reserve(MBED, name(key_name), PLANNED))
    refused(Status.PSA_ERROR_BAD_STATE, lambda: store.activate(MBED, name(key_name), RECORD))
    store.reserve(MBED, name("n" * 189), PLANNED)


def test_an_unfinished_file_is_removed(root: Path) -> None:
    put(path_of(root))
    put(path_of(root).with_name(UNFINISHED))
    open_on_disk(root).close()
    assert files(root) == {path_of(root): CONTENT}


@pytest.mark.parametrize("call", ["open", "mkdir", "write", "fsync", "rename", "unlink"])
@pytest.mark.parametrize("question", ["activate", "mark_deleting"])
def test_a_failing_disk_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch, call: str, question: str) -> None:
    store = open_on_disk(root)
    arguments: tuple[KeyRecord, ...] = (RECORD,)
    if question == "activate":
        store.reserve(MBED, name(), PLANNED)
    else:
        create(store, name())
        arguments = ()
    before = files(root)

    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        try:
            getattr(store, question)(MBED, name(), *arguments)
        except ServiceError as error:
            assert error.status == Status.KEY_INFO_MANAGER_ERROR
            done = False
        else:
            done = True
    if not done:
        assert client_keys(store, MBED, CLIENT) == ([] if question == "activate" else ["key"])
        store.close()
        store = open_on_disk(root)
        assert files(root) == before
        getattr(store, question)(MBED, name(), *arguments)
    assert files(root) == ({path_of(root): CONTENT} if question == "activate" else {})
    store.close()


def test_a_folder_that_others_could_use_is_closed_to_them(root: Path) -> None:
    path = put(path_of(root))
    path.chmod(0o644)
    path.parent.chmod(0o755)
    store = open_on_disk(root)
    store.close()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_link_in_place_of_the_root_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root.symlink_to(tmp_path / "elsewhere")
    store = open_on_disk(root)
    create(store, name())
    store.close()
    assert list(files(tmp_path / "elsewhere").values()) == [CONTENT]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take over a folder of another uid")
def test_only_a_store_is_taken_over(open_folder: Path) -> None:
    root = open_folder / "mappings"
    path, stray = put(path_of(root)), put(root / "apt" / "1" / "a2V5")
    outer, inner = root.parent / "outside", put(root / "MTAwMA==" / "other" / "file")
    put(outer)
    path.with_name("bGluaw==").symlink_to(outer)
    for found in (root, path, inner.parent, outer):
        os.chown(found, 12345, 12345)
    with pytest.raises(StoreError, match="such as 'apt'"):
        prepare_tree(str(root), DATABASE, 12346, 12346)
    assert root.stat().st_uid == path.stat().st_uid == 12345
    shutil.rmtree(stray.parents[1])
    prepare_tree(f"{root}/", DATABASE, 12346, 12346)
    assert [found.stat().st_uid for found in (root, path.parent, path, root / DATABASE)] == [12346] * 4
    assert [found.stat().st_uid for found in (inner.parent, outer)] == [12345] * 2
