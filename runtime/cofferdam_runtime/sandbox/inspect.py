"""Privileges of a process as the kernel reports them in /proc/<pid>/status (proc(5)), without trusting the process."""

import os
from collections.abc import Iterable
from typing import Final, NamedTuple

SECCOMP_MODE_FILTER: Final = 2
"""linux/seccomp.h."""


class Observed(NamedTuple):
    """The privileges of a thread."""

    uids: tuple[int, ...]
    """Real, effective, saved and file system uid."""
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    """The five capability sets, as bit masks."""
    no_new_privs: bool
    seccomp: int
    """0 none, 1 strict, 2 filter."""
    seccomp_filters: int
    threads: int
    """Threads of the process."""


def parse(status: bytes) -> Observed:
    """Parse the text of a status file.

    Raises:
        ValueError: The text has another format.
    """
    fields = dict(line.partition(b":")[::2] for line in status.split(b"\n"))
    try:
        return Observed(
            uids=_numbers(fields[b"Uid"], 4),
            gids=_numbers(fields[b"Gid"], 4),
            groups=_numbers(fields[b"Groups"]),
            inheritable=_mask(fields[b"CapInh"]),
            permitted=_mask(fields[b"CapPrm"]),
            effective=_mask(fields[b"CapEff"]),
            bounding=_mask(fields[b"CapBnd"]),
            ambient=_mask(fields[b"CapAmb"]),
            no_new_privs=_numbers(fields[b"NoNewPrivs"], 1) == (1,),
            seccomp=_numbers(fields[b"Seccomp"], 1)[0],
            seccomp_filters=_numbers(fields[b"Seccomp_filters"], 1)[0],
            threads=_numbers(fields[b"Threads"], 1)[0],
        )
    except KeyError as error:
        raise ValueError(f"no field {error}") from error


def observe(pid: int) -> tuple[Observed, ...]:
    """Return the privileges of all threads of a process.

    Raises:
        OSError: The process is gone, or /proc is not mounted.
        ValueError: The status files have another format.
    """
    tasks = f"/proc/{pid}/task"
    return tuple(parse(_read(f"{tasks}/{thread}/status")) for thread in os.listdir(tasks))


def shortfalls(observed: Observed, *, uid: int | None, groups: Iterable[int] = (), seccomp: bool) -> tuple[str, ...]:
    """Describe in what a thread is less confined than it should be; empty when it is fully confined.

    Args:
        observed: The privileges of the thread.
        uid: The uid and gid it should have, None when it keeps those of the user who started the service.
        groups: The supplementary groups it should have, if `uid` is given, and no others.
        seccomp: Whether it should have a filter already.
    """
    held = observed.inheritable | observed.permitted | observed.effective | observed.ambient
    checks = [
        (not held, f"has capabilities {held:#x}"),
        (observed.no_new_privs, "may gain privileges by exec"),
        (not seccomp or observed.seccomp == SECCOMP_MODE_FILTER, "has no seccomp filter"),
    ]
    if uid is not None:
        checks += [
            (set(observed.uids) == {uid}, f"has uids {observed.uids}"),
            (set(observed.gids) == {uid}, f"has gids {observed.gids}"),
            (set(observed.groups) == set(groups), f"is in groups {observed.groups}"),
            # Only CAP_SETPCAP can empty this one, so without a uid to change to no_new_privs has to suffice.
            (not observed.bounding, f"has a bounding set {observed.bounding:#x}"),
        ]
    return tuple(complaint for holds, complaint in checks if not holds)


def _hidden() -> str:
    """Return that /proc hides processes, and the remedy, if its last mount does so (proc(5), hidepid)."""
    mounts = [line.split() for line in _read("/proc/self/mounts").decode(errors="replace").splitlines()]
    options = [fields[3] for fields in mounts if fields[1:3] == ["/proc", "proc"]][-1:]
    hides = [option for text in options for option in text.split(",") if option.startswith("hidepid=")]
    if not hides or hides[0] in {"hidepid=0", "hidepid=off"}:
        return ""
    return (
        f"/proc is mounted with {hides[0]} and hides the processes of the service from its broker; mount it with "
        "hidepid=0, or with gid= of a group that the broker is in; for a unit of systemd set ProtectProc=default"
    )


def _read(path: str) -> bytes:
    # Every process runs this at its start, and importing pathlib takes 5 ms.
    with open(path, "rb") as file:
        return file.read()


def lacking(pid: int, *, uid: int | None, groups: Iterable[int] = (), filters: int) -> tuple[str, ...]:
    """Describe in what a process that claims to be confined is not; empty when it is.

    Args:
        pid: The process.
        uid: As for `shortfalls`.
        groups: As for `shortfalls`.
        filters: Lowest number of seccomp filters that it must have: those inherited from its parent, and its own.
    """
    try:
        threads = observe(pid)
    except (OSError, ValueError) as error:
        return (f"cannot be looked at: {_hidden() or error}",)
    missing = [
        complaint for thread in threads for complaint in shortfalls(thread, uid=uid, groups=groups, seccomp=True)
    ]
    if (held := min((thread.seccomp_filters for thread in threads), default=0)) < filters:
        missing.append(f"has {held} seccomp filters instead of {filters}")
    return tuple(missing)


def _numbers(text: bytes, count: int | None = None) -> tuple[int, ...]:
    numbers = tuple(int(word) for word in text.split())
    if count is not None and len(numbers) != count:
        raise ValueError(f"{len(numbers)} numbers instead of {count}")
    return numbers


def _mask(text: bytes) -> int:
    return int(text.strip(), 16)
