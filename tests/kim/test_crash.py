"""Nothing that was acknowledged is lost, and nothing is half done, wherever the process or the power ends."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.kim.crash_child import SCENARIO
from tests.kim.support import (
    MBED,
    PLANNED,
    client_keys,
    name,
    open_store,
)

from cofferdam_contracts.identity import Application
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore

CHILD = Path(__file__).parent / "crash_child.py"

State = dict[str, tuple[str, KeyRecord]]
"""Key name -> state and record."""


def histories() -> list[State]:
    """Return the states after none, one, two… questions of the scenario."""
    states: list[State] = [{}]
    for question, key_name, arguments in SCENARIO:
        state = dict(states[-1])
        match question:
            case "reserve":
                state[key_name] = ("RESERVED", *arguments)
            case "activate":
                state[key_name] = ("active", *arguments)
            case "mark_deleting":
                state[key_name] = ("DELETING", state[key_name][1])
            case _:
                del state[key_name]
        states.append(state)
    return states


HISTORIES = histories()


def observed(store: MappingStore) -> State:
    state: State = {}
    for pending, identity, record in store.pending(MBED):
        state[identity.key_name] = (pending.name, record)
    for key_name in client_keys(store, MBED, Application(3, "1000")):
        assert key_name not in state
        state[key_name] = ("active", store.lookup(MBED, name(key_name)))
    return state


def reopen(path: Path) -> State:
    store = open_store(path)
    assert store.report.damage is None
    assert store.report.quarantined == ()
    state = observed(store)
    # Exactly these names are taken: nothing unreachable is left behind.
    for key_name in {"a", "b", "c"} - set(state):
        store.reserve(MBED, name(key_name), PLANNED)
        store.cancel(MBED, name(key_name))
    store.close()
    return state


def start(path: Path) -> "subprocess.Popen[bytes]":
    open_store(path).close()
    return subprocess.Popen([sys.executable, CHILD, path], stdout=subprocess.PIPE, bufsize=0)


def test_the_scenario_ends_well(path: Path) -> None:
    child = start(path)
    acknowledged = child.communicate(timeout=30)[0]
    assert child.returncode == 0
    assert acknowledged == b"done\n" * len(SCENARIO)
    assert reopen(path) == HISTORIES[-1]


def test_killed_before_any_statement(tmp_path: Path) -> None:
    swept = subprocess.run([sys.executable, CHILD, "--sweep", tmp_path], capture_output=True, check=True, timeout=50)
    ends = [tuple(map(int, line.split())) for line in swept.stdout.splitlines()]
    for statement, acknowledged, status in ends:
        assert status == (0 if statement == len(ends) else -signal.SIGKILL)
        # The question under way is done or not done.
        assert reopen(tmp_path / str(statement) / "kim.sqlite3") in HISTORIES[acknowledged : acknowledged + 2]
    assert len(ends) > 40


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment(path: Path, seed: int) -> None:
    child = start(path)
    assert child.stdout is not None
    # Past the start, which takes longer than all the rest.
    lines = child.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.01))
    child.kill()
    lines += child.communicate(timeout=30)[0]
    acknowledged = lines.count(b"done\n")
    assert reopen(path) in HISTORIES[acknowledged : acknowledged + 2]


def test_power_cut_at_any_write(path: Path, tmp_path: Path) -> None:
    """Whatever prefix of the log has reached the disk, the state is that of the last whole transaction in it."""
    store = open_store(path)
    log = path.with_name(path.name + "-wal")
    lengths = [log.stat().st_size]
    kept = path.read_bytes()
    for question, key_name, arguments in SCENARIO[:7]:
        getattr(store, question)(MBED, name(key_name), *arguments)
        lengths.append(log.stat().st_size)
    assert path.read_bytes() == kept, "no checkpoint yet: everything is in the log"
    written = log.read_bytes()
    frame = 24 + 4096
    cuts = sorted(
        {*range(32, len(written) + 1, frame), *(cut + 100 for cut in range(32, len(written), frame)), 0, 5, 31}
    )
    for cut in cuts:
        copy = tmp_path / "copy" / str(cut) / path.name
        copy.parent.mkdir(parents=True, mode=0o700)
        copy.write_bytes(kept)
        copy.with_name(log.name).write_bytes(written[:cut])
        durable = max((count for count, length in enumerate(lengths) if length <= cut), default=0)
        assert reopen(copy) == HISTORIES[durable]
    store.close()


def test_a_torn_write_is_not_taken_for_a_whole_one(path: Path, tmp_path: Path) -> None:
    """Sectors of the last frames that never reached the disk hold zeros or what was there before."""
    store = open_store(path)
    log = path.with_name(path.name + "-wal")
    for question, key_name, arguments in SCENARIO[:5]:
        getattr(store, question)(MBED, name(key_name), *arguments)
    before = log.stat().st_size
    question, key_name, arguments = SCENARIO[5]
    getattr(store, question)(MBED, name(key_name), *arguments)
    written = log.read_bytes()
    for sector in range(before, len(written), 512):
        for filling in (bytes(512), written[:512]):
            copy = tmp_path / "copy" / path.name
            copy.parent.mkdir(mode=0o700)
            shutil.copy(path, copy)
            torn = written[:sector] + filling + written[sector + 512 :]
            copy.with_name(log.name).write_bytes(torn[: len(written)])
            assert reopen(copy) in HISTORIES[5:7]
            shutil.rmtree(copy.parent)
    store.close()
