"""The command that converts a key store, while the service is stopped.

    cofferdam store convert [OPTION...] to-files DATABASE FOLDER
    cofferdam store convert [OPTION...] to-database FOLDER DATABASE
    cofferdam store convert [OPTION...] --provider TYPE to-files | to-database STORE STORE

The new store is complete before it gets its name, and the old one stays as it is: whoever stops the command, or the
machine, has the old one, or the new one that the next start finishes. With `--provider` the keys of single providers
are moved, also to a store that exists (`move`). As root it becomes the owner of the old store before it reads any of
it.
"""

import argparse
import os
import sqlite3
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Final, TypeVar

from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_kim import location, schema
from cofferdam_kim.errors import StoreError
from cofferdam_kim.mapping_mirror import ANNOUNCEMENTS, DATABASE, FileMirror
from cofferdam_kim.mapping_tree import MappingTree
from cofferdam_kim.mend import become_owner
from cofferdam_kim.move import ALL_PROVIDERS, TYPES, UUIDS, move, opened, refuse_unsound
from cofferdam_kim.report import inspect
from cofferdam_kim.store import MappingStore
from cofferdam_runtime.faults import explain
from cofferdam_runtime.files import DIRECTORY

_EVERY: Final = 1000
"""Files after which progress is shown."""
_OWNERS: Final = {"Direct": AuthType.DIRECT, "UnixPeerCredentials": AuthType.UNIX_PEER_CREDENTIALS}
T = TypeVar("T")
Show = Callable[[str], object]


def main(arguments: Sequence[str]) -> int:
    """Convert the named store and print what was done; return the exit status."""
    options = _parser().parse_args(arguments)
    source, target = (os.path.abspath(path) for path in (options.source, options.target))
    try:
        made = target if options.direction == "to-files" else os.path.dirname(target)
        owner = os.stat(source)
        if options.provider:
            if not options.dry_run:
                _prepare(source, owner, is_folder=os.path.isdir(source))
                _prepare(target, owner, is_folder=options.direction == "to-files")
            become_owner(source)
            move_all(source, target, options.provider, _OWNERS[options.authenticator], _print, dry_run=options.dry_run)
            return 0
        if not options.dry_run:
            _prepare_source(source, owner)
            location.prepare_folder(made, owner.st_uid, owner.st_gid)
        become_owner(source)
        convert = to_files if options.direction == "to-files" else to_database
        convert(source, target, _OWNERS[options.authenticator], _print, dry_run=options.dry_run)
    except (StoreError, *schema.FAILURES, OSError) as error:
        sys.stderr.write(f"not converted: {_said(error)}\n")
        return 1
    return 0


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return explain(error, os.fsdecode(error.filename), "a key store, or a folder for a new one", "the path")
    return f"{error}"


def _prepare_source(source: str, owner: os.stat_result) -> None:
    """Make the files beside a database whose folder is not its owner's."""
    if os.path.isfile(source) and os.stat(os.path.dirname(source)).st_uid != owner.st_uid:
        location.prepare(source, owner.st_uid, owner.st_gid, shared=True)


def _prepare(place: str, owner: os.stat_result, *, is_folder: bool) -> None:
    """Make what is missing of a store, and give it to the owner of the old one; the service takes over either."""
    if is_folder:
        location.prepare_tree(place, DATABASE, owner.st_uid, owner.st_gid)
    else:
        shared = os.path.isdir(os.path.dirname(place))
        location.prepare(place, owner.st_uid, owner.st_gid, shared=shared)


def move_all(  # noqa: PLR0913  what the command is told
    source: str, target: str, types: Sequence[str], authenticator: int, show: Show, *, dry_run: bool = False
) -> None:
    """Move the keys of providers, named by their types, from one store to another.

    Raises:
        StoreError: One of the stores cannot be used, or something would be lost or overwritten.
        OSError: A store cannot be written.
    """
    moved = [provider for provider in ALL_PROVIDERS if provider.id in {TYPES[kind] for kind in types}]
    if dry_run:
        for provider in moved:
            show(f"{_count(source, provider)} keys of {provider.name}")
        return
    with opened(source, authenticator) as old, opened(target, authenticator) as new:
        for provider in moved:
            show(f"{move(old, new, provider)} keys of {provider.name} were moved to {target}: set its key_info_manager")


def _count(source: str, provider: ProviderEntry) -> int:
    """Count a provider's keys, and change nothing."""
    if os.path.isdir(source):
        return sum(len(files) for path, _, files in os.walk(source) if path.endswith(f"/{int(provider.id)}"))
    with closing(_in_memory(source)) as copy:
        (count,) = copy.execute("SELECT count(*) FROM key_mapping WHERE provider_uuid = ?", (provider.uuid,)).fetchone()
    return int(count)


def to_files(database: str, folder: str, authenticator: int, show: Show, *, dry_run: bool = False) -> None:
    """Make an `OnDisk` store of a database; keys that have no files are in the new store's own database.

    Raises:
        StoreError: One of the stores cannot be used, or there is a new store already.
        OSError: The new store cannot be written.
    """
    location.check_file(database)
    if dry_run:
        with closing(_in_memory(database)) as copy:
            mirror = FileMirror(os.path.dirname(database), authenticator, ALL_PROVIDERS)
            show(_summary(*mirror.announce_all(copy)))
        return
    _refuse_existing(f"{folder}/{DATABASE}")
    with closing(MappingTree(folder)) as tree:
        if any(True for _ in tree.files()):
            raise _existing(folder)
    mirror = FileMirror(folder, authenticator, ALL_PROVIDERS)
    with closing(schema.open_sound(database)) as old:
        refuse_unsound(database, inspect(old, database, UUIDS))
        show(_summary(*_copy(old, f"{folder}/{DATABASE}", mirror.announce_all)))
    with closing(schema.open_sound(f"{folder}/{DATABASE}")) as new:
        for left in mirror.finish(new):
            if left % _EVERY == 0:
                show(f"files to go: {left}")
    MappingStore.open(f"{folder}/{DATABASE}", ALL_PROVIDERS, files=mirror).close()
    show(f"{folder} is ready: set manager_type and store_path")


def to_database(folder: str, database: str, authenticator: int, show: Show, *, dry_run: bool = False) -> None:
    """Make a database of an `OnDisk` store.

    Raises:
        StoreError: One of the stores cannot be used, something in it would be lost, or there is a new store already.
        OSError: The new store cannot be written.
    """
    if dry_run:
        show(f"{sum(len(files) for path, _, files in os.walk(folder) if path != folder)} mapping files")
        return
    _refuse_existing(database)
    for warning in location.prepare_tree(folder, DATABASE).warnings:
        show(warning)
    store = MappingStore.open(
        f"{folder}/{DATABASE}", ALL_PROVIDERS, files=FileMirror(folder, authenticator, ALL_PROVIDERS)
    )
    report = store.report
    store.close()
    if report.unconfigured:
        show(f"{report.unconfigured} mapping files of providers that Cofferdam does not have stay where they are")
    refuse_unsound(folder, report)
    with closing(schema.open_sound(f"{folder}/{DATABASE}")) as old:
        _copy(old, database, lambda new: new.execute(f"DROP TABLE IF EXISTS {ANNOUNCEMENTS}"))
    show(f"{database} is ready with {report.keys} keys: set manager_type and sqlite_db_path")


def _in_memory(database: str) -> sqlite3.Connection:
    """Return a copy in memory of a database; the file is not changed."""
    if any(map(_is_used, (f"{database}-wal", f"{database}-journal"))):
        raise StoreError(
            database,
            found="a database that was not closed",
            expected="one that no process has open",
            remedy="stop the service; if it was killed, start it and stop it again",
        )
    uri = f"file:{urllib.parse.quote(database)}?mode=ro&immutable=1"
    copy = sqlite3.connect(":memory:", isolation_level=None)
    with schema.closed_on_error(copy), closing(sqlite3.connect(uri, uri=True)) as old:
        old.backup(copy)
        schema.configure(copy)
        schema.establish(copy, database)
        refuse_unsound(database, inspect(copy, database, UUIDS))
    return copy


def _is_used(path: str) -> bool:
    """Tell whether a log or journal has anything for the next one who opens the database (SQLite zeroes it if not)."""
    try:
        with open(path, "rb") as file:
            return file.read(1) not in {b"", b"\0"}
    except FileNotFoundError:
        return False


def _copy(old: sqlite3.Connection, path: str, change: Callable[[sqlite3.Connection], T]) -> T:
    """Copy a database to a new file, change the copy, and give it its name once it is on the disk."""
    unfinished = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(unfinished)
    os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, location.FILE_MODE))
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")
        with schema.transaction(new):
            result = change(new)
    os.rename(unfinished, path)
    folder = os.open(os.path.dirname(path), DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return result


def _summary(filed: int, rows: int) -> str:
    return f"rows with mapping files: {filed}; others, which Parsec cannot use, in the database beside them: {rows}"


def _refuse_existing(path: str) -> None:
    if os.path.lexists(path):
        raise _existing(path)


def _existing(path: str) -> StoreError:
    return StoreError(path, found="a store", expected="none", remedy="name another path, or remove it")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cofferdam store convert",
        description="Convert the key store of a stopped service: a database to mapping files (OnDisk), or back.",
        epilog="Exit status: 0 done; 1 not converted, the line says why; 2 wrong options. The old store stays.",
    )
    parser.add_argument("--dry-run", action="store_true", help="count, and write nothing")
    parser.add_argument(
        "--authenticator",
        choices=_OWNERS,
        default="UnixPeerCredentials",
        help="the auth_type of [authenticator], to whose clients mapping files belong",
    )
    parser.add_argument(
        "--provider",
        choices=TYPES,
        action="append",
        help="move the keys of this type of provider only, also to a store that exists; may be repeated",
    )
    parser.add_argument("direction", choices=("to-files", "to-database"))
    parser.add_argument("source", help="the old store: its database (sqlite_db_path), or its folder (store_path)")
    parser.add_argument("target", help="the new store: a folder, or the path of a database; nothing may be there")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
