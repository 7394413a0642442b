"""On which line each key of a TOML document stands.

`tomllib` says what a document contains and, for syntax errors, where; it does not say where a value came from. This
scanner says only that. It is given documents that `tomllib` has accepted, so it does not look for errors, and it takes
the names of quoted keys from `tomllib` too. Source: TOML 1.0.0.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands: names of keys, and indices into arrays."""

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


class Lines:
    """The line of every key and array element of a document."""

    def __init__(self, source: str) -> None:
        """Scan a document that `tomllib` accepts.

        Raises:
            RecursionError: Arrays or inline tables are nested too deeply.
        """
        text = source.replace("\r\n", "\n")
        starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[Path, int] = {}
        for path, offset in _Scanner(text).entries():
            self._lines.setdefault(path, bisect_right(starts, offset))

    @property
    def known(self) -> Mapping[Path, int]:
        """All paths with their lines, from 1."""
        return self._lines

    def of(self, path: Path) -> int:
        """Return the line of a path, or of the nearest table around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


class _Scanner:
    """Walks over a valid document once and yields each path with its offset, tables before what is in them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._sizes: dict[Path, int] = {}
        """Tables so far in each array of tables that has headers."""

    def entries(self) -> Iterator[tuple[Path, int]]:
        """Yield what the document defines, in its order; a path may come several times."""
        table: Path = ()
        while self._skip(_GAP) < len(self._text):
            start = self._at
            if self._take("["):
                table = self._header()
                yield from _with_parents(table, (), start)
            else:
                yield from self._pair(table)

    def _header(self) -> Path:
        is_array = self._take("[")
        names = self._key()
        self._at += 2 if is_array else 1
        path: Path = ()
        for name in names[:-1]:
            path = self._latest((*path, name))
        path = (*path, names[-1])
        if not is_array:
            return self._latest(path)
        self._sizes[path] = self._sizes.get(path, 0) + 1
        return self._latest(path)

    def _latest(self, path: Path) -> Path:
        """Return the path of a table; of an array of tables, that of its last one so far."""
        size = self._sizes.get(path)
        return path if size is None else (*path, size - 1)

    def _pair(self, table: Path) -> Iterator[tuple[Path, int]]:
        start = self._at
        path = (*table, *self._key())
        self._at += 1
        yield from _with_parents(path, table, start)
        self._skip(_BLANK)
        yield from self._value(path)

    def _value(self, path: Path) -> Iterator[tuple[Path, int]]:
        if self._take("["):
            yield from self._array(path)
        elif self._take("{"):
            yield from self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: Path) -> Iterator[tuple[Path, int]]:
        index = 0
        while True:
            self._skip(_GAP)
            if self._take("]"):
                return
            yield (*path, index), self._at
            yield from self._value((*path, index))
            index += 1
            self._skip(_GAP)
            self._take(",")

    def _inline_table(self, path: Path) -> Iterator[tuple[Path, int]]:
        while True:
            self._skip(_GAP)
            if self._take("}"):
                return
            yield from self._pair(path)
            self._skip(_GAP)
            self._take(",")

    def _key(self) -> tuple[str, ...]:
        """Read a key with its dots, and the blanks after it."""
        names: list[str] = []
        while True:
            start = self._skip(_BLANK)
            end = self._skip(_KEY_PART)
            names.append(_name(self._text[start:end]))
            self._skip(_BLANK)
            if not self._take("."):
                return tuple(names)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Pass what the pattern matches here, and return where that ends."""
        match = pattern.match(self._text, self._at)
        if match is None:
            raise AssertionError("the scanner and tomllib disagree about the document")
        self._at = match.end()
        return self._at

    def _take(self, mark: str) -> bool:
        """Pass a mark if it is the next character."""
        if not self._text.startswith(mark, self._at):
            return False
        self._at += 1
        return True


def _with_parents(path: Path, known: Path, offset: int) -> Iterator[tuple[Path, int]]:
    """Yield a path and the tables between `known` and it, which a dotted name defines by the way."""
    for length in range(len(known) + 1, len(path) + 1):
        yield path[:length], offset


def _name(part: str) -> str:
    if part[0] not in "\"'":
        return part
    (name,) = tomllib.loads(f"{part} = 0")
    return name
