"""PKCS#11 URIs (RFC 7512) that name a token, and perhaps where its PIN is.

The parser is strict: an attribute that it does not know could be what tells two tokens apart. A PIN may stand in a URI,
so the texts of errors quote nothing of it.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cofferdam_config.kinds import MAX_PATH, Kind, NotAllowedError, converted
from cofferdam_contracts.settings import TokenMatch

_CHARACTERS: Final = r"[A-Za-z0-9._~:\[\]@!$'()*+,={}-]|%[0-9A-Fa-f]{{2}}"
_PATH_VALUE: Final = re.compile(f"(?:{_CHARACTERS.format('&')})*")
_QUERY_VALUE: Final = re.compile(f"(?:{_CHARACTERS.format('/?|')})*")
_ESCAPE: Final = re.compile(rb"%(..)")
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_VERSION: Final = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,3}))?")
_MAX_SLOT_ID: Final = (1 << 64) - 1
"""The largest CK_ULONG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUri:
    """What a URI says."""

    match: TokenMatch
    pin_file: str | None = field(default=None, repr=False)
    module_path: str | None = None


def unpadded(text: str) -> str:
    """Return a text as tokens are compared by it: without what PKCS#11 fills fixed-size texts up with."""
    return text.rstrip(" \0")


def parse(text: str) -> TokenUri:
    """Parse a URI.

    Raises:
        NotAllowedError: It is not a URI, or says something else than which token is meant.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() != "pkcs11":
        raise NotAllowedError("it does not begin with pkcs11:")
    path, _, query = rest.partition("?")
    match = dataclasses.replace(NO_MATCH, **_attributes(path, ";", _PATH_VALUE, _PATH_ATTRIBUTES))
    return TokenUri(match=match, **_attributes(query, "&", _QUERY_VALUE, _QUERY_ATTRIBUTES))


def _attributes(
    text: str, separator: str, values: re.Pattern[str], known: Mapping[str, "_Attribute"]
) -> dict[str, Any]:
    """Return the attributes of one part of a URI by the fields they become."""
    found: dict[str, Any] = {}
    for attribute in text.split(separator) if text else ():
        name, equals, value = attribute.partition("=")
        if name in _REFUSED:
            raise NotAllowedError(_REFUSED[name])
        if name not in known or not equals:
            raise NotAllowedError("it has an unknown attribute")
        target, convert = known[name]
        if target in found:
            raise NotAllowedError(f"it has {name} twice")
        if not values.fullmatch(value):
            raise NotAllowedError(f"{name} has a character that has to be percent-encoded")
        found[target] = convert(_decoded(name, value))
    return found


def _decoded(name: str, value: str) -> str:
    try:
        return _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), value.encode()).decode()
    except UnicodeDecodeError:
        pass
    # Raised out here, because the exception of the decoder holds the value.
    raise NotAllowedError(f"{name} is not UTF-8")


def _slot_id(value: str) -> int:
    if not _NUMBER.fullmatch(value) or int(value) > _MAX_SLOT_ID:
        raise NotAllowedError("slot-id is not a slot number")
    return int(value)


def _version(value: str) -> str:
    """Return a version as major and minor number: the minor one is 0 where it is left out."""
    parts = _VERSION.fullmatch(value)
    if parts is None:
        raise NotAllowedError("library-version is not a version")
    return f"{int(parts[1])}.{int(parts[2] or 0)}"


def _pin_file(value: str) -> str:
    path = value.removeprefix("file:")
    if path.startswith("///"):
        # A file URI with an empty host.
        path = path[2:]
    if not path.startswith("/") or path.startswith("//") or "\0" in path or len(path.encode()) > MAX_PATH:
        raise NotAllowedError("pin-source is not the absolute path of a file")
    return path


_Attribute = tuple[str, Callable[[str], object]]
"""The field that an attribute becomes, and what converts its value."""
_PATH_ATTRIBUTES: Final[Mapping[str, _Attribute]] = {
    "token": ("label", unpadded),
    "serial": ("serial", unpadded),
    "manufacturer": ("manufacturer", unpadded),
    "model": ("model", unpadded),
    "slot-id": ("slot_id", _slot_id),
    "slot-description": ("slot_description", unpadded),
    "slot-manufacturer": ("slot_manufacturer", unpadded),
    "library-manufacturer": ("library_manufacturer", unpadded),
    "library-description": ("library_description", unpadded),
    "library-version": ("library_version", _version),
}
_QUERY_ATTRIBUTES: Final[Mapping[str, _Attribute]] = {
    "pin-source": ("pin_file", _pin_file),
    "module-path": ("module_path", str),
}
_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("object", "type", "id"), "it names a key, not a token"),
    "pin-value": "it contains the PIN, use user_pin_file",
    "module-name": "it names a module, use library_path",
}
"""Attributes of RFC 7512 that have no meaning here, and why."""
NO_MATCH: Final = TokenMatch(**dict.fromkeys((field.name for field in dataclasses.fields(TokenMatch)), None))
"""Matches every token."""
TOKEN_URI: Final[Kind[TokenUri]] = converted("a PKCS#11 URI (RFC 7512) of a token", parse)
