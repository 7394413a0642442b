"""Works on a store and is killed: `crash_child.py DATABASE`, or `crash_child.py --sweep FOLDER`.

Each line on stdout is a question that was acknowledged. With --sweep a child dies before the first SQL statement, the
next one before the second and so on, each with a database of its own; a line says how many were acknowledged and how
the child ended.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("contracts", "kim", ".")]

from tests.kim.support import MBED, OTHER, PLANNED, PROVIDERS, RECORD, RSA, name  # noqa: E402

from cofferdam_kim.location import prepare  # noqa: E402
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


def play(path: Path, last: int, output: int) -> None:
    """Play the scenario; die before the statement with the number `last`."""
    store = MappingStore.open(str(path), PROVIDERS)
    counter = itertools.count(1)

    def die(_statement: str) -> None:
        if next(counter) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    store._connection.set_trace_callback(die)
    for question, key_name, arguments in SCENARIO:
        getattr(store, question)(MBED, name(key_name), *arguments)
        os.write(output, b"done\n")


def sweep(folder: Path) -> None:
    """Play it once for each statement."""
    for last in itertools.count(1):
        path = folder / str(last) / "kim.sqlite3"
        prepare(str(path))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            play(path, last, writer)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as lines:
            acknowledged = len(lines.readlines())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, f"{last} {acknowledged} {status}\n".encode())
        if status == 0:
            return


if __name__ == "__main__":
    if sys.argv[1] == "--sweep":
        sweep(Path(sys.argv[2]))
    else:
        play(Path(sys.argv[1]), 0, 1)
