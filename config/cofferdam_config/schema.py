"""The form in which the tables of the configuration are described; `tables.py` has the tables themselves."""

import enum
from dataclasses import dataclass

from cofferdam_config.kinds import Kind


@enum.unique
class Origin(enum.Enum):
    """Whose key or table it is."""

    PARSEC = "Parsec"
    COFFERDAM = "Cofferdam"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table."""

    name: str
    kind: Kind
    meaning: str
    default: bool | int | str | None = None
    """The value when the key is absent; None: there is none, or it is computed as `default_note` says."""
    default_note: str = ""
    required: bool = False
    origin: Origin = Origin.PARSEC
    only_for: tuple[str, ...] = ()
    """Values of the table's tag with which the key means anything; none given: all."""
    no_effect: str = ""
    """Why the value changes nothing here; empty when it does change something."""
    shown: bool = True
    """Whether a refused value may be printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table, or one array of tables."""

    name: str
    meaning: str
    keys: tuple[Key, ...]
    arrays: tuple["Table", ...] = ()
    """Arrays of tables within this one."""
    is_array: bool = False
    required: bool = False
    origin: Origin = Origin.PARSEC
    tag: str = ""
    """The key whose value decides which other keys mean anything."""
