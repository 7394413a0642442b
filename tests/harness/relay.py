"""The relay of a service's log, seen from outside: whether it has written everything that was sent to it."""

import os
import time
from pathlib import Path
from typing import Final

_NAMES: Final = (b"cofferdam: relay", b"cofferdam_runtime.relay")
"""Parts of its command line, with its process title and before it has one."""
_POLL_S: Final = 0.001
_ENOUGH: Final = 2
"""Consecutive looks that have to find it asleep: a single one may come just before it polls again."""
_LONGEST_S: Final = 30.0


def relays(group: int) -> list[int]:
    """Return the relays of a process group, whoever their parent is."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and (fields := _fields(int(name))) is not None and int(fields[2]) == group:
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if any(part in words for part in _NAMES):
                found.append(int(name))
    return found


def wait_until_written(group: int) -> None:
    """Wait until the relay of a group has written all that its processes have sent to the log.

    A message wakes it before the call that sends returns, and it sleeps only when there is none.
    """
    until = time.monotonic() + _LONGEST_S
    for pid in relays(group):
        asleep = 0
        while asleep < _ENOUGH and (fields := _fields(pid)) is not None and fields[0] not in "ZX":
            asleep = asleep + 1 if fields[0] == "S" else 0
            if time.monotonic() > until:
                raise AssertionError(f"the relay {pid} of the log never rests")
            time.sleep(_POLL_S)


def _fields(pid: int) -> list[str] | None:
    """Return what /proc says of a process from its state on, None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
