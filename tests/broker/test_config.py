"""What the broker takes from the reader of the configuration: each document once, and nothing of one that fails."""

import gc
import json
import os
from pathlib import Path

import pytest
from tests.broker.test_children import SETTINGS
from tests.broker.test_deployment import actors

from cofferdam_broker.config import ConfigLoader, LoadedConfig
from cofferdam_config.kinds import NotAllowedError
from cofferdam_config.tables import Isolation
from cofferdam_contracts.roles import READER_UID, RELAY_UID, Role
from cofferdam_contracts.settings import MODULE_FILES, dump
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.timers import Timers

__all__ = ["actors"]
pytestmark = pytest.mark.usefixtures("actors")
OWN = ["SettingsDocument", 0, 0, dump(SETTINGS).decode()]
KIM = ["SettingsDocument", Role.KIM, 0, "kim's"]
FRONTEND = ["SettingsDocument", Role.FRONTEND, 0, "a frontend's"]
Records = list[list[object]]


def read(
    folder: Path, records: Records, *, silence_s: float | None = None, **script: object
) -> tuple[LoadedConfig | None, int]:
    """Return the config that comes of a reader that sends these records, and how many descriptors are left."""
    path = folder / "config.toml"
    path.write_text(json.dumps({"records": records, **script}))
    loop = Loop()
    done: list[tuple[LoadedConfig | None, str, list[str]]] = []
    gc.collect()  # what earlier tests left must not go meanwhile
    before = len(os.listdir("/proc/self/fd"))
    timers = Timers()
    told = done.append
    reader = ConfigLoader((str(path), "-"), loop, timers, Log("broker", SETTINGS.log), lambda *end: told(end))
    if silence_s is not None:
        reader.process.starting._silence_s = silence_s

    def tick() -> float:
        if done:
            loop.stop()
        return 0 if done else timers.run()

    loop.run(tick)
    ((config, how, refused),) = done
    assert refused == [fields[0] for kind, *fields in records if kind == "Refusal"][:64]
    assert how == f"exited with status {script['status']}" if "status" in script else how
    return config, len(os.listdir("/proc/self/fd")) - before


def test_every_document_goes_to_whom_it_is_for(tmp_path: Path) -> None:
    config, left = read(tmp_path, [OWN, KIM, FRONTEND])
    assert config is not None
    assert config.settings == SETTINGS
    assert {key: os.pread(found, 100, 0).decode() for key, found in config.documents.items()} == {
        (Role.KIM, 0): KIM[-1],
        (Role.FRONTEND, 0): FRONTEND[-1],
    }
    assert left == 2
    config.close()


def test_the_reader_hears_of_the_variables_of_modules_and_of_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody on the machine can read its arguments, and names may say much."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    for name in MODULE_FILES:
        monkeypatch.delenv(name, raising=False)
    for name in ("SOFTHSM2_CONF", "TOKEN_OF_SOMEBODY", "KRYOPTIC_CONF"):
        monkeypatch.setenv(name, "/value")
    words = [str(tmp_path / "config.toml"), "", "KRYOPTIC_CONF SOFTHSM2_CONF", "-"]
    config, _ = read(tmp_path, [OWN, KIM, FRONTEND], arguments=words)
    assert config is not None
    config.close()


@pytest.mark.parametrize(
    "records",
    [
        [OWN, KIM, KIM],
        [OWN, OWN],
        [OWN, *(["SettingsDocument", Role.FRONTEND, number, ""] for number in range(64))],
        [OWN, ["SettingsDocument", 0, 1, "of no role"], KIM, FRONTEND],
        [OWN, KIM],
        [OWN, FRONTEND],
        [OWN, KIM, FRONTEND, ["SettingsDocument", Role.KIM, 7, "another"]],
        [OWN, KIM, FRONTEND, ["SettingsDocument", Role.SOFTWARE_WORKER, 0, "of no provider"]],
        [["SettingsDocument", 0, 0, None], KIM, FRONTEND],
        [["SettingsDocument", 0, 0, "[" * 100_000], KIM, FRONTEND],
        [OWN, KIM, FRONTEND, ["Pong", 0, 0, 0, 0]],
        [OWN, KIM, FRONTEND, ["NewClient", 2]],
        [KIM],
        [["SettingsDocument", 0, 0, "{}"], KIM],
        [OWN, ["SettingsDocument", 99, 0, "of a role that does not exist"]],
        [],
    ],
)
def test_a_reader_that_says_anything_else_is_not_believed_and_leaves_nothing(tmp_path: Path, records: Records) -> None:
    assert read(tmp_path, records) == (None, 0)


def test_a_reader_that_fails_leaves_nothing_of_what_it_sent(tmp_path: Path) -> None:
    assert read(tmp_path, [OWN, KIM, ["Failed", 1]], status=1) == (None, 0)


def test_a_reader_that_does_not_get_on_is_killed(tmp_path: Path) -> None:
    assert read(tmp_path, [OWN, KIM, FRONTEND], silence_s=0.5, sleeps=60) == (None, 0)


def test_a_reader_that_computes_for_longer_than_it_may_be_silent_is_not(tmp_path: Path) -> None:
    config, _ = read(tmp_path, [OWN, KIM, FRONTEND], silence_s=0.5, computes_s=1.5)
    assert config is not None
    config.close()


def test_what_a_reader_refuses_is_handed_on(tmp_path: Path) -> None:
    lines: Records = [["Refusal", f"config.toml:{number}: found a, allowed: b"] for number in range(20)]
    assert read(tmp_path, lines, status=78) == (None, 0)


def test_a_reader_that_refuses_without_end_is_not_believed(tmp_path: Path) -> None:
    assert read(tmp_path, [["Refusal", "no"]] * 70, status=78) == (None, 0)


def _is_allowed(base: int) -> bool:
    try:
        return Isolation.uid_base.kind.parse(base) == base
    except NotAllowedError:
        return False


@pytest.mark.parametrize("uid", [READER_UID, RELAY_UID])
def test_no_block_of_uids_holds_that_of_the_reader_or_of_the_relay(uid: int) -> None:
    allowed = [base for base in range(uid - 300, uid + 10) if _is_allowed(base)]
    assert allowed
    assert not [base for base in allowed if uid in range(base, base + 256)]
