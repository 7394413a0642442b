"""What the service manager and readers of the status are told, and which reload answers whom."""

import json
import socket
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cofferdam_contracts.ipc.control import Condition, Level, Pong
from cofferdam_contracts.roles import FRONTENDS
from cofferdam_contracts.settings import ConfiguredProvider
from cofferdam_runtime.backoff import History
from cofferdam_runtime.conditions import Conditions
from cofferdam_runtime.listener import MOST_STATUS
from cofferdam_runtime.log import Log
from cofferdam_runtime.notify import Notifier
from cofferdam_runtime.pulse import MOST, Patience, Pulse
from cofferdam_runtime.reports import Reports

STORE = ConfiguredProvider(name="key store", type="SQLite", id=0, role=2, absent="")
TOKEN = ConfiguredProvider(name="token", type="Pkcs11", id=2, role=5, absent="")


@dataclass
class Row:
    """A process, with the longest values that it can have."""

    title: str
    pulse: Pulse
    pid: int = 1 << 22
    key: Any = (0, 0)
    uid: int | None = (1 << 32) - 1
    principal: int | None = (1 << 32) - 1
    ready: bool = True
    stopping: bool = True
    level: Level = Level.LANDLOCK
    landlock_abi: int = 1 << 16
    started: float = -1e9

    @property
    def spawned(self) -> "Row":
        return self


class Manager:
    """A service manager, and the reports to it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end.bind(str(folder / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        self.reports = Reports("config.toml", Notifier(Log("broker")))

    def told(self) -> list[str]:
        """Return what it was told since the last time."""
        found = []
        while True:
            try:
                found.append(self.end.recv(4096, socket.MSG_DONTWAIT).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    made = Manager(tmp_path, monkeypatch)
    yield made
    made.end.close()
    if (socket_of_ours := made.reports._notifier._socket) is not None:
        socket_of_ours.close()


def reload_of(reports: Reports) -> dict[str, Any]:
    histories: defaultdict[Any, History] = defaultdict(History)
    found: dict[str, Any] = json.loads(reports.document("running", [], histories, whole=True))["reload"]
    return found


def test_a_reload_that_was_asked_for_during_another_follows_it(manager: Manager) -> None:
    reports = manager.reports
    assert not reports.end(())
    assert reload_of(reports) == {"asked": 0, "done": 0, "outcome": None, "ended_s": None, "problems": []}
    reports.ask()
    reports.begin()
    for _ in range(3):
        reports.ask()
    assert reports.end(["config.toml:3: wrong"]), "another is to begin"
    found = reload_of(reports)
    assert (found["asked"], found["done"], found["outcome"]) == (4, 1, "refused")
    assert found["problems"] == ["config.toml:3: wrong"]
    reports.begin()
    assert not reports.end(())
    found = reload_of(reports)
    assert (found["asked"], found["done"], found["outcome"], found["problems"]) == (4, 4, "taken over", [])


def test_a_reload_that_was_asked_for_during_the_start_follows_it(manager: Manager) -> None:
    manager.reports.ask()
    assert manager.reports.end(())
    assert reload_of(manager.reports)["outcome"] is None


def test_the_service_manager_is_told_what_is_news(manager: Manager) -> None:
    reports = manager.reports
    reports.conditions = Conditions([TOKEN, STORE], 0.0)
    reports.conditions.note((2, 0), Condition(up=True, retry_ms=0, device="", cause=""), 0.0)
    reports.conditions.note((5, 0), Condition(up=True, retry_ms=0, device="", cause=""), 0.0)
    reports.end(())
    assert manager.told() == ["READY=1\nSTATUS=Serving"]
    reports.repeat()
    assert manager.told() == []
    reports.conditions.note((5, 0), Condition(up=False, retry_ms=0, device="", cause="wrong PIN"), 0.0)
    for _ in range(2):
        reports.repeat()
    assert manager.told() == ["STATUS=Serving; token down: wrong PIN"]
    reports.conditions.note((2, 0), Condition(up=False, retry_ms=0, device="/k", cause="the disk is full"), 0.0)
    reports.repeat()
    assert manager.told() == ["STATUS=Serving; token down: wrong PIN; key store down: the disk is full"]
    shown = msgspec.json.decode(reports.document("running", (), {}, whole=True))
    assert [row["name"] for row in shown["providers"]] == ["token"]
    assert [shown["key_store"][key] for key in ("name", "type", "state", "cause", "device")] == [
        *("key store", "SQLite", "down", "the disk is full", "/k")
    ]
    reports.conditions.note((2, 0), Condition(up=True, retry_ms=0, device="/k", cause=""), 0.0)
    reports.repeat()
    assert manager.told() == ["STATUS=Serving; token down: wrong PIN"]
    reports.ask()
    reports.begin()
    assert "RELOADING=1" in manager.told()[0]
    reports.repeat()
    assert manager.told() == [], "the reload is under way"
    reports.end(["config.toml:3: wrong", "config.toml:4: wrong"])
    assert manager.told() == ["READY=1\nSTATUS=Serving; token down: wrong PIN; reload refused: config.toml:3: wrong"]


def test_no_text_can_end_the_broker_or_be_another_assignment(manager: Manager) -> None:
    """Paths are any bytes: os.fsdecode makes characters of them that are no UTF-8."""
    reports = Reports("/etc/\udcff\n.toml", manager.reports._notifier)
    reports.ask()
    reports.begin()
    reports.end(["/etc/\udcff\nSTOPPING=1: no such file " + "é" * 2000])
    _, told = manager.told()
    assert told.split("\n")[1:] == [told.split("\n")[-1]]
    assert told.startswith("READY=1\nSTATUS=Serving; reload refused: /etc/??STOPPING=1: no such file é")
    assert len(told.encode()) < 1100
    shown = msgspec.json.decode(reports.document("running", (), {}, whole=True))
    assert shown["configuration"]["file"] == "/etc/??.toml"


def test_the_largest_status_can_be_handed_out(manager: Manager) -> None:
    """JSON has six bytes for a letter of two."""
    long = "é" * 600
    entries = [ConfiguredProvider(name=long, type="MbedCrypto", id=1, role=4, absent=long) for _ in range(3)]
    manager.reports = Reports(long, manager.reports._notifier)
    manager.reports.conditions = Conditions(entries, -1e9)
    manager.reports.ask()
    manager.reports.begin()
    # As many as the broker keeps, as long as their record allows.
    manager.reports.end([long[:250]] * 64)
    pulse = Pulse(0.0, Patience(1.0, 1.0, 1.0))
    pulse.answer(Pong(0, MOST, MOST, MOST), 0.0)
    processes = [
        Row("worker[software]", pulse),
        *(Row(f"frontend[{number}]", pulse) for number in range(len(FRONTENDS) + 8)),
    ]
    histories: defaultdict[Any, History] = defaultdict(History)
    size = len(manager.reports.document("running", processes, histories, whole=True))
    assert MOST_STATUS / 2 < size < MOST_STATUS
