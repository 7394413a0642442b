"""Random damage to the file, other one in each run: what is sound is served, and every answer is right or an error."""

import itertools
import os
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from tests.kim.support import (
    ECDSA,
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
from cofferdam_kim.store import MappingStore

RUN = os.environ.get("COFFERDAM_SEED") or str(random.SystemRandom().getrandbits(64))
KEYS = {
    name(f"key {number}", application=str(1000 + number % 7)): KeyRecord(
        b"<%04d>" % number + bytes([number]) * 150, 1 + number % 2, (RSA, ECDSA)[number % 3 == 0]
    )
    for number in range(60)
}
OWNERS = {identity: (MBED, PKCS11)[len(record.key_id) and record.version - 1] for identity, record in KEYS.items()}
ROUNDS = 60
ON_A_PAGE = 20
"""More keys than a page has: SQLite refuses a whole page for one wrong byte in its structure."""
INTERIOR = 0x05
"""First byte of a page of a table that says only where its other pages are."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "kim" / "kim.sqlite3"
    store = open_store(path)
    for identity, record in KEYS.items():
        create(store, identity, OWNERS[identity], record)
    store.reserve(MBED, name("reserved"), PLANNED)
    store.close()
    return path.read_bytes()


def seeded(number: int) -> random.Random:
    """Return the source of the run; a failure shows how to have the same again."""
    sys.stdout.write(f"to repeat: COFFERDAM_SEED={RUN}\n")
    return random.Random(f"{RUN} {number}")


def lookup(store: MappingStore, identity: KeyIdentity) -> KeyRecord | None:
    try:
        return store.lookup(OWNERS[identity], identity)
    except ServiceError:
        return None


def differing_bits(one: KeyRecord, other: KeyRecord) -> int:
    """Return in how many bits two records differ; many for those of different size."""
    pairs = ((one.key_id, other.key_id), (one.attributes, other.attributes))
    if any(len(left) != len(right) for left, right in pairs):
        return 1000
    values = itertools.chain(*(zip(left, right, strict=True) for left, right in pairs), [(one.version, other.version)])
    return sum((left ^ right).bit_count() for left, right in values)


def exercise(store: MappingStore) -> None:
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


def try_to_open(path: Path, data: bytes) -> MappingStore | StoreError:
    for file in path.parent.glob("*"):
        file.unlink()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(data)
    try:
        return open_store(path, PROVIDERS)
    except StoreError as error:
        return error


def open_damaged(path: Path, data: bytes) -> MappingStore | None:
    opened = try_to_open(path, data)
    return None if isinstance(opened, StoreError) else opened


def listed(store: MappingStore) -> dict[Application, set[str]] | None:
    """Return whose keys are listed, or None when nobody is given a list."""
    applications = {Application(identity.authenticator, identity.application) for identity in KEYS}
    try:
        return {known: {key_name for _, key_name, _ in list_keys(store, known)} for known in applications}
    except ServiceError:
        return None


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_flipped_bit(path: Path, sound: bytes, seed: int) -> None:
    """It takes the keys of one page at most, keeps the service from nothing else, and gives nobody another's key."""
    source = seeded(seed)
    data = bytearray(sound)
    at = source.randrange(len(data))
    data[at] ^= 1 << source.randrange(8)
    store = try_to_open(path, bytes(data))
    if isinstance(store, StoreError):
        assert sound[at // 4096 * 4096] == INTERIOR or "schema version" in store.found, str(store)
        return
    served = {identity: found for identity in KEYS if (found := lookup(store, identity)) is not None}
    assert len(served) >= len(KEYS) - ON_A_PAGE
    # In what is only a value nothing can tell, but by the bit it is still the same key.
    assert all(differing_bits(record, KEYS[identity]) <= 1 for identity, record in served.items())
    assert sum(record == KEYS[identity] for identity, record in served.items()) >= len(served) - 1
    lists = listed(store)
    if lists is not None:
        held = {(identity.application, identity.key_name) for identity in KEYS}
        shown = {(application.name, key_name) for application, names in lists.items() for key_name in names}
        assert shown == {(identity.application, identity.key_name) for identity in served}
        assert len(held - shown) <= 2, "a list has all keys but those that were set aside"
        assert shown <= held
    exercise(store)
    store.close()


@pytest.mark.parametrize("seed", range(ROUNDS // 2))
def test_several_flipped_bits(path: Path, sound: bytes, seed: int) -> None:
    source = seeded(seed)
    data = bytearray(sound)
    flips = source.choice([2, 8, 30])
    for _ in range(flips):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    store = open_damaged(path, bytes(data))
    if store is None:
        return
    for identity, record in KEYS.items():
        found = lookup(store, identity)
        assert found is None or differing_bits(found, record) <= flips
    exercise(store)
    store.close()


@pytest.mark.parametrize("seed", range(ROUNDS // 2))
def test_exchanged_pages(path: Path, sound: bytes, seed: int) -> None:
    source = seeded(seed)
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


@pytest.mark.parametrize("seed", range(ROUNDS // 4))
def test_truncated_file(path: Path, sound: bytes, seed: int) -> None:
    cut = seeded(seed).randrange(1, len(sound))
    store = open_damaged(path, sound[:cut])
    if store is None:
        return
    for identity, record in KEYS.items():
        found = lookup(store, identity)
        if found not in (None, record):
            # SQLite reads the rest of a page that is cut as zeros, which only the worker's code or encryption tells.
            assert cut % 4096
            whole, rest = record.key_id + record.attributes, found.key_id + found.attributes
            assert whole.startswith(rest.rstrip(b"\0"))
    exercise(store)
    store.close()


@pytest.mark.parametrize("seed", range(ROUNDS // 4))
def test_damage_under_an_open_store(path: Path, sound: bytes, seed: int) -> None:
    """Pages are read when they are needed, and may have gone bad by then."""
    store = open_damaged(path, sound)
    assert store is not None
    source = seeded(seed)
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
