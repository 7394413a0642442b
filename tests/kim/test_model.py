"""Random histories of questions, compared with a dictionary."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.kim.support import (
    MBED,
    OTHER,
    PKCS11,
    PLANNED,
    PROVIDERS,
    RECORD,
    RSA,
    list_clients,
    list_keys,
    open_on_disk,
    open_store,
)

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.ipc.keystore import ID_TAKEN, PendingState
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.mapping_files import Mapped, encode, parts_of
from cofferdam_kim.mapping_tree import MARK
from cofferdam_kim.rows import KeyRecord, full_name
from cofferdam_kim.store import MappingStore

PROVIDER = st.sampled_from([MBED, PKCS11])
IDENTITY = st.builds(
    KeyIdentity, st.sampled_from([1, 3]), st.sampled_from(["", "1000", "a\0"]), st.sampled_from(["key", "", "ключ"])
)
RECORDS = st.sampled_from([PLANNED, RECORD, OTHER])
ACTIVE = "active"


class KeyStoreMachine(RuleBasedStateMachine):
    """The dictionary holds state, provider and record of each name."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.open()
        self.model: dict[KeyIdentity, tuple[PendingState | str, ProviderEntry, KeyRecord]] = {}
        self.unique = 0

    def open(self) -> MappingStore:
        return open_store(self.folder / "kim" / "kim.sqlite3", PROVIDERS)

    def refuses(self, identity: KeyIdentity) -> bool:
        """Tell whether the store cannot have a key of this name."""
        return False

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def ask(self, question: str, expected: Status, *arguments: object) -> None:
        try:
            getattr(self.store, question)(*arguments)
            status = Status.SUCCESS
        except ServiceError as error:
            status = error.status
        assert status is expected

    @rule(provider=PROVIDER, identity=IDENTITY, record=RECORDS)
    def reserve(self, provider: ProviderEntry, identity: KeyIdentity, record: KeyRecord) -> None:
        held = self.model.get(identity)
        free = held is None or held == (PendingState.RESERVED, provider, record)
        expected = Status.SUCCESS if free else Status.PSA_ERROR_ALREADY_EXISTS
        if held is None and self._has_another(provider, record.key_id):
            free, expected = False, ID_TAKEN
        if self.refuses(identity):
            free, expected = False, Status.KEY_INFO_MANAGER_ERROR
        self.ask("reserve", expected, provider, identity, record)
        if free:
            self.model[identity] = (PendingState.RESERVED, provider, record)

    def _has_another(self, provider: ProviderEntry, key_id: bytes) -> bool:
        ids = {record.key_id for _, owner, record in self.model.values() if owner == provider}
        return 0 < len(key_id) < 16 and not ids.isdisjoint({key_id, key_id[::-1]})

    @rule(provider=PROVIDER, identity=IDENTITY)
    def activate(self, provider: ProviderEntry, identity: KeyIdentity) -> None:
        # The ids that a device gives are unique.
        self.unique += 1
        record = KeyRecord(b"made %d" % self.unique, 1 + self.unique % 2, RSA)
        held = self.model.get(identity)
        if held is not None and held[0] == ACTIVE:
            expected = Status.PSA_ERROR_ALREADY_EXISTS
        elif held is not None and held[:2] == (PendingState.RESERVED, provider):
            expected = Status.SUCCESS
            self.model[identity] = (ACTIVE, provider, record)
        else:
            expected = Status.PSA_ERROR_BAD_STATE
        self.ask("activate", expected, provider, identity, record)

    @rule(identity=IDENTITY)
    def activate_again(self, identity: KeyIdentity) -> None:
        held = self.model.get(identity)
        if held is not None and held[0] == ACTIVE:
            self.ask("activate", Status.SUCCESS, held[1], identity, held[2])

    @rule(provider=PROVIDER, identity=IDENTITY)
    def cancel(self, provider: ProviderEntry, identity: KeyIdentity) -> None:
        self.ask("cancel", Status.SUCCESS, provider, identity)
        if self.model.get(identity, ())[:2] == (PendingState.RESERVED, provider):
            del self.model[identity]

    @rule(provider=PROVIDER, identity=IDENTITY)
    def mark_deleting(self, provider: ProviderEntry, identity: KeyIdentity) -> None:
        state, owner, record = self.model.get(identity, (None, None, RECORD))
        known = owner == provider and state in (ACTIVE, PendingState.DELETING)
        self.ask("mark_deleting", Status.SUCCESS if known else Status.PSA_ERROR_DOES_NOT_EXIST, provider, identity)
        if known:
            self.model[identity] = (PendingState.DELETING, provider, record)

    @rule(provider=PROVIDER, identity=IDENTITY)
    def remove(self, provider: ProviderEntry, identity: KeyIdentity) -> None:
        self.ask("remove", Status.SUCCESS, provider, identity)
        if self.model.get(identity, ())[:2] == (PendingState.DELETING, provider):
            del self.model[identity]

    @rule(provider=PROVIDER, identity=IDENTITY)
    def lookup(self, provider: ProviderEntry, identity: KeyIdentity) -> None:
        state, owner, record = self.model.get(identity, (None, None, None))
        if (state, owner) == (ACTIVE, provider):
            assert self.store.lookup(provider, identity) == record
        else:
            self.ask("lookup", Status.PSA_ERROR_DOES_NOT_EXIST, provider, identity)

    @rule()
    def start_anew(self) -> None:
        self.store.close()
        self.store = self.open()
        assert self.store.report.keys == sum(state == ACTIVE for state, _, _ in self.model.values())

    @invariant()
    def listings_agree(self) -> None:
        active = [(identity, *held[1:]) for identity, held in self.model.items() if held[0] == ACTIVE]
        for authenticator in (1, 3):
            clients = {identity.application for identity, _, _ in active if identity.authenticator == authenticator}
            assert list_clients(self.store, authenticator) == sorted(clients)
        for provider in (MBED, PKCS11):
            pending = {
                (state, identity, record)
                for identity, (state, owner, record) in self.model.items()
                if owner == provider and state != ACTIVE
            }
            assert set(self.store.pending(provider)) == pending
        for application in {(identity.authenticator, identity.application) for identity in self.model}:
            rows = [
                (owner.id, identity.key_name, record.attributes)
                for identity, owner, record in active
                if (identity.authenticator, identity.application) == application
            ]
            # PKCS#11 is configured first and has the higher number.
            assert list_keys(self.store, Application(*application)) == sorted(rows, key=lambda row: (-row[0], row[1]))


class OnDiskMachine(KeyStoreMachine):
    """The same with mapping files, which are there for active keys in the reference's form and for no others."""

    def open(self) -> MappingStore:
        return open_on_disk(self.folder / "mappings")

    def refuses(self, identity: KeyIdentity) -> bool:
        return identity.authenticator == 3 and not (identity.application and identity.key_name)

    @invariant()
    def files_agree(self) -> None:
        root = self.folder / "mappings"
        expected = {
            root.joinpath(*parts_of(Mapped(owner.id, *full_name(identity)[1:]))): encode(record.key_id, RSA)
            for identity, (state, owner, record) in self.model.items()
            if state == ACTIVE and record.version == 1 and identity.authenticator == 3
        }
        found = {path: path.read_bytes() for path in root.glob("*/*/*") if path.is_file()}
        assert found == expected
        if any(state == ACTIVE and record.version == 2 for state, _, record in self.model.values()):
            assert root.joinpath(*MARK).exists()


TestOnDisk = OnDiskMachine.TestCase
TestOnDisk.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
TestKeyStore = KeyStoreMachine.TestCase
TestKeyStore.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
