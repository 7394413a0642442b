"""From the bytes of a configuration file to its tree of values and the line of each of them.

`tomllib` says what a document contains and, for syntax errors, where; it does not say where a value came from. The
scanner below says only that. It gets documents that `tomllib` has accepted, so it does not look for errors, and it
takes the names of quoted keys from `tomllib` too. Source: TOML 1.0.0.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

MAX_DOCUMENT: Final = 256 * 1024
"""Bytes of the largest document."""
_TWICE: Final = ("Cannot overwrite", "Cannot declare")
"""How the parser's reasons begin when something is there twice."""
_MAX_REASON: Final = 200
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
_GAP: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
"""White space and comments, over any number of lines."""
_BLANK: Final = re.compile(r"[ \t]*")
_KEY_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*'""")
_SCALAR: Final = re.compile(
    r'''
      """ (?: \\. | [^\\] )*? """ "{0,2}    # up to two quotes more belong to the text
    | \'\'\' .*? \'\'\' '{0,2}
    | " (?: \\. | [^"\\] )* "
    | ' [^']* '
    | [^,\]}\#\n]+                          # a number, a boolean, a date
    ''',
    re.VERBOSE | re.DOTALL,
)
Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands: names of keys, and indices into arrays."""


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has one line of text for each reason, in the order of the file.

    `warnings` has what else was found: a table whose name is misspelt is unknown, and the right one is missing.
    """

    def __init__(self, problems: Sequence[str], warnings: Sequence[str] = ()) -> None:
        super().__init__("\n".join(problems))
        self.problems, self.warnings = tuple(problems), tuple(warnings)


class Lines:
    """The line of every key and array element of a document, from 1."""

    def __init__(self, source: str) -> None:
        """Scan a document that `tomllib` accepts.

        Raises:
            RecursionError: Arrays or inline tables are nested too deeply.
        """
        text = source.replace("\r\n", "\n")
        starts = [0, *(match.end() for match in re.finditer("\n", text))]
        offsets = _Scanner(text).offsets()
        self.known: Mapping[Path, int] = {path: bisect_right(starts, offset) for path, offset in offsets.items()}

    def of(self, path: Path) -> int:
        """Return the line of a path, or of the nearest table around it."""
        while path and path not in self.known:
            path = path[:-1]
        return self.known.get(path, 1)


def parse(document: bytes, file: str) -> tuple[dict[str, object], Lines]:
    """Parse a document.

    Raises:
        ConfigError: It is not TOML, or larger than any configuration.
    """
    if len(document) > MAX_DOCUMENT:
        raise ConfigError([f"{file}:1: found a larger file, allowed: at most {MAX_DOCUMENT} bytes"])
    parsed = _parse(document.removeprefix(b"\xef\xbb\xbf"), file)
    # Raised out here, because the exceptions of the parsers hold the document and with it the secrets in it.
    if isinstance(parsed, str):
        raise ConfigError([parsed])
    return parsed


def _parse(document: bytes, file: str) -> tuple[dict[str, object], Lines] | str:
    """Return the tree and its lines, or the text of the problem."""
    try:
        text = document.decode()
    except UnicodeDecodeError as error:
        before = document[: error.start].decode()
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
        return f"{file}:{line}:{column}: found bytes that are not UTF-8, allowed: TOML in UTF-8"
    try:
        return tomllib.loads(text), Lines(text)
    except tomllib.TOMLDecodeError as error:
        return _syntax_problem(str(error), text, file)
    except RecursionError:
        return f"{file}:1: found arrays or tables nested too deeply"
    except ValueError:
        # Python limits the digits of an integer it converts (sys.set_int_max_str_digits).
        return f"{file}:1: found an integer of thousands of digits, allowed: 64 bits"


def _syntax_problem(message: str, text: str, file: str) -> str:
    """Return the parser's message with the place in front."""
    place = _PLACE.search(message)
    # Some reasons name a key, and a key can be of any length.
    reason = _PLACE.sub("", message)[:_MAX_REASON]
    if reason.startswith(_TWICE):
        reason += "; a key or table can be there once only, so put the two together"
    if place and place[1]:
        return f"{file}:{place[1]}:{place[2]}: not TOML: {reason}"
    last = text.rstrip("\n").count("\n") + 1
    return f"{file}:{last}: not TOML: {reason} (at the end of the document)"


class _Scanner:
    """Walks over a valid document once and records where each path is first defined."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._offsets: dict[Path, int] = {}
        self._sizes: dict[Path, int] = {}
        """Tables so far in each array of tables that has headers."""

    def offsets(self) -> Mapping[Path, int]:
        """Return the offset of each path in the text."""
        table: Path = ()
        while self._skip(_GAP) < len(self._text):
            start = self._at
            if self._take("["):
                table = self._header()
                self._define(table, start)
            else:
                self._pair(table)
        return self._offsets

    def _define(self, path: Path, offset: int, around: int = 0) -> None:
        """Record a path, and the tables in it beyond the first `around` names, which a dotted name defines as well."""
        for length in range(around + 1, len(path) + 1):
            self._offsets.setdefault(path[:length], offset)

    def _header(self) -> Path:
        is_array = self._take("[")
        *parents, last = self._key()
        self._at += 2 if is_array else 1
        path: Path = ()
        for name in parents:
            path = self._latest((*path, name))
        path = (*path, last)
        if is_array:
            self._sizes[path] = self._sizes.get(path, 0) + 1
        return self._latest(path)

    def _latest(self, path: Path) -> Path:
        """Return the path of a table; of an array of tables, that of its last one so far."""
        size = self._sizes.get(path)
        return path if size is None else (*path, size - 1)

    def _pair(self, table: Path) -> None:
        start = self._at
        path = (*table, *self._key())
        self._at += 1
        self._define(path, start, len(table))
        self._skip(_BLANK)
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._take("["):
            self._items(path, "]")
        elif self._take("{"):
            self._items(path, "}")
        else:
            self._skip(_SCALAR)

    def _items(self, path: Path, end: str) -> None:
        """Read what is in an array or an inline table."""
        index = 0
        while True:
            self._skip(_GAP)
            if self._take(end):
                return
            if end == "]":
                self._offsets.setdefault((*path, index), self._at)
                self._value((*path, index))
            else:
                self._pair(path)
            index += 1
            self._skip(_GAP)
            self._take(",")

    def _key(self) -> list[str]:
        """Read a key with its dots, and the blanks after it."""
        names: list[str] = []
        while not names or self._take("."):
            start = self._skip(_BLANK)
            names.append(_name(self._text[start : self._skip(_KEY_PART)]))
            self._skip(_BLANK)
        return names

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Pass what the pattern matches here, and return where that ends."""
        match = pattern.match(self._text, self._at)
        if match is None:
            raise AssertionError("the scanner and tomllib disagree about the document")
        self._at = match.end()
        return self._at

    def _take(self, mark: str) -> bool:
        """Pass a mark if it is the next character."""
        found = self._text.startswith(mark, self._at)
        self._at += found
        return found


def _name(part: str) -> str:
    if part[0] not in "\"'":
        return part
    (name,) = tomllib.loads(f"{part} = 0")
    return name
