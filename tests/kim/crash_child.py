"""Works on a store and is killed: `crash_child.py DATABASE`, `crash_child.py --sweep FOLDER` or `--sweep-files FOLDER`.

Each line on stdout is a question that was acknowledged. With --sweep a child dies before the first SQL statement, the
next one before the second and so on, each with a database of its own; a line says how many were acknowledged and how
the child ended. With --sweep-files the store has mapping files, and calls that change files count as statements do.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("contracts", "kim", ".")]

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
CALLS = ("mkdir", "write", "fsync", "rename", "unlink")


def open_filed(path: Path) -> MappingStore:
    files = FileMirror(str(path.parent), 3, PROVIDERS)
    return MappingStore.open(str(path), PROVIDERS, files=files)


def play(path: Path, last: int, output: int, *, filed: bool = False) -> None:
    """Play the scenario; die before the statement with the number `last`."""
    store = open_filed(path) if filed else MappingStore.open(str(path), PROVIDERS)
    counter = itertools.count(1)

    def die(*_statement: object) -> None:
        if next(counter) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    store._connection.set_trace_callback(die)
    acknowledge = os.write
    if filed:
        for call in CALLS:
            setattr(os, call, _counted(getattr(os, call), die))
    for question, key_name, arguments in FILED if filed else SCENARIO:
        getattr(store, question)(MBED, name(key_name), *arguments)
        acknowledge(output, b"done\n")


def _counted(call: Callable[..., object], die: Callable[[], None]) -> Callable[..., object]:
    def counted(*arguments: object, **named: object) -> object:
        die()
        return call(*arguments, **named)

    return counted


def sweep(folder: Path, *, filed: bool = False) -> None:
    """Play it once for each statement."""
    for last in itertools.count(1):
        path = folder / str(last) / (DATABASE if filed else "kim.sqlite3")
        prepare_tree(str(path.parent), DATABASE) if filed else prepare(str(path))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            play(path, last, writer, filed=filed)
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
        sweep(Path(sys.argv[2]), filed=sys.argv[1] == "--sweep-files")
    else:
        play(Path(sys.argv[1]), 0, 1)
