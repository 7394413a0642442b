"""The rows of the providers: what their workers say, what follows from their ends, and since when."""

from typing import Any

import pytest

from cofferdam_contracts.ipc.control import Condition, KeyCount
from cofferdam_contracts.settings import ConfiguredProvider
from cofferdam_runtime.conditions import Conditions

SOFTWARE, TOKEN, TPM = (4, 0), (5, 0), (6, 0)
UP = Condition(up=True, retry_ms=0, device="token 'a'", cause="")
NO_TOKEN = Condition(up=False, retry_ms=15_000, device="", cause="no token fits")
WRONG_PIN = Condition(up=False, retry_ms=0, device="token 'a'", cause="wrong PIN; correct it")


def entry(name: str, place: tuple[int, int], absent: str = "") -> ConfiguredProvider:
    return ConfiguredProvider(name=name, type=name, id=place[0] * 10, role=place[0], absent=absent)


@pytest.fixture
def conditions() -> Conditions:
    absent = entry("tpm", TPM, "there is no device /dev/tpmrm0")
    return Conditions([entry("software", SOFTWARE), entry("token", TOKEN), absent], 100.0)


def row(conditions: Conditions, name: str, now: float) -> dict[str, Any]:
    return next(row for row in conditions.rows(now) if row["name"] == name)


def seen(conditions: Conditions, now: float) -> tuple[object, ...]:
    """Return state, since when, cause and next try of the token."""
    found = row(conditions, "token", now)
    return found["state"], found["since_s"], found["cause"], found["next_try_s"]


def test_every_configured_provider_has_a_row_in_order(conditions: Conditions) -> None:
    rows = conditions.rows(101.0)
    assert [found["name"] for found in rows] == ["software", "token", "tpm"]
    assert [found["state"] for found in rows] == ["down"] * 3
    assert rows[2]["cause"] == "there is no device /dev/tpmrm0"
    assert rows[2]["next_try_s"] is None


def test_a_process_that_ends_takes_its_cause_along(conditions: Conditions) -> None:
    conditions.note(TOKEN, WRONG_PIN, 101.0)
    conditions.end(TOKEN, "exited with status 1", 102.0)
    assert conditions.summary(TOKEN) == "; token down: wrong PIN; correct it"
    assert conditions.summary((7, 0)) == ""
    assert "software down: its process is starting; token down" in conditions.summary()


def test_one_that_was_left_out_is_nobody_s_to_speak_for(conditions: Conditions) -> None:
    conditions.note(TPM, UP, 101.0)
    conditions.end(TPM, "killed by SIGKILL", 101.0)
    assert row(conditions, "tpm", 102.0)["cause"] == "there is no device /dev/tpmrm0"
    assert row(conditions, "tpm", 102.0)["state"] == "down"


def test_a_worker_speaks_for_its_own_provider_only(conditions: Conditions) -> None:
    conditions.note(TOKEN, UP, 101.0)
    conditions.note((5, 7), WRONG_PIN, 101.0)
    conditions.note((2, 0), WRONG_PIN, 101.0)
    assert [found["state"] for found in conditions.rows(102.0)] == ["down", "up", "down"]


def test_a_provider_that_is_down_keeps_since_and_cause_while_workers_come_and_go(conditions: Conditions) -> None:
    conditions.note(TOKEN, UP, 101.0)
    assert seen(conditions, 103.0) == ("up", 2.0, "", None)
    conditions.note(TOKEN, NO_TOKEN, 110.0)
    assert seen(conditions, 112.0) == ("down", 2.0, "no token fits", 13.0)
    conditions.end(TOKEN, "exited with status 0", 125.0)
    conditions.wait(TOKEN, 127.0)
    assert seen(conditions, 126.0) == ("down", 16.0, "no token fits", 1.0)
    assert row(conditions, "token", 126.0)["device"] == "token 'a'"
    conditions.note(TOKEN, WRONG_PIN, 130.0)
    assert seen(conditions, 131.0) == ("down", 21.0, "wrong PIN; correct it", None)
    conditions.note(TOKEN, UP, 140.0)
    assert seen(conditions, 141.0) == ("up", 1.0, "", None)


def test_who_dies_without_a_word_is_down_for_how_it_died(conditions: Conditions) -> None:
    conditions.note(TOKEN, UP, 101.0)
    conditions.end(TOKEN, "killed by SIGSEGV", 105.0)
    assert seen(conditions, 106.0) == ("down", 1.0, "its process died: killed by SIGSEGV", None)
    # Its successor, too, says nothing before it ends.
    conditions.wait(TOKEN, 107.0)
    conditions.end(TOKEN, "a process hangs and is killed", 110.0)
    assert seen(conditions, 111.0) == ("down", 6.0, "its process died: a process hangs and is killed", None)


def test_the_key_store_counts_by_the_number_of_the_protocol(conditions: Conditions) -> None:
    assert row(conditions, "token", 101.0)["keys"] is None
    conditions.count(KeyCount(50, 12))
    conditions.count(KeyCount(99, 7))
    assert [found["keys"] for found in conditions.rows(101.0)] == [None, 12, None]


def test_no_number_of_the_key_store_is_too_large_for_json(conditions: Conditions) -> None:
    conditions.count(KeyCount(50, (1 << 64) - 1))
    assert conditions.rows(101.0)[1]["keys"] == 1 << 53


def test_the_line_names_what_is_down(conditions: Conditions) -> None:
    conditions.note(SOFTWARE, UP, 101.0)
    conditions.note(TOKEN, WRONG_PIN, 101.0)
    assert conditions.summary() == (
        "; token down: wrong PIN; correct it; tpm down: there is no device /dev/tpmrm0"
    )  # fmt: skip
