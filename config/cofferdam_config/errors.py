"""What the reader says about a document: refusals and warnings, each with its place.

The texts go to the log, so none of them may hold a secret of the configuration: values are shown only for keys that
the schema marks, names are quoted and cut.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cofferdam_config.positions import Lines, Path

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_SHOWN: Final = 64
_MAX_BITS: Final = 64

_TYPE_NAMES: Final = {
    bool: "true or false",
    int: "an integer",
    float: "a fraction",
    str: "a string",
    list: "an array",
    dict: "a table",
}


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has one line of text for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Take the reasons, in the order of the file."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(slots=True, kw_only=True)
class Report:
    """Collects what is wrong with a document and what is only odd."""

    file: str
    lines: Lines
    _problems: list[tuple[int, str]] = field(default_factory=list)
    _warnings: list[tuple[int, str]] = field(default_factory=list)
    _refused: set[Path] = field(default_factory=set)

    def refuse(self, path: Path, found: str, allowed: str) -> None:
        """Note a value that stops the service from using the document."""
        self._refused.add(path)
        self._problems.append(self._entry(path, f"found {found}, allowed: {allowed}"))

    def is_refused(self, path: Path) -> bool:
        """Tell whether a value stands there that was refused, so that there seems to be none."""
        return path in self._refused

    def warn(self, path: Path, text: str) -> None:
        """Note what an operator should know; the document can be used."""
        self._warnings.append(self._entry(path, text))

    def raise_problems(self) -> None:
        """Raise one `ConfigError` with everything that was refused, if anything was."""
        if self._problems:
            raise ConfigError(_in_order(self._problems))

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings in the order of the file."""
        return _in_order(self._warnings)

    def _entry(self, path: Path, text: str) -> tuple[int, str]:
        line = self.lines.of(path)
        return line, f"{self.file}:{line}: {key_path(path)}: {text}"


def key_path(path: Path) -> str:
    """Return a path as text: names with dots between them, indices in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else quote(part))
    return text


def quote(text: str) -> str:
    """Return a string as one line of ASCII in quotes, cut when it is long."""
    return json.dumps(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")


def describe(value: object) -> str:
    """Return the type of a TOML value, and nothing of the value itself."""
    return _TYPE_NAMES.get(type(value), "a date or time")


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
    """Return the texts by line, those of one line as they came."""
    return tuple(text for _, text in sorted(entries, key=lambda entry: entry[0]))
