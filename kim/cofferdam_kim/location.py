"""The folder and file of the database, created and checked before the process drops its privileges.

SQLite creates files beside the database, so the key store owns the folder. All access is through descriptors and
without following links, because this code runs as root in folders that a less privileged process has owned.
"""

import fcntl
import os
import stat
from contextlib import suppress
from typing import Final

from cofferdam_kim.errors import StoreError, in_use
from cofferdam_kim.mapping_files import Parts, is_folder

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_PARENT_MODE: Final = 0o755
_COMPANIONS: Final = ("-wal", "-shm", "-journal")
"""Suffixes of SQLite's files beside the database; if one of them is lost, committed keys may be lost too."""
_SMALLEST: Final = 512
"""Bytes of SQLite's smallest page."""
_LOCK_BYTE: Final = 1 << 30
_LOCK_LENGTH: Final = 512
"""The bytes that SQLite locks, beyond the content of the file (sqlite.org, "Database File Format", 1.4)."""
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def prepare(path: str, uid: int | None = None, gid: int | None = None) -> tuple[str, ...]:
    """Create the folder and the database file, owned by `uid` and `gid` (default: those of this process).

    Existing files are kept. If others could read the database, their access is removed.

    Returns:
        Warnings about permissions that had to be tightened.

    Raises:
        StoreError: The database cannot be there, or another service uses it.
    """
    uid = os.geteuid() if uid is None else uid
    gid = os.getegid() if gid is None else gid
    folder, name = split(path)
    warnings: list[str] = []
    descriptor = _open_folder(folder, uid, gid)
    try:
        _refuse_locked(descriptor, path, uid)
        _own_folder(descriptor, folder, name, (uid, gid), warnings)
        _make_file(descriptor, name)
        for suffix in ("", *_COMPANIONS):
            _own_file(descriptor, path + suffix, (uid, gid), warnings)
    except OSError as error:
        raise StoreError(
            path,
            found=f"{error.strerror} ({error.filename or folder})",
            expected="a database that can be made or taken over",
            remedy="check owner, mode and file system",
        ) from error
    finally:
        os.close(descriptor)
    return tuple(warnings)


def prepare_tree(root: str, database: str, uid: int | None = None, gid: int | None = None) -> tuple[str, ...]:
    """Create or take over the folder of an `OnDisk` store with its mapping files, and the database in it.

    Returns:
        Warnings about permissions that had to be tightened.

    Raises:
        StoreError: The store cannot be there, or another service uses it.
    """
    owner = (os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid)
    root = root.rstrip("/")
    path = f"{root}/{database}"
    descriptor = _open_folder(root, *owner)
    try:
        _refuse_locked(descriptor, path, owner[0])
        _refuse_foreign(descriptor, root, owner[0])
        loose = _own_below(descriptor, owner, ())
    except OSError as error:
        raise StoreError(
            root,
            found=f"{error.strerror} ({error.filename or root})",
            expected="mapping files that can be taken over",
            remedy="check owner, mode and file system",
        ) from error
    finally:
        os.close(descriptor)
    warning = f"{loose} mapping files or folders in {root} could be used by others, and cannot any more"
    return (*([warning] if loose else []), *prepare(path, *owner))


def prepare_folder(folder: str, uid: int, gid: int) -> None:
    """Create an empty folder for a store, or take one over.

    Raises:
        StoreError: It cannot be there, or it is another user's and not empty.
    """
    descriptor = _open_folder(folder.rstrip("/"), uid, gid)
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


def _open_folder(folder: str, uid: int, gid: int) -> int:
    """Walk to the folder, creating missing parts, and return its descriptor."""
    parent, last = os.path.split(folder)
    # Links above the folder belong to the administrator; resolved once, they cannot be replaced during the walk.
    steps = [(part, _PARENT_MODE) for part in os.path.realpath(parent).split("/") if part]
    if last:
        steps.append((last, FOLDER_MODE))
    walked = "/"
    descriptor = os.open("/", DIRECTORY)
    for part, mode in steps:
        try:
            _check_searchable(walked, os.fstat(descriptor), uid, gid)
            walked = f"{walked.rstrip('/')}/{part}"
            following = _enter(descriptor, part, walked, mode)
        finally:
            os.close(descriptor)
        descriptor = following
    return descriptor


def _enter(parent: int, part: str, path: str, mode: int) -> int:
    try:
        try:
            os.mkdir(part, mode, dir_fd=parent)
        except FileExistsError:
            return os.open(part, DIRECTORY, dir_fd=parent)
        made = os.open(part, DIRECTORY, dir_fd=parent)
        # The umask has removed bits.
        os.fchmod(made, mode)
    except OSError as error:
        raise StoreError(
            path,
            found=str(error.strerror),
            expected="a folder and no symbolic link",
            remedy="make it, or correct `sqlite_db_path`",
        ) from error
    return made


def _check_searchable(folder: str, found: os.stat_result, uid: int, gid: int) -> None:
    if found.st_uid == uid:
        bit, who = stat.S_IXUSR, "u"
    elif found.st_gid == gid:
        bit, who = stat.S_IXGRP, "g"
    else:
        bit, who = stat.S_IXOTH, "o"
    if not found.st_mode & bit:
        raise StoreError(
            folder,
            found=f"mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}:{found.st_gid}",
            expected=f"a folder that uid {uid} can pass through",
            remedy=f"chmod {who}+x {folder}",
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


def _own_folder(descriptor: int, folder: str, name: str, owner: tuple[int, int], warnings: list[str]) -> None:
    found = os.fstat(descriptor)
    mode = stat.S_IMODE(found.st_mode)
    if (found.st_uid, mode) == (owner[0], FOLDER_MODE):
        return
    ours = {name, *(name + companion for companion in _COMPANIONS)}
    foreign = sorted(set(os.listdir(descriptor)) - ours)
    if foreign:
        if found.st_uid != owner[0]:
            raise StoreError(
                folder,
                found=f"a folder of uid {found.st_uid} with other files in it, such as {foreign[0]!r}",
                expected="a folder for the database alone",
                remedy="move the database to a folder of its own and name that in `sqlite_db_path`",
            )
        if mode & 0o022:
            warnings.append(f"{folder} has other files in it and mode {mode:04o}: others may replace the database")
        return
    if found.st_uid != owner[0]:
        os.fchown(descriptor, *owner)
    if mode != FOLDER_MODE:
        os.fchmod(descriptor, FOLDER_MODE)
        if mode & 0o077 and set(os.listdir(descriptor)) & ours:
            warnings.append(f"{folder} had mode {mode:04o}, it is {FOLDER_MODE:04o} now")


def _make_file(folder: int, name: str) -> None:
    with suppress(FileExistsError):
        os.close(os.open(name, _FILE | os.O_CREAT | os.O_EXCL, FILE_MODE, dir_fd=folder))


def _own_file(folder: int, path: str, owner: tuple[int, int], warnings: list[str]) -> None:
    _, name = split(path)
    try:
        _check_plain(path, os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        _check_plain(path, found)
        if found.st_uid != owner[0]:
            os.fchown(descriptor, *owner)
        mode = stat.S_IMODE(found.st_mode)
        if mode != FILE_MODE:
            os.fchmod(descriptor, FILE_MODE)
        if mode & 0o077:
            warnings.append(f"{path} had mode {mode:04o}, it is {FILE_MODE:04o} now")
    finally:
        os.close(descriptor)
