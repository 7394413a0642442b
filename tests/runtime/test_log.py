"""The log: one line per event whatever the values hold, nothing sensitive without leave, no flood."""

import os
import shlex
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.log import BURST, Log


@example("'", "it's")
@given(st.text(), st.text())
def test_no_value_can_forge_a_line_or_a_field(event: str, value: str) -> None:
    line = Log("frontend[0]", LogSettings(timestamp=False)).format("error", event, {"cause": value})
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert line.isprintable() or line[:-1].isprintable()
    assert [field.partition("=")[0] for field in shlex.split(line)] == ["level", "component", "event", "cause"]


def test_long_values_are_cut() -> None:
    assert len(Log("x").format("error", "y", {"cause": "z" * 100_000})) < 3000


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("error", ["error"]),
        ("info", ["error", "warning", "info"]),
        ("off", []),
        ("debug", ["error", "warning", "info", "debug"]),
    ],
)
def test_nothing_below_the_level_is_written(level: str, expected: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    log = Log("kim", LogSettings(level=level, timestamp=False))
    log.error("one")
    log.warning("two")
    log.info("three")
    log.debug("four")
    assert [line.split()[0] for line in capfd.readouterr().err.splitlines()] == [f"level={name}" for name in expected]


def test_a_line_is_a_sentence_in_the_status() -> None:
    values = {"cause": "no room", "file": "/k", "remedy": "make room", "next_try": "in 15 s"}
    assert Log("kim").error("it failed", **values) == "it failed: no room; file /k; make room"


def test_details_are_shown_only_with_leave() -> None:
    assert Log("x", LogSettings(details=False)).detail(key="name") == {}
    assert Log("x", LogSettings(details=True)).detail(key="name") == {"key": "name"}


@pytest.mark.parametrize("level", ["error", "info"])
def test_a_flood_is_cut_and_counted(
    level: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    log = Log("frontend[0]", LogSettings(level=level, timestamp=False))
    for number in range(BURST + 50):
        log.error("again", number=number)
    assert len(capfd.readouterr().err.splitlines()) == BURST
    clock[0] = 10.0
    log.error("later")
    assert "count=50" in capfd.readouterr().err


def test_the_journal_gets_priorities_in_place_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    state = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{state.st_dev}:{state.st_ino}")
    assert Log("kim").format("warning", "x", {}) == "<4>level=warning component=kim event=x\n"
