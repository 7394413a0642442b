"""Revocations of tokens, as the file that `cofferdam revoke` writes has them.

    [[revocation]]
    token = "9f86...0a08"           # the hash of the token, or one of the next three
    subject = "spiffe://a.example/web"
    key = "kid or thumbprint"
    issuer = "an issuer or a trust domain"
    not_before = 2026-12-01T00:00:00Z     # with subject: its tokens that were issued later are good
    authenticator = "JwtSvid"       # if only tokens for this one are meant
    reason = "laptop stolen"
    at = 2026-12-01T00:00:00Z

All but one of the first four is optional. A token that does not say when it was issued is older than any `not_before`.
"""

import datetime as dt
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from cofferdam_contracts.registry import AuthType
from cofferdam_identity.documents import shown
from cofferdam_identity.tokens import Verified

MAX_DOCUMENT: Final = 4 * 1024 * 1024
"""Bytes of the largest file."""
MAX_REVOCATIONS: Final = 10_000
MAX_TEXT: Final = 4096
"""Characters of a value."""
TARGETS: Final = ("token", "subject", "key", "issuer")
AUTHENTICATORS: Final[Mapping[str, int]] = {"Jwt": AuthType.JWT, "JwtSvid": AuthType.JWT_SVID}
"""Those that verify tokens, by the names that the configuration has for them."""
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NEVER: Final = float("inf")


class RevocationError(Exception):
    """The file cannot be used: which revocation, what was found, what is allowed."""


class Revocation(NamedTuple):
    """Which tokens are revoked."""

    target: str
    """One of `TARGETS`."""
    value: str
    not_before: dt.datetime | None = None
    """For a subject: tokens issued at this time or later are good. None: all are revoked."""
    authenticator: str | None = None
    """A name of `AUTHENTICATORS`, or None for both."""
    reason: str | None = None
    at: dt.datetime | None = None
    """When it was revoked."""


class Revocations(NamedTuple):
    """All revocations, to look tokens up in. The time of a look-up does not depend on their number."""

    entries: tuple[Revocation, ...]
    strongest: Mapping[tuple[str, str, int | None], tuple[float, str]]
    """By target, value and authenticator: tokens issued before this time are revoked, and what to say of it."""

    def covers(self, verified: Verified, authenticator: int) -> str | None:
        """Return why a token is revoked, for the log, or None if it is not."""
        issued_at = float("-inf") if verified.issued_at is None else verified.issued_at
        for target, value in (
            ("token", verified.token_hash),
            ("subject", verified.subject),
            ("key", verified.kid),
            ("key", verified.thumbprint),
            ("issuer", verified.issuer),
        ):
            for number in (None, authenticator):
                before, text = self.strongest.get((target, value, number), (float("-inf"), ""))
                if text and issued_at < before:
                    return text
        return None


NONE: Final = Revocations((), {})
"""No revocations."""


def parse(document: bytes, name: str) -> Revocations:
    """Read the file.

    Args:
        document: Its content, TOML in UTF-8.
        name: What errors call it.

    Raises:
        RevocationError: It has something that no revocation has. Nothing is passed over, since it may be what somebody
            counts on.
    """
    if len(document) > MAX_DOCUMENT:
        raise RevocationError(f"{name}: found {len(document)} bytes, allowed: at most {MAX_DOCUMENT}")
    tables = _tables(document, name)
    entries = tuple(_revocation(f"{name}: revocation {number}", each) for number, each in enumerate(tables, 1))
    strongest: dict[tuple[str, str, int | None], tuple[float, str]] = {}
    for number, entry in enumerate(entries, 1):
        before = _NEVER if entry.not_before is None else entry.not_before.timestamp()
        identifier = entry.target, entry.value, AUTHENTICATORS[entry.authenticator] if entry.authenticator else None
        if identifier not in strongest or strongest[identifier][0] < before:
            strongest[identifier] = before, _description(number, entry)
    return Revocations(entries, strongest)


def add(document: bytes, entry: Revocation, name: str) -> bytes:
    """Return the file with one revocation more; what it has, comments included, stays as it is.

    Args:
        document: The content so far; empty if there is no file yet.
        entry: What to revoke.
        name: What errors call the file.

    Raises:
        RevocationError: The file cannot be used, or the revocation cannot.
    """
    before = parse(document, name)
    gap = b"" if not document else b"\n" if document.endswith(b"\n") else b"\n\n"
    added = document + gap + _rendered(entry).encode(errors="backslashreplace")
    if parse(added, name).entries != (*before.entries, entry):
        raise RevocationError(f"{name}: the revocation cannot be written")
    return added


def _tables(document: bytes, name: str) -> list[object]:
    try:
        found = tomllib.loads(document.decode())
    except UnicodeDecodeError:
        raise RevocationError(f"{name}: found bytes that are not UTF-8, allowed: TOML in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise RevocationError(f"{name}: found no TOML: {str(error)[:_MAX_REASON]}") from None
    except (ValueError, RecursionError):
        raise RevocationError(f"{name}: found a number or a table that no revocation has") from None
    tables = found.pop("revocation", [])
    if found:
        raise RevocationError(f"{name}: found {shown(next(iter(found)))}, allowed: [[revocation]]")
    if not isinstance(tables, list):
        raise RevocationError(f"{name}: found one revocation in single brackets, allowed: [[revocation]]")
    if len(tables) > MAX_REVOCATIONS:
        raise RevocationError(
            f"{name}: found {len(tables)} revocations, allowed: at most {MAX_REVOCATIONS}; "
            "revoke the key or the issuer, or remove those of tokens that have expired"
        )
    return tables


def _revocation(place: str, table: object) -> Revocation:
    if not isinstance(table, dict):
        raise RevocationError(f"{place}: found no table, allowed: [[revocation]]")
    if unknown := [name for name in table if name not in _FIELDS]:
        raise RevocationError(f"{place}: found {shown(unknown[0])}, allowed: {', '.join(_FIELDS)}")
    values: dict[str, Any] = {name: _FIELDS[name](f"{place}: {name}", value) for name, value in table.items()}
    targets = [name for name in TARGETS if name in values]
    if len(targets) != 1:
        raise RevocationError(f"{place}: found {' and '.join(targets) or 'none'} of {', '.join(TARGETS)}, allowed: one")
    (target,) = targets
    if "not_before" in values and target != "subject":
        raise RevocationError(f"{place}: found not_before with {target}, allowed: with subject")
    return Revocation(target, values.pop(target), **values)


def _text(place: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise RevocationError(f"{place}: found {shown(value)}, allowed: 1 to {MAX_TEXT} printable characters")
    return value


def _hash(place: str, value: object) -> str:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise RevocationError(f"{place}: found {shown(value)}, allowed: 64 hexadecimal digits in small letters")
    return value


def _date(place: str, value: object) -> dt.datetime:
    # The offset alone says which moment a date is.
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise RevocationError(f"{place}: found {shown(str(value))}, allowed: a date with offset: 2026-12-01T00:00:00Z")
    return value


def _authenticator(place: str, value: object) -> str:
    if not isinstance(value, str) or value not in AUTHENTICATORS:
        raise RevocationError(f"{place}: found {shown(value)}, allowed: {', '.join(AUTHENTICATORS)}")
    return value


def _description(number: int, entry: Revocation) -> str:
    reason = "" if entry.reason is None else f": {entry.reason}"
    return f"revocation {number}, of its {entry.target}{reason}"


def _rendered(entry: Revocation) -> str:
    """Return the entry as TOML; its texts are printable, so that JSON's escapes are TOML's."""
    values = {entry.target: entry.value, **entry._asdict()}
    written = ((name, values[name]) for name in _FIELDS if values.get(name) is not None)
    lines = [f"{name} = {_value(value)}" for name, value in written]
    return "\n".join(["[[revocation]]", *lines, ""])


def _value(value: object) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else json.dumps(value, ensure_ascii=False)


_MAX_REASON: Final = 200
_Reader: TypeAlias = Callable[[str, object], object]
_FIELDS: Final[Mapping[str, _Reader]] = {
    "token": _hash,
    "subject": _text,
    "key": _text,
    "issuer": _text,
    "not_before": _date,
    "authenticator": _authenticator,
    "reason": _text,
    "at": _date,
}
