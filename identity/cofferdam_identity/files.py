"""Files that an administrator changes while they are in use: keys, revocations.

They are looked at once a second, which works for every way to replace them: written in place, renamed over, or a link
that is changed. A file counts only if nobody but root, or the user that started the service, may write to it.
"""

import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from cofferdam_runtime.faults import explain
from cofferdam_runtime.log import Log

LOOK_S: Final = 1.0
"""Seconds between two looks at the files."""
MAX_FILE: Final = 1 << 20
"""Bytes of a file, unless its `Watched` says otherwise."""
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH

Signature = tuple[int, ...]


class Watched(NamedTuple):
    """A file and what takes its content."""

    path: str
    setting: str
    """The key of the configuration that names it."""
    take: Callable[[bytes], None]
    may_be_missing: bool = False
    """Whether it is as good as an empty one."""
    most: int = MAX_FILE
    """Bytes that it may have."""
    is_fixed: bool = False
    """Whether it never changes, as a systemd credential, and is out of reach once the process is confined."""


class Files:
    """Reads files at the start, and again when they change."""

    def __init__(self, files: Sequence[Watched], log: Log) -> None:
        """Have read none yet."""
        self._files, self._log = list(files), log
        self._seen: dict[str, Signature | None] = {}
        self._said: dict[str, str] = {}
        self._next = 0.0

    def look(self, now: float | None = None) -> bool:
        """Read what has changed, if a look is due; return whether anything has."""
        now = time.monotonic() if now is None else now
        if not self._files or now < self._next:
            return False
        self._next = now + LOOK_S
        changed = [self._look_at(file) for file in self._files]
        self._files = [file for file in self._files if not file.is_fixed]
        return any(changed)

    def due(self) -> float:
        """Return the seconds until the next look, infinite if there is nothing to look at."""
        return max(0.0, self._next - time.monotonic()) if self._files else float("inf")

    def _look_at(self, file: Watched) -> bool:
        try:
            found = _signature(os.stat(file.path))
        except OSError as error:
            # One that was there says the same until somebody puts another in its place.
            is_new = self._seen.get(file.path) is None
            if not (file.may_be_missing and is_new and isinstance(error, FileNotFoundError)):
                self._say(file, explain(error, file.path, "a file that the identity process can read", file.setting))
                return False
            found = None
        if file.path in self._seen and self._seen[file.path] == found:
            return False
        content = b""
        if found is not None:
            try:
                found, content = _read(file.path, file.most)
            except OSError as error:
                self._say(file, explain(error, file.path, "a file that the identity process can read", file.setting))
                return False
            except ValueError as error:
                self._say(file, str(error))
                return False
        self._seen[file.path] = found
        self._said.pop(file.path, None)
        file.take(content)
        return True

    def _say(self, file: Watched, cause: str) -> None:
        """Log a fault once, not at every look."""
        if self._said.get(file.path) != cause:
            self._said[file.path] = cause
            self._log.error(
                "a file of identities cannot be read; what it said before stays in force", file=file.path, cause=cause
            )


def _signature(state: os.stat_result) -> Signature:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _read(path: str, most: int) -> tuple[Signature, bytes]:
    """Return what identifies this state of the file, and its content.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no file that counts.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        state = os.fstat(descriptor)
        mode, owner = stat.S_IMODE(state.st_mode), state.st_uid
        if not stat.S_ISREG(state.st_mode):
            raise ValueError(f"{path} is not a regular file")
        if state.st_size > most:
            raise ValueError(f"{path} has {state.st_size} bytes, allowed: at most {most}")
        if owner not in _OWNERS or mode & _OTHERS:
            raise ValueError(
                f"found {path} with mode {mode:04o} and owner {owner}, needed one that only root may write to; "
                "change its owner or mode"
            )
        content = b""
        while len(content) <= most and (more := os.read(descriptor, most + 1 - len(content))):
            content += more
        if len(content) > most:
            raise ValueError(f"{path} grows beyond {most} bytes")
        return _signature(state), content
    finally:
        os.close(descriptor)


_OWNERS: Final = frozenset({0, os.getuid()})
"""Root, and whoever started the service where that is not root."""
