"""Which owners of keys the key store tells the broker of: uids that the kernel named, and each change of them."""

from pathlib import Path

from tests.kim.support import MBED, alone, create, name, open_store

from cofferdam_contracts.ipc.control import KeyOwner, Record
from cofferdam_kim.owners import OwnerNotifier

DIRECT = 1


def test_every_uid_with_keys_is_told_as_fast_as_the_broker_takes_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "kim" / "kim.sqlite3")
    for uid in range(1000, 1050):
        create(store, name(application=str(uid)))
    # Names that others chose, and texts that are no uid.
    create(store, name(application="2000", authenticator=DIRECT))
    for text in ("01", "-1", "4294967296000", "root", "\u0661"):
        create(store, name(application=text))
    told: list[Record] = []
    room = [40]

    def send(record: Record) -> bool:
        room[0] -= 1
        if room[0] < 0:
            return False
        told.append(record)
        return True

    owners = OwnerNotifier(alone(store), send)
    assert owners.tell()
    assert not owners.tell(), "the broker takes no more"
    assert len(told) == 40
    room[0] = 100
    while owners.tell():
        pass
    assert sorted(told) == [KeyOwner(uid, owns=True) for uid in range(1000, 1050)]
    store.close()


def test_the_first_key_and_the_last_one_are_told(tmp_path: Path) -> None:
    store = open_store(tmp_path / "kim" / "kim.sqlite3")
    told: list[tuple[int, int]] = []

    def send(record: Record) -> bool:
        assert isinstance(record, KeyOwner)
        told.append((record.uid, record.owns))
        return True

    owners = OwnerNotifier(alone(store), send)
    for key in ("one", "two"):
        create(store, name(key))
        owners.changed(3, "1000")
    assert not owners.tell()
    assert told == [(1000, 1)]
    for key, owns in (("one", 1), ("two", 0)):
        store.mark_deleting(MBED, name(key))
        store.remove(MBED, name(key))
        owners.changed(3, "1000")
        owners.tell()
        assert told[-1] == (1000, owns)
    owners.changed(DIRECT, "1000")
    owners.changed(3, "no uid")
    count = len(told)
    assert not owners.tell()
    assert len(told) == count
    store.close()
