"""The scanner finds every key on the line it was written on, however it was written."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofferdam_config.source import Lines, Path


def _paths(value: object, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _paths(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, (*path, index))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", {}),
        ("# only = a comment", {}),
        ("a = 1", {("a",): 1}),
        ("\n\n  a=1  # b = 2\n\tc\t=\t2", {("a",): 3, ("c",): 4}),
        ("a = 1\r\nb = 2\r\n", {("a",): 1, ("b",): 2}),
        ('"a b" = 1\n\'c.d\' = 2\n"e\\"\\u0041" = 3', {("a b",): 1, ("c.d",): 2, ('e"A',): 3}),
        ("'' . '#' = 2", {("",): 1, ("", "#"): 1}),
        ("a . b = 1\na.c = 2", {("a",): 1, ("a", "b"): 1, ("a", "c"): 2}),
        ("[a]\nb = 1\n[a.c]\nd = 2", {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", "d"): 4}),
        ("[ x . 'y' ] # z\n", {("x",): 1, ("x", "y"): 1}),
        ("[a.b]\n[a]\nc = 1", {("a",): 1, ("a", "b"): 1, ("a", "c"): 3}),
        (
            "[[a]]\nx = 1\n[[a]]\n[a.b]\ny = 2\n[[a.c]]\n[[a.c]]\n[a.c.d]",
            {
                ("a",): 1,
                ("a", 0): 1,
                ("a", 0, "x"): 2,
                ("a", 1): 3,
                ("a", 1, "b"): 4,
                ("a", 1, "b", "y"): 5,
                ("a", 1, "c"): 6,
                ("a", 1, "c", 0): 6,
                ("a", 1, "c", 1): 7,
                ("a", 1, "c", 1, "d"): 8,
            },
        ),
        (
            'a = [ # ]\n  "]", 2,\n  [3,\n4], ]\nb = 5',
            {("a",): 1, ("a", 0): 2, ("a", 1): 2, ("a", 2): 3, ("a", 2, 0): 3, ("a", 2, 1): 4, ("b",): 5},
        ),
        (
            "a = [ { b = '}' },\n  { b.c = [\n1] } ]\nd = {}",
            {
                ("a",): 1,
                ("a", 0): 1,
                ("a", 0, "b"): 1,
                ("a", 1): 2,
                ("a", 1, "b"): 2,
                ("a", 1, "b", "c"): 2,
                ("a", 1, "b", "c", 0): 3,
                ("d",): 4,
            },
        ),
        ('a = """\nb = 1\n[c]\n\\""" " """\nd = 2', {("a",): 1, ("d",): 5}),
        ('a = """x"""""\nb = """"y"""\nc = ""\nd = """"""', {("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4}),
        ("a = '''\nb = 1\n\\''''\nc = ''\nd = '''''x'''''", {("a",): 1, ("c",): 4, ("d",): 5}),
        ('a = "#\\\\" # "\nb = \'\\\'\nc = 3', {("a",): 1, ("b",): 2, ("c",): 3}),
        ("a = 1979-05-27 07:32:00Z\nb = -inf", {("a",): 1, ("b",): 2}),
    ],
)
def test_lines(text: str, lines: dict[Path, int]) -> None:
    assert dict(Lines(text).known) == lines
    assert set(_paths(tomllib.loads(text))) == set(lines)


def test_a_path_that_is_not_there_gets_the_line_of_the_table_around_it() -> None:
    lines = Lines("\n[a]\n\n[[a.b]]\n")
    assert lines.of(("a", "x", "y")) == 2
    assert lines.of(("a", "b", 0, "x")) == 4
    assert lines.of(("a", "b", 7)) == 4
    assert lines.of(("z",)) == 1
    assert lines.of(()) == 1


def test_scanning_what_the_parser_refuses_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="disagree"):
        Lines("=")


_NAMES = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True),
    st.text(alphabet=st.sampled_from("ab.#=[]{}\"'\\\n\t é"), max_size=5),
)
_TEXTS = st.text(alphabet=st.sampled_from("ab#=[]{},\"'\\\n é"), max_size=12)
_COMMENTS = st.sampled_from(["", "  # a = 1", ' # "', " # '''", " # [x]", "\t# ]}"])
_INTERLUDES = st.sampled_from(["", "\n", "# b = 2\n", '\n   \n# [[c]] """\n', "\t\n"])
_VALUES = st.recursive(
    st.one_of(st.integers(-99, 99), st.booleans(), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3)),
    max_leaves=6,
)


@dataclass
class _Writer:
    """Writes TOML in forms that Hypothesis chooses, and keeps the line of everything it writes."""

    draw: st.DrawFn
    text: str = ""
    lines: dict[Path, int] = field(default_factory=dict)

    def document(self) -> None:
        self._pairs(())
        self._tables((), (), 0)

    def _mark(self, path: Path) -> None:
        """Note that a path, and the tables around it that are not there yet, begin here."""
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], self.text.count("\n") + 1)

    def _end(self) -> None:
        self.text += self.draw(_COMMENTS) + "\n" + self.draw(_INTERLUDES)

    def _new_names(self, path: Path) -> list[str]:
        names = self.draw(st.lists(_NAMES, max_size=3, unique=True))
        return [name for name in names if (*path, name) not in self.lines]

    def _pairs(self, path: Path) -> None:
        for name in self._new_names(path):
            if self.draw(st.booleans()):
                self._dotted((*path, name))
            else:
                self._pair((*path, name), [name])
            self._end()

    def _dotted(self, path: Path) -> None:
        names = [str(path[-1]), *self.draw(st.lists(_NAMES, min_size=1, max_size=2))]
        self._pair((*path[:-1], *names), names)

    def _pair(self, path: Path, names: list[str]) -> None:
        self._mark(path)
        self.text += f"{self._key(names)}{self.draw(st.sampled_from(['=', ' = ', chr(9) + '=']))}"
        self._value(path, self.draw(_VALUES))

    def _tables(self, path: Path, header: tuple[str, ...], depth: int) -> None:
        for name in self._new_names(path):
            names = (*header, name)
            if self.draw(st.booleans()):
                self._table((*path, name), names, f"[{self._key(names)}]", depth)
                continue
            for index in range(self.draw(st.integers(1, 3))):
                self._table((*path, name, index), names, f"[[{self._key(names)}]]", depth)

    def _table(self, path: Path, names: tuple[str, ...], header: str, depth: int) -> None:
        self._mark(path)
        self.text += header
        self._end()
        self._pairs(path)
        if depth < 2:
            self._tables(path, names, depth + 1)

    def _key(self, names: list[str] | tuple[str, ...]) -> str:
        return self.draw(st.sampled_from([".", " . ", "\t."])).join(self._name(name) for name in names)

    def _name(self, name: str) -> str:
        forms = [json.dumps(name)]
        if name and all(mark.isascii() and (mark.isalnum() or mark in "_-") for mark in name):
            forms.append(name)
        if not set(name) & set("'\n\x7f"):
            forms.append(f"'{name}'")
        return self.draw(st.sampled_from(forms))

    def _value(self, path: Path, value: object) -> None:
        if isinstance(value, list):
            self._items(path, value)
        elif isinstance(value, dict):
            self._inline(path, value)
        elif isinstance(value, str):
            self.text += self._string(value)
        else:
            self.text += json.dumps(value)

    def _string(self, value: str) -> str:
        forms = [json.dumps(value), '"""\n' + value.replace("\\", "\\\\").replace('"', '\\"') + '"""']
        if "'" not in value:
            forms.append(f"'''{value}'''" if "\n" in value else f"'{value}'")
        if '"' not in value and "\\" not in value:
            forms.append(f'"""{value}"""')
        return self.draw(st.sampled_from(forms))

    def _items(self, path: Path, items: list[object]) -> None:
        self.text += "["
        for index, item in enumerate(items):
            self.text += self.draw(st.sampled_from(["", " ", "\n", ' # ] "\n  ']))
            self._mark((*path, index))
            self._value((*path, index), item)
            last = index == len(items) - 1
            self.text += self.draw(st.sampled_from(["", " ", "\n", "# [\n"]))
            self.text += "" if last and self.draw(st.booleans()) else ","
        self.text += self.draw(st.sampled_from(["", "\n"])) + "]"

    def _inline(self, path: Path, table: dict[str, object]) -> None:
        self.text += "{ "
        for index, (name, item) in enumerate(table.items()):
            self.text += ", " if index else ""
            self._mark((*path, name))
            self.text += f"{self._key([name])} = "
            self._value((*path, name), item)
        self.text += " }"


@st.composite
def _documents(draw: st.DrawFn) -> tuple[str, dict[Path, int]]:
    writer = _Writer(draw)
    writer.document()
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return writer.text.replace("\n", newline), writer.lines


@settings(max_examples=60, deadline=None)
@given(_documents())
def test_every_key_is_found_where_it_was_written(document: tuple[str, dict[Path, int]]) -> None:
    text, lines = document
    assert set(_paths(tomllib.loads(text))) == set(lines)
    assert dict(Lines(text).known) == lines


_FRAGMENTS = st.sampled_from(
    [
        *("[", "]", "[[", "]]", "{", "}", "a", "b.c", "=", " = ", ".", ",", "#", "\\", "1", "é"),
        *('"', "'", '"""', "'''", "\n", "\r\n", " ", "\t"),
        *("[a]\n", "[[b]]\n", "[b.a]\n", "x = 1\n", "y = [1,\n2]\n", 'z = """\n', "w = {a = 1}\n"),
    ]
)


@given(st.lists(_FRAGMENTS, max_size=25).map("".join))
def test_whatever_the_parser_accepts_is_understood_the_same_way(text: str) -> None:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(Lines(text).known) == set(_paths(tree))
