"""What is at a path: the owner and mode of everything that it leads through, links included; and opening folders.

Whoever can change what a path leads through decides what it leads to. So a link is followed only if nobody but root
and the user that starts the service can change it, or anything on the way to it, as sshd has it (sshd_config(5),
StrictModes).
"""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

_MAX_LINKS: Final = 40
"""As many as the kernel follows (path_resolution(7))."""
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSING: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""A folder on the way needs no right to be read."""
Visitor = Callable[[str, os.stat_result], object]
"""Is told the path and the state of a folder."""
SHARED_MODE: Final = 0o755
"""Mode of a folder that several processes may pass through."""
_MAX_TABLE: Final = 1 << 12
_ALL_UIDS: Final = ["0", "0", str((1 << 32) - 1)]
"""The map of uids outside of user namespaces (user_namespaces(7))."""


class LinkError(Exception):
    """Raised for a path that must not be followed; the text names what is at fault and the remedy."""


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
    real: str = ""
    """The path without links, as far as they could be looked at."""


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
        rest = os.path.normpath(os.path.join(here, *left[::-1]))
        try:
            elements.append(element := _element(here))
            target = os.readlink(here) if stat.S_ISLNK(element.mode) else None
        except (OSError, ValueError) as error:
            return Found(tuple(elements), None, here, getattr(error, "strerror", None) or "not a path", rest)
        if target is None:
            folders.append(element)
            continue
        links += 1
        if links > _MAX_LINKS:
            return Found(tuple(elements), None, here, "too many symbolic links", rest)
        left += target.split("/")[::-1]
        folders = elements[:1] if target.startswith("/") else folders
    return Found(tuple(elements), folders[-1], real=folders[-1].path)


def changeable(found: Found, owners: Collection[int]) -> Element | None:
    """Return the first element that somebody other than these owners could change or replace."""
    return next((each for each in found.elements if each.uid not in owners or is_open(each)), None)


def is_open(element: Element) -> bool:
    """Tell whether others can write. What is in a folder with the sticky bit belongs to its owners nevertheless."""
    if stat.S_ISLNK(element.mode) or (stat.S_ISDIR(element.mode) and element.mode & stat.S_ISVTX):
        return False
    return bool(element.mode & stat.S_IWOTH) or bool(element.mode & stat.S_IWGRP and element.gid)


def way_to_links(found: Found) -> Found:
    """Return what a path leads through up to its last link; nothing if it has none."""
    links = [index for index, each in enumerate(found.elements) if stat.S_ISLNK(each.mode)]
    return Found(found.elements[: links[-1] + 1] if links else (), None)


def real_path(path: str) -> str:
    """Return an absolute path without links; what does not exist stays as it is.

    Raises:
        LinkError: Others could change a link in it, or the way to the link.
    """
    found = look(path)
    flaw = changeable(way_to_links(found), trusted_owners())
    if flaw is not None:
        raise LinkError(
            f"{path} leads through a symbolic link that uid {flaw.uid} or its group can change, by {flaw.path}; name "
            f"{found.real} itself, or chown root and chmod go-w {flaw.path}"
        )
    return found.real


def trusted_owners() -> frozenset[int]:
    """Return who may own what the service trusts: root, and the user that starts the service."""
    return frozenset({0, os.geteuid(), *_unmapped()})


def open_folder(folder: str, mode: int | None = None, visit: Visitor | None = None) -> tuple[int, bool]:
    """Open a folder element by element, following no link: somebody may put one there after the path was looked at.

    Args:
        folder: Its absolute path without links, as `real_path` returns it.
        mode: What it gets if it is missing, whatever the umask; those above it get `SHARED_MODE`. None to make nothing.
        visit: Is called for each folder above it, and may raise.

    Returns:
        Its descriptor, and whether it was made just now.

    Raises:
        OSError: An element is no folder, or cannot be opened or made; `filename` is its path.
    """
    parts = [part for part in folder.split("/") if part]
    descriptor, walked, made = os.open("/", _PASSING if parts else DIRECTORY), "/", False
    for left in reversed(range(len(parts))):
        try:
            if visit is not None:
                visit(walked, os.fstat(descriptor))
            part = parts[-1 - left]
            walked = os.path.join(walked, part)
            missing = mode if not left or mode is None else SHARED_MODE
            following, made = _enter(descriptor, part, missing, _PASSING if left else DIRECTORY)
        except OSError as error:
            error.filename = walked
            raise
        finally:
            os.close(descriptor)
        descriptor = following
    return descriptor, made


def _enter(parent: int, part: str, mode: int | None, flags: int) -> tuple[int, bool]:
    """Open a folder in another one; make it if it is missing, though others may make it at the same time."""
    made = False
    try:
        return os.open(part, flags, dir_fd=parent), made
    except FileNotFoundError:
        if mode is None:
            raise
    with no_umask(), suppress(FileExistsError):
        os.mkdir(part, mode, dir_fd=parent)
        made = True
    return os.open(part, flags, dir_fd=parent), made


@contextmanager
def no_umask() -> Iterator[None]:
    """Make folders with their final mode at once: a process that starts at the same time may have to pass."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def _unmapped() -> set[int]:
    """Return the uid that stands for everybody who has none here: root of the machine may be among them."""
    if _table("/proc/self/uid_map").split() == _ALL_UIDS:
        return set()
    shown = _table("/proc/sys/kernel/overflowuid").strip()
    return {int(shown)} if shown.isdecimal() else set()


def _table(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_TABLE).decode(errors="replace")
    except OSError:
        return ""


def _element(path: str) -> Element:
    state = os.lstat(path)
    return Element(path, state.st_mode, state.st_uid, state.st_gid)
