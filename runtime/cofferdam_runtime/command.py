"""Executing a package in a fresh isolated interpreter. Children must not use it: they execute nothing."""

import fcntl
import importlib.util
import os
import signal
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from cofferdam_runtime.boot import BOOT

_SHARED: Final = ("cofferdam_contracts", "cofferdam_runtime", "msgpack", "msgspec")
_HIGH: Final = 16
"""Descriptors are first duplicated to numbers from this one up, so that moving one does not overwrite another."""
_PASSED_ON: Final = ("JOURNAL_STREAM",)


def execute(
    package: str, words: Sequence[str], descriptors: Mapping[int, int], *, blocked: Collection[int] = ()
) -> tuple[int, int]:
    """Execute a package in a new interpreter, not a fork of this process, and return the pid and a pidfd.

    Args:
        package: The package whose `__main__.main` runs.
        words: Its arguments.
        descriptors: The descriptors to pass, by their number in the new process. It also inherits stderr,
            unless that is among them, and nothing else.
        blocked: Signals that are blocked when it starts.

    Raises:
        OSError: The package could not be executed.
    """
    copies: dict[int, int] = {}
    try:
        for target, source in descriptors.items():
            copies[target] = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        pid = os.posix_spawn(
            sys.executable,
            command(package, *words),
            {"LANG": "C.UTF-8", **{name: os.environ[name] for name in _PASSED_ON if name in os.environ}},
            file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for target, source in copies.items()],
            setsigmask=blocked,
        )
    finally:
        for copy in copies.values():
            os.close(copy)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        # Nobody could watch over it.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def command(package: str, *words: str, roots: Iterable[str] = ()) -> list[str]:
    """Return the command that runs a package in a fresh isolated interpreter, without importing it.

    Args:
        package: The package whose `__main__.main` runs.
        words: Its arguments.
        roots: The folders where it finds what it imports; those of this package and of what all share by default.

    Raises:
        FileNotFoundError: A package is not installed.
    """
    path = ":".join(dict.fromkeys(roots or map(root_of, (*_SHARED, package))))
    return [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", BOOT, path, package, *words]


def root_of(name: str) -> str:
    """Return the folder that makes a module importable when it is on the path, without importing anything.

    Raises:
        FileNotFoundError: It is not installed.
    """
    spec = importlib.util.find_spec(name.partition(".")[0])
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the package {name} is not installed")
    folder = os.path.dirname(os.path.abspath(spec.origin))
    # The origin of a package is its __init__.py, one level deeper than a plain module.
    return folder if spec.submodule_search_locations is None else os.path.dirname(folder)
