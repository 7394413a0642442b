"""Errors of the operating system in words: what was found at a path, what is needed there, and what to do about it.

An errno says neither which element of a path it is about, nor who may use that, nor which limit was reached. These
functions look. They may run in a confined process: what they cannot find out, they leave out.
"""

import errno
import os
import posixpath
import resource
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Final

from cofferdam_runtime.log import Log

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
_NO_THREAD: Final = "can't start new thread"
_NO_MEMORY: Final = "malloc failure"
"""Parts of the messages of the interpreter and of OpenSSL, which have no classes of their own for these."""


def explain(error: OSError, path: str, needed: str, setting: str) -> str:
    """Return what is wrong with a path, as one sentence for the log.

    Args:
        error: What a system call ended with.
        path: The path that it was given.
        needed: What should be there.
        setting: What names it: a key of the configuration.
    """
    found, remedy = found_at(error, path, setting)
    where = "" if path in found else f"{path}: "
    return f"{where}found {found}, needed {needed}; {remedy}"


def found_at(error: OSError, path: str, setting: str) -> tuple[str, str]:
    """Return what is found at a path, and the remedy; the arguments are those of `explain`."""
    look = _FOUND.get(error.errno or 0)
    found, remedy = look(path) if look else (error.strerror or str(error), "see the log of the kernel")
    return found, remedy.format(setting=setting)


def obstacle(error: OSError, path: str) -> str:
    """Return what was found at a path, or in the way to it, as `explain` says it, without a remedy."""
    return _cause(error, path)[0]


def _cause(error: OSError, path: str) -> tuple[str, str]:
    look = _FOUND.get(error.errno or 0)
    return look(path) if look else (error.strerror or str(error), "see the log of the kernel")


def exhausted(error: BaseException) -> str:
    """Return which limit an error comes from, and the remedy; empty if it has another cause."""
    if isinstance(error, MemoryError) or _NO_MEMORY in str(error):
        return f"no memory is left{_limit(resource.RLIMIT_AS)}; raise MemoryMax= of the unit, or free some"
    if _NO_THREAD in str(error):
        return f"no thread can be started{_limit(resource.RLIMIT_NPROC)}; raise TasksMax= of the unit, or the limit"
    if isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS:
        return f"no descriptor is left{_limit(resource.RLIMIT_NOFILE)}; raise LimitNOFILE= of the unit"
    return ""


def log_what_nobody_catches(component: str) -> None:
    """Have an error that ends this process logged in one line, without its text, which may hold a secret."""

    def tell(_kind: object, error: BaseException, trace: TracebackType | None) -> None:
        _tell(component, error, trace)

    sys.excepthook = tell


def _tell(component: str, error: BaseException, trace: TracebackType | None) -> None:
    log = Log(component)
    cause = exhausted(error)
    if cause:
        log.error("the process cannot go on", cause=cause)
    else:
        log.error("an unexpected error; please report it", kind=type(error).__name__, place=place_of(trace))


def place_of(trace: TracebackType | None) -> str:
    """Return file and line where an error was raised."""
    if trace is None:
        return "unknown"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{posixpath.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def _limit(number: int) -> str:
    """Return the limit of this process in words; the sandbox forbids to ask."""
    try:
        soft, _ = resource.getrlimit(number)
    except (OSError, ValueError):
        return ""
    return "" if soft == resource.RLIM_INFINITY else f" (its limit is {soft})"


def _elements(path: str) -> Iterator[str]:
    """Yield the folders that a path leads through, from the root on, and the path itself."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count]) or "/"
    yield path


def _described(path: str, state: os.stat_result) -> str:
    """Return what is at a path, with mode and owner."""
    return f"{path} with mode {stat.S_IMODE(state.st_mode):04o} and owner {state.st_uid}:{state.st_gid}"


_ALLOW: Final = "allow it in the unit (PrivateDevices=no, DeviceAllow= with the device)"


def _missing(path: str) -> tuple[str, str]:
    element = next((each for each in _elements(path) if not os.path.exists(each)), path)
    if path.startswith("/dev/"):
        return f"nothing at {element}", f"plug it in, {_ALLOW}, or correct {{setting}}"
    return f"nothing at {element}", "make it, or correct {setting}"


def _no_folder(path: str) -> tuple[str, str]:
    element = next((each for each in _elements(path) if os.path.exists(each) and not os.path.isdir(each)), path)
    return f"no folder at {element}", "correct {setting}"


def _closed(path: str) -> tuple[str, str]:
    """Find the element of a path that this process may not use: the first that is closed, or else the last there is."""
    found = "nothing"
    for each in _elements(path):
        try:
            state = os.stat(each)
        except OSError:
            break
        found = _described(each, state)
        if not os.access(each, os.X_OK if each != path else os.R_OK, effective_ids=True):
            break
    who = f"uid {os.geteuid()}, groups {os.getgroups()}"
    return f"{found}, closed to {who}", "change its owner or mode, or correct {setting}"


def _withheld(path: str) -> tuple[str, str]:
    """Tell a device that a control group withholds, for which modes do not matter, from what belongs to others."""
    try:
        state = os.stat(path)
    except OSError:
        return _closed(path)
    if not stat.S_ISCHR(state.st_mode) and not stat.S_ISBLK(state.st_mode):
        return _closed(path)
    return f"{_described(path, state)}, which the unit or the container withholds", f"{_ALLOW}, or correct {{setting}}"


def _fixed(found: str, remedy: str) -> Callable[[str], tuple[str, str]]:
    return lambda _path: (found, remedy)


_NO_DESCRIPTOR: Final = _fixed("no free descriptor", "raise LimitNOFILE= of the unit")
_FULL: Final = _fixed("a full file system", "make room on it")
_FOUND: Final[Mapping[int, Callable[[str], tuple[str, str]]]] = {
    errno.ENOENT: _missing,
    errno.ENOTDIR: _no_folder,
    errno.EEXIST: _no_folder,
    errno.EACCES: _closed,
    errno.EPERM: _withheld,
    errno.ELOOP: _fixed("a symbolic link", "name the file itself in {setting}"),
    errno.EISDIR: _fixed("a folder", "correct {setting}"),
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _fixed("a read-only file system", "mount it writable, or add it to ReadWritePaths= of the unit"),
    errno.EMFILE: _NO_DESCRIPTOR,
    errno.ENFILE: _NO_DESCRIPTOR,
    errno.ENOMEM: _fixed("no free memory", "raise MemoryMax= of the unit, or free some"),
    errno.EBUSY: _fixed("a device that another program has open", "end that program, or correct {setting}"),
    errno.ENXIO: _fixed("a device file without a device", "plug it in, or correct {setting}"),
    errno.ENODEV: _fixed("a device file without a device", "plug it in, or correct {setting}"),
    errno.ECONNREFUSED: _fixed("nobody who listens there", "start what should listen, or correct {setting}"),
    errno.ETIMEDOUT: _fixed("nobody who answers", "start what should listen, or correct {setting}"),
}
"""What is found at a path, and the remedy, in which the setting stands for `{setting}`; by errno(3)."""
