"""Compares a parsed document with the tables: what is accepted, what is refused, what is merely unknown."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from cofferdam_config.errors import Report, describe, quote, show
from cofferdam_config.kinds import Choice
from cofferdam_config.positions import Path
from cofferdam_config.schema import Key, Table

_LONGEST_NAME: Final = 64
"""A longer name is no slip of the pen, and comparing it would take long."""

_ALIKE: Final = 0.8
"""How much of two names has to agree for one to be taken for the other."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The accepted values of one table, with the defaults of absent keys; refused ones are missing."""

    path: Path
    values: Mapping[str, object]
    arrays: Mapping[str, tuple["Section", ...]]

    def find(self, name: str, kind: type[T]) -> T | None:
        """Return a value, or None when it was refused or has neither been given nor a default."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is no {kind.__name__}")
        return value

    def get(self, name: str, kind: type[T]) -> T:
        """Return a value of a document in which nothing was refused."""
        value = self.find(name, kind)
        if value is None:
            raise KeyError(name)
        return value

    def text(self, name: str) -> str:
        """Return a string."""
        return self.get(name, str)

    def number(self, name: str) -> int:
        """Return an integer."""
        return self.get(name, int)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the strings of an array, none when it has not been given."""
        return tuple(self.find(name, list) or ())

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        return self.get(name, bool)


@dataclass(frozen=True, slots=True)
class Document:
    """The sections of all tables, by name."""

    sections: Mapping[str, tuple[Section, ...]]

    def one(self, table: Table) -> Section:
        """Return the section of a table that is no array; of an absent one, its defaults."""
        (section,) = self.sections[table.name]
        return section

    def all(self, table: Table) -> tuple[Section, ...]:
        """Return the sections of an array of tables, in order."""
        return self.sections[table.name]


def check_document(tree: Mapping[str, object], tables: tuple[Table, ...], report: Report) -> Document:
    """Check a parsed document against tables; refusals and warnings go to the report."""
    known = [table.name for table in tables]
    for name, value in tree.items():
        if name not in known:
            _warn_unknown((name,), "table" if isinstance(value, dict | list) else "key", known, report)
    return Document({table.name: _check_table(table, tree, (), report) for table in tables})


def _check_table(table: Table, parent: Mapping[str, object], path: Path, report: Report) -> tuple[Section, ...]:
    """Return the sections of a table in its parent: one, or as many as the array has."""
    path = (*path, table.name)
    value = parent.get(table.name)
    if value is None:
        if table.required:
            report.refuse(path, "nothing", _form(table))
        return () if table.is_array else (_section(table, {}, path, None),)
    if table.is_array:
        if not isinstance(value, list):
            report.refuse(path, describe(value), _form(table))
            return ()
        if table.required and not value:
            report.refuse(path, "no table", "at least one")
        return tuple(_items(table, value, path, report))
    if not isinstance(value, dict):
        report.refuse(path, describe(value), _form(table))
        return (_section(table, {}, path, None),)
    return (_section(table, value, path, report),)


def _items(table: Table, items: list[object], path: Path, report: Report) -> Iterator[Section]:
    for index, item in enumerate(items):
        if isinstance(item, dict):
            yield _section(table, item, (*path, index), report)
        else:
            report.refuse((*path, index), describe(item), "a table")


def _section(table: Table, value: Mapping[str, object], path: Path, report: Report | None) -> Section:
    """Return the section of one table; without a report, that of an absent or wrong one."""
    if report is None:
        return Section(path=path, values={key.name: key.default for key in table.keys}, arrays={})
    known = [*(key.name for key in table.keys), *(array.name for array in table.arrays)]
    for name in value:
        if name not in known:
            _warn_unknown((*path, name), "key", known, report)
    keys = _Keys(table=table, given=value, path=path, tag=_tag(table, value), report=report)
    return Section(
        path=path,
        values={key.name: keys.check(key) for key in table.keys},
        arrays={array.name: _check_table(array, value, path, report) for array in table.arrays},
    )


def _tag(table: Table, value: Mapping[str, object]) -> str | None:
    """Return the value that decides which keys matter, or None if it is not one that Parsec knows."""
    kind = next((key.kind for key in table.keys if key.name == table.tag), None)
    tag = value.get(table.tag)
    if isinstance(kind, Choice) and isinstance(tag, str) and (tag in kind.values or tag in kind.absent):
        return tag
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """The keys of one table."""

    table: Table
    given: Mapping[str, object]
    path: Path
    tag: str | None
    report: Report

    def check(self, key: Key) -> object:
        """Return the value of a key, or its default, or None when it is refused."""
        path = (*self.path, key.name)
        if key.only_for and self.tag is not None and self.tag not in key.only_for:
            # Parsec does not look at such a key at all, so neither its presence nor its value can be an error.
            if key.name in self.given:
                self.report.warn(path, f"has no effect with {self.table.tag} {quote(self.tag)}")
            return key.default
        if key.name not in self.given:
            if key.required and (not key.only_for or self.tag is not None):
                self.report.refuse(path, "nothing", key.kind.allowed)
            return key.default
        value = self.given[key.name]
        if key.kind.accepts(value):
            return value
        found = show(value) if key.shown else describe(value)
        self.report.refuse(path, found, key.kind.allowed + key.kind.remark(value))
        return None


def _form(table: Table) -> str:
    return f"an array of tables, [[{table.name}]]" if table.is_array else f"a table, [{table.name}]"


def _warn_unknown(path: Path, what: str, known: list[str], report: Report) -> None:
    name = str(path[-1])
    near = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE) if len(name) <= _LONGEST_NAME else []
    hint = f"; did you mean {near[0]}?" if near else ""
    report.warn(path, f"unknown {what}, ignored{hint}")
