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


def absolute(folder: str, path: str) -> str:
    """Return the path that a path has in a folder; what is above a link is only known to the system (`..`)."""
    return posixpath.join(folder, *(part for part in path.split("/") if part not in {"", "."}))


def holds(folder: str, path: str) -> bool:
    """Tell whether a path is `folder` or lies within it; both must be normal."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
