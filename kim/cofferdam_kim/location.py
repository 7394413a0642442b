"""The folder and file of the database, created and checked before the process drops its privileges.

SQLite creates and removes files beside the database. A folder that holds nothing else is the key store's: it is made
for it, or given to it. Any other folder stays as it is; the files beside the database are made beforehand, and the
database needs no right to write in its folder (docs/adr/0031-a-database-among-other-files.md). All access is through
descriptors and without following links, because this code runs as root in folders that a less privileged process has
owned.
"""

import fcntl
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from typing import Final, NamedTuple

from cofferdam_kim.errors import StoreError, in_use
from cofferdam_kim.mapping_files import Parts, is_folder
from cofferdam_runtime.faults import found_at
from cofferdam_runtime.files import DIRECTORY, SHARED_MODE, LinkError, open_folder, real_path

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_COMPANIONS: Final = ("-wal", "-shm", "-journal")
"""Suffixes of SQLite's files beside the database; if one of them is lost, committed keys may be lost too."""
_KEPT: Final = ("-wal", "-journal")
"""Those of a database that is locked exclusively, which needs no shared memory."""
_SMALLEST: Final = 512
"""Bytes of SQLite's smallest page."""
_LOCK_BYTE: Final = 1 << 30
_LOCK_LENGTH: Final = 512
"""The bytes that SQLite locks, beyond the content of the file (sqlite.org, "Database File Format", 1.4)."""
_FILE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Prepared(NamedTuple):
    """A database that its process can open."""

    path: str
    """Without links."""
    writable: tuple[str, ...]
    """What the process has to write to: the folder, or files in it."""
    warnings: tuple[str, ...]
    """What was changed, and who else could change the database."""


def prepare(path: str, uid: int | None = None, gid: int | None = None, *, shared: bool = False) -> Prepared:
    """Create or take over the database file for `uid` and `gid` (default: those of this process), and its folder.

    Existing files are kept. If others could read the database, their access is removed. A folder that is `shared`
    holds other files of the service, or will, so it never becomes the database's own.

    Raises:
        StoreError: The database cannot be there, or another service uses it.
    """
    owner = (os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid)
    folder, name = split(path)
    folder = _without_links(folder, "sqlite_db_path")
    descriptor, made = _open_folder(folder, owner, SHARED_MODE if shared else FOLDER_MODE)
    warnings: list[str] = []
    try:
        _refuse_locked(descriptor, f"{folder.rstrip('/')}/{name}", owner[0])
        place = _Place(descriptor, folder, name, owner)
        is_own = place.own(made=made, shared=shared, warnings=warnings)
        place.own_files(is_own=is_own, warnings=warnings)
    except OSError as error:
        raise StoreError(
            path,
            found=f"{error.strerror} ({error.filename or folder})",
            expected="a database that can be made or taken over",
            remedy="check owner, mode and file system",
        ) from error
    finally:
        os.close(descriptor)
    return Prepared(place.path, (folder,) if is_own else place.files(), tuple(warnings))


def prepare_tree(root: str, database: str, uid: int | None = None, gid: int | None = None) -> Prepared:
    """Create or take over the folder of an `OnDisk` store with its mapping files, and the database in it.

    Raises:
        StoreError: The store cannot be there, or another service uses it.
    """
    owner = (os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid)
    root = _without_links(root.rstrip("/"), "store_path")
    warnings: list[str] = []
    descriptor, made = _open_folder(root, owner, FOLDER_MODE)
    try:
        was = os.fstat(descriptor)
        place = _Place(descriptor, root, database, owner)
        _refuse_locked(descriptor, place.path, owner[0])
        _refuse_foreign(descriptor, root, owner[0])
        loose = _own_below(descriptor, owner, ())
        if was.st_uid != owner[0] and not made:
            warnings.append(f"{root} and its mapping files belonged to uid {was.st_uid}, and to {owner[0]} now")
        if loose:
            warnings.append(f"{loose} mapping files or folders in {root} could be used by others, and cannot any more")
        place.own_files(is_own=True, warnings=warnings)
    except OSError as error:
        raise StoreError(
            root,
            found=f"{error.strerror} ({error.filename or root})",
            expected="mapping files that can be taken over",
            remedy="check owner, mode and file system",
        ) from error
    finally:
        os.close(descriptor)
    return Prepared(place.path, (root,), tuple(warnings))


class _Place:
    """An open folder with the database, or for it."""

    def __init__(self, descriptor: int, folder: str, name: str, owner: tuple[int, int]) -> None:
        self._descriptor, self._folder, self._name, self._owner = descriptor, folder, name, owner
        self.path = f"{folder.rstrip('/')}/{name}"

    def files(self) -> tuple[str, ...]:
        """Return the files that the database consists of while it is open."""
        return (self.path, *(self.path + suffix for suffix in _KEPT))

    def own(self, *, made: bool, shared: bool, warnings: list[str]) -> bool:
        """Tell whether the folder is the database's own, and give it to the database's owner if it has to be."""
        found = os.fstat(self._descriptor)
        foreign = self._foreign()
        is_alone = not shared and not foreign
        if is_alone and (made or found.st_uid == self._owner[0]):
            self._take(found, [] if made else warnings)
            return True
        if _is_searchable(found, *self._owner):
            self._warn_of_others(found, warnings)
            return False
        if not is_alone:
            other = f"other files in it, such as {foreign[0]!r}" if foreign else "other files of the service in it"
            raise _closed(self._folder, found, self._owner[0], other)
        # Nobody but its owner could use it, and nothing in it is anybody else's.
        self._take(found, warnings)
        return True

    def own_files(self, *, is_own: bool, warnings: list[str]) -> None:
        """Make the files that the database's owner cannot make itself, and take over those that are there."""
        for suffix in ("", *(() if is_own else _KEPT)):
            _make_file(self._descriptor, self._name + suffix)
        if not is_own:
            # A commit syncs the write-ahead log, and nobody syncs its name later.
            os.fsync(self._descriptor)
        folder = os.fstat(self._descriptor)
        # Where others can write, only the file's owner says who made it.
        makers = {0, folder.st_uid, os.geteuid(), self._owner[0]} if folder.st_mode & 0o022 else None
        for suffix in ("", *_COMPANIONS):
            _own_file(self._descriptor, self.path + suffix, self._owner, makers, warnings)

    def _foreign(self) -> list[str]:
        ours = {self._name, *(self._name + companion for companion in _COMPANIONS)}
        return sorted(set(os.listdir(self._descriptor)) - ours)

    def _take(self, found: os.stat_result, warnings: list[str]) -> None:
        was = f"{found.st_uid}:{found.st_gid} and mode {stat.S_IMODE(found.st_mode):04o}"
        _own(self._descriptor, self._owner, FOLDER_MODE)
        if found.st_uid != self._owner[0] or found.st_mode & 0o077:
            now = f"{self._owner[0]}:{self._owner[1]} and {FOLDER_MODE:04o}"
            warnings.append(f"{self._folder} had owner {was}, and has {now} now, as only the database is in it")

    def _warn_of_others(self, found: os.stat_result, warnings: list[str]) -> None:
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid not in {0, os.geteuid(), self._owner[0]}:
            others = f"belongs to uid {found.st_uid}"
        elif mode & 0o022 and not mode & stat.S_ISVTX:
            others = f"has mode {mode:04o}"
        else:
            return
        warnings.append(f"{self._folder} has other files in it and {others}: others may replace the database")


def prepare_folder(folder: str, uid: int, gid: int) -> None:
    """Create an empty folder for a store, or take one over.

    Raises:
        StoreError: It cannot be there, or it is another user's and not empty.
    """
    descriptor, _ = _open_folder(_without_links(folder.rstrip("/"), "the path"), (uid, gid), FOLDER_MODE)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != uid and os.listdir(descriptor):
            raise StoreError(
                folder,
                found=f"a folder of uid {found.st_uid} with files in it",
                expected="an empty folder, or none",
                remedy="name another folder",
            )
        _own(descriptor, (uid, gid), FOLDER_MODE)
    finally:
        os.close(descriptor)


def _refuse_foreign(descriptor: int, root: str, uid: int) -> None:
    """Refuse to take over a folder that is no store, such as `/var/lib`."""
    found = os.fstat(descriptor)
    foreign = [name for name in sorted(os.listdir(descriptor)) if not is_folder((name,))]
    if found.st_uid == uid or not (folders := [name for name in foreign if _is_directory(descriptor, name)]):
        return
    raise StoreError(
        root or "/",
        found=f"a folder of uid {found.st_uid} with other folders in it, such as {folders[0]!r}",
        expected="a folder of mapping files alone",
        remedy="correct `store_path`, or move the other folders elsewhere",
    )


def _is_directory(folder: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _own_below(folder: int, owner: tuple[int, int], parts: Parts) -> int:
    """Take over a folder of mapping files, and what can be one of those in it; return how many others could use."""
    loose = _own(folder, owner, FOLDER_MODE)
    for name in os.listdir(folder):
        kind = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(kind.st_mode) and is_folder((*parts, name)):
            below = os.open(name, DIRECTORY, dir_fd=folder)
            try:
                loose += _own_below(below, owner, (*parts, name))
            finally:
                os.close(below)
        elif parts and _is_single(kind):
            loose += _own_mapping(folder, name, owner)
    return loose


def _own_mapping(folder: int, name: str, owner: tuple[int, int]) -> int:
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        # It may have been replaced meanwhile.
        return _own(descriptor, owner, FILE_MODE) if _is_single(os.fstat(descriptor)) else 0
    finally:
        os.close(descriptor)


def _is_single(found: os.stat_result) -> bool:
    """Tell whether it is a plain file with one name; one with more may be somebody else's."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _own(descriptor: int, owner: tuple[int, int], mode: int) -> int:
    """Set owner and mode; return 1 if others could use it, else 0."""
    found = os.fstat(descriptor)
    if found.st_uid != owner[0]:
        os.fchown(descriptor, *owner)
    if stat.S_IMODE(found.st_mode) != mode:
        os.fchmod(descriptor, mode)
    return int(bool(found.st_mode & 0o077))


def split(path: str) -> tuple[str, str]:
    """Return folder and file name of a database path.

    Raises:
        StoreError: The path does not name a file.
    """
    folder, name = os.path.split(path)
    if not path.startswith("/") or name in ("", ".", "..") or "\0" in path:
        raise StoreError(
            repr(path), found="no path of a file", expected="an absolute path", remedy="correct `sqlite_db_path`"
        )
    return folder, name


def check_file(path: str) -> None:
    """Refuse a database file that is missing or is not a plain file.

    Raises:
        StoreError: The file must not be opened.
    """
    split(path)
    try:
        found = os.lstat(path)
    except OSError as error:
        raise StoreError(
            path, found=str(error.strerror), expected="a database file", remedy="prepare the store first"
        ) from error
    _check_plain(path, found)
    if 0 < found.st_size < _SMALLEST:
        # SQLite would treat it as a new, empty database.
        raise StoreError(
            path, found=f"{found.st_size} bytes", expected="an empty file or a database", remedy="restore a backup"
        )


def _check_plain(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(
            path,
            found="a symbolic link" if stat.S_ISLNK(found.st_mode) else "something that is no plain file",
            expected="a plain file",
            remedy="name the database itself in `sqlite_db_path`",
        )
    if found.st_nlink != 1:
        raise StoreError(
            path,
            found=f"a file with {found.st_nlink} names",
            expected="one name only",
            remedy="remove the hard links or copy the database",
        )


def _without_links(folder: str, setting: str) -> str:
    """Return the folder that a path leads to, by links that only the administrator can change."""
    try:
        return real_path(folder)
    except LinkError as error:
        raise StoreError(
            folder, found=str(error), expected="links of the administrator alone", remedy=f"correct `{setting}`"
        ) from error


def _open_folder(folder: str, owner: tuple[int, int], mode: int) -> tuple[int, bool]:
    """Walk to the folder, creating missing parts; return its descriptor and whether it was made."""

    def passes(walked: str, found: os.stat_result) -> None:
        if not _is_searchable(found, *owner):
            raise _closed(walked, found, owner[0], "the way to the database")

    try:
        return open_folder(folder, mode, passes)
    except OSError as error:
        where = str(error.filename)
        found, remedy = found_at(error, where, "the path of the key manager")
        raise StoreError(where, found=found, expected="a folder and no symbolic link", remedy=remedy) from error


def _is_searchable(found: os.stat_result, uid: int, gid: int) -> bool:
    return bool(found.st_mode & _search_bit(found, uid, gid)[0])


def _search_bit(found: os.stat_result, uid: int, gid: int) -> tuple[int, str]:
    """Return the permission that somebody needs to pass through a folder, and for whom chmod sets it."""
    if found.st_uid == uid:
        return stat.S_IXUSR, "u"
    if found.st_gid == gid:
        return stat.S_IXGRP, "g"
    return stat.S_IXOTH, "o"


def _closed(folder: str, found: os.stat_result, uid: int, other: str) -> StoreError:
    _, who = _search_bit(found, uid, uid)
    return StoreError(
        folder,
        found=f"mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}:{found.st_gid}, and {other}",
        expected=f"a folder that uid {uid} can pass through",
        remedy=f"chmod {who}+x {folder}, or name another place",
    )


def _refuse_locked(folder: int, path: str, uid: int) -> None:
    """Refuse to take over another uid's database while a process, such as a key store, has locked it.

    If a predecessor of the same uid has locked it, opening the database waits for that process.
    """
    _, name = split(path)
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError:
        return  # it does not exist, or it cannot be opened and is refused later
    try:
        if os.fstat(descriptor).st_uid != uid:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCK_LENGTH, _LOCK_BYTE)
    except BlockingIOError as error:
        raise in_use(path) from error
    finally:
        os.close(descriptor)


def _make_file(folder: int, name: str) -> None:
    with suppress(FileExistsError):
        os.close(os.open(name, _FILE | os.O_CREAT | os.O_EXCL, FILE_MODE, dir_fd=folder))


def _own_file(
    folder: int, path: str, owner: tuple[int, int], makers: Collection[int] | None, warnings: list[str]
) -> None:
    _, name = split(path)
    try:
        _check_plain(path, os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        _check_plain(path, found)
        if makers is not None and found.st_uid not in makers:
            raise StoreError(
                path,
                found=f"a file of uid {found.st_uid} in a folder that others can write to",
                expected=f"a file of root or of uid {owner[0]}",
                remedy="find out who made it; remove it, or chown it to root",
            )
        if found.st_uid != owner[0]:
            os.fchown(descriptor, *owner)
        mode = stat.S_IMODE(found.st_mode)
        if mode != FILE_MODE:
            os.fchmod(descriptor, FILE_MODE)
        if mode & 0o077:
            warnings.append(f"{path} had mode {mode:04o}, it is {FILE_MODE:04o} now")
    finally:
        os.close(descriptor)
