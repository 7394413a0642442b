"""The command that mends a damaged database: `python -m cofferdam_kim.mend DATABASE`, while the service is stopped.

The keys that can be served, and the readable rows of keys whose creation or destruction is unfinished, are written into
a new file, which replaces the damaged one. The damaged file is kept with `.damaged` appended to its name. An attacker
who controlled the key store may have written the file, so root becomes the key store's user before reading any of it.
"""

import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Final

from cofferdam_kim import location, schema
from cofferdam_kim.errors import DamagedError, StoreError
from cofferdam_kim.rows import COLUMNS
from cofferdam_kim.salvage import salvage

MENDED: Final = ".mended"
"""Suffix of the new file."""
_LONGEST: Final = 1 << 16


def main(arguments: Sequence[str]) -> int:
    """Mend the named database and print what was saved; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m cofferdam_kim.mend DATABASE\n")
        return 2
    path = os.path.abspath(arguments[0])
    try:
        owner = os.stat(path).st_uid
        if owner in {os.geteuid(), os.stat(os.path.dirname(path)).st_uid}:
            become_owner(path)
            text = mend(path)
        else:
            text = mend(path, lambda: _as_owner(path))
        sys.stdout.write(f"{text}\n")
    except (StoreError, *schema.FAILURES, OSError) as error:
        sys.stderr.write(f"not mended: {error}\n")
        return 1
    return 0


def become_owner(path: str) -> None:
    """Switch permanently to the user that owns a database."""
    found = os.stat(path)
    if found.st_uid != os.geteuid():
        os.setgroups([])
        os.setresgid(found.st_gid, found.st_gid, found.st_gid)
        os.setresuid(found.st_uid, found.st_uid, found.st_uid)


def mend(path: str, work: Callable[[], str] | None = None) -> str:
    """Mend a database if it is damaged; return what was done.

    Args:
        path: The database.
        work: Writes what can be saved into the new file, if not this process (`save`).

    Raises:
        StoreError: The database cannot be used, or nothing in it can be read.
        OSError: The new file cannot be written.
    """
    location.check_file(path)
    mended = os.open(path + MENDED, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, location.FILE_MODE)
    try:
        owner = os.stat(path)
        if owner.st_uid != os.geteuid():
            os.fchown(mended, owner.st_uid, owner.st_gid)
        text = work() if work else save(path)
        if os.fstat(mended).st_size:
            _replace(path)
    finally:
        os.close(mended)
        with suppress(FileNotFoundError):
            os.unlink(path + MENDED)
    return text


def save(path: str) -> str:
    """Write what can be saved of a damaged database into the new file; return what that means."""
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


def _as_owner(path: str) -> str:
    """Do the work in a process of the database's owner, who cannot change names in its folder."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            become_owner(path)
            os.write(writer, save(path).encode())
            status = 0
        except (StoreError, *schema.FAILURES, OSError) as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8", errors="replace") as answer:
        text = answer.read(_LONGEST)
    if os.waitpid(child, 0)[1]:
        raise OSError(text)
    return text


def _add_pending(memory: sqlite3.Connection, pending: list[tuple[object, ...]]) -> None:
    marks = ", ".join("?" * (len(COLUMNS.split(",")) + 1))
    memory.executemany(f"INSERT OR IGNORE INTO cofferdam_pending ({COLUMNS}, state) VALUES ({marks})", pending)  # noqa: S608


def _write(memory: sqlite3.Connection, path: str) -> None:
    with closing(sqlite3.connect(path + MENDED)) as written:
        # Where the folder is somebody else's, no journal can be made; without the whole file nothing is replaced.
        written.execute("PRAGMA journal_mode = MEMORY")
        memory.backup(written)


def _replace(path: str) -> None:
    """Put the new file in place of the damaged database, which is kept."""
    # The log belongs to the damaged file, and would spoil the new one.
    with suppress(FileNotFoundError):
        os.rename(path + "-wal", path + "-wal.damaged")
    os.rename(path, path + ".damaged")
    os.rename(path + MENDED, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
