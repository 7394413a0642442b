"""Folders of the operating system, which no process may be granted as its own, and path helpers."""

import posixpath
from typing import Final

SYSTEM_FOLDERS: Final = frozenset(
    {"/", *("/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/usr", "/var")}
)


def normal(path: str) -> str:
    """Return an absolute path without redundant parts; symbolic links are not resolved."""
    # normpath keeps two leading slashes, which have a special meaning in POSIX but not on Linux.
    return "/" + posixpath.normpath(path).lstrip("/")


def holds(folder: str, path: str) -> bool:
    """Tell whether a path is `folder` or lies within it; both must be normal."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
