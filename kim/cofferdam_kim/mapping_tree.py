"""The folders and files of an `OnDisk` store on the disk: all access through descriptors, and no link is followed.

A file is written under another name, brought to the disk and renamed, so that its own name never has half a content.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from cofferdam_kim.location import FILE_MODE, FOLDER_MODE
from cofferdam_kim.mapping_files import INTERNAL, MAX_FILE, Parts
from cofferdam_runtime.files import DIRECTORY

UNFINISHED: Final = ".cofferdam-new"
"""Name of a file that is being written, in the folder of its final name; no mapping file has it."""
MARK: Final = (INTERNAL, ".cofferdam-keys")
"""A file that tells the reference not to start: there are keys that it would not see, and so would let others make."""
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Found(NamedTuple):
    """A file of the store, or something else in its place."""

    parts: Parts
    number: int
    """Its inode, by which an operator finds it without a name in the log."""
    content: bytes
    """Up to `MAX_FILE` bytes; empty, and so no mapping, if it is no plain file that can be read."""


class MappingTree:
    """The files below one root; methods raise `OSError`."""

    def __init__(self, root: str) -> None:
        """Open the root folder."""
        self._root = os.open(root, DIRECTORY)

    def close(self) -> None:
        """Close the root folder."""
        os.close(self._root)

    def files(self) -> Iterator[Found]:
        """Yield all files where mapping files can be; remove unfinished ones.

        Files directly in the root and in the folder of an application are not looked at, as in the reference.
        """
        for name, _, is_folder in _entries(self._root):
            if is_folder:
                yield from self._below((name,), self._root)

    def read(self, parts: Parts) -> bytes | None:
        """Return the content of a file; None when there is none."""
        try:
            with self._folder(parts[:-1]) as folder:
                return _content(folder, parts[-1])
        except FileNotFoundError:
            return None

    def write(self, parts: Parts, content: bytes) -> None:
        """Write a file as a whole; it is on the disk afterwards."""
        with self._folder(parts[:-1], create=True) as folder:
            with suppress(FileNotFoundError):
                os.unlink(UNFINISHED, dir_fd=folder)
            try:
                _write_new(folder, content)
                os.rename(UNFINISHED, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(UNFINISHED, dir_fd=folder)
                raise
            os.fsync(folder)

    def remove(self, parts: Parts) -> None:
        """Remove a file if it exists; that is on the disk afterwards. Its folders stay, as in the reference."""
        with suppress(FileNotFoundError), self._folder(parts[:-1]) as folder:
            with suppress(FileNotFoundError):
                os.unlink(parts[-1], dir_fd=folder)
            os.fsync(folder)

    def _below(self, parts: Parts, parent: int) -> Iterator[Found]:
        """Yield the files of a folder of an application, of a provider or of internal keys."""
        holds_files = len(parts) > 1 or parts[0] == INTERNAL
        folder = os.open(parts[-1], DIRECTORY, dir_fd=parent)
        try:
            for name, number, is_folder in _entries(folder):
                if not holds_files:
                    if is_folder:
                        yield from self._below((*parts, name), folder)
                elif name == UNFINISHED and not is_folder:
                    os.unlink(name, dir_fd=folder)
                elif (*parts, name) != MARK:
                    yield Found((*parts, name), number, _content(folder, name))
        finally:
            os.close(folder)

    @contextmanager
    def _folder(self, parts: Parts, *, create: bool = False) -> Iterator[int]:
        descriptor = os.open(".", DIRECTORY, dir_fd=self._root)
        try:
            for part in parts:
                following = _make_folder(descriptor, part) if create else os.open(part, DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = following
            yield descriptor
        finally:
            os.close(descriptor)


def _entries(folder: int) -> list[tuple[str, int, bool]]:
    """Return name, inode and whether it is a folder of everything in a folder, in order."""
    with os.scandir(folder) as entries:
        return sorted((entry.name, entry.inode(), entry.is_dir(follow_symlinks=False)) for entry in entries)


def _make_folder(parent: int, name: str) -> int:
    """Open a folder, made if it is missing; its entry is on the disk before anything is put into it."""
    with suppress(FileExistsError):
        os.mkdir(name, FOLDER_MODE, dir_fd=parent)
    # A predecessor may have made it and ended before this.
    os.fsync(parent)
    return os.open(name, DIRECTORY, dir_fd=parent)


def _write_new(folder: int, content: bytes) -> None:
    descriptor = os.open(UNFINISHED, _NEW, FILE_MODE, dir_fd=folder)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(folder: int, name: str) -> bytes:
    """Return the content of a file, and nothing of what is no plain file that can be read."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:
        return b""
    try:
        found = os.fstat(descriptor)
        # A file with two names could be the secret of somebody else.
        return os.read(descriptor, MAX_FILE) if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)
