"""Tables and their settings as data, and the check of a parsed document against them.

A table is a class and its settings are descriptors. An instance holds the accepted values of one table of a document,
with the defaults of absent settings; what was refused is missing.
"""

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar, overload

from cofferdam_config.kinds import ElementError, Kind, NotAllowedError
from cofferdam_config.report import Report, describe, quote, show
from cofferdam_config.source import Path

_LONGEST_NAME: Final = 64
"""A longer name is not a misspelt one, and comparing it would take long."""
_ALIKE: Final = 0.8
"""Similarity from which on an unknown name is taken for a misspelt one."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
SomeTable = TypeVar("SomeTable", bound="Table")


class Setting(Generic[T_co]):
    """One key of a table. Of an instance of the table it gives the value."""

    name: str

    def __init__(  # noqa: PLR0913  what a key may be
        self,
        kind: Kind[T_co],
        default: bool | int | str | tuple[str, ...] | None = None,  # noqa: FBT001  the value of a TOML key
        *,
        default_note: str = "",
        required: bool = False,
        ours: bool = False,
        only_for: tuple[str, ...] = (),
        shown: bool = True,
    ) -> None:
        """Describe a key.

        Args:
            kind: The values that it may have.
            default: The TOML value when the key is absent. None: there is none, or it is computed as `default_note`
                says.
            default_note: How the default is computed.
            required: Whether the key must be present.
            ours: Whether it is Cofferdam's, in a table of Parsec's.
            only_for: Values of the table's tag with which the key means anything; none given: all.
            shown: Whether a refused value may be printed.
        """
        self.kind, self.default, self.default_note = kind, default, default_note
        self.required, self.ours, self.only_for, self.shown = required, ours, only_for, shown

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, table: None, owner: type) -> "Setting[T_co]": ...
    @overload
    def __get__(self, table: "Table", owner: type) -> T_co: ...
    def __get__(self, table: "Table | None", owner: type) -> "Setting[T_co] | T_co":
        """Return the value, which is there once nothing was refused and the setting is required or has a default."""
        if table is None:
            return self
        value = table.find(self)
        if value is None:
            raise KeyError(self.name)
        return value

    def initial(self) -> T_co | None:
        """Return the default value."""
        return None if self.default is None else self.kind.parse(self.default)


class Table:
    """One table of a document."""

    table_name: ClassVar[str]
    is_array: ClassVar[bool]
    """Whether it is an array of tables."""
    required: ClassVar[bool]
    ours: ClassVar[bool]
    """Whether it is Cofferdam's."""
    tag: ClassVar[str]
    """The key whose value decides which other keys mean anything."""
    tables: ClassVar[tuple[type["Table"], ...]]
    """Arrays of tables within this one."""
    settings: ClassVar[tuple[Setting[Any], ...]]
    """Its own settings and then those of its bases, which are groups of settings."""

    def __init_subclass__(  # noqa: PLR0913  what there is to say about a table or a group of settings
        cls,
        *,
        name: str = "",
        is_array: bool = False,
        required: bool = False,
        ours: bool = False,
        tag: str = "",
        tables: tuple[type["Table"], ...] = (),
        only_for: tuple[str, ...] = (),
        hidden: bool = False,
    ) -> None:
        """Take the properties of a table; `only_for` and `hidden` hold for every setting of a group."""
        cls.table_name, cls.is_array, cls.required, cls.ours = name, is_array, required, ours
        cls.tag, cls.tables = tag, tables
        for setting in _declared(cls):
            setting.only_for = setting.only_for or only_for
            setting.shown = not hidden
        cls.settings = tuple(setting for base in cls.__mro__ for setting in _declared(base))

    def __init__(
        self,
        path: Path,
        values: Mapping[str, Any] | None = None,
        inner: Mapping[str, tuple["Table", ...]] | None = None,
    ) -> None:
        """Take accepted values; without any, the table is absent and has its defaults."""
        self.path = path
        self._values = {setting.name: setting.initial() for setting in self.settings} if values is None else values
        self._inner = inner or {}

    def find(self, setting: Setting[T]) -> T | None:
        """Return a value, or None if it was refused or is absent and has no default."""
        value: T | None = self._values[setting.name]
        return value

    def values(self) -> Mapping[str, object]:
        """Return all values by name, with None for what is absent or was refused."""
        return self._values

    def changed(self, values: Mapping[str, object]) -> Self:
        """Return the table with other values."""
        return type(self)(self.path, {**self._values, **values}, self._inner)

    def at(self, setting: Setting[Any]) -> Path:
        """Return where a setting stands."""
        return (*self.path, setting.name)

    def inner(self, table: type[SomeTable]) -> tuple[SomeTable, ...]:
        """Return the tables of an array within this table."""
        return tuple(item for item in self._inner.get(table.table_name, ()) if isinstance(item, table))

    @classmethod
    def header(cls) -> str:
        """Return how the table is written."""
        return f"an array of tables, [[{cls.table_name}]]" if cls.is_array else f"a table, [{cls.table_name}]"


def _declared(table: type) -> list[Setting[Any]]:
    return [value for value in vars(table).values() if isinstance(value, Setting)]


class Document(NamedTuple):
    """All tables of a document."""

    tables: Mapping[type[Table], tuple[Table, ...]]

    def one(self, table: type[SomeTable]) -> SomeTable:
        """Return a table that is no array."""
        (found,) = self.all(table)
        return found

    def all(self, table: type[SomeTable]) -> tuple[SomeTable, ...]:
        """Return the tables of an array, in order."""
        return tuple(found for found in self.tables[table] if isinstance(found, table))


def check_document(tree: Mapping[str, object], tables: tuple[type[Table], ...], report: Report) -> Document:
    """Check a parsed document; refusals and warnings go to the report."""
    _warn_of_unknown((), tree, [table.table_name for table in tables], report)
    return Document({table: _check(table, tree, (), report) for table in tables})


def _check(table: type[Table], parent: Mapping[str, object], path: Path, report: Report) -> tuple[Table, ...]:
    """Return a table of its parent: one, or as many as the array has."""
    path = (*path, table.table_name)
    value = parent.get(table.table_name)
    if table.is_array and isinstance(value, list):
        return _check_items(table, value, path, report)
    if not table.is_array and isinstance(value, dict):
        return (_check_table(table, value, path, report),)
    if value is not None or table.required:
        report.refuse(path, "nothing" if value is None else describe(value), table.header())
    return () if table.is_array else (table(path),)


def _check_items(table: type[Table], items: list[object], path: Path, report: Report) -> tuple[Table, ...]:
    if table.required and not items:
        report.refuse(path, "no table", "at least one")
    found: list[Table] = []
    for index, item in enumerate(items):
        if isinstance(item, dict):
            found.append(_check_table(table, item, (*path, index), report))
        else:
            report.refuse((*path, index), describe(item), "a table")
    return tuple(found)


def _check_table(table: type[Table], given: Mapping[str, object], path: Path, report: Report) -> Table:
    known = [*(setting.name for setting in table.settings), *(inner.table_name for inner in table.tables)]
    _warn_of_unknown(path, given, known, report)
    tag = _tag(table, given)
    values = {setting.name: _check_setting(setting, given, path, tag, report) for setting in table.settings}
    return table(path, values, {inner.table_name: _check(inner, given, path, report) for inner in table.tables})


class _Tag(NamedTuple):
    """The key of a table that decides which others matter."""

    name: str
    value: str
    is_absent: bool
    """Whether only Parsec has what the value names, so that it does not matter what else is missing."""


def _tag(table: type[Table], given: Mapping[str, object]) -> _Tag | None:
    """Return the key that decides which others matter; None if Parsec does not know its value either."""
    value = given.get(table.tag)
    for kind in (setting.kind for setting in table.settings if setting.name == table.tag):
        if isinstance(value, str) and value in {*kind.choices, *kind.absent}:
            return _Tag(table.tag, value, value in kind.absent)
    return None


def _check_setting(
    setting: Setting[T], given: Mapping[str, object], path: Path, tag: _Tag | None, report: Report
) -> T | None:
    """Return the value of a setting, or its default, or None when it is refused."""
    path = (*path, setting.name)
    if setting.only_for and tag is not None and tag.value not in setting.only_for:
        # Parsec does not look at such a key at all, so neither its presence nor its value can be an error.
        if setting.name in given:
            report.warn(path, f"has no effect with {tag.name} {quote(tag.value)}")
        return setting.initial()
    if setting.name not in given:
        if setting.required and (tag is not None or not setting.only_for) and not (tag and tag.is_absent):
            report.refuse(path, "nothing", setting.kind.allowed)
        return setting.initial()
    value = given[setting.name]
    try:
        return setting.kind.parse(value)
    except NotAllowedError as error:
        allowed = setting.kind.allowed
        if isinstance(error, ElementError) and isinstance(value, list):
            path, value, allowed = (*path, error.index), value[error.index], error.allowed
        reason = f" ({error})" if str(error) else ""
        report.refuse(path, show(value) if setting.shown else describe(value), allowed + reason)
        return None


def _warn_of_unknown(path: Path, given: Mapping[str, object], known: list[str], report: Report) -> None:
    for name, value in given.items():
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE) if len(name) <= _LONGEST_NAME else []
        hint = f"; did you mean {near[0]}?" if near else ""
        what = "table" if not path and isinstance(value, dict | list) else "key"
        report.warn((*path, name), f"unknown {what}, ignored{hint}")
