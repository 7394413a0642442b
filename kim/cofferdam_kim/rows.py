"""Rows of the mapping as values, and the rules that a row must satisfy to be served."""

from typing import Any, Final, TypeAlias

from msgspec import Struct

from cofferdam_contracts.identity import MAX_APPLICATION, KeyIdentity
from cofferdam_contracts.ipc.limits import MAX_KEY_ID, MAX_STORED_KEY_NAME
from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.psa.encoding import EncodingError, decode_attributes
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR, AuthType
from cofferdam_contracts.settings import ProviderEntry

COLUMNS: Final = (
    "authenticator_id, application_name, key_name, provider_uuid, provider_name,"
    " key_id, key_id_version, key_attributes, key_attributes_version"
)
KNOWN_AUTHENTICATORS: Final = frozenset({*map(int, AuthType), INTERNAL_AUTHENTICATOR})
KEY_ID_VERSIONS: Final = frozenset({1, 2})
"""1 is the reference's format of a key id, 2 the providers' own."""
ATTRIBUTES_VERSION: Final = 1

RawRow: TypeAlias = tuple[Any, ...]
"""The values of `COLUMNS` as SQLite returns them: of any type, whatever the schema says."""

_NAMES: Final = tuple(COLUMNS.replace(" ", "").split(","))
_TYPES: Final = (int, str, str, str, str, bytes, int, bytes, int)
_TEXTS: Final = slice(1, 5)
IDENTITY: Final = slice(0, 3)
PROVIDER_UUID: Final = 3


class KeyRecord(Opaque, Struct, frozen=True, eq=False):
    """What is stored of a key: the provider's id, the format of that id, the encoded attributes."""

    key_id: bytes
    version: int
    attributes: bytes
    code: bytes = b""
    """The authentication code that the provider's worker gave the row; empty when it has none."""
    number: int = 0
    """Number of its row in the mapping, 0 where it does not matter."""

    def __eq__(self, other: object) -> bool:
        """Compare what is stored of a key; the code and the row's number do not matter."""
        return isinstance(other, KeyRecord) and self._stored() == other._stored()

    def __ne__(self, other: object) -> bool:
        """Compare as `__eq__` does; a struct has its own."""
        return not self == other

    def __hash__(self) -> int:
        """Return the hash of what is compared."""
        return hash(self._stored())

    def _stored(self) -> tuple[bytes, int, bytes]:
        return self.key_id, self.version, self.attributes


def full_name(identity: KeyIdentity) -> tuple[int, str, str]:
    """Return the columns that `IDENTITY` selects."""
    return identity.authenticator, identity.application, identity.key_name


def identity_of(row: RawRow) -> KeyIdentity:
    """Return the identity of the key in a sound row."""
    return KeyIdentity(*row[IDENTITY])


def record_of(row: RawRow) -> KeyRecord:
    """Return the record of the key in a sound row."""
    return KeyRecord(row[5], row[6], row[7])


def belongs(row: RawRow, provider: ProviderEntry) -> bool:
    """Tell whether a row is the provider's; a row whose provider is unreadable is reported to every provider."""
    return row[PROVIDER_UUID] == provider.uuid or type(row[PROVIDER_UUID]) is not str


def fault(row: RawRow) -> str | None:  # noqa: PLR0911  one return per rule
    """Return why a row cannot be served, or None; the reason contains no names."""
    if tuple(map(type, row)) != _TYPES:
        wrong = [name for name, value, kind in zip(_NAMES, row, _TYPES, strict=True) if type(value) is not kind]
        return f"wrong type in {', '.join(wrong)}"
    if not all(map(str.isascii, row[_TEXTS])) and any(map(_is_mangled, row[_TEXTS])):
        return "text that is not UTF-8"
    authenticator, application, key_name, _, _, key_id, version, attributes, attributes_version = row
    if authenticator not in KNOWN_AUTHENTICATORS:
        return f"unknown authenticator {authenticator}"
    if version not in KEY_ID_VERSIONS:
        return f"unknown key id version {version}"
    if attributes_version != ATTRIBUTES_VERSION:
        return f"unknown attributes version {attributes_version}"
    if len(application.encode()) > MAX_APPLICATION or len(key_name.encode()) > MAX_STORED_KEY_NAME:
        return "a name longer than any that a client can ask for"
    if len(key_id) > MAX_KEY_ID:
        return f"a key id of {len(key_id)} bytes"
    try:
        decode_attributes(attributes)
    except EncodingError as error:
        return f"undecodable attributes: {error}"
    return None


def _is_mangled(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
