"""Rehearsals: processes that do what they do at a start, up to the point where they would serve, and say how it went.

`cofferdam check --devices` starts them as the broker would, with the same descriptors, uid and settings, and with
further arguments, of which `rehearsal` is the first. A rehearsal makes nothing: no key, no folder, no file. What it
would have logged goes line by line, the level before a tab, to the descriptor that it was started with as stdout.
"""

import fcntl
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.entry import REHEARSAL, Start
from cofferdam_runtime.log import Log
from cofferdam_runtime.notices import ChildLog

_STDOUT: Final = 1
_STDERR: Final = 2
_HIGH: Final = 16
_UNKNOWN: Final = "?"
STORED: Final = "stored"
"""What stands in place of a level before what a key store has of a provider."""
_LEVELS: Final = frozenset({"error", "warning", "info"})
_OF_THE_SERVICE: Final = frozenset({"next_try"})
"""Values in lines of the log that are not so for a rehearsal."""


class Stored(NamedTuple):
    """What the key store has of one provider."""

    check: bytes
    """The check value of its key-encryption key, empty if there is none."""
    rows: int
    own_rows: int
    """Rows of its own form, which are encrypted."""


class Rehearsal(NamedTuple):
    """What a rehearsal is told."""

    login: bool = False
    """Whether to log in also where the attempt may be one of the last."""
    stored: Stored | None = None
    """What the key store has of the provider; None if that is unknown."""

    def words(self) -> tuple[str, ...]:
        """Return the arguments for the process."""
        stored = (_UNKNOWN,) if self.stored is None else (self.stored.check.hex(), *map(str, self.stored[1:]))
        return (REHEARSAL, "login" if self.login else "careful", *stored)

    @classmethod
    def of(cls, words: Sequence[str]) -> "Rehearsal":
        """Return what these arguments mean."""
        _, login, check, *numbers = words
        stored = None if check == _UNKNOWN else Stored(bytes.fromhex(check), *map(int, numbers))
        return cls(login == "login", stored)


class RehearsalLog(Log):
    """Says to whoever started the rehearsal what the process would log."""

    def __init__(self, component: str) -> None:
        super().__init__(component, LogSettings(level="info", timestamp=False))
        # A module may write to stdout as well.
        self._answers = fcntl.fcntl(_STDOUT, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        os.dup2(_STDERR, _STDOUT)

    def stored(self, uuid: str, stored: Stored) -> None:
        """Say what a key store has of a provider."""
        os.write(self._answers, f'{STORED}\t{uuid} "{stored.check.hex()}" {stored.rows} {stored.own_rows}\n'.encode())

    def _write(self, level: str, event: str, values: dict[str, object]) -> None:
        if level in _LEVELS:
            text = self.format(level, event, {n: v for n, v in values.items() if n not in _OF_THE_SERVICE})
            os.write(self._answers, f"{level}\t{text.partition(' event=')[2]}".encode("utf-8", "backslashreplace"))


def log_of(start: Start, component: str, settings: LogSettings) -> Log:
    """Return the log of a process, or of its rehearsal."""
    return RehearsalLog(component) if start.is_rehearsal else ChildLog(component, settings, start)
