"""Values and databases that the tests of the key store share."""

import sqlite3
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, TypeVar

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.ipc.pages import Key, keys_of
from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.psa.encoding import encode_attributes
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_kim.location import prepare, prepare_tree
from cofferdam_kim.mapping_mirror import DATABASE, FileMirror
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.service import Answer, GradualAnswer, KimService, Peer
from cofferdam_kim.store import MappingStore
from cofferdam_kim.stores import Stores

T = TypeVar("T")
MBED = ProviderEntry(id=1, uuid="1c1139dc-ad7c-47dc-ad6b-db6fdb466552", name="mbed-crypto-provider", opcodes=())
PKCS11 = ProviderEntry(id=2, uuid="30e39502-eba6-4d60-a4af-c518b7f5e38f", name="pkcs11-provider", opcodes=())
TPM = ProviderEntry(id=3, uuid="1e4954a4-ff21-46d3-ab0c-661eeb667e1d", name="tpm-provider", opcodes=())
PROVIDERS = (PKCS11, MBED, TPM)
"""In configuration order, which is not that of the numbers."""

ECDSA = encode_attributes(
    KeyAttributes(
        KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1),
        256,
        Usage.SIGN_HASH | Usage.VERIFY_HASH,
        AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256),
    )
)
RSA = encode_attributes(
    KeyAttributes(
        KeyType(KeyKind.RSA_KEY_PAIR),
        2048,
        Usage.SIGN_HASH,
        AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256),
    )
)
PLANNED = KeyRecord(b"", 2, ECDSA)
RECORD = KeyRecord(b"\x07\x00\x00\x00", 1, ECDSA)
OTHER = KeyRecord(b"wrapped key", 2, RSA)

# What the reference service creates, by the documented names, types and keys.
REFERENCE_DDL = """
CREATE TABLE kim_metadata (
    id                    TEXT NOT NULL,
    int_value             INTEGER NOT NULL,
    PRIMARY KEY (id)
);
INSERT INTO kim_metadata (id, int_value) VALUES ('schema_version', 1);
CREATE TABLE IF NOT EXISTS key_mapping (
    authenticator_id       INTEGER NOT NULL,
    application_name       TEXT NOT NULL,
    key_name               TEXT NOT NULL,
    provider_uuid          TEXT NOT NULL,
    provider_name          TEXT NOT NULL,
    key_id                 BLOB NOT NULL,
    key_id_version         INTEGER NOT NULL,
    key_attributes         BLOB NOT NULL,
    key_attributes_version INTEGER NOT NULL,
    PRIMARY KEY (authenticator_id, application_name, key_name)
);
"""


def name(key_name: str = "key", application: str = "1000", authenticator: int = 3) -> KeyIdentity:
    return KeyIdentity(authenticator, application, key_name)


def open_store(path: Path, providers: Iterable[ProviderEntry] = PROVIDERS) -> MappingStore:
    return MappingStore.open(prepare(str(path)).path, tuple(providers))


def open_on_disk(root: Path, providers: Iterable[ProviderEntry] = PROVIDERS, authenticator: int = 3) -> MappingStore:
    """Open an `OnDisk` store as the key store does."""
    prepared = prepare_tree(str(root), DATABASE)
    used = tuple(providers)
    (real,) = prepared.writable
    return MappingStore.open(prepared.path, used, files=FileMirror(real, authenticator, used))


def alone(store: MappingStore, providers: Iterable[ProviderEntry] = PROVIDERS) -> Stores:
    """Return the stores of a configuration that has one."""
    return Stores((store,), tuple(providers))


def both(path: Path, root: Path, filed: tuple[ProviderEntry, ...] = (PKCS11,), max_keys: int | None = None) -> Stores:
    """Open a database, and mapping files of some providers."""
    rest = tuple(provider for provider in PROVIDERS if provider not in filed)
    stores = (open_store(path, rest), open_on_disk(root, filed))
    for store in stores:
        store._max_keys = max_keys
    return Stores(stores, PROVIDERS)


def create(
    store: MappingStore, identity: KeyIdentity, provider: ProviderEntry = MBED, record: KeyRecord = RECORD
) -> KeyRecord:
    store.reserve(provider, identity, PLANNED)
    store.activate(provider, identity, record)
    return record


def finish(steps: Generator[None, None, T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def list_keys(store: MappingStore, application: Application, owner: int = 0) -> list[Key]:
    """Return provider number, name and attributes of an application's keys."""
    return list(keys_of(finish(store.catalogue.list_keys(application, owner))))


def client_keys(store: MappingStore, provider: ProviderEntry, application: Application) -> list[str]:
    return finish(store.catalogue.client_keys(provider, application))


def list_clients(store: MappingStore, authenticator: int = 3) -> list[str]:
    return list(finish(store.catalogue.list_clients(authenticator)))


def answer(service: KimService, peer: Peer, number: object, fields: tuple[Any, ...]) -> Answer:
    """Ask a question and wait for the answer."""
    found = service.answer(peer, number, fields)
    while isinstance(found, GradualAnswer):
        found = service.go_on(found) or found
    return found


def mapping_row(identity: KeyIdentity, provider: ProviderEntry = MBED, record: KeyRecord = RECORD) -> list[object]:
    """Return the values of a row as the reference writes it, to be spoilt by a test."""
    return [
        identity.authenticator,
        identity.application,
        identity.key_name,
        provider.uuid,
        provider.name,
        record.key_id,
        record.version,
        record.attributes,
        1,
    ]


def reference_database(path: Path, rows: Iterable[list[object]] = ()) -> None:
    """Make a database as the reference service leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    connection = sqlite3.connect(path)
    connection.executescript(REFERENCE_DDL)
    connection.executemany("INSERT INTO key_mapping VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    path.chmod(0o600)


def tamper(path: Path, *statements: str) -> None:
    """Change a closed database behind the store's back."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    """Ask a closed database."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()
