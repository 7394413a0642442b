"""Works on a store and kills itself at a given point: `crash_child.py DATABASE STATEMENT`.

STATEMENT is the count of the SQL statement before which the process dies; 0 means never. Each line on stdout is a
question that was acknowledged.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("contracts", "kim", ".")]

from tests.kim.support import MBED, OTHER, PLANNED, PROVIDERS, RECORD, RSA, name  # noqa: E402

from cofferdam_kim.rows import KeyRecord  # noqa: E402
from cofferdam_kim.store import KeyStore  # noqa: E402

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


def main() -> None:
    """Play the scenario."""
    path, last = sys.argv[1], int(sys.argv[2])
    store = KeyStore.open(path, PROVIDERS)
    counter = itertools.count(1)

    def die(_statement: str) -> None:
        if next(counter) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    store._connection.set_trace_callback(die)
    for question, key_name, arguments in SCENARIO:
        getattr(store, question)(MBED, name(key_name), *arguments)
        os.write(1, b"done\n")


if __name__ == "__main__":
    main()
