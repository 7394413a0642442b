"""One line per event, to stderr, in logfmt: time, level, component, event, then key=value pairs.

Under systemd the line begins with the syslog priority instead of the time (sd-daemon(3)), and the journal keeps both.
Values are escaped, so that no client text can forge a line. Application names, key names and causes are shown only
when `log_error_details` is set. A process may log `BURST` lines at once and `RATE` lines a second; it drops further
lines and logs how many.
"""

import os
import time
from collections.abc import Mapping
from typing import Final

from cofferdam_contracts.settings import LogSettings

LEVELS: Final = {"off": 0, "error": 1, "warning": 2, "info": 3, "debug": 4}
_PRIORITY: Final = {"error": 3, "warning": 4, "info": 6, "debug": 7}
_STDERR: Final = 2
BURST: Final = 500
RATE: Final = 100
_MAX_VALUE: Final = 1024
_NOT_SAID: Final = frozenset({"cause", "next_try"})


def escaped(value: object) -> str:
    """Return a value in one word or in quotes, cut to its maximum, without characters that do not print."""
    text = str(value)
    if len(text) > _MAX_VALUE:
        text = text[:_MAX_VALUE] + "…"
    if text and text.isascii() and text.isprintable() and not any(mark in text for mark in " \"'=\\"):
        return text
    quoted = "".join(
        mark if mark.isprintable() and mark not in '"\\' else f"\\{mark}" if mark in '"\\' else f"\\u{ord(mark):04x}"
        for mark in text
    )
    return f'"{quoted}"'


def sentence(event: str, values: Mapping[str, object]) -> str:
    """Return an event and its values in words; without the next try, which goes on changing."""
    rest = (f"{name} {value}".removeprefix("remedy ") for name, value in values.items() if name not in _NOT_SAID)
    return "; ".join([f"{event}: {values['cause']}" if "cause" in values else event, *rest])


class Log:
    """The log of one process."""

    def __init__(self, component: str, settings: LogSettings | None = None) -> None:
        """Log as `component`; without settings, warnings and errors with times."""
        settings = settings or LogSettings()
        self._component = component
        self._level = LEVELS.get(settings.level, LEVELS["warning"])
        self.details = settings.details
        self._journal = is_journal()
        self._timestamp = settings.timestamp and not self._journal
        self._tokens = float(BURST)
        self._refilled = time.monotonic()
        self._dropped = 0

    def error(self, event: str, **values: object) -> str:
        """Log an event that an operator has to act on; return it as a sentence."""
        self._write("error", event, values)
        return sentence(event, values)

    def warning(self, event: str, **values: object) -> str:
        """Log an event that an operator should know of; return it as a sentence."""
        self._write("warning", event, values)
        return sentence(event, values)

    def notice(self, event: str, **values: object) -> None:
        """Log a warning about a state that lasts; a child whose predecessor has logged it does not repeat it."""
        self.warning(event, **values)

    def info(self, event: str, **values: object) -> None:
        """Log what the service does: starts, stops, changes of keys."""
        self._write("info", event, values)

    def debug(self, event: str, **values: object) -> None:
        """Log single requests."""
        self._write("debug", event, values)

    def enabled(self, level: str) -> bool:
        """Tell whether lines of this level are written."""
        return LEVELS[level] <= self._level

    def detail(self, **values: object) -> dict[str, object]:
        """Return the values if sensitive details may be logged, else an empty dictionary."""
        return values if self.details else {}

    def _write(self, level: str, event: str, values: dict[str, object]) -> None:
        if LEVELS[level] > self._level or not self._take():
            return
        line = self.format(level, event, values)
        try:
            os.write(_STDERR, line.encode("utf-8", "backslashreplace"))
        except OSError:
            self._dropped += 1

    def format(self, level: str, event: str, values: dict[str, object]) -> str:
        """Return the line of an event."""
        pairs = "".join(f" {name}={escaped(value)}" for name, value in values.items())
        head = f"<{_PRIORITY[level]}>" if self._journal else ""
        if self._timestamp:
            now = time.time()
            head = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z "
        return f"{head}level={level} component={self._component} event={escaped(event)}{pairs}\n"

    def _take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._refilled) * RATE)
        self._refilled = now
        if self._tokens < 1:
            self._dropped += 1
            return False
        self._tokens -= 1
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            # At the level "error" nothing else would tell of it.
            level = self.warning if self.enabled("warning") else self.error
            level("log lines were dropped", count=dropped)
        return True


def is_journal() -> bool:
    """Tell whether stderr is the journal's stream: JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        state = os.fstat(_STDERR)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{state.st_dev}:{state.st_ino}"
