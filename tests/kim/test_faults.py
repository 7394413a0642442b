"""A disk that is full, read only or failing: changes are refused, everything else goes on."""

import errno
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kim.support import (
    MBED,
    OTHER,
    PLANNED,
    RECORD,
    client_keys,
    create,
    name,
    open_store,
)

from cofferdam_contracts.identity import Application
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.store import MappingStore

CHILD = Path(__file__).parent / "fault_child.py"
FAILED = Status.KEY_INFO_MANAGER_ERROR


def changes(store: MappingStore) -> list[tuple[Status, str]]:
    """Try every change; return how each was refused."""
    questions: list[Callable[[], None]] = [
        lambda: store.reserve(MBED, name("new"), PLANNED),
        lambda: store.activate(MBED, name("reserved"), RECORD),
        lambda: store.mark_deleting(MBED, name("active")),
        lambda: store.remove(MBED, name("deleting")),
        lambda: store.cancel(MBED, name("reserved")),
    ]
    refused = []
    for change in questions:
        with pytest.raises(ServiceError) as caught:
            change()
        refused.append((caught.value.status, caught.value.detail))
    return refused


def prepared(path: Path) -> MappingStore:
    store = open_store(path)
    create(store, name("active"))
    create(store, name("deleting"), record=OTHER)
    store.reserve(MBED, name("reserved"), PLANNED)
    store.mark_deleting(MBED, name("deleting"))
    return store


def still_serves(store: MappingStore) -> None:
    assert store.lookup(MBED, name("active")) == RECORD
    assert client_keys(store, MBED, Application(3, "1000")) == ["active"]
    assert len(store.pending(MBED)) == 2


def fill(store: MappingStore) -> None:
    for number in range(1000):
        store.reserve(MBED, name(f"filling {number}"), PLANNED)


def test_a_full_disk(path: Path) -> None:
    store = prepared(path)
    log = path.with_name(path.name + "-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    try:
        refused = changes(store)
        still_serves(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {status for status, _ in refused} == {FAILED}
    assert all(str(path) in detail and "SQLITE_" in detail for _, detail in refused)
    create(store, name("new"))
    store.mark_deleting(MBED, name("active"))
    store.close()


def test_a_full_database(path: Path) -> None:
    store = prepared(path)
    store._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(ServiceError, match="SQLITE_FULL") as caught:
        fill(store)
    assert caught.value.status is FAILED
    assert store.lookup(MBED, name("active")) == RECORD
    store._connection.execute("PRAGMA max_page_count = 100000")
    create(store, name("new"), record=OTHER)
    store.close()


def test_a_read_only_file_system(path: Path) -> None:
    store = prepared(path)
    store._connection.execute("PRAGMA query_only = ON")
    refused = changes(store)
    assert {detail.split()[0] for _, detail in refused} == {"SQLITE_READONLY"}
    still_serves(store)
    store.close()


@pytest.mark.parametrize(
    ("syscall", "number"),
    [("pwrite64", errno.ENOSPC), ("pwrite64", errno.EIO), ("pwrite64", errno.EDQUOT), ("pwrite64", errno.EROFS)],
)
def test_writes_that_fail(path: Path, syscall: str, number: int) -> None:
    answers, store = run(path, syscall, number)
    for question in ("reserve", "activate", "mark_deleting", "remove", "cancel"):
        assert answers[question].startswith("KEY_INFO_MANAGER_ERROR SQLITE_")
    assert answers["lookup"] == "SUCCESS"
    assert answers["pending"] == "2"
    still_serves(store)
    assert changes_work(store)
    store.close()


def test_a_failed_flush_ends_all_changes(path: Path) -> None:
    """After it, the kernel would report success for pages that it has dropped."""
    answers, store = run(path, "fdatasync", errno.EIO)
    assert answers["reserve"].startswith(f"KEY_INFO_MANAGER_ERROR SQLITE_IOERR_FSYNC in {path}: the disk ")
    for question in ("activate", "mark_deleting", "remove", "cancel"):
        assert "read only: SQLITE_IOERR_FSYNC; restart the service" in answers[question]
    assert answers["lookup"] == "SUCCESS"
    assert store.lookup(MBED, name("active")) == RECORD
    # Nobody knows whether it was written; its name is in the one state or the other.
    assert {identity.key_name for _, identity, _ in store.pending(MBED)} - {"new"} == {"reserved", "deleting"}
    assert changes_work(store)
    store.close()


def test_a_log_that_cannot_be_cut(path: Path) -> None:
    """It is cut the next time; the change itself is safe."""
    answers, store = run(path, "ftruncate", errno.EIO)
    assert answers["remove"] == "SUCCESS"
    assert answers["pending"] == "2"
    store.close()


def changes_work(store: MappingStore) -> bool:
    steps: list[Callable[[], None]] = [
        lambda: store.cancel(MBED, name("new")),
        lambda: store.reserve(MBED, name("new"), PLANNED),
        lambda: store.activate(MBED, name("reserved"), RECORD),
        lambda: store.mark_deleting(MBED, name("active")),
        lambda: store.remove(MBED, name("deleting")),
    ]
    for step in steps:
        step()
    return client_keys(store, MBED, Application(3, "1000")) == ["reserved"]


def run(path: Path, syscall: str, number: int) -> tuple[dict[str, str], MappingStore]:
    prepared(path).close()
    child = subprocess.run(
        [sys.executable, CHILD, path, syscall, str(number)], capture_output=True, check=True, text=True, timeout=30
    )
    answers = dict(line.split(" ", 1) for line in child.stdout.splitlines())
    return answers, open_store(path)
