"""Random damage to the file: the start is refused with a reason, or every answer is right or an error."""

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from tests.kim.support import (
    MBED,
    PKCS11,
    PLANNED,
    PROVIDERS,
    RSA,
    client_keys,
    create,
    list_clients,
    list_keys,
    name,
    open_store,
)

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.status import ServiceError
from cofferdam_kim.errors import StoreError
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import KeyStore

KEYS = {
    name(f"key {number}", application=str(1000 + number % 7)): KeyRecord(
        b"<%04d>" % number + bytes([number]) * 150, 1 + number % 2, RSA
    )
    for number in range(60)
}
OWNERS = {identity: (MBED, PKCS11)[len(record.key_id) and record.version - 1] for identity, record in KEYS.items()}
ROUNDS = 60


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "kim" / "kim.sqlite3"
    store = open_store(path)
    for identity, record in KEYS.items():
        create(store, identity, OWNERS[identity], record)
    store.reserve(MBED, name("reserved"), PLANNED)
    store.close()
    return path.read_bytes()


def lookup(store: KeyStore, identity: KeyIdentity) -> KeyRecord | None:
    try:
        return store.lookup(OWNERS[identity], identity)
    except ServiceError:
        return None


def differing_bits(one: bytes, other: bytes) -> int:
    if len(one) != len(other):
        return 8 * max(len(one), len(other))
    return sum((left ^ right).bit_count() for left, right in zip(one, other, strict=True))


def exercise(store: KeyStore) -> None:
    """Ask everything; only `ServiceError` may come of it."""
    applications = {Application(identity.authenticator, identity.application) for identity in KEYS}
    questions: list[Callable[[], object]] = [
        partial(list_clients, store),
        *(partial(list_keys, store, application) for application in applications),
        *(partial(client_keys, store, MBED, application) for application in applications),
        lambda: store.pending(MBED),
        lambda: create(store, name("new")),
        lambda: store.cancel(MBED, name("reserved")),
        lambda: store.mark_deleting(MBED, name("key 0")),
        lambda: store.remove(MBED, name("key 0")),
    ]
    for question in questions:
        with suppress(ServiceError):
            question()


def open_damaged(path: Path, data: bytes) -> KeyStore | None:
    for file in path.parent.glob("*"):
        file.unlink()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(data)
    try:
        return open_store(path, PROVIDERS)
    except StoreError:
        return None


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_flipped_bits(path: Path, sound: bytes, seed: int) -> None:
    source = random.Random(seed)
    data = bytearray(sound)
    flips = source.choice([1, 1, 1, 2, 8])
    for _ in range(flips):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    store = open_damaged(path, bytes(data))
    if store is None:
        return
    served = {identity: found for identity in KEYS if (found := lookup(store, identity)) is not None}
    # What a flip took is missing or, where nothing can tell, off by these bits; all others are served as they were.
    intact = [identity for identity, record in served.items() if record == KEYS[identity]]
    assert len(intact) >= len(KEYS) - flips
    for identity, record in served.items():
        assert differing_bits(record.key_id, KEYS[identity].key_id) <= flips
    exercise(store)
    store.close()


@pytest.mark.parametrize("seed", range(ROUNDS // 2))
def test_exchanged_pages(path: Path, sound: bytes, seed: int) -> None:
    source = random.Random(seed)
    pages = [sound[at : at + 4096] for at in range(0, len(sound), 4096)]
    one, other = source.sample(range(1, len(pages)), 2)
    if seed % 2:
        pages[one], pages[other] = pages[other], pages[one]
    else:
        pages[one] = pages[other]
    store = open_damaged(path, b"".join(pages))
    if store is None:
        return
    for identity, record in KEYS.items():
        assert lookup(store, identity) in (None, record)
    exercise(store)
    store.close()


def test_damaged_text_of_the_schema(path: Path, sound: bytes) -> None:
    """SQLite quotes it in its message, which then is no text for Python."""
    data = bytearray(sound)
    data[data.index(b"CREATE TABLE key_mapping") + 8] = 0xAC
    assert open_damaged(path, bytes(data)) is None


@pytest.mark.parametrize("seed", range(ROUNDS // 4))
def test_truncated_file(path: Path, sound: bytes, seed: int) -> None:
    cut = random.Random(seed).randrange(1, len(sound))
    store = open_damaged(path, sound[:cut])
    if store is None:
        return
    for identity, record in KEYS.items():
        assert lookup(store, identity) in (None, record)
    exercise(store)
    store.close()


@pytest.mark.parametrize("seed", range(ROUNDS // 4))
def test_damage_under_an_open_store(path: Path, sound: bytes, seed: int) -> None:
    """Pages are read when they are needed, and may have gone bad by then."""
    store = open_damaged(path, sound)
    assert store is not None
    source = random.Random(seed)
    with path.open("r+b") as file:
        for _ in range(4):
            file.seek(source.randrange(4096, len(sound) - 64))
            file.write(source.randbytes(64))
    store._connection.execute("PRAGMA shrink_memory")
    for identity, record in KEYS.items():
        found = lookup(store, identity)
        assert found is None or len(found.key_id) == len(record.key_id)
    exercise(store)
    store.close()
