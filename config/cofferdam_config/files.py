"""What is at a path: the owner and mode of everything that the path leads through, links included."""

import os
import stat
from typing import Final, NamedTuple

_MAX_LINKS: Final = 40
"""As many as the kernel follows (path_resolution(7))."""


class Element(NamedTuple):
    """A folder or link that a path leads through, or what it leads to."""

    path: str
    mode: int
    """Type and permissions, as in stat(2)."""
    uid: int
    gid: int


class Found(NamedTuple):
    """What a path leads through, and to."""

    elements: tuple[Element, ...]
    """From the root folder on, links and what they lead through included."""
    last: Element | None
    """What it leads to, if that is there and can be looked at."""
    missing: str = ""
    """The element that could not be looked at."""
    reason: str = ""
    """Why not."""


def look(path: str) -> Found:
    """Look at everything that an absolute path leads through."""
    elements = [_element("/")]
    folders, left, links = elements[:], path.split("/")[::-1], 0
    while left:
        part = left.pop()
        if part == "..":
            folders = folders[:-1] or folders
        if part in {"", ".", ".."}:
            continue
        here = os.path.join(folders[-1].path, part)
        try:
            elements.append(element := _element(here))
            target = os.readlink(here) if stat.S_ISLNK(element.mode) else None
        except (OSError, ValueError) as error:
            return Found(tuple(elements), None, here, getattr(error, "strerror", None) or "not a path")
        if target is None:
            folders.append(element)
            continue
        links += 1
        if links > _MAX_LINKS:
            return Found(tuple(elements), None, here, "too many symbolic links")
        left += target.split("/")[::-1]
        folders = elements[:1] if target.startswith("/") else folders
    return Found(tuple(elements), folders[-1])


def _element(path: str) -> Element:
    state = os.lstat(path)
    return Element(path, state.st_mode, state.st_uid, state.st_gid)
