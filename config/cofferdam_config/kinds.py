"""What values a key may have. Each kind says which it accepts, and in words which are allowed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from cofferdam_config import tcti, token_uri

INT32_MAX: Final = (1 << 31) - 1
INT64_MAX: Final = (1 << 63) - 1
"""The largest integer of TOML."""
MAX_GID: Final = (1 << 32) - 2
"""The largest number of a group; all ones mean none (chown(2))."""
MAX_PATH: Final = 4095
"""Bytes of a path (PATH_MAX less its NUL)."""
MAX_SOCKET_PATH: Final = 107
"""Bytes of the path of a Unix socket: `sun_path` has 108, the last one is a NUL (unix(7))."""


class Kind(Protocol):
    """The values of a key."""

    @property
    def allowed(self) -> str:
        """The accepted values in words."""

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""

    def remark(self, value: object) -> str:
        """Return what else is to say about a refused value, with a blank before it; mostly nothing."""


class _Plain:
    """A kind that has nothing to add to its refusals."""

    __slots__ = ()

    def remark(self, _value: object) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Flag(_Plain):
    """A boolean."""

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return "true or false"

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        return isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer(_Plain):
    """An integer from `low` to `high`, without those from the first to the second number of `gap`."""

    low: int = 0
    high: int = INT64_MAX
    unit: str = ""
    gap: tuple[int, int] | None = None
    reason: str = ""

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        text = f"an integer >= {self.low}" if self.high == INT64_MAX else f"an integer from {self.low} to {self.high}"
        if self.gap:
            text += f" without {self.gap[0]} to {self.gap[1]}"
        notes = ", ".join(note for note in (self.unit, self.reason) if note)
        return f"{text} ({notes})" if notes else text

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and not (self.gap and self.gap[0] <= value <= self.gap[1])


@dataclass(frozen=True, slots=True)
class Text(_Plain):
    """A string."""

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return "a string"

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        return isinstance(value, str)


@dataclass(frozen=True, slots=True)
class Name(_Plain):
    """A string that can stand in a log line or a listing."""

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return "a string of printable characters, at least one"

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        return isinstance(value, str) and value != "" and value.isprintable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a few strings."""

    values: tuple[str, ...]
    absent: Mapping[str, str] = field(default_factory=dict)
    """Values that Parsec knows and this build does not, each with what to say about it."""
    any_case: bool = False

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        text = ", ".join(f'"{value}"' for value in self.values)
        return f"{text}, in upper or lower case" if self.any_case else text

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        return isinstance(value, str) and (value.lower() if self.any_case else value) in self.values

    def remark(self, value: object) -> str:
        """Return why a value that Parsec has is refused."""
        reason = self.absent.get(value) if isinstance(value, str) else None
        return f" ({reason})" if reason else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsolutePath(_Plain):
    """The path of a file, a socket or a folder."""

    max_bytes: int = MAX_PATH

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return f"an absolute path of at most {self.max_bytes} bytes"

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        return (
            isinstance(value, str)
            and value.startswith("/")
            and "\0" not in value
            and len(value.encode()) <= self.max_bytes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern(_Plain):
    """A string that a regular expression matches as a whole, with the words for it."""

    expression: str
    words: str

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return self.words

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        return isinstance(value, str) and re.fullmatch(self.expression, value, re.DOTALL) is not None


@dataclass(frozen=True, slots=True)
class Group(_Plain):
    """A group of the machine."""

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return "the name of a group or its number"

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        if isinstance(value, int) and not isinstance(value, bool):
            return 0 <= value <= MAX_GID
        return isinstance(value, str) and value != ""


@dataclass(frozen=True, slots=True)
class TokenUri:
    """The URI of a token."""

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return "a PKCS#11 URI (RFC 7512) of a token"

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        return isinstance(value, str) and not self.remark(value)

    def remark(self, value: object) -> str:
        """Return what is wrong with a URI, without anything of it."""
        if not isinstance(value, str):
            return ""
        try:
            token_uri.parse(value)
        except token_uri.TokenUriError as error:
            return f" ({error})"
        return ""


@dataclass(frozen=True, slots=True)
class Tcti:
    """The way to a TPM."""

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return (
            "a string `device:PATH`, `mssim:host=ADDRESS,port=NUMBER`, `swtpm:host=ADDRESS,port=NUMBER`, "
            "`swtpm:path=SOCKET` or `tabrmd:bus_name=NAME,bus_type=TYPE`, or less of it"
        )

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        return isinstance(value, str) and not self.remark(value)

    def remark(self, value: object) -> str:
        """Return what is wrong with a text, without anything of it."""
        if not isinstance(value, str):
            return ""
        try:
            tcti.parse(value)
        except tcti.TctiError as error:
            return f" ({error})"
        return ""


@dataclass(frozen=True, slots=True)
class Array(_Plain):
    """An array of values of one kind, each of them once."""

    item: Kind

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return f"an array, each once, of: {self.item.allowed}"

    def accepts(self, value: object) -> bool:
        """Tell whether a TOML value is one of them."""
        return isinstance(value, list) and all(
            self.item.accepts(item) and item not in value[:index] for index, item in enumerate(value)
        )


def absent(what: str, *types: str) -> dict[str, str]:
    """Return what there is to say about types of something that this build does not have."""
    return {name: f"this build has no {what} of type {name}" for name in types}
