"""Executing a package in a fresh isolated interpreter. Children must not use it: they execute nothing."""

import fcntl
import importlib.util
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
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
        descriptors: The descriptors to pass, by their number in the new process. It also inherits stderr, nothing else.
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


def command(package: str, *words: str) -> list[str]:
    """Return the command that runs a package in a fresh isolated interpreter, without importing it."""
    path = ":".join(dict.fromkeys(root_of(name) for name in (*_SHARED, package)))
    return [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", BOOT, path, package, *words]


def root_of(package: str) -> str:
    """Return the folder to put on the path for a package, without importing it.

    Raises:
        FileNotFoundError: There is no such package.
    """
    spec = importlib.util.find_spec(package.partition(".")[0])
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {package} is not installed")
    return os.path.dirname(os.path.abspath(spec.submodule_search_locations[0]))
