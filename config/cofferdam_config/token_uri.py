"""PKCS#11 URIs (RFC 7512) that say which token is meant, and perhaps where its PIN is.

The reader is strict: what it does not know could be what tells two tokens apart. A PIN may stand in a URI, so the texts
of errors hold nothing of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cofferdam_contracts.settings import TokenMatch

_SCHEME: Final = "pkcs11"
_TEXTS: Final[Mapping[str, str]] = {
    "token": "label",
    "serial": "serial",
    "manufacturer": "manufacturer",
    "model": "model",
    "slot-description": "slot_description",
    "slot-manufacturer": "slot_manufacturer",
    "library-manufacturer": "library_manufacturer",
    "library-description": "library_description",
}
"""Attributes of the path whose values are texts, and the fields they become."""
_SLOT_ID: Final = "slot-id"
_LIBRARY_VERSION: Final = "library-version"
_OF_A_KEY: Final = frozenset({"object", "type", "id"})
_PIN_SOURCE: Final = "pin-source"
_MODULE_PATH: Final = "module-path"
_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(_OF_A_KEY, "it names a key, not a token"),
    "pin-value": "it has the PIN in it, use user_pin_file",
    "module-name": "it names a module, use library_path",
}
"""Attributes that RFC 7512 has and that cannot be followed here, and why."""

_CHARACTERS: Final = r"[A-Za-z0-9._~:\[\]@!$'()*+,={}-]|%[0-9A-Fa-f]{{2}}"
_PATH_VALUE: Final = re.compile(f"(?:{_CHARACTERS.format('&')})*")
_QUERY_VALUE: Final = re.compile(f"(?:{_CHARACTERS.format('/?|')})*")
_ESCAPE: Final = re.compile(rb"%(..)")
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_VERSION: Final = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,3}))?")
_MAX_SLOT_ID: Final = (1 << 64) - 1
"""The largest CK_ULONG."""
_MAX_PATH: Final = 4095
_PADDING: Final = " \0"
"""What the fixed-size texts of PKCS#11 are filled up with."""


class TokenUriError(ValueError):
    """Raised for a text that is no URI of a token; it says why in words that can follow "because"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUri:
    """What a URI says."""

    match: TokenMatch
    pin_file: str | None = field(repr=False)
    module_path: str | None


def parse(text: str) -> TokenUri:
    """Read a URI.

    Raises:
        TokenUriError: It is none, or says something else than which token is meant.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() != _SCHEME:
        raise TokenUriError(f"it does not begin with {_SCHEME}:")
    path, _, query = rest.partition("?")
    named = _attributes(path, ";", _PATH_VALUE, {*_TEXTS, _SLOT_ID, _LIBRARY_VERSION})
    queried = _attributes(query, "&", _QUERY_VALUE, {_PIN_SOURCE, _MODULE_PATH})
    return TokenUri(
        match=TokenMatch(
            **{name: unpadded(named.get(attribute)) for attribute, name in _TEXTS.items()},
            slot_id=_slot_id(named[_SLOT_ID]) if _SLOT_ID in named else None,
            library_version=_version(named[_LIBRARY_VERSION]) if _LIBRARY_VERSION in named else None,
        ),
        pin_file=_pin_file(queried[_PIN_SOURCE]) if _PIN_SOURCE in queried else None,
        module_path=queried.get(_MODULE_PATH),
    )


def unpadded(text: str | None) -> str | None:
    """Return a text as tokens are compared by it."""
    return None if text is None else text.rstrip(_PADDING)


def _attributes(text: str, separator: str, values: re.Pattern[str], known: set[str]) -> dict[str, str]:
    """Return the attributes of one part of a URI, decoded."""
    found: dict[str, str] = {}
    for attribute in text.split(separator) if text else ():
        name, equals, value = attribute.partition("=")
        if name in _REFUSED:
            raise TokenUriError(_REFUSED[name])
        if name not in known or not equals:
            raise TokenUriError("it has an attribute that is not known here")
        if name in found:
            raise TokenUriError(f"it has {name} twice")
        if not values.fullmatch(value):
            raise TokenUriError(f"{name} has a character that has to be written as % and two digits")
        found[name] = _decoded(name, value)
    return found


def _decoded(name: str, value: str) -> str:
    try:
        return _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), value.encode()).decode()
    except UnicodeDecodeError:
        pass
    # Raised out here, because the exception of the decoder holds the value.
    raise TokenUriError(f"{name} is not UTF-8")


def _slot_id(value: str) -> int:
    if not _NUMBER.fullmatch(value) or int(value) > _MAX_SLOT_ID:
        raise TokenUriError(f"{_SLOT_ID} is not a number of a slot")
    return int(value)


def _version(value: str) -> str:
    """Return a version as major and minor number: the minor one is 0 where it is left out."""
    parts = _VERSION.fullmatch(value)
    if parts is None:
        raise TokenUriError(f"{_LIBRARY_VERSION} is not a version")
    return f"{int(parts[1])}.{int(parts[2] or 0)}"


def _pin_file(value: str) -> str:
    path = value.removeprefix("file:")
    if path.startswith("///"):
        # A file URI with an empty host.
        path = path[2:]
    if not path.startswith("/") or path.startswith("//") or "\0" in path or len(path.encode()) > _MAX_PATH:
        raise TokenUriError(f"{_PIN_SOURCE} is not the absolute path of a file")
    return path
