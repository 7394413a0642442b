"""Kinds of values: what a setting may be, in words, and the function that checks a value and converts it."""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Generic, NamedTuple, TypeVar

INT32_MAX: Final = (1 << 31) - 1
INT64_MAX: Final = (1 << 63) - 1
"""The largest integer of TOML."""
MAX_GID: Final = (1 << 32) - 2
"""The largest number of a group; all ones mean none (chown(2))."""
MAX_PATH: Final = 4095
"""Bytes of a path (PATH_MAX less its NUL)."""
MAX_SOCKET_PATH: Final = 107
"""Bytes of the path of a Unix socket: `sun_path` has 108, the last one is a NUL (unix(7))."""
_HEX: Final = "hex:"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class NotAllowedError(ValueError):
    """Raised for a value that a setting may not have; its text, if any, is a reason that does not quote the value."""


class ElementError(NotAllowedError):
    """Raised for an array of which one element is not allowed."""

    def __init__(self, index: int, allowed: str, reason: str = "") -> None:
        super().__init__(reason)
        self.index, self.allowed = index, allowed


class Kind(NamedTuple, Generic[T_co]):
    """The values that a setting may have."""

    allowed: str
    """Those values in words."""
    parse: Callable[[object], T_co]
    """Converts a TOML value. Raises `NotAllowedError`."""
    choices: tuple[str, ...] = ()
    """The values themselves where there are few."""
    absent: Mapping[str, str] = MappingProxyType({})
    """Choices that Parsec has and this build has not, and what to say about each."""
    path_bytes: int = 0
    """Most bytes of a path that may be relative to the working directory; 0 for values that are none."""


def exactly(kind: type[T], allowed: str, test: Callable[[T], bool] = lambda _value: True) -> Kind[T]:
    """Return the kind of values that have a Python type and pass a test."""

    def parse(value: object) -> T:
        # The types of `tomllib`, where a boolean is no integer.
        if not isinstance(value, kind) or type(value) is not kind or not test(value):
            raise NotAllowedError
        return value

    return Kind(allowed, parse)


def converted(allowed: str, convert: Callable[[str], T]) -> Kind[T]:
    """Return the kind of strings that a function converts; it raises `NotAllowedError` for the others."""

    def parse(value: object) -> T:
        return convert(TEXT.parse(value))

    return Kind(allowed, parse)


def checked(allowed: str, check: Callable[[str], object]) -> Kind[str]:
    """Return the kind of strings that a function accepts; its `ValueError` has a reason that does not quote them."""

    def convert(text: str) -> str:
        try:
            check(text)
        except ValueError as error:
            reason = str(error)
        else:
            return text
        # Raised out here, because the exception may hold the value.
        raise NotAllowedError(reason)

    return converted(allowed, convert)


def parse_part(what: str, kind: Kind[T], text: str) -> T:
    """Convert a part of a value.

    Raises:
        NotAllowedError: The text says which part it is.
    """
    try:
        return kind.parse(text)
    except NotAllowedError:
        pass
    # Raised out here, because the exception of a converter may hold the value.
    raise NotAllowedError(f"{what} is not {kind.allowed}")


def integer(low: int = 0, high: int = INT64_MAX, unit: str = "") -> Kind[int]:
    """Return the kind of integers from `low` to `high`."""
    bounds = f">= {low}" if high == INT64_MAX else f"from {low} to {high}"
    return exactly(int, f"an integer {bounds}" + (f" ({unit})" if unit else ""), lambda value: low <= value <= high)


def cut(kind: Kind[int], most: int) -> Kind[int]:
    """Return a kind whose larger values are converted to `most`."""
    return Kind(kind.allowed, lambda value: min(kind.parse(value), most))


def path(max_bytes: int = MAX_PATH) -> Kind[str]:
    """Return the kind of absolute paths."""
    return exactly(
        str,
        f"an absolute path of at most {max_bytes} bytes",
        lambda text: text.startswith("/") and "\0" not in text and len(text.encode()) <= max_bytes,
    )


def any_path(max_bytes: int = MAX_PATH) -> Kind[str]:
    """Return the kind of paths that may be relative, and are completed before they are used (`relative`)."""
    text = exactly(
        str,
        f"a path of at most {max_bytes} bytes",
        lambda text: text != "" and "\0" not in text and len(text.encode()) <= max_bytes,
    )
    return text._replace(path_bytes=max_bytes)


def pattern(expression: str, allowed: str) -> Kind[str]:
    """Return the kind of strings that a regular expression matches as a whole."""
    return exactly(str, allowed, lambda text: re.fullmatch(expression, text, re.DOTALL) is not None)


def choice(*choices: str, absent: Mapping[str, str] | None = None, any_case: bool = False) -> Kind[str]:
    """Return the kind of a few strings; with `any_case` they are converted to lower case."""
    missing = absent or {}

    def convert(text: str) -> str:
        word = text.lower() if any_case else text
        if word not in choices:
            raise NotAllowedError(missing.get(text, ""))
        return word

    allowed = ", ".join(f'"{word}"' for word in choices) + (", in upper or lower case" if any_case else "")
    return Kind(allowed, converted(allowed, convert).parse, choices, missing)


def array(item: Kind[T], *, may_be_empty: bool = True) -> Kind[tuple[T, ...]]:
    """Return the kind of arrays of one kind, in which no value stands twice."""

    def parse(value: object) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            raise NotAllowedError
        if not value and not may_be_empty:
            raise NotAllowedError("it is empty")
        return tuple(element(index, each, value[:index]) for index, each in enumerate(value))

    def element(index: int, value: object, before: Sequence[object]) -> T:
        reason = "it stands there twice"
        if value not in before:
            try:
                return item.parse(value)
            except NotAllowedError as error:
                reason = str(error)
        # Raised out here, because the exception of a converter may hold the value.
        raise ElementError(index, item.allowed, reason)

    allowed = f"{'an' if may_be_empty else 'a non-empty'} array without duplicates of: {item.allowed}"
    return Kind(allowed, parse, item.choices, path_bytes=item.path_bytes)


def _secret(text: str) -> str:
    """Return the bytes of a secret in hexadecimal."""
    if text.startswith(_HEX):
        return text.removeprefix(_HEX).lower()
    return text.removeprefix("str:").encode().hex()


def _group(value: object) -> str | int:
    if isinstance(value, str) and value:
        return value
    return _GID.parse(value)


FLAG: Final = exactly(bool, "true or false")
TEXT: Final = exactly(str, "a string")
NAME: Final = exactly(str, "a non-empty string of printable characters", lambda text: text != "" and text.isprintable())
_PLAIN_SECRET: Final = pattern(
    r"(?!hex:).*|hex:(?:[0-9A-Fa-f]{2})*", "a string, with pairs of hexadecimal digits after `hex:`"
)
SECRET: Final = Kind(_PLAIN_SECRET.allowed, lambda value: _secret(_PLAIN_SECRET.parse(value)))
"""A PIN or password: plain, after `str:`, or in hexadecimal after `hex:`. Converted to hexadecimal."""
_GID: Final = integer(high=MAX_GID)
GROUP: Final = Kind("the name of a group or its number", _group)
