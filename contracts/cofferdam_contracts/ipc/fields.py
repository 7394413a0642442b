"""Fields of the messages between processes: their exact types and sizes, checked in every message."""

from collections.abc import Callable, Iterable, Mapping
from operator import call
from typing import Any, Final, TypeAlias

from cofferdam_contracts.ipc.limits import AROUND, MAX_ANSWER

_ENVELOPE: Final = 3
"""Values around the fields of a message: the array itself, the number and the id."""

Check: TypeAlias = Callable[[Any], bool]
"""Tells whether a value may stand in a field."""


def _is_natural(most: int) -> Check:
    return lambda value: type(value) is int and 0 <= value <= most


def _is_text(most: int) -> Check:
    return lambda value: type(value) is str and len(value) <= most and (value.isascii() or _utf8_length(value) <= most)


def _is_binary(most: int) -> Check:
    return lambda value: type(value) is bytes and len(value) <= most


def _utf8_length(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return MAX_ANSWER + 1


_CHECKS: Final[Mapping[type, Callable[[int], Check]]] = {int: _is_natural, str: _is_text, bytes: _is_binary}


class Field:
    """A field of a message: its exact type, and the largest number or the most bytes (of text: in UTF-8)."""

    def __init__(self, kind: type, most: int) -> None:
        self.type = kind
        self.most = most
        self.accepts = _CHECKS[kind](most)


class Array:
    """A field of an answer that is an array of values or rows; if `of` is None, its reader checks the elements."""

    def __init__(self, of: Field | tuple[Field, ...] | None = None) -> None:
        self.accepts = _is_array(of)


def _is_array(of: Field | tuple[Field, ...] | None) -> Check:
    if of is None:
        return lambda value: type(value) is tuple
    accepts = of.accepts if isinstance(of, Field) else is_row(of)
    return lambda value: type(value) is tuple and all(map(accepts, value))


def is_row(fields: tuple[Field | Array, ...]) -> Check:
    """Return the check of an array with exactly these fields; it is made once, as every message passes three."""
    checks = tuple(field.accepts for field in fields)
    count = len(checks)
    return lambda values: type(values) is tuple and len(values) == count and all(map(call, checks, values))


def most_bytes_of(fields: Iterable[Field]) -> int:
    """Return the bytes of the largest message of a number, an id and these fields."""
    return sum(AROUND + (0 if field.type is int else field.most) for field in fields) + AROUND * _ENVELOPE
