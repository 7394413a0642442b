"""Listings in memory: always what the rows say, read in steps, and nobody's at another one's expense."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kim.support import (
    ECDSA,
    MBED,
    OTHER,
    PKCS11,
    PLANNED,
    PROVIDERS,
    RECORD,
    RSA,
    client_keys,
    create,
    finish,
    list_clients,
    list_keys,
    mapping_row,
    name,
    open_store,
    reference_database,
)

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.pages import keys_of
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim import listings
from cofferdam_kim.catalogue import STEP
from cofferdam_kim.listings import Listing
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore

OWNER = Application(3, "1000")


def filled(path: Path, **keys: int) -> MappingStore:
    """Return a store in which each application has so many keys."""
    rows = [
        mapping_row(name(f"{number:05}", application.removeprefix("uid")), PROVIDERS[number % 3])
        for application, count in keys.items()
        for number in range(count)
    ]
    reference_database(path, rows)
    return open_store(path)


@contextmanager
def counted(store: MappingStore) -> Iterator[list[str]]:
    """Collect the statements that the store has SQLite execute."""
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)
    yield statements
    store._connection.set_trace_callback(None)


def read(store: MappingStore, application: Application = OWNER) -> list[tuple[int, str, bytes]]:
    """Return an application's listing by the table alone."""
    rows = store._connection.execute(
        "SELECT provider_uuid, key_name, key_attributes FROM key_mapping"
        " WHERE authenticator_id = ? AND application_name = ? ORDER BY key_name",
        (application.authenticator, application.name),
    )
    positions = {provider.uuid: position for position, provider in enumerate(PROVIDERS)}
    placed = sorted((positions[uuid], key_name, attributes) for uuid, key_name, attributes in rows)
    return [(PROVIDERS[position].id, key_name, attributes) for position, key_name, attributes in placed]


def test_a_listing_is_read_once_and_then_kept_up_to_date(path: Path) -> None:
    """What a busy application costs: each change one row, each listing nothing."""
    store = filled(path, uid1000=300)
    store._connection.execute("PRAGMA synchronous = OFF")
    assert list_keys(store, OWNER) == read(store)
    for number in range(40):
        create(store, name(f"{number * 7:05}x"), (MBED, PKCS11)[number % 2], OTHER)
        store.mark_deleting(PROVIDERS[number * 6 % 3], name(f"{number * 6:05}"))
        with counted(store) as statements:
            listed = list_keys(store, OWNER)
        assert statements == []
        assert listed == read(store)
    store.close()


def test_a_change_touches_one_page(path: Path) -> None:
    store = filled(path, uid1000=2000)
    before = _pages(store)
    assert len(before) > 10
    create(store, name("00500x"))
    after = _pages(store)
    assert len(set(after) - set(before)) <= 2, "one, or the two that it was split into"
    store.mark_deleting(MBED, name("00500x"))
    assert len(set(_pages(store)) - set(after)) <= 1
    store.close()


def _pages(store: MappingStore) -> tuple[bytes, ...]:
    steps = store.catalogue.list_keys(OWNER, 0)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            pages: tuple[bytes, ...] = end.value
            return pages


NAMES = st.integers(0, 30).map("{:02}".format)
CHANGES = st.lists(st.tuples(st.sampled_from(["step", "make", "destroy", "other"]), NAMES), max_size=60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_changes_while_a_listing_is_being_read(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, changes: list[tuple[str, str]]
) -> None:
    """Whatever happens between its steps, the listing is that of the moment in which it is complete."""
    monkeypatch.setattr("cofferdam_kim.catalogue.STEP", 3)
    monkeypatch.setattr("cofferdam_kim.listings.MAX_PAGE", 4)
    monkeypatch.setattr("cofferdam_kim.listings._PAGES", 1)
    store = filled(tmp_path_factory.mktemp("kim") / "kim" / "kim.sqlite3", uid1000=0)
    # Nothing here is about the disk, which is slow.
    store._connection.execute("PRAGMA synchronous = OFF")
    for number in range(0, 30, 2):
        create(store, name(f"{number:02}"), PROVIDERS[number % 3])
    held = {key_name: provider for provider in PROVIDERS for key_name in client_keys(store, provider, OWNER)}
    listing = store.catalogue.list_keys(OWNER, 0)
    for change, key_name in [*changes, *[("step", "")] * 40]:
        if change == "make" and key_name not in held:
            held[key_name] = PROVIDERS[len(held) % 3]
            create(store, name(key_name), held[key_name], KeyRecord(b"", 2, (RSA, ECDSA)[len(held) % 2]))
        elif change == "destroy" and key_name in held:
            provider = held.pop(key_name)
            store.mark_deleting(provider, name(key_name))
            store.remove(provider, name(key_name))
        elif change == "other":
            list_keys(store, OWNER, 1)
        elif change == "step":
            try:
                next(listing)
            except StopIteration as end:
                assert list(keys_of(end.value)) == read(store)
                break
    else:
        pytest.fail("the listing never ends")
    store.close()


def test_reading_takes_steps(path: Path) -> None:
    """Between two of them others are served; none reads more than so many rows."""
    store = filled(path, uid1000=10 * STEP, uid2000=1)
    for steps in (store.catalogue.list_keys(OWNER, 0), store.catalogue.client_keys(MBED, OWNER)):
        count = 0
        for _ in steps:
            count += 1
            assert list_keys(store, Application(3, "2000")) == [(2, "00000", ECDSA)]
        assert count >= 4
    assert sum(1 for _ in store.catalogue.list_keys(Application(3, "nobody"), 0)) <= 1
    store.close()


def test_an_unknown_outcome_has_the_rows_read_again(path: Path) -> None:
    """A change that failed may have happened: only the disk tells."""
    store = filled(path, uid1000=5, uid2000=5)
    store.reserve(MBED, name("new"), PLANNED)
    changes: list[Callable[[], None]] = [
        lambda: store.activate(MBED, name("new"), RECORD),
        lambda: store.mark_deleting(PKCS11, name("00000")),
    ]
    for change in changes:
        list_keys(store, OWNER)
        list_keys(store, Application(3, "2000"))
        store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(ServiceError, match="READONLY"):
            change()
        store._connection.execute("PRAGMA query_only = OFF")
        with counted(store) as statements:
            assert len(list_keys(store, OWNER)) == 5
        assert statements, "it was read again"
        with counted(store) as statements:
            assert len(list_keys(store, Application(3, "2000"))) == 5
        assert statements == [], "nobody else's"
    store.close()


def test_a_row_found_bad_leaves_the_listings(path: Path) -> None:
    store = filled(path, uid1000=5)
    assert len(list_keys(store, OWNER)) == 5
    store._connection.execute("UPDATE key_mapping SET key_id_version = 9 WHERE key_name = '00001'")
    with pytest.raises(ServiceError):
        store.lookup(MBED, name("00001"))
    assert [key_name for _, key_name, _ in list_keys(store, OWNER)] == ["00000", "00003", "00004", "00002"]
    store.close()


def test_a_row_found_bad_while_reading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading begins anew, once for each step that finds any."""
    monkeypatch.setattr("cofferdam_kim.catalogue.STEP", 2)
    store = filled(path, uid1000=9)
    store._connection.execute("UPDATE key_mapping SET key_id_version = 9 WHERE key_name IN ('00001', '00005')")
    assert [key_name for _, key_name, _ in list_keys(store, OWNER)] == [
        *("00000", "00003", "00006", "00004", "00007", "00002", "00008"),
    ]
    store.close()


def rename(leaf: bytearray) -> None:
    at = leaf.index(b"100000002")
    leaf[at : at + 9] = b"100000009"


def exchange(leaf: bytearray) -> None:
    """Exchange the first two and the last two pointers to entries, which are in the order of these."""
    count = int.from_bytes(leaf[3:5], "big")
    pointers = [leaf[at : at + 2] for at in range(8, 8 + 2 * count, 2)]
    leaf[8 : 8 + 2 * count] = b"".join([*pointers[1::-1], *pointers[2:-2], *pointers[:-3:-1]])


@pytest.mark.parametrize("damage", [rename, exchange])
@pytest.mark.parametrize("step", [2, 100])
def test_a_damaged_index_is_noticed(
    path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytearray], None], step: int
) -> None:
    """An entry that is not that of its row, and entries that would have a search go round in circles."""
    monkeypatch.setattr("cofferdam_kim.catalogue.STEP", step)
    store = filled(path, uid1000=6)
    store.close()
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    (at,) = [at for at in range(size, len(data), size) if data[at] == 0x0A and b"100000002" in data[at : at + size]]
    leaf = data[at : at + size]
    damage(leaf)
    data[at : at + size] = leaf
    path.write_bytes(data)
    undamaged = open_store(path.with_name("other"))
    store = MappingStore(sqlite3.connect(path, isolation_level=None), str(path), PROVIDERS, undamaged.report)
    with pytest.raises(ServiceError) as caught:
        list_keys(store, OWNER)
    assert caught.value.status is Status.KEY_INFO_MANAGER_ERROR
    undamaged.close()
    store.close()


def test_a_listing_that_nobody_waits_for_is_not_kept(path: Path) -> None:
    store = filled(path, uid1000=3 * STEP)
    steps = store.catalogue.list_keys(OWNER, 0)
    next(steps)
    assert store.catalogue.listings.bytes > 0
    steps.close()
    assert store.catalogue.listings.bytes == 0
    store.close()


def test_what_one_uid_lists_does_not_push_out_what_another_does(path: Path) -> None:
    store = filled(path, uid1000=50, **{f"uid{number}": 50 for number in range(2000, 2020)})
    list_keys(store, OWNER, owner=1000)
    store.catalogue.listings.budget = 6 * store.catalogue.listings.bytes
    for number in range(2000, 2020):
        list_keys(store, Application(3, str(number)), owner=2000)
        with counted(store) as statements:
            list_keys(store, Application(3, "2000"), owner=2000)
        assert statements == [], "what is asked for stays"
        assert store.catalogue.listings.bytes <= store.catalogue.listings.budget
    with counted(store) as statements:
        list_keys(store, OWNER, owner=1000)
        list_keys(store, Application(3, "2000"), owner=2000)
        list_keys(store, Application(3, "2019"), owner=2000)
    assert statements == []
    with counted(store) as statements:
        list_keys(store, Application(3, "2001"), owner=2000)
    assert statements, "what was not asked for longest made room"
    store.close()


def test_memory_for_listings_that_are_being_read_is_bounded(path: Path) -> None:
    """The one that takes most is refused, the others go on."""
    store = filled(path, uid1000=STEP * 2, uid2000=STEP * 20)
    large, small = store.catalogue.list_keys(Application(3, "2000"), 2000), store.catalogue.list_keys(OWNER, 1000)
    next(small)
    store.catalogue.listings.budget = 6 * store.catalogue.listings.bytes
    with pytest.raises(ServiceError) as caught:
        for _ in large:
            pass
    assert caught.value.status is Status.PSA_ERROR_INSUFFICIENT_MEMORY
    assert sum(1 for _ in small) < 10
    assert list_keys(store, OWNER, 1000) == read(store)
    store.close()


def test_a_listing_too_large_to_send_is_not_read_to_its_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cofferdam_kim.listings.MAX_LISTING", 1000)
    store = filled(path, uid1000=20 * STEP)
    with counted(store) as statements, pytest.raises(ServiceError) as caught:
        list_keys(store, OWNER)
    assert caught.value.status is Status.RESPONSE_TOO_LARGE
    assert len(statements) <= 2
    store.close()


def test_keys_made_later_are_charged_too(store: MappingStore) -> None:
    list_keys(store, OWNER)
    before = store.catalogue.listings.bytes
    create(store, name("k" * 1000))
    assert store.catalogue.listings.bytes > before + 1000
    store.mark_deleting(MBED, name("k" * 1000))
    assert store.catalogue.listings.bytes == before


def test_keys_made_later_stay_within_the_budget(store: MappingStore) -> None:
    """Nobody asks for a listing again: changes alone make it grow, also while it is being read."""
    kept = store.catalogue.listings
    list_keys(store, Application(3, "2000"), owner=2000)
    list_keys(store, OWNER, owner=1000)
    kept.budget = 50_000
    reading = None
    for number in range(60):
        create(store, name(f"{number:04}" + "x" * 1000))
        if reading is None:
            assert 0 < kept.bytes <= kept.budget
        if number == 10:
            reading = store.catalogue.list_keys(OWNER, 1000)
            next(reading)
    assert kept.bytes > kept.budget, "what is being read is kept"
    assert reading is not None
    assert len(list(keys_of(finish(reading)))) == 60
    assert 0 < kept.bytes <= kept.budget
    with counted(store) as statements:
        list_keys(store, Application(3, "2000"), owner=2000)
    assert statements == [], "nobody else's"


def test_nobody_gives_up_a_fair_share_for_what_is_being_read(path: Path) -> None:
    """Most is held by one who reads, so that nothing of it can be given up; those who have less keep what they have."""
    store = filled(path, uid1000=STEP, uid2000=STEP * 20)
    list_keys(store, OWNER, owner=1000)
    store.catalogue.listings.budget = 4 * store.catalogue.listings.bytes
    steps = store.catalogue.list_keys(Application(3, "2000"), 2000)
    with pytest.raises(ServiceError) as caught:
        for _ in steps:
            pass
    assert caught.value.status is Status.PSA_ERROR_INSUFFICIENT_MEMORY
    with counted(store) as statements:
        assert len(list_keys(store, OWNER, owner=1000)) == STEP
    assert statements == []
    store.close()


def test_many_small_shares_refuse_nobody_a_large_listing(path: Path) -> None:
    """It may have to be read each time, as it is more than a share; those who have less keep theirs."""
    others = range(3000, 3012)
    store = filled(path, uid2000=300, **{f"uid{uid}": 90 for uid in others})
    large = Application(3, "2000")
    list_keys(store, large, owner=2000)
    kept = store.catalogue.listings
    kept.budget = kept.bytes * 3
    for _ in range(3):
        for uid in others:
            list_keys(store, Application(3, str(uid)), owner=uid)
            assert kept.bytes <= kept.budget
        assert len(list_keys(store, large, owner=2000)) == 300
        assert kept.bytes <= kept.budget
    store.close()


def test_listings_of_no_keys_are_charged_too(store: MappingStore) -> None:
    store.catalogue.listings.budget = 20_000
    for number in range(100):
        list_keys(store, Application(1, f"app {number}"), owner=1000)
    assert 0 < len(store.catalogue.listings._by_application) < 20


def test_clients_are_found_without_reading_all_keys(path: Path) -> None:
    work = []
    for count in (1, 400):
        store = filled(path.with_name(f"{count}") / "kim.sqlite3", uid1000=count, uid2000=count, uid3000=count)
        instructions = itertools.count()
        # It goes on as long as the handler returns 0.
        store._connection.set_progress_handler(lambda ticks=instructions: next(ticks) * 0, 20)  # type: ignore[misc]
        assert list_clients(store) == ["1000", "2000", "3000"]
        store._connection.set_progress_handler(None, 20)
        work.append(next(instructions))
        store.close()
    few, many = work
    assert many < 2 * few + 20


def test_clients_without_a_key_that_would_be_listed(path: Path) -> None:
    """A search through bad rows takes steps as well."""
    bad = [mapping_row(name(f"{number:04}", "bad")) for number in range(3 * STEP)]
    for row in bad:
        row[6] = 9
    late = [mapping_row(name(f"{number:04}", "late")) for number in range(2 * STEP)]
    for row in late[:-1]:
        row[3] = "00000000-0000-0000-0000-000000000000"
    reference_database(path, [*bad, *late, mapping_row(name("key", "good"))])
    store = open_store(path)
    assert sum(1 for _ in store.catalogue.list_clients(3)) >= 4
    assert list_clients(store) == ["good", "late"]
    store.close()


def test_many_clients_take_many_steps(path: Path) -> None:
    store = filled(path, **{f"uid{number}": 1 for number in range(1000, 1200)})
    assert sum(1 for _ in store.catalogue.list_clients(3)) >= 5
    store.close()


def test_pages_are_in_order_and_small() -> None:
    listing = Listing([2, 1], 0)
    names = [f"{number * 7919 % 1000:04}" for number in range(1000)]
    for number, key_name in enumerate(names):
        listing.put(number % 2, key_name, b"attributes")
    listing.put(0, names[0], b"other")
    while listing.pack_some():
        pass
    pages = [list(keys_of([page])) for page in listing.pages()]
    assert max(map(len, pages)) <= listings.MAX_PAGE
    keys = [key for page in pages for key in page]
    assert len(keys) == 1000
    assert [(provider, key_name) for provider, key_name, _ in keys] == sorted(
        ((2, 1)[number % 2], key_name) for number, key_name in enumerate(names)
    )[500:] + sorted(((2, 1)[number % 2], key_name) for number, key_name in enumerate(names))[:500]
    for number, key_name in enumerate(names):
        listing.drop(number % 2, key_name)
    listing.drop(0, "nobody")
    assert listing.pages() == ()
    assert listing.bytes == Listing([], 0).bytes
