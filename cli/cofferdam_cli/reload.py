"""`cofferdam reload`: ask the service to read its configuration again, and wait for what becomes of it.

SIGHUP asks; the status says which questions are answered (`docs/reference/status.md`).
"""

import os
import signal
import time
from typing import Final

from cofferdam_cli.status import DOWN, Answer, ServiceStatus, StatusError, fetch, parse

_PATIENCE_S: Final = 300.0
"""Longest wait for a reload, in which every process is replaced."""
_POLL_S: Final = 0.05
REFUSED: Final = 1


class ReloadError(Exception):
    """Raised when the service cannot be asked, or ends before it answers."""


def reload(path: str, config: str | None = None) -> tuple[str, int]:
    """Reload the service with a status socket at a path; return the outcome as text, and the exit status.

    Raises:
        StatusError: The status cannot be read.
        ReloadError: The service has another configuration file than this one, cannot be asked, or ends before it
            answers.
    """
    process = _open(fetch(path))
    try:
        # Only now its process id cannot become that of another process.
        before, pid = fetch(path)
        status = parse(before)
        if config is not None:
            _refuse_another(config, status.configuration.file, pid)
        asked = status.reload.asked
        try:
            signal.pidfd_send_signal(process, signal.SIGHUP)
        except PermissionError as error:
            raise ReloadError(f"you may not signal process {pid}; reload as root, or as who started it") from error
        except ProcessLookupError as error:
            raise ReloadError("the service has just ended") from error
        return _outcome(_wait(path, asked))
    finally:
        os.close(process)


def _refuse_another(config: str, file: str, pid: int) -> None:
    """Refuse a configuration that the service does not read at a reload; nothing is said of files out of reach."""
    # The service may see other files than this process; a normal user may not look with its eyes.
    for seen in (f"/proc/{pid}/root{file}", file):
        try:
            is_same = os.path.samefile(config, seen)
        except OSError:
            continue
        if not is_same:
            raise ReloadError(
                f"the service reads {file} at a reload, not {config}; change that file, or restart with this one"
            )
        return


def _open(answer: Answer) -> int:
    if answer.pid == 0:
        raise ReloadError("the service runs in another container; reload it there")
    try:
        return os.pidfd_open(answer.pid)
    except ProcessLookupError as error:
        raise ReloadError("the service has just ended") from error


def _wait(path: str, asked: int) -> ServiceStatus:
    """Return the status after a reload that began after so many had been asked for."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            status = parse(fetch(path).document)
        except StatusError as error:
            raise ReloadError(f"the service ended during the reload; see its log ({error})") from error
        if status.reload.done > asked:
            return status
        time.sleep(_POLL_S)
    raise ReloadError(f"no end of the reload within {_PATIENCE_S:g} s; see `cofferdam status`, and the log")


def _outcome(status: ServiceStatus) -> tuple[str, int]:
    if status.reload.outcome == "refused":
        lines = [f"refused, the old configuration goes on: {status.configuration.file}", *status.reload.problems]
        return "\n".join(lines) + "\n", REFUSED
    down = [f"{one.name} is down: {one.cause}" for one in status.down()]
    return "\n".join([f"taken over: {status.configuration.file}", *down]) + "\n", DOWN if down else 0
