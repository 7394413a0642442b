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
from cofferdam_runtime.rehearsal import STORED, Rehearsal, Stored
from cofferdam_runtime.signals import name_of
from cofferdam_runtime.spawn import uid_of

_MOST: Final = 1 << 16
"""Bytes that a rehearsal may say."""
_PREFIXES: Final = {"error": "provider down", "warning": "warning", "info": "found"}
Say = Callable[[str, tuple[str, ...]], None]


class _Ended(NamedTuple):
    """What a rehearsal said, and how it ended."""

    lines: tuple[tuple[str, str], ...]
    """Levels and texts."""
    how: str
    """What was wrong with its end, empty if nothing was."""


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
    return found, all(level != "error" for level, _ in ended.lines)


def _run(plan: Plan, role: Role, number: int, settings: object, rehearsal: Rehearsal) -> _Ended:
    """Run a process as a rehearsal, as long as one may take to start."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    answers, answering = os.pipe2(os.O_CLOEXEC)
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
            {0: null, 1: answering, CONTROL_DESCRIPTOR: theirs.fileno(), SETTINGS_DESCRIPTOR: document},
        )
    finally:
        for descriptor in (answering, null, document):
            os.close(descriptor)
        theirs.close()
    said, in_time = _read(answers, plan.broker.start_ms / 1000)
    os.close(answers)
    ours.close()
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    lines = tuple(_line(line) for line in said.decode(errors="replace").splitlines())
    return _Ended(lines, _how(status, lines, plan.broker.start_ms if not in_time else 0))


def _read(descriptor: int, patience: float) -> tuple[bytes, bool]:
    """Return what arrives until the other end is closed, and whether that was in time."""
    said, until = b"", time.monotonic() + patience
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(said) < _MOST:
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            return said, False
        part = os.read(descriptor, _MOST)
        if not part:
            break
        said += part
    return said, True


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
