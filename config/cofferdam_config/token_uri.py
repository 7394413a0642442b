"""PKCS#11 URIs (RFC 7512) that name a token, and perhaps where its PIN is.

The parser is strict: an attribute that it does not know could be what tells two tokens apart. A PIN may stand in a URI,
so the texts of errors quote nothing of it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from cofferdam_config.kinds import TEXT, Kind, NotAllowedError, converted, parse_part, path
from cofferdam_contracts.opaque import opaque
from cofferdam_contracts.settings import TokenMatch

_CHARACTERS: Final = r"[A-Za-z0-9._~:\[\]@!$'()*+,={}-]|%[0-9A-Fa-f]{{2}}"
_PATH_VALUE: Final = re.compile(f"(?:{_CHARACTERS.format('&')})*")
_QUERY_VALUE: Final = re.compile(f"(?:{_CHARACTERS.format('/?|')})*")
_ESCAPE: Final = re.compile(rb"%(..)")
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_VERSION: Final = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,3}))?")
_MAX_SLOT_ID: Final = (1 << 64) - 1
"""The largest CK_ULONG."""


class TokenUri(NamedTuple):
    """What a URI says."""

    match: TokenMatch
    pin_file: str | None = None
    module_path: str | None = None

    def __repr__(self) -> str:
        """Show only the type."""
        return opaque(self)


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
    token, _, query = rest.partition("?")
    match = NO_MATCH._replace(**_attributes(token, ";", _PATH_VALUE, _PATH_ATTRIBUTES))
    return TokenUri(match=match, **_attributes(query, "&", _QUERY_VALUE, _QUERY_ATTRIBUTES))


def _attributes(text: str, separator: str, values: re.Pattern[str], known: "_Attributes") -> dict[str, Any]:
    """Return the attributes of one part of a URI by the fields they become."""
    found: dict[str, Any] = {}
    for attribute in text.split(separator) if text else ():
        name, equals, value = attribute.partition("=")
        if name in _REFUSED:
            raise NotAllowedError(_REFUSED[name])
        if name not in known or not equals:
            raise NotAllowedError("it has an unknown attribute")
        target, kind = known[name]
        if target in found:
            raise NotAllowedError(f"it has {name} twice")
        if not values.fullmatch(value):
            raise NotAllowedError(f"{name} has a character that has to be percent-encoded")
        found[target] = parse_part(name, kind, parse_part(name, _DECODED, value))
    return found


def _decoded(value: str) -> str:
    try:
        return _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), value.encode()).decode()
    except UnicodeDecodeError as error:
        raise NotAllowedError from error


def _slot_id(value: str) -> int:
    if not _NUMBER.fullmatch(value) or int(value) > _MAX_SLOT_ID:
        raise NotAllowedError
    return int(value)


def _version(value: str) -> str:
    """Return a version as major and minor number: the minor one is 0 where it is left out."""
    parts = _VERSION.fullmatch(value)
    if parts is None:
        raise NotAllowedError
    return f"{int(parts[1])}.{int(parts[2] or 0)}"


def _pin_file(value: str) -> str:
    name = value.removeprefix("file:")
    # A file URI may have an empty host.
    name = name[2:] if name.startswith("///") else name
    if name.startswith("//"):
        raise NotAllowedError
    return _PATH.parse(name)


_Attributes: TypeAlias = Mapping[str, tuple[str, Kind[object]]]
"""The field that each attribute becomes, and its kind."""
_PATH: Final = path()
_DECODED: Final = converted("UTF-8", _decoded)
_TEXT: Final = converted("a string", unpadded)
_PATH_ATTRIBUTES: Final[_Attributes] = {
    "token": ("label", _TEXT),
    "serial": ("serial", _TEXT),
    "manufacturer": ("manufacturer", _TEXT),
    "model": ("model", _TEXT),
    "slot-id": ("slot_id", converted("a slot number", _slot_id)),
    "slot-description": ("slot_description", _TEXT),
    "slot-manufacturer": ("slot_manufacturer", _TEXT),
    "library-manufacturer": ("library_manufacturer", _TEXT),
    "library-description": ("library_description", _TEXT),
    "library-version": ("library_version", converted("a version", _version)),
}
_QUERY_ATTRIBUTES: Final[_Attributes] = {
    "pin-source": ("pin_file", converted("the absolute path of a file", _pin_file)),
    "module-path": ("module_path", TEXT),
}
_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("object", "type", "id"), "it names a key, not a token"),
    "pin-value": "it contains the PIN, use user_pin_file",
    "module-name": "it names a module, use library_path",
}
"""Attributes of RFC 7512 that have no meaning here, and why."""
NO_MATCH: Final = TokenMatch(**dict.fromkeys(TokenMatch._fields, None))
"""Matches every token."""
TOKEN_URI: Final[Kind[TokenUri]] = converted("a PKCS#11 URI (RFC 7512) of a token", parse)
