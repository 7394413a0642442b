"""Several key managers in one configuration: each provider's keys are in the store of its manager, and nowhere else."""

import subprocess
from collections.abc import Callable
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
    create,
    finish,
    name,
    open_on_disk,
    open_store,
    query,
    tamper,
)

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.keystore import MISPLACED
from cofferdam_contracts.ipc.pages import keys_of
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.mapping_files import Mapped, encode, parts_of
from cofferdam_kim.mapping_mirror import DATABASE
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.stores import Stores

CLIENT = Application(3, "1000")
SECOND = KeyRecord(b"\x08\x00\x00\x00", 1, RSA)
FILED = (PKCS11,)
REST = (MBED, TPM)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mappings"


def listed(stores: Stores, client: Application = CLIENT) -> list[tuple[int, str]]:
    return [(key[0], key[1]) for key in keys_of(finish(stores.catalogue.list_keys(client, 0)))]


def refused(ask: Callable[[], object], status: Status = Status.KEY_INFO_MANAGER_ERROR) -> str:
    with pytest.raises(ServiceError) as caught:
        ask()
    assert caught.value.status == status
    return str(caught.value)


def fill(stores: Stores) -> None:
    create(stores.of(MBED), name("m"))
    create(stores.of(PKCS11), name("p"), PKCS11)
    create(stores.of(TPM), name("t", application="1001"), TPM, SECOND)


def file_of(root: Path, key_name: str, provider: ProviderEntry = PKCS11) -> Path:
    return root.joinpath(*parts_of(Mapped(provider.id, "1000", key_name)))


def test_each_key_is_in_the_store_of_its_provider(path: Path, root: Path) -> None:
    stores = both(path, root)
    fill(stores)
    assert listed(stores) == [(2, "p"), (1, "m")]
    stores.close()
    assert query(path, "SELECT key_name FROM key_mapping ORDER BY 1") == [("m",), ("t",)]
    assert query(root / DATABASE, "SELECT key_name FROM key_mapping") == [("p",)]
    assert [found for found in root.glob("*/*/*") if found.is_file()] == [file_of(root, "p")]
    stores = both(path, root)
    assert stores.misplaced == ()
    assert stores.of(PKCS11).lookup(PKCS11, name("p")) == RECORD
    assert listed(stores) == [(2, "p"), (1, "m")]
    assert finish(stores.catalogue.list_clients(3)) == ("1000", "1001")
    assert stores.count_keys() == {MBED.uuid: 1, PKCS11.uuid: 1, TPM.uuid: 1}
    assert sorted(map(str, stores.names(3))) == ["1000", "1000", "1001"]
    assert [stores.has_keys(Application(3, text)) for text in ("1000", "1001", "1002")] == [True, True, False]
    stores.close()


def test_a_listing_follows_changes_in_every_store(path: Path, root: Path) -> None:
    stores = both(path, root)
    fill(stores)
    assert listed(stores) == [(2, "p"), (1, "m")]
    create(stores.of(PKCS11), name("q"), PKCS11)
    stores.of(MBED).mark_deleting(MBED, name("m"))
    assert listed(stores) == [(2, "p"), (2, "q")]
    stores.of(PKCS11).mark_deleting(PKCS11, name("p"))
    create(stores.of(MBED), name("n"))
    assert listed(stores) == [(2, "q"), (1, "n")]
    stores.close()


def test_names_are_unique_within_a_store_as_in_the_reference(path: Path, root: Path) -> None:
    stores = both(path, root)
    create(stores.of(MBED), name())
    create(stores.of(PKCS11), name(), PKCS11, SECOND)
    assert listed(stores) == [(2, "key"), (1, "key")]
    assert finish(stores.of(MBED).catalogue.client_keys(MBED, CLIENT)) == ["key"]
    refused(lambda: stores.of(TPM).reserve(TPM, name(), PLANNED), Status.PSA_ERROR_ALREADY_EXISTS)
    stores.of(MBED).mark_deleting(MBED, name())
    assert stores.of(PKCS11).lookup(PKCS11, name()) == SECOND
    assert listed(stores) == [(2, "key")]
    stores.close()


def test_a_client_has_one_limit_for_all_stores(path: Path, root: Path) -> None:
    stores = both(path, root, max_keys=3)
    create(stores.of(MBED), name("a"))
    create(stores.of(PKCS11), name("b"), PKCS11)
    stores.of(PKCS11).reserve(PKCS11, name("c"), PLANNED)
    for provider in (PKCS11, MBED):
        status = Status.PSA_ERROR_INSUFFICIENT_STORAGE
        refused(lambda provider=provider: stores.of(provider).reserve(provider, name("d"), PLANNED), status)  # type: ignore[misc]
    stores.of(MBED).reserve(MBED, name("d", application="1001"), PLANNED)
    stores.close()


def test_names_that_no_file_can_have_concern_providers_with_files(path: Path, root: Path) -> None:
    stores = both(path, root)
    create(stores.of(MBED), name("n" * 190))
    refused(lambda: stores.of(PKCS11).reserve(PKCS11, name("n" * 190), PLANNED))
    stores.close()


def test_the_mark_is_for_keys_of_providers_with_files(path: Path, root: Path) -> None:
    """The reference does not start on it, and would not see the others in the folder anyway."""
    stores = both(path, root)
    create(stores.of(MBED), name(), record=OTHER)
    assert not (root / "parsec").exists()
    create(stores.of(PKCS11), name(), PKCS11, OTHER)
    assert [found.name for found in (root / "parsec").iterdir()] == [".cofferdam-keys"]
    stores.close()


@pytest.mark.parametrize("before", [(), (PKCS11, MBED)])
def test_a_provider_without_its_keys_is_refused_and_nothing_is_changed(
    path: Path, root: Path, before: tuple[ProviderEntry, ...]
) -> None:
    """It was given the other manager, in either direction; what the others do goes on."""
    moved = MBED if before else PKCS11
    stores = both(path, root, before)
    fill(stores)
    stores.close()
    files = {found: found.read_bytes() for found in root.glob("*/*/*") if found.is_file()}
    rows = [query(database, "SELECT * FROM key_mapping") for database in (path, root / DATABASE)]
    for _ in range(2):
        stores = both(path, root)
        (misplaced,) = stores.misplaced
        held, home = (root, path) if before else (path, root)
        assert misplaced[:3] == (moved.name, f"1 keys in {held}", f"its keys in {home}")
        assert "cofferdam store convert --provider" in misplaced.remedy
        with pytest.raises(ServiceError, match=str(held)) as caught:
            stores.of(moved)
        assert caught.value.status is MISPLACED
        (rest,) = {MBED, PKCS11} - {moved}
        create(stores.of(rest), name("new"), rest)
        stores.of(rest).mark_deleting(rest, name("new"))
        stores.of(rest).remove(rest, name("new"))
        # A client does not take its keys for destroyed.
        assert listed(stores) == [(2, "p"), (1, "m")]
        stores.close()
    assert {found: found.read_bytes() for found in root.glob("*/*/*") if found.is_file()} == files
    assert [query(database, "SELECT * FROM key_mapping") for database in (path, root / DATABASE)] == rows
    # And back.
    stores = both(path, root, before)
    assert stores.misplaced == ()
    assert stores.of(moved).lookup(moved, name("m" if before else "p")) == RECORD
    stores.close()


def test_a_key_that_is_only_a_file_or_unfinished_counts(path: Path, root: Path) -> None:
    file = file_of(root, "file", MBED)
    file.parent.mkdir(parents=True)
    file.write_bytes(encode(RECORD.key_id, RECORD.attributes))
    stores = both(path, root, (MBED,))
    stores.of(PKCS11).reserve(PKCS11, name("unfinished"), PLANNED)
    stores.close()
    stores = both(path, root, (PKCS11,))
    assert [(each.provider, each.found) for each in stores.misplaced] == [
        (PKCS11.name, f"1 keys in {path}"),
        (MBED.name, f"1 keys in {root}"),
    ]
    stores.close()


def test_a_provider_with_keys_in_both_stores_is_refused(path: Path, root: Path) -> None:
    """One of them is older: served, it would bring destroyed keys back, and hide new ones."""
    stores = both(path, root, (PKCS11,))
    fill(stores)
    stores.close()
    store = open_store(path)
    create(store, name("old"), PKCS11)
    store.close()
    stores = both(path, root, (PKCS11,))
    (misplaced,) = stores.misplaced
    assert misplaced.found == f"1 keys in {path} and 1 in {root}"
    assert listed(stores) == [(2, "old"), (2, "p"), (1, "m")]
    stores.close()
    tamper(path, f"DELETE FROM key_mapping WHERE provider_uuid = '{PKCS11.uuid}'")
    stores = both(path, root, (PKCS11,))
    assert stores.misplaced == ()
    stores.close()


def test_a_manager_that_is_not_configured_any_more_is_missed(path: Path, root: Path) -> None:
    stores = both(path, root)
    fill(stores)
    stores.close()
    for _ in range(2):
        stores = Stores((open_store(path),), PROVIDERS)
        (misplaced,) = stores.misplaced
        assert (misplaced.provider, misplaced.found) == (PKCS11.name, f"a note that its keys are in {root}")
        assert stores.of(MBED).lookup(MBED, name("m")) == RECORD
        command = f"cofferdam store convert --provider Pkcs11 to-database {root} {path};"
        assert command in misplaced.remedy
        stores.close()
    stores = Stores((open_on_disk(root),), PROVIDERS, authenticator=1)
    assert "convert --authenticator Direct --provider MbedCrypto to-files" in stores.misplaced[0].remedy
    assert [each.provider for each in stores.misplaced] == [MBED.name, TPM.name]
    stores.close()
    stores = both(path, root)
    assert stores.misplaced == ()
    stores.close()


def test_a_provider_without_keys_may_change_its_manager(path: Path, root: Path) -> None:
    both(path, root).close()
    both(path, root, (MBED,)).close()
    stores = both(path, root)
    assert stores.misplaced == ()
    fill(stores)
    stores.close()


def test_nothing_is_noted_where_there_is_one_store(path: Path) -> None:
    stores = Stores((open_store(path),), PROVIDERS)
    fill(stores)
    stores.close()
    assert query(path, "SELECT name FROM sqlite_schema WHERE name = 'cofferdam_elsewhere'") == []


def test_a_damaged_store_takes_the_listing_but_not_the_other_keys(path: Path, root: Path) -> None:
    stores = both(path, root)
    fill(stores)
    for number in range(50):
        create(stores.of(MBED), name(f"{number}"), MBED, KeyRecord(number.to_bytes(4), 1, RSA))
    stores.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 4096)
        file.write(bytes(4096))
    stores = both(path, root)
    assert stores.of(MBED).report.damage is not None
    assert stores.of(PKCS11).lookup(PKCS11, name("p")) == RECORD
    create(stores.of(PKCS11), name("new"), PKCS11)
    assert "is damaged" in refused(lambda: listed(stores))
    stores.close()


def test_a_divided_folder_serves_one_name_in_two_providers(tmp_path: Path, root: Path) -> None:
    """What docs/howto/operate.md does, before the first start."""
    for provider, client, record in ((MBED, "1000", RECORD), (PKCS11, "1000", SECOND), (MBED, "\u07ff\u07ff", RECORD)):
        file = root.joinpath(*parts_of(Mapped(provider.id, client, "key")))
        file.parent.mkdir(parents=True)
        file.write_bytes(encode(record.key_id, record.attributes))
    page = (Path(__file__).parents[2] / "docs" / "howto" / "operate.md").read_text()
    commands = page.partition("```sh norun: only for folders with such keys\n")[2].partition("```")[0]
    assert "mappings-pkcs11" in commands
    subprocess.run(["sh", "-e", "-c", commands.replace("/var/lib/parsec", str(tmp_path))], check=True)
    for _ in range(2):
        stores = Stores((open_on_disk(root, REST), open_on_disk(tmp_path / "mappings-pkcs11", FILED)), PROVIDERS)
        assert [*stores.warnings()] == []
        assert stores.misplaced == ()
        assert stores.of(MBED).lookup(MBED, name()) == RECORD
        assert stores.of(PKCS11).lookup(PKCS11, name()) == SECOND
        assert stores.of(MBED).lookup(MBED, name(application="\u07ff\u07ff")) == RECORD
        assert listed(stores) == [(2, "key"), (1, "key")]
        stores.close()
