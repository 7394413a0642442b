"""Files of the database that are removed, moved or replaced while it is open."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness.service import UNPRIVILEGED_UID, acting_as
from tests.kim.support import MBED, PLANNED, RECORD, alone, create, name, open_on_disk, open_store

from cofferdam_contracts.ipc.control import Condition, Record
from cofferdam_contracts.settings import LogSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.mapping_mirror import DATABASE
from cofferdam_kim.notices import AGAIN_S, LOOK_S, Notices
from cofferdam_kim.store import MappingStore
from cofferdam_runtime.log import Log


def _remove(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    path.rename(path.with_name("old"))
    shutil.copy(path.with_name("old"), path)


def _move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def _replace_folder(path: Path) -> None:
    _move_folder(path)
    shutil.copytree(path.parent.with_name("elsewhere"), path.parent)


def _remove_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


@pytest.mark.parametrize("lose", [_remove, _replace, _move_folder, _replace_folder, _remove_log])
@pytest.mark.parametrize("on_disk", [False, True])
def test_nothing_is_changed_without_the_files(tmp_path: Path, lose: Callable[[Path], None], *, on_disk: bool) -> None:
    path = tmp_path / "store" / DATABASE
    store = open_on_disk(path.parent) if on_disk else open_store(path)
    create(store, name("known"))
    lose(path)
    changes: list[Callable[[], None]] = [
        lambda: store.reserve(MBED, name("new"), PLANNED),
        lambda: store.mark_deleting(MBED, name("known")),
    ]
    for change in changes:
        with pytest.raises(ServiceError, match="expected the file that is open") as caught:
            change()
        assert caught.value.status is Status.KEY_INFO_MANAGER_ERROR
    assert store.lookup(MBED, name("known")) == RECORD
    store.close()


def test_a_change_is_not_acknowledged_when_a_file_goes_meanwhile(path: Path) -> None:
    store = open_store(path)
    store.reserve(MBED, name(), PLANNED)
    store._connection.create_function("lose", 0, lambda: str(path.rename(path.with_name("moved"))))
    store._connection.execute("CREATE TEMP TRIGGER t AFTER INSERT ON main.key_mapping BEGIN SELECT lose(); END")
    with pytest.raises(ServiceError, match="expected the file that is open"):
        store.activate(MBED, name(), RECORD)
    path.with_name("moved").rename(path)
    # What became of it can be asked, and repeating it succeeds.
    store.activate(MBED, name(), RECORD)
    assert store.lookup(MBED, name()) == RECORD
    store.close()


def test_the_loss_and_the_end_of_it_are_logged_once(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = open_store(path)
    create(store, name())
    notices = Notices(alone(store), Log("kim", LogSettings(level="info")))
    moved = path.with_name("moved")
    assert 0 < notices.look(1.0) <= LOOK_S
    path.rename(moved)
    for now in (1.0, 2.0, 3.0, 4.0):
        notices.look(now)
    (line,) = capfd.readouterr().err.splitlines()
    assert "a file of the key store is gone" in line
    assert f"file={path} " in line
    moved.rename(path)
    for now in (5.0, 6.0):
        notices.look(now)
    (line,) = capfd.readouterr().err.splitlines()
    assert "is back" in line
    create(store, name("another"), record=RECORD)
    store.close()


def test_the_copy_that_the_line_names_has_all_keys(path: Path) -> None:
    store = open_store(path)
    create(store, name("first"))
    path.unlink()
    notices = Notices(alone(store), Log("kim"))
    notices.look(1.0)
    loss = store.loss()
    assert loss is not None
    copy = next(word for word in loss.remedy.split() if word.startswith("/proc/"))
    shutil.copy(copy, path)
    store.close()
    restored = MappingStore.open(str(path), (MBED,))
    assert restored.lookup(MBED, name("first")) == RECORD
    restored.close()


def test_a_lost_log_costs_no_key(path: Path) -> None:
    store = open_store(path)
    create(store, name("first"))
    _remove_log(path)
    Notices(alone(store), Log("kim")).look(1.0)
    # As after SIGKILL: nothing is written at the end.
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    restored = MappingStore.open(str(copy), (MBED,))
    assert restored.lookup(MBED, name("first")) == RECORD
    restored.close()
    store.close()


def test_the_broker_is_told_whether_keys_can_be_made(path: Path) -> None:
    store = open_store(path)
    create(store, name())
    told: list[Record] = []
    takes = False

    def send(record: Record) -> bool:
        if takes:
            told.append(record)
        return takes

    notices = Notices(alone(store), Log("kim"), send)
    notices.look(1.0)
    takes = True
    for now in (2.0, 3.0):
        notices.look(now)
    assert told == [Condition(up=True, retry_ms=0, device=str(path), cause="")]
    notices.failed(ServiceError(Status.KEY_INFO_MANAGER_ERROR, "SQLITE_FULL"), 3.0)
    for now in (4.0, 5.0):
        notices.look(now)
    path.rename(path.with_name("moved"))
    notices.look(6.0)
    path.with_name("moved").rename(path)
    notices.look(7.0)
    notices.succeeded()
    notices.look(8.0)
    _, full, gone, full_again, well = told
    assert (
        full
        == full_again
        == Condition(up=False, retry_ms=0, device=str(path), cause="KEY_INFO_MANAGER_ERROR (14): SQLITE_FULL")
    )
    assert gone[-1].startswith(f"found nothing (No such file or directory) at {path}; move the file or its folder back")
    assert well == told[0]
    store.close()


def test_a_failure_that_repeats_is_logged_once_a_minute(store: MappingStore, capfd: pytest.CaptureFixture[str]) -> None:
    notices = Notices(alone(store), Log("kim"))
    error = ServiceError(Status.KEY_INFO_MANAGER_ERROR, "SQLITE_FULL")
    for now in (1.0, 2.0, AGAIN_S, AGAIN_S + 1):
        notices.failed(error, now)
    notices.failed(ServiceError(Status.KEY_INFO_MANAGER_ERROR, "SQLITE_IOERR"), 2.0)
    assert len(capfd.readouterr().err.splitlines()) == 3


def test_a_folder_that_cannot_be_passed_through(path: Path) -> None:
    store = open_store(path)
    path.parent.chmod(0o600)
    with acting_as(os.geteuid() or UNPRIVILEGED_UID):
        loss = store.loss()
    path.parent.chmod(0o700)
    assert loss is not None
    assert "Permission denied" in loss.found
    assert store.loss() is None
    store.close()
