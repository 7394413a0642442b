"""Works on a store and is killed: `crash_child.py DATABASE`, or `crash_child.py --sweep FOLDER`.

Each line on stdout is a question that was acknowledged. With --sweep a child dies before the first SQL statement, the
next one before the second and so on, each with a database of its own; a line says how many were acknowledged and how
the child ended. With --sweep-files the store has mapping files, and calls that change files count as statements do.
"""

import itertools
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("contracts", "runtime", "kim", ".")]

from tests.kim.support import MBED, OTHER, PLANNED, PROVIDERS, RECORD, RSA, name  # noqa: E402

from cofferdam_kim.location import prepare, prepare_tree  # noqa: E402
from cofferdam_kim.mapping_mirror import DATABASE, FileMirror  # noqa: E402
from cofferdam_kim.rows import KeyRecord  # noqa: E402
from cofferdam_kim.store import MappingStore  # noqa: E402

SECOND = KeyRecord(b"second wrapped key", 2, RSA)
SCENARIO = (
    ("reserve", "a", (PLANNED,)),
    ("activate", "a", (RECORD,)),
    ("reserve", "b", (PLANNED,)),
    ("cancel", "b", ()),
    ("reserve", "c", (PLANNED,)),
    ("activate", "c", (SECOND,)),
    ("mark_deleting", "a", ()),
    ("remove", "a", ()),
    ("reserve", "a", (PLANNED,)),
    ("activate", "a", (OTHER,)),
    ("mark_deleting", "c", ()),
)


FILED = tuple(
    (question, key_name, tuple(KeyRecord(record.key_id, 1, record.attributes) for record in arguments))
    for question, key_name, arguments in SCENARIO
)
"""The same with keys in the reference's form, which have mapping files."""
STRANGER = 61_234
"""A uid that nobody has."""
CALLS = ("mkdir", "write", "fsync", "rename", "unlink")


def open_filed(path: Path) -> MappingStore:
    files = FileMirror(str(path.parent), 3, PROVIDERS)
    return MappingStore.open(str(path), PROVIDERS, files=files)


def play(path: Path, last: int, output: int, *, filed: bool = False, beside: bool = False) -> None:
    """Play the scenario; die before the statement with the number `last`."""
    counter = itertools.count(1)

    def die(*_statement: object) -> None:
        if next(counter) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    if beside:
        sqlite3.connect = _watched(sqlite3.connect, die)  # type: ignore[assignment]
    store = open_filed(path) if filed else MappingStore.open(str(path), PROVIDERS)
    store._connection.set_trace_callback(die)
    acknowledge = os.write
    if filed:
        for call in CALLS:
            setattr(os, call, _counted(getattr(os, call), die))
    for question, key_name, arguments in FILED if filed else SCENARIO:
        getattr(store, question)(MBED, name(key_name), *arguments)
        acknowledge(output, b"done\n")


def _watched(connect: Callable[..., sqlite3.Connection], die: Callable[..., None]) -> Callable[..., object]:
    def connected(*arguments: object, **named: object) -> sqlite3.Connection:
        connection = connect(*arguments, **named)
        connection.set_trace_callback(die)
        return connection

    return connected


def lock_out(path: Path) -> None:
    """Take away from this process the right to make and remove files beside a database."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(STRANGER, STRANGER, STRANGER)
        os.setresuid(STRANGER, STRANGER, STRANGER)
    else:
        path.parent.chmod(0o555)
    try:
        (path.parent / "probe").touch()
    except PermissionError:
        return
    raise AssertionError(f"{path.parent} can be written")


def _counted(call: Callable[..., object], die: Callable[[], None]) -> Callable[..., object]:
    def counted(*arguments: object, **named: object) -> object:
        die()
        return call(*arguments, **named)

    return counted


def sweep(folder: Path, *, filed: bool = False, beside: bool = False) -> None:
    """Play it once for each statement."""
    owner = STRANGER if beside and os.geteuid() == 0 else None
    for last in itertools.count(1):
        path = folder / str(last) / (DATABASE if filed else "kim.sqlite3")
        prepare_tree(str(path.parent), DATABASE) if filed else prepare(str(path), owner, owner, shared=beside)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            if beside:
                lock_out(path)
            play(path, last, writer, filed=filed, beside=beside)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as lines:
            acknowledged = len(lines.readlines())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, f"{last} {acknowledged} {status}\n".encode())
        if status == 0:
            return


if __name__ == "__main__":
    if sys.argv[1].startswith("--"):
        sweep(Path(sys.argv[2]), filed=sys.argv[1] == "--sweep-files", beside=sys.argv[1] == "--sweep-beside")
    else:
        play(Path(sys.argv[1]), 0, 1)
