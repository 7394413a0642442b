"""What the service says of itself: the status document for its readers, and one line for the service manager.

Both name the configuration, the last reload, and the providers that are down. A reload that is asked for while another
change is under way begins after it; several that wait become one. Whoever asks reads `asked`, sends SIGHUP, and waits
until `done` is greater: that reload began after the question.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from cofferdam_contracts.ipc.control import Level, bounded
from cofferdam_runtime.backoff import History
from cofferdam_runtime.conditions import Conditions
from cofferdam_runtime.notify import Notifier
from cofferdam_runtime.pulse import Pulse

_MOST_STATUS: Final = 1024
"""Bytes of the line for the service manager, of each line that says why a reload was refused, and of the file's path.

What prints is UTF-8 and has no line breaks, which the service manager takes for another assignment.
"""


class _Spawned(Protocol):
    @property
    def pid(self) -> int: ...


class _Process(Protocol):
    key: Any
    title: str
    uid: int | None
    principal: int | None
    ready: bool
    stopping: bool
    level: Level
    landlock_abi: int
    pulse: Pulse
    started: float

    @property
    def spawned(self) -> _Spawned: ...


class Reports:
    """The service's reports; times are those of the monotonic clock in seconds."""

    def __init__(self, path: str, notifier: Notifier) -> None:
        """Report on the service of a configuration file, to this service manager; nothing is loaded yet."""
        self._path = bounded(path, _MOST_STATUS)
        self._notifier = notifier
        self.conditions = Conditions((), 0.0)
        """Of the providers that are served now."""
        self._asked = self._begun = self._done = 0
        self._loaded: float | None = None
        self._ended: float | None = None
        self._refused: tuple[str, ...] = ()

    def ask(self) -> None:
        """Note that a reload was asked for."""
        self._asked += 1

    def begin(self) -> None:
        """Report that a reload begins, which is the answer to all questions until now."""
        self._begun = self._asked
        self._notifier.reloading()

    def end(self, refused: Sequence[str]) -> bool:
        """Report the end of a reload or of the start, and what was wrong; tell whether another reload is to begin."""
        now = time.monotonic()
        if not refused:
            self._loaded = now
        if self._done < self._begun:
            self._done, self._ended = self._begun, now
            self._refused = tuple(bounded(text, _MOST_STATUS) for text in refused)
        self._notifier.ready(self._line())
        return self._asked > self._done

    def repeat(self) -> None:
        """Report to the service manager what is news, unless a reload is under way."""
        self._notifier.status(self._line())

    def document(
        self, phase: str, processes: Iterable[_Process], histories: Mapping[Any, History], *, whole: bool
    ) -> bytes:
        """Return the status as JSON (docs/reference/status.md); whose uid a frontend serves only in the whole of it."""
        now = time.monotonic()
        outcome = None if self._ended is None else "refused" if self._refused else "taken over"
        last = {"outcome": outcome, "ended_s": _age(self._ended, now), "problems": self._refused}
        rows = self.conditions.rows(now)
        service = {
            "phase": phase,
            "configuration": {"file": self._path, "loaded_s": _age(self._loaded, now)},
            "reload": {"asked": self._asked, "done": self._done, **last},
            "providers": rows[:-1],
            "key_store": rows[-1] if rows else None,
            "processes": [_row(one, histories[one.key].total, now, whole=whole) for one in processes],
        }
        return json.dumps(service).encode()

    def _line(self) -> str:
        refused = f"; reload refused: {self._refused[0]}" if self._refused else ""
        return bounded(f"Serving{self.conditions.summary()}{refused}", _MOST_STATUS)


def _age(then: float | None, now: float) -> float | None:
    return None if then is None else round(now - then, 1)


def _row(process: _Process, restarts: int, now: float, *, whole: bool) -> dict[str, Any]:
    return {
        "role": process.title,
        "pid": process.spawned.pid,
        "uid": process.uid,
        "principal": process.principal if whole else None,
        "level": process.level.name.lower() if process.ready else None,
        "landlock_abi": process.landlock_abi if process.ready else None,
        "state": _state(process),
        "requests": process.pulse.served,
        "in_flight": process.pulse.in_flight,
        "restarts": restarts,
        "uptime_s": round(now - process.started, 1),
    }


def _state(process: _Process) -> str:
    states = {"stopping": process.stopping, "starting": not process.ready, "asked": process.pulse.asked, "ready": True}
    return next(state for state, holds in states.items() if holds)
