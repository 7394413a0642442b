"""Whether the files of an open database are still those at their paths.

A process goes on writing to files that were removed, moved away or replaced, and all of that is gone when it ends. So
the key store compares them with their paths before a change and before it acknowledges one.
"""

import os
from typing import Final, NamedTuple, TypeAlias

_LOG: Final = "-wal"
"""Suffix of the file in which SQLite keeps changes that are not in the database yet; it is made with the first one."""
_MOST_DESCRIPTORS: Final = 4096
"""As in the key store's policy."""
_Identity: TypeAlias = tuple[int, int]
"""Device and inode."""


class Loss(NamedTuple):
    """A file that is not at its path any more."""

    file: str
    found: str
    """What is there instead."""
    remedy: str


class Presence:
    """The database and its log, as they were when they were opened."""

    def __init__(self, path: str) -> None:
        """Remember the database that has just been opened.

        Raises:
            OSError: There is none at the path.
        """
        self._path = path
        self._known = {path: _identity(path)}
        self.loss()

    def loss(self) -> Loss | None:
        """Return what is lost now, None when everything is in its place."""
        for path in (self._path, self._path + _LOG):
            try:
                found = _identity(path)
            except OSError as error:
                if path in self._known:
                    return self._lost(path, f"nothing ({error.strerror})")
                continue
            if self._known.setdefault(path, found) != found:
                return self._lost(path, "another file")
        return None

    def _lost(self, path: str, found: str) -> Loss:
        if path != self._path:
            return Loss(path, found, "restart the service; no key is lost by it")
        descriptor = _descriptor_of(self._known[path])
        copy = f", or copy it back from /proc/{os.getpid()}/fd/{descriptor} and restart" if descriptor else ""
        return Loss(path, found, f"move the file or its folder back{copy}; a restart serves what is there then")


def _identity(path: str) -> _Identity:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _descriptor_of(identity: _Identity) -> int | None:
    """Return an open descriptor of a file, None if there is none."""
    for descriptor in range(_MOST_DESCRIPTORS):
        try:
            found = os.fstat(descriptor)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == identity:
            return descriptor
    return None
