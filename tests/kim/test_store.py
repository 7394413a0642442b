"""Every state of a key and every way between them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kim.support import (
    MBED,
    OTHER,
    PKCS11,
    PLANNED,
    RECORD,
    RSA,
    TPM,
    client_keys,
    create,
    list_clients,
    list_keys,
    name,
    open_store,
    query,
)

from cofferdam_contracts.identity import MAX_KEY_NAME, Application, KeyIdentity
from cofferdam_contracts.ipc.keystore import ID_TAKEN, PendingState
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore

ABSENT = Status.PSA_ERROR_DOES_NOT_EXIST
TAKEN = Status.PSA_ERROR_ALREADY_EXISTS


def refuses(status: Status, action: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(ServiceError) as caught:
        action(*arguments)
    assert caught.value.status is status


def state(store: MappingStore, identity: KeyIdentity, provider: ProviderEntry = MBED) -> str:
    """Return the state of a key, and check that every method tells the same."""
    pending = [state.name for state, other, _ in store.pending(provider) if other == identity]
    if identity.key_name in client_keys(store, provider, Application(identity.authenticator, identity.application)):
        store.lookup(provider, identity)
        assert pending == []
        return "active"
    refuses(ABSENT, store.lookup, provider, identity)
    (only,) = pending or ["absent"]
    return only


def bring(store: MappingStore, wanted: str, identity: KeyIdentity, provider: ProviderEntry = MBED) -> None:
    if wanted != "absent":
        store.reserve(provider, identity, PLANNED)
    if wanted in ("active", "DELETING"):
        store.activate(provider, identity, RECORD)
    if wanted == "DELETING":
        store.mark_deleting(provider, identity)


# state, question -> state after, status when refused. Every pair of a state and a question has its row.
TRANSITIONS = [
    ("absent", "reserve", "RESERVED", None),
    ("absent", "activate", "absent", Status.PSA_ERROR_BAD_STATE),
    ("absent", "cancel", "absent", None),
    ("absent", "mark_deleting", "absent", ABSENT),
    ("absent", "remove", "absent", None),
    ("RESERVED", "reserve", "RESERVED", None),
    ("RESERVED", "activate", "active", None),
    ("RESERVED", "cancel", "absent", None),
    ("RESERVED", "mark_deleting", "RESERVED", ABSENT),
    ("RESERVED", "remove", "RESERVED", None),
    ("active", "reserve", "active", TAKEN),
    ("active", "activate", "active", None),
    ("active", "cancel", "active", None),
    ("active", "mark_deleting", "DELETING", None),
    ("active", "remove", "active", None),
    ("DELETING", "reserve", "DELETING", TAKEN),
    ("DELETING", "activate", "DELETING", Status.PSA_ERROR_BAD_STATE),
    ("DELETING", "cancel", "DELETING", None),
    ("DELETING", "mark_deleting", "DELETING", None),
    ("DELETING", "remove", "absent", None),
]
RECORDS: dict[str, tuple[KeyRecord, ...]] = {"reserve": (PLANNED,), "activate": (RECORD,)}


@pytest.mark.parametrize(("before", "question", "after", "status"), TRANSITIONS)
def test_transition(store: MappingStore, before: str, question: str, after: str, status: Status | None) -> None:
    bring(store, before, name())
    assert state(store, name()) == before
    arguments = (MBED, name(), *RECORDS.get(question, ()))
    if status is None:
        getattr(store, question)(*arguments)
    else:
        refuses(status, getattr(store, question), *arguments)
    assert state(store, name()) == after


@pytest.mark.parametrize(("before", "question", "after", "status"), TRANSITIONS)
def test_transition_is_on_disk_when_it_is_answered(
    path: Path, before: str, question: str, after: str, status: Status | None
) -> None:
    store = open_store(path)
    bring(store, before, name())
    if status is None:
        getattr(store, question)(MBED, name(), *RECORDS.get(question, ()))
    store.close()
    store = open_store(path)
    assert state(store, name()) == (after if status is None else before)
    store.close()


@pytest.mark.parametrize(("before", "question", "after", "status"), [row for row in TRANSITIONS if row[3] is None])
def test_repeating_a_question_changes_nothing(
    store: MappingStore, before: str, question: str, after: str, status: Status | None
) -> None:
    assert status is None
    bring(store, before, name())
    for _ in range(3):
        getattr(store, question)(MBED, name(), *RECORDS.get(question, ()))
        assert state(store, name()) == after


@pytest.mark.parametrize("question", ["activate", "cancel", "mark_deleting", "remove"])
@pytest.mark.parametrize("before", ["RESERVED", "active", "DELETING"])
def test_another_provider_changes_nothing(store: MappingStore, before: str, question: str) -> None:
    bring(store, before, name())
    expected = {
        "mark_deleting": ABSENT,
        "activate": TAKEN if before == "active" else Status.PSA_ERROR_BAD_STATE,
    }.get(question)
    arguments = (PKCS11, name(), *RECORDS.get(question, ()))
    if expected is None:
        getattr(store, question)(*arguments)
    else:
        refuses(expected, getattr(store, question), *arguments)
    assert state(store, name()) == before
    assert state(store, name(), PKCS11) == "absent"


@pytest.mark.parametrize("before", ["RESERVED", "active", "DELETING"])
def test_a_name_is_taken_for_all_providers(store: MappingStore, before: str) -> None:
    bring(store, before, name())
    refuses(TAKEN, store.reserve, PKCS11, name(), PLANNED)


def test_a_key_of_another_provider_is_absent(store: MappingStore) -> None:
    create(store, name())
    refuses(ABSENT, store.lookup, PKCS11, name())
    assert store.lookup(MBED, name()) == RECORD
    assert client_keys(store, PKCS11, Application(3, "1000")) == []


def test_a_reservation_with_other_contents_is_another_one(store: MappingStore) -> None:
    store.reserve(MBED, name(), KeyRecord(b"planned", 2, RSA))
    for other in (
        KeyRecord(b"other", 2, RSA),
        KeyRecord(b"planned", 1, RSA),
        KeyRecord(b"planned", 2, PLANNED.attributes),
    ):
        refuses(TAKEN, store.reserve, MBED, name(), other)
    assert store.pending(MBED) == [(PendingState.RESERVED, name(), KeyRecord(b"planned", 2, RSA))]


@pytest.mark.parametrize("wanted", ["RESERVED", "active", "DELETING"])
@pytest.mark.parametrize(("key_id", "version"), [(b"\1\2\3\4", 1), (b"\1\2\3\4", 2), (b"\4\3\2\1", 2)])
def test_no_two_keys_of_a_provider_have_one_identifier(
    store: MappingStore, wanted: str, key_id: bytes, version: int
) -> None:
    held, other = KeyRecord(b"\1\2\3\4", 1, RSA), name(application="another")
    store.reserve(PKCS11, name(), held)
    if wanted != "RESERVED":
        store.activate(PKCS11, name(), held)
    if wanted == "DELETING":
        store.mark_deleting(PKCS11, name())
    # A token whose object is not visible, or was mislaid, would give one application the key of another.
    refuses(ID_TAKEN, store.reserve, PKCS11, other, KeyRecord(key_id, version, RSA))
    assert state(store, other, PKCS11) == "absent"
    store.reserve(MBED, other, KeyRecord(key_id, version, RSA))


def test_repeating_a_question_does_not_make_an_identifier_taken(store: MappingStore) -> None:
    record = KeyRecord(b"\1\2\3\4", 2, RSA)
    number = KeyRecord(b"\4\3\2\1", 1, RSA)
    for _ in range(2):
        store.reserve(PKCS11, name(), record)
    for _ in range(2):
        store.activate(PKCS11, name(), number)
    assert store.lookup(PKCS11, name()) == number


def test_a_key_is_not_activated_with_the_identifier_of_another(store: MappingStore) -> None:
    other = name(application="another")
    create(store, name(), PKCS11, KeyRecord(b"\1\2\3\4", 1, RSA))
    store.reserve(PKCS11, other, KeyRecord(b"\5", 2, RSA))
    for key_id in (b"\1\2\3\4", b"\4\3\2\1"):
        refuses(ID_TAKEN, store.activate, PKCS11, other, KeyRecord(key_id, 2, RSA))
        assert store.pending(PKCS11) == [(PendingState.RESERVED, other, KeyRecord(b"\5", 2, RSA))]
    store.activate(PKCS11, other, KeyRecord(b"\6", 2, RSA))


def test_activation_replaces_what_was_planned(store: MappingStore) -> None:
    store.reserve(MBED, name(), PLANNED)
    store.activate(MBED, name(), OTHER)
    assert store.lookup(MBED, name()) == OTHER
    for different in (
        RECORD,
        KeyRecord(OTHER.key_id, 1, OTHER.attributes),
        KeyRecord(OTHER.key_id, 2, PLANNED.attributes),
    ):
        refuses(TAKEN, store.activate, MBED, name(), different)
    assert store.lookup(MBED, name()) == OTHER


def test_two_creators_of_one_name(store: MappingStore) -> None:
    """The reference lets the second creator overwrite the first one's mapping and then destroys the key it names."""
    store.reserve(MBED, name(), KeyRecord(b"first", 2, RSA))
    refuses(TAKEN, store.reserve, MBED, name(), KeyRecord(b"second", 2, RSA))
    store.activate(MBED, name(), KeyRecord(b"first", 2, RSA))
    refuses(TAKEN, store.activate, MBED, name(), KeyRecord(b"second", 2, RSA))
    store.cancel(MBED, name())
    assert store.lookup(MBED, name()).key_id == b"first"


def test_a_key_being_deleted_keeps_its_record(store: MappingStore) -> None:
    create(store, name(), record=OTHER)
    store.mark_deleting(MBED, name())
    assert store.pending(MBED) == [(PendingState.DELETING, name(), OTHER)]
    assert store.pending(PKCS11) == []


def test_identities_differ_in_each_part(store: MappingStore) -> None:
    identities = [name(), name("KEY"), name(application="1001"), name(authenticator=1)]
    for number, identity in enumerate(identities):
        create(store, identity, record=KeyRecord(bytes([number]), 1, RSA))
    assert [store.lookup(MBED, identity).key_id for identity in identities] == [b"\0", b"\1", b"\2", b"\3"]


@pytest.mark.parametrize(
    "text", ["", "a\0b", "a\0c", "a/b", "%", "ключ", "\U0001f511", "é", "e\u0301", "x" * MAX_KEY_NAME, "'--"]
)
def test_any_text_is_a_name(store: MappingStore, text: str) -> None:
    identity = name(text, application=text or "1000")
    create(store, identity)
    assert store.lookup(MBED, identity) == RECORD
    assert client_keys(store, MBED, Application(3, identity.application)) == [text]
    refuses(ABSENT, store.lookup, MBED, name(text + "x", application=identity.application))


def test_listing_follows_the_configuration(store: MappingStore) -> None:
    create(store, name("b"), MBED)
    create(store, name("a"), MBED, OTHER)
    create(store, name("t"), TPM)
    create(store, name("z"), PKCS11)
    create(store, name("other", application="1001"))
    create(store, name("direct", authenticator=1))
    store.reserve(MBED, name("reserved"), PLANNED)
    bring(store, "DELETING", name("deleting"))
    assert list_keys(store, Application(3, "1000")) == [
        (2, "z", RECORD.attributes),
        (1, "a", OTHER.attributes),
        (1, "b", RECORD.attributes),
        (3, "t", RECORD.attributes),
    ]
    assert client_keys(store, MBED, Application(3, "1000")) == ["a", "b"]
    assert list_keys(store, Application(3, "nobody")) == []


def test_clients_of_an_authenticator_are_listed_once(store: MappingStore) -> None:
    create(store, name("a", application="zoe", authenticator=1))
    create(store, name("a", application="1000"), PKCS11)
    create(store, name("b", application="1000"), MBED)
    create(store, name("a", application="1000", authenticator=1))
    store.reserve(MBED, name(application="reserved"), PLANNED)
    bring(store, "DELETING", name(application="deleting"))
    assert (list_clients(store, 3), list_clients(store, 1)) == (["1000"], ["1000", "zoe"])


def test_keys_of_the_service_itself_are_never_listed(store: MappingStore) -> None:
    identity = name("tpmRootKeyTPM", application="parsec", authenticator=INTERNAL_AUTHENTICATOR)
    create(store, identity, TPM)
    assert store.lookup(TPM, identity) == RECORD
    internal = Application(INTERNAL_AUTHENTICATOR, "parsec")
    assert list_keys(store, internal) == []
    assert client_keys(store, TPM, internal) == []
    assert list_clients(store, INTERNAL_AUTHENTICATOR) == []


def test_a_provider_that_is_not_configured_keeps_its_keys(path: Path) -> None:
    store = open_store(path)
    create(store, name("tpm"), TPM)
    create(store, name("mbed"), MBED)
    store.close()
    store = open_store(path, [MBED])
    assert (store.report.keys, store.report.unconfigured) == (1, 1)
    assert any("not configured" in line for line in store.report.warnings())
    assert list_keys(store, Application(3, "1000")) == [(1, "mbed", RECORD.attributes)]
    refuses(TAKEN, store.reserve, MBED, name("tpm"), PLANNED)
    refuses(ABSENT, store.lookup, MBED, name("tpm"))
    assert list_clients(store) == ["1000"]
    store.close()
    store = open_store(path, [TPM])
    assert store.lookup(TPM, name("tpm")) == RECORD
    store.close()


def test_a_provider_that_was_renamed_keeps_its_keys(path: Path) -> None:
    """The reference lists by uuid and name, so that a new name hides the keys from listings."""
    store = open_store(path)
    create(store, name("old"))
    store.close()
    renamed = ProviderEntry(id=1, uuid=MBED.uuid, name="new name", opcodes=())
    store = open_store(path, [renamed])
    create(store, name("new"), renamed)
    assert list_keys(store, Application(3, "1000")) == [(1, "new", RECORD.attributes), (1, "old", RECORD.attributes)]
    store.mark_deleting(renamed, name("old"))
    store.close()
    assert query(path, "SELECT provider_uuid, provider_name FROM key_mapping") == [(MBED.uuid, "new name")]


@pytest.mark.parametrize(
    "record", [KeyRecord(b"", 3, RSA), KeyRecord(b"", 1, b"bad"), KeyRecord(b"x" * 65_537, 1, RSA)]
)
def test_no_bad_row_is_ever_written(store: MappingStore, record: KeyRecord) -> None:
    with pytest.raises(ValueError, match=r"version|attributes|bytes"):
        store.reserve(MBED, name(), record)
    store.reserve(MBED, name(), PLANNED)
    with pytest.raises(ValueError, match=r"version|attributes|bytes"):
        store.activate(MBED, name(), record)
    assert state(store, name()) == "RESERVED"


def test_nothing_deleted_stays_in_the_files(path: Path, store: MappingStore) -> None:
    """The reference leaves blobs of destroyed keys in free pages."""
    needle = b"needle in the blob of a key"
    create(store, name("other"))
    create(store, name(), record=KeyRecord(needle * 200, 2, RSA))
    assert any(needle in file.read_bytes() for file in path.parent.iterdir())
    store.mark_deleting(MBED, name())
    store.remove(MBED, name())
    assert [file.name for file in path.parent.iterdir() if needle in file.read_bytes()] == []
    assert store.lookup(MBED, name("other")) == RECORD
