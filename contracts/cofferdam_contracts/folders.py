"""Folders that belong to the whole machine, which nobody may be given as his own."""

import posixpath
from typing import Final

SYSTEM_FOLDERS: Final = frozenset(
    {"/", *("/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/usr", "/var")}
)


def normal(path: str) -> str:
    """Return an absolute path without what changes nothing; links are not looked at."""
    # POSIX gives two slashes at the beginning a meaning of their own, which Linux does not.
    return "/" + posixpath.normpath(path).lstrip("/")


def holds(folder: str, path: str) -> bool:
    """Tell whether a path is a folder or lies within it; both are normal."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
