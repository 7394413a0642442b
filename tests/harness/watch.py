"""What the processes of a service hold: to find out whether they live, and whether anything grows."""

import os
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
    """Say what changed that must not: processes, their descriptors, or their memory beyond growth and slack."""
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
