"""Rehearsals of the providers: their workers' own code opens module, token and TPM, as confined as in the service.

This process stands in for the broker: it starts each worker with the same descriptors, uid and settings, and arguments
that make it end where it would serve (`runtime.rehearsal`). The key store's process tells beforehand what it has.
"""

import _socket
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from cofferdam_config.plan import Plan
from cofferdam_contracts.ipc.control import Sealed
from cofferdam_contracts.roles import WORKERS, Role
from cofferdam_contracts.settings import KimSettings, WorkerSettings, dump
from cofferdam_runtime.boot import CONTROL_DESCRIPTOR, SETTINGS_DESCRIPTOR
from cofferdam_runtime.command import execute
from cofferdam_runtime.control import Control
from cofferdam_runtime.log import escaped
from cofferdam_runtime.rehearsal import STORED, Rehearsal, Stored
from cofferdam_runtime.signals import name_of
from cofferdam_runtime.spawn import uid_of

_MOST: Final = 1 << 16
"""Bytes that a rehearsal may say."""
_MOST_LINES: Final = 20
"""Lines that are shown of what a rehearsal writes besides."""
_PREFIXES: Final = {"error": "provider down", "warning": "warning", "info": "found"}
Say = Callable[[str, tuple[str, ...]], None]


class _Ended(NamedTuple):
    """What a rehearsal said, and how it ended."""

    lines: tuple[tuple[str, str], ...]
    """Levels and texts."""
    how: str
    """What was wrong with its end, empty if nothing was."""
    written: tuple[str, ...]
    """What its module, or itself, wrote to stdout or stderr, escaped."""


def try_providers(plan: Plan, say: Say, *, login: bool) -> bool:
    """Try every provider, one after the other, and say what was found; return whether all can be used."""
    kim = next(settings for role, _, settings in plan.documents if role is Role.KIM)
    stored, usable = _look(plan, kim, say)
    for role, number, settings in plan.documents:
        if role not in WORKERS:
            continue
        worker: WorkerSettings = settings.worker  # type: ignore[attr-defined]
        entry = worker.provider
        ended = _run(plan, role, number, settings, Rehearsal(login, stored.get(entry.uuid)))
        lines = ended.lines if not ended.how else (*ended.lines, ("error", f'"its rehearsal {ended.how}"'))
        for level, text in lines:
            say(_PREFIXES.get(level, "found"), (f"{entry.name}: {text}",))
        say("written", tuple(f"{entry.name}: {text}" for text in ended.written))
        usable &= all(level != "error" for level, _ in lines)
    return usable


def _look(plan: Plan, settings: object, say: Say) -> tuple[Mapping[str, Stored], bool]:
    """Return what the key store has, by the uuid of the provider, and whether it can be opened.

    What it cannot tell is missing: the service may be able to read what this rehearsal cannot.
    """
    assert isinstance(settings, KimSettings)  # noqa: S101  the plan's own
    ended = _run(plan, Role.KIM, 0, settings, Rehearsal())
    found = {}
    for level, text in ended.lines:
        if level == STORED:
            uuid, check, *numbers = text.split()
            found[uuid] = Stored(bytes.fromhex(check.strip('"')), *map(int, numbers))
        else:
            known = level != "error"
            say(
                _PREFIXES.get(level, "found") if known else "key store down", (f"key store: {text}" if known else text,)
            )
    if ended.how:
        say("warning", (f"key store: reading it {ended.how}",))
    say("written", tuple(f"key store: {text}" for text in ended.written))
    return found, all(level != "error" for level, _ in ended.lines)


def _run(plan: Plan, role: Role, number: int, settings: object, rehearsal: Rehearsal) -> _Ended:
    """Run a process as a rehearsal, as long as one may take to start."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    # What a module writes could command the terminal, from which it could read, too.
    (answers, answering), (written, writing) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    document = os.memfd_create("settings", os.MFD_CLOEXEC)
    try:
        os.write(document, dump(settings))
        uid = uid_of(plan.broker.uid_base, role, number)
        stored = rehearsal.stored or Stored(b"", 0, 0)
        Control(ours).send(Sealed(bool(stored.check), bool(stored.own_rows)))
        pid, pidfd = execute(
            role.row.package,
            (str(int(role)), str(number), "-" if uid is None else str(uid), str(os.getpid()), *rehearsal.words()),
            {0: null, 1: answering, 2: writing, CONTROL_DESCRIPTOR: theirs.fileno(), SETTINGS_DESCRIPTOR: document},
        )
    finally:
        for descriptor in (answering, writing, null, document):
            os.close(descriptor)
        theirs.close()
    (said, besides), in_time = _read((answers, written), plan.broker.start_ms / 1000)
    os.close(answers)
    os.close(written)
    ours.close()
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    lines = tuple(_line(line) for line in said.decode(errors="replace").splitlines())
    return _Ended(lines, _how(status, lines, plan.broker.start_ms if not in_time else 0), _shown(besides))


def _read(descriptors: tuple[int, int], patience: float) -> tuple[list[bytes], bool]:
    """Return the first `_MOST` bytes of each until the other ends are closed, and whether that was in time."""
    said, until = dict.fromkeys(descriptors, b""), time.monotonic() + patience
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    left = set(descriptors)
    while left:
        ready = poll.poll(max(0.0, until - time.monotonic()) * 1000)
        if not ready or time.monotonic() > until:
            return list(said.values()), False
        for descriptor, _ in ready:
            part = os.read(descriptor, _MOST)
            said[descriptor] = (said[descriptor] + part)[:_MOST]
            if not part:
                poll.unregister(descriptor)
                left.remove(descriptor)
    return list(said.values()), True


def _shown(written: bytes) -> tuple[str, ...]:
    lines = written.decode(errors="replace").splitlines()
    more = len(lines) - _MOST_LINES
    return (*map(escaped, lines[:_MOST_LINES]), *([f"and {more} more lines"] if more > 0 else []))


def _line(line: str) -> tuple[str, str]:
    level, _, text = line.partition("\t")
    return level, "".join(mark if mark.isprintable() else "?" for mark in text)


def _how(status: int, lines: tuple[tuple[str, str], ...], late_ms: int) -> str:
    """Return in words what was wrong with the end of a rehearsal that did not say it."""
    if late_ms:
        return f"did not end within limits.start_ms = {late_ms}: a device that does not answer, or a busy machine"
    if status < 0:
        return f"was killed by {name_of(-status)}: by its module, or by a system call that the sandbox forbids (SIGSYS)"
    if status and not any(level == "error" for level, _ in lines):
        return f"exited with status {status}"
    return ""
