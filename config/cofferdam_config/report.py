"""Refusals, warnings and lacks of a document, each with file, line and key.

The texts go to the log, so none of them may hold a secret of the configuration: values are printed only of settings
that the schema marks as shown; names are quoted and cut.
"""

import json
import re
from typing import Final

from cofferdam_config.source import ConfigError, Lines, Path

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_SHOWN: Final = 64
_MAX_BITS: Final = 64

_TYPES: Final = {
    bool: "true or false",
    int: "an integer",
    float: "a fraction",
    str: "a string",
    list: "an array",
    dict: "a table",
}


class Report:
    """Collects the errors of a document, the warnings about it, and what its providers need and do not find."""

    def __init__(self, *, file: str, lines: Lines) -> None:
        """Start empty, for a file with these lines."""
        self.file, self.lines = file, lines
        self._problems: list[tuple[int, str]] = []
        self._warnings: list[tuple[int, str]] = []
        self._lacks: list[tuple[int, str]] = []
        self._refused: set[Path] = set()

    def refuse(self, path: Path, found: str, allowed: str) -> None:
        """Record an error: the document cannot be used."""
        self._refused.add(path)
        self._problems.append(self._entry(path, f"found {found}, allowed: {allowed}"))

    def is_refused(self, path: Path) -> bool:
        """Tell whether a value was refused, so that the setting only seems to be absent."""
        return path in self._refused

    def warn(self, path: Path, text: str) -> None:
        """Record what an operator should know; the document can be used."""
        self._warnings.append(self._entry(path, text))

    def lack(self, path: Path, text: str) -> None:
        """Record what a provider cannot work without; the document can be used, and the others are served."""
        self._lacks.append(self._entry(path, text))

    def raise_problems(self) -> None:
        """Raise one `ConfigError` with all errors, if there are any."""
        if self._problems:
            raise ConfigError(_in_order(self._problems), self.warnings())

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings in the order of the file."""
        return _in_order(self._warnings)

    def lacks(self) -> tuple[str, ...]:
        """Return what providers lack, in the order of the file."""
        return _in_order(self._lacks)

    def _entry(self, path: Path, text: str) -> tuple[int, str]:
        line = self.lines.of(path)
        return line, f"{self.file}:{line}: {key_path(path)}: {text}" if path else f"{self.file}: {text}"


def key_path(path: Path) -> str:
    """Return a path as text: names with dots between them, indices in brackets."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def _name(part: str) -> str:
    return part if _BARE_KEY.fullmatch(part) else quote(part)


def quote(text: str) -> str:
    """Return a string as one line of ASCII in quotes, cut when it is long."""
    return json.dumps(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")


def describe(value: object) -> str:
    """Return the type of a TOML value, and nothing of the value itself."""
    return _TYPES.get(type(value), "a date or time")


def show(value: object) -> str:
    """Return a TOML value as text; of arrays, tables and dates only what they are."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _MAX_BITS else f"an integer of more than {_MAX_BITS} bits"
    if isinstance(value, float):
        return repr(value)
    return describe(value)


def _in_order(entries: list[tuple[int, str]]) -> tuple[str, ...]:
    """Return the texts sorted by line; those of one line keep their order."""
    return tuple(text for _, text in sorted(entries, key=lambda entry: entry[0]))
