"""What can still be served of a database whose structure is damaged.

When every row of the mapping can still be read, the sound ones are served from a copy in memory, and nothing is
changed until the operator has repaired the file. When even reading fails, the service does not start: a list of keys
with holes would pass for the truth.
"""

import sqlite3
from collections import Counter
from contextlib import suppress

from cofferdam_kim import codes, schema
from cofferdam_kim.rows import COLUMNS, IDENTITY, fault


def salvage(connection: sqlite3.Connection, path: str, finding: str) -> tuple[sqlite3.Connection, int]:
    """Return a copy in memory of the sound rows, and how many rows were left out.

    Raises:
        StoreError: Not every row can be read.
    """
    schema.check_mapping(connection, path)
    try:
        # Through the table itself: the indices may be what is damaged.
        rows = connection.execute(f"SELECT {COLUMNS} FROM key_mapping NOT INDEXED").fetchall()  # noqa: S608
    except schema.FAILURES as error:
        raise schema.refused(path, f"{finding}; {schema.error_name(error)} while reading the keys") from error
    sound = [row for row in rows if fault(row) is None]
    # Of two rows with one name nothing tells which is right.
    seen = Counter(row[IDENTITY] for row in sound)
    single = [row for row in sound if seen[row[IDENTITY]] == 1]
    memory = sqlite3.connect(":memory:", isolation_level=None)
    schema.configure(memory)
    schema.establish(memory, path)
    memory.execute("BEGIN")
    memory.executemany(f"INSERT INTO key_mapping ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", single)  # noqa: S608
    # Without their codes rows are refused by the workers, which is the safe side.
    with suppress(*schema.FAILURES):
        codes.copy(connection, memory)
    memory.execute("COMMIT")
    return memory, len(rows) - len(single)
