"""The command that mends a damaged database: `python -m cofferdam_kim.mend DATABASE`, while the service is stopped.

The keys that can be served, and the readable rows of keys whose creation or destruction is unfinished, are written into
a new file, which replaces the damaged one. The damaged file is kept with `.damaged` appended to its name. An attacker
who controlled the key store may have written the file, so root becomes the key store's user before reading any of it.
"""

import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing

from cofferdam_kim import location, schema
from cofferdam_kim.errors import DamagedError, StoreError
from cofferdam_kim.rows import COLUMNS
from cofferdam_kim.salvage import salvage


def main(arguments: Sequence[str]) -> int:
    """Mend the named database and print what was saved; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m cofferdam_kim.mend DATABASE\n")
        return 2
    path = os.path.abspath(arguments[0])
    try:
        become_owner(os.path.dirname(path))
        sys.stdout.write(f"{mend(path)}\n")
    except (StoreError, *schema.FAILURES, OSError) as error:
        sys.stderr.write(f"not mended: {error}\n")
        return 1
    return 0


def become_owner(folder: str) -> None:
    """Switch permanently to the user that owns the database and its folder."""
    found = os.stat(folder)
    if found.st_uid != os.geteuid():
        os.setgroups([])
        os.setresgid(found.st_gid, found.st_gid, found.st_gid)
        os.setresuid(found.st_uid, found.st_uid, found.st_uid)


def mend(path: str) -> str:
    """Mend a database if it is damaged; return what was done.

    Raises:
        StoreError: The database cannot be used, or nothing in it can be read.
        OSError: The new file cannot be written.
    """
    location.check_file(path)
    try:
        schema.open_sound(path).close()
    except DamagedError as damage:
        found = salvage(path, damage)
    else:
        return f"{path} is not damaged"
    with closing(found.connection) as memory:
        _add_pending(memory, found.pending)
        _write(memory, path)
        (keys,) = memory.execute("SELECT count(*) FROM key_mapping").fetchone()
    missing = "" if found.complete else "; others are lost, unless a backup has them"
    return f"{path} has {keys} keys now{missing}; what it was before is {path}.damaged"


def _add_pending(memory: sqlite3.Connection, pending: list[tuple[object, ...]]) -> None:
    marks = ", ".join("?" * (len(COLUMNS.split(",")) + 1))
    memory.executemany(f"INSERT OR IGNORE INTO cofferdam_pending ({COLUMNS}, state) VALUES ({marks})", pending)  # noqa: S608


def _write(memory: sqlite3.Connection, path: str) -> None:
    """Replace a database file, keeping the old one."""
    mended = path + ".mended"
    os.close(os.open(mended, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, location.FILE_MODE))
    with closing(sqlite3.connect(mended)) as written:
        memory.backup(written)
    os.rename(path, path + ".damaged")
    os.rename(mended, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
