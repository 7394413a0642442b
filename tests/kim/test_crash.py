"""Nothing that was acknowledged is lost, and nothing is half done, wherever the process or the power ends."""

import itertools
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.harness.running import started
from tests.kim.crash_child import FILED, SCENARIO
from tests.kim.support import (
    MBED,
    PLANNED,
    RECORD,
    client_keys,
    create,
    name,
    open_on_disk,
    open_store,
)

from cofferdam_contracts.identity import Application
from cofferdam_kim.mapping_files import Mapped, encode, parts_of
from cofferdam_kim.mapping_tree import UNFINISHED
from cofferdam_kim.rows import KeyRecord
from cofferdam_kim.store import MappingStore

CHILD = Path(__file__).parent / "crash_child.py"

State = dict[str, tuple[str, KeyRecord]]
"""Key name -> state and record."""


def histories(scenario: Iterable[tuple[str, str, tuple[Any, ...]]]) -> list[State]:
    """Return the states after none, one, two… questions of a scenario."""
    states: list[State] = [{}]
    for question, key_name, arguments in scenario:
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


HISTORIES = histories(SCENARIO)
FILED_HISTORIES = histories(FILED)


def observed(store: MappingStore) -> State:
    state: State = {}
    for pending, identity, record in store.pending(MBED):
        state[identity.key_name] = (pending.name, record)
    for key_name in client_keys(store, MBED, Application(3, "1000")):
        assert key_name not in state
        state[key_name] = ("active", store.lookup(MBED, name(key_name)))
    return state


def reopen(path: Path, store: MappingStore | None = None) -> State:
    store = store or open_store(path)
    assert store.report.damage is None
    assert store.report.quarantined == ()
    state = observed(store)
    # Exactly these names are taken: nothing unreachable is left behind.
    for key_name in {"a", "b", "c"} - set(state):
        store.reserve(MBED, name(key_name), PLANNED)
        store.cancel(MBED, name(key_name))
    store.close()
    return state


def test_the_scenario_ends_well(path: Path) -> None:
    open_store(path).close()
    done = subprocess.run([sys.executable, CHILD, path], capture_output=True, check=True, timeout=30)
    assert done.stdout == b"done\n" * len(SCENARIO)
    assert reopen(path) == HISTORIES[-1]


def test_killed_before_any_statement(tmp_path: Path) -> None:
    swept = subprocess.run([sys.executable, CHILD, "--sweep", tmp_path], capture_output=True, check=True, timeout=50)
    ends = [tuple(map(int, line.split())) for line in swept.stdout.splitlines()]
    for statement, acknowledged, status in ends:
        assert status == (0 if statement == len(ends) else -signal.SIGKILL)
        # The question under way is done or not done.
        assert reopen(tmp_path / str(statement) / "kim.sqlite3") in HISTORIES[acknowledged : acknowledged + 2]
    assert len(ends) > 40


def filed_state(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.glob("*/**/*") if path.is_file()}


def as_files(root: Path, state: State) -> dict[Path, bytes]:
    """Return the mapping files that a state has: one for each active key, and nothing else."""
    return {
        root.joinpath(*parts_of(Mapped(MBED.id, "1000", key_name))): encode(record.key_id, record.attributes)
        for key_name, (kind, record) in state.items()
        if kind == "active"
    }


def test_killed_before_any_statement_or_change_of_a_file(tmp_path: Path) -> None:
    swept = subprocess.run(
        [sys.executable, CHILD, "--sweep-files", tmp_path], capture_output=True, check=True, timeout=100
    )
    ends = [tuple(map(int, line.split())) for line in swept.stdout.splitlines()]
    for statement, acknowledged, status in ends:
        assert status == (0 if statement == len(ends) else -signal.SIGKILL)
        root = tmp_path / str(statement)
        state = reopen(root, open_on_disk(root))
        assert state in FILED_HISTORIES[acknowledged : acknowledged + 2]
        assert filed_state(root) == as_files(root, state)
    assert len(ends) > 80


def test_power_cut_that_loses_the_files_but_not_the_log(tmp_path: Path) -> None:
    """What was announced and not finished may be on the disk in part: an old file, a new one, or none."""
    root = tmp_path / "mappings"
    store = open_on_disk(root)
    create(store, name("a"), record=RECORD)
    path = next(iter(filed_state(root)))
    row = store._served(MBED, name("a"))
    assert row is not None
    for question in ("mark_deleting", "activate"):
        if question == "activate":
            store.mark_deleting(MBED, name("a"))
            store.remove(MBED, name("a"))
            store.reserve(MBED, name("a"), PLANNED)
        assert store._files is not None
        store._files.announce(store._connection, row)
        for content, unfinished in itertools.product((None, encode(RECORD.key_id, RECORD.attributes)), (False, True)):
            copy = tmp_path / f"{question}-{content is None}-{unfinished}"
            shutil.copytree(root, copy)
            file = copy / path.relative_to(root)
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_bytes(content)
            if unfinished:
                file.with_name(UNFINISHED).write_bytes(b"half")
            state = reopen(copy, open_on_disk(copy))
            assert state == {"a": ("active", RECORD) if question == "mark_deleting" else ("RESERVED", PLANNED)}
            assert filed_state(copy) == as_files(copy, state)
    store.close()


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment(path: Path, seed: int) -> None:
    open_store(path).close()
    with started([sys.executable, CHILD, path], stdout=subprocess.PIPE) as child:
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
