"""The resources of a service's processes: whether they live, whether memory grows, and which of them holds a secret."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.harness.service import Service

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one process holds; `descriptors` is None where only root may count them."""

    role: str
    restarts: int
    resident_kb: int
    descriptors: int | None


def holdings(service: Service) -> dict[int, Holdings]:
    """Return what every process holds, by its process id."""
    rows = {service.pid: ("broker", 0)}
    rows |= {row["pid"]: (row["role"], row["restarts"]) for row in service.status()["processes"]}
    return {pid: Holdings(role, restarts, _resident(pid), _descriptors(pid)) for pid, (role, restarts) in rows.items()}


def drifts(before: dict[int, Holdings], after: dict[int, Holdings], *, growth: float, slack_kb: int) -> list[str]:
    """Return the unwanted changes: of processes, of their descriptors, of their memory beyond growth and slack."""
    found = []
    if before.keys() != after.keys():
        gone = [holding.role for pid, holding in before.items() if pid not in after]
        found.append(f"processes came or went: {gone or 'more than before'}")
    for pid, old in before.items():
        new = after.get(pid)
        if new is None:
            continue
        if new.restarts != old.restarts:
            found.append(f"{old.role} was restarted {new.restarts - old.restarts} times")
        if new.descriptors != old.descriptors:
            found.append(f"{old.role} has {new.descriptors} descriptors, {old.descriptors} before")
        if new.resident_kb > old.resident_kb * (1 + growth) + slack_kb:
            found.append(f"{old.role} has {new.resident_kb} KiB of memory, {old.resident_kb} before")
    return found


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * _PAGE_KB


def _descriptors(pid: int) -> int | None:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        return None


def wait_for(
    condition: Callable[[], bool], seconds: float = 20.0, explain: Callable[[], object] | None = None
) -> float:
    """Wait until a condition is true, and return how long that took; `explain` describes the failure.

    The limit ends tests whose condition never becomes true. No test depends on how long something takes.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError("it never came true" if explain is None else explain())
        time.sleep(0.005)
    return time.monotonic() - began


def contains(pid: int, needle: bytes) -> bool:
    """Return whether the memory of a process contains these bytes; unreadable pages do not count."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, permissions, *_ = line.split()
            if "r" not in permissions or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(number, 16) for number in span.split("-"))
            memory.seek(start)
            try:
                if needle in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False
