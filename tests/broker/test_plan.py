"""What the broker takes from the reader of the configuration: each document once, and nothing of one that fails."""

import gc
import json
import os
from pathlib import Path

import pytest
from tests.broker.test_children import SETTINGS
from tests.broker.test_generation import actors

from cofferdam_broker.plan import READER_UID, Plan, Reader
from cofferdam_config.kinds import NotAllowedError
from cofferdam_config.tables import Isolation
from cofferdam_contracts.ipc.control import FromChild, Role
from cofferdam_contracts.roles import RELAY_UID
from cofferdam_contracts.settings import dump
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop

__all__ = ["actors"]
pytestmark = pytest.mark.usefixtures("actors")
OWN = [FromChild.PLAN, 0, 0, dump(SETTINGS).decode()]
KIM = [FromChild.PLAN, Role.KIM, 0, "kim's"]
FRONTEND = [FromChild.PLAN, Role.FRONTEND, 0, "a frontend's"]
Records = list[list[object]]


def read(folder: Path, records: Records, *, give_up: bool = False, **script: int) -> tuple[Plan | None, int]:
    """Return the plan that comes of a reader that sends these records, and how many descriptors are left."""
    path = folder / "config.toml"
    path.write_text(json.dumps({"records": records, **script}))
    loop = Loop()
    done: list[Plan | None] = []
    gc.collect()  # what earlier tests left must not go meanwhile
    before = len(os.listdir("/proc/self/fd"))
    reader = Reader(str(path), loop, Log("broker", SETTINGS.log), done.append)
    if give_up:
        reader.give_up()

    def tick() -> float:
        if done:
            loop.stop()
        return 0 if done else 1

    loop.run(tick)
    (plan,) = done
    return plan, len(os.listdir("/proc/self/fd")) - before


def test_every_document_goes_to_whom_it_is_for(tmp_path: Path) -> None:
    plan, left = read(tmp_path, [OWN, KIM, FRONTEND])
    assert plan is not None
    assert plan.settings == SETTINGS
    assert {key: os.pread(found, 100, 0).decode() for key, found in plan.documents.items()} == {
        (Role.KIM, 0): KIM[3],
        (Role.FRONTEND, 0): FRONTEND[3],
    }
    assert left == 2
    plan.close()


@pytest.mark.parametrize(
    "records",
    [
        [OWN, KIM, KIM],
        [OWN, OWN],
        [OWN, *([FromChild.PLAN, Role.FRONTEND, number, ""] for number in range(64))],
        [OWN, [FromChild.PLAN, Role.KIM, 0, None]],
        [OWN, KIM, [FromChild.PONG, 0, 0, None]],
        [OWN, KIM, [FromChild.READY, 0, 0, "with a descriptor"]],
        [KIM],
        [[FromChild.PLAN, 0, 0, "{}"], KIM],
        [OWN, [FromChild.PLAN, 99, 0, "of a role that there is not"]],
        [],
    ],
)
def test_a_reader_that_says_anything_else_is_not_believed_and_leaves_nothing(tmp_path: Path, records: Records) -> None:
    assert read(tmp_path, records) == (None, 0)


def test_a_reader_that_fails_leaves_nothing_of_what_it_sent(tmp_path: Path) -> None:
    assert read(tmp_path, [OWN, KIM, [FromChild.FAILED, 1, 0, None]], status=1) == (None, 0)


def test_a_reader_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    assert read(tmp_path, [OWN, KIM], give_up=True, sleeps=60) == (None, 0)


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
