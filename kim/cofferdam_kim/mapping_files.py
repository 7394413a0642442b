"""The format of the reference's `OnDisk` key info manager: names and contents of its mapping files.

    B64(application) / number of the provider / B64(key name)    a client's key
    parsec / B64(word of the provider + key name)                a key of the service itself

B64 is the URL-safe base64 of the UTF-8 bytes, with padding. A file holds the length of the key id as a u64, the key id
and the attributes; what follows is ignored. Nothing in a file says which authenticator its application belongs to.
Source: docs/reference/parsec-behaviour.md, "The OnDisk store".
"""

import base64
import binascii
from typing import Final, NamedTuple

from cofferdam_contracts.byte_reader import ByteReader
from cofferdam_contracts.ipc.limits import MAX_ATTRIBUTES, MAX_KEY_ID
from cofferdam_contracts.psa.encoding import EncodingError, attributes_length
from cofferdam_contracts.registry import ProviderId

Parts = tuple[str, ...]
"""Names of the folders below the root of the store, and that of the file."""

MAX_FILE: Final = 8 + MAX_KEY_ID + MAX_ATTRIBUTES
"""Bytes of the longest content; a file is not read further."""
INTERNAL: Final = "parsec"
"""Folder of the service's own keys; no name has this base64. It is also their application's name."""
_LENGTH: Final = 8
_MAX_NAME: Final = 255
"""Bytes of a file name in Linux."""
_WORDS: Final = {
    "core": ProviderId.CORE,
    "mbedcrypto": ProviderId.MBED_CRYPTO,
    "pkcs11": ProviderId.PKCS11,
    "tpm": ProviderId.TPM,
    "trusted-service": ProviderId.TRUSTED_SERVICE,
    "cryptoauthlib": ProviderId.CRYPTO_AUTH_LIB,
}
_NUMBERS: Final = frozenset(map(str, map(int, ProviderId)))
_OF_INTERNAL: Final = 2
_OF_CLIENTS: Final = 3


class MappingError(ValueError):
    """Raised when a name or a content is none of this format; the text holds neither names nor contents."""


class Mapped(NamedTuple):
    """What the path of a mapping file says."""

    provider: int
    application: str | None
    """None for a key of the service itself."""
    key_name: str


def parts_of(mapped: Mapped) -> Parts:
    """Return the path of a key's file below the root.

    Raises:
        MappingError: A name is empty or too long for the file system; the reference cannot keep such keys either.
    """
    if mapped.application is None:
        word = next(word for word, number in _WORDS.items() if number == mapped.provider)
        return INTERNAL, _encoded(word + mapped.key_name)
    return _encoded(mapped.application), str(int(mapped.provider)), _encoded(mapped.key_name)


def mapped_by(parts: Parts) -> Mapped | None:
    """Return what a path says; None for a file of no provider's, which the reference ignores.

    Raises:
        MappingError: The reference would not have made this path.
    """
    if len(parts) == _OF_INTERNAL and parts[0] == INTERNAL:
        return _internal(_decoded(parts[1]))
    if len(parts) != _OF_CLIENTS:
        raise MappingError("a file in no folder of a provider")
    application, number, key_name = parts
    if number not in _NUMBERS:
        raise MappingError("a folder that is not named after a provider's number")
    return Mapped(int(number), _decoded(application), _decoded(key_name))


def is_folder(parts: Parts) -> bool:
    """Tell whether a folder below the root can be one of the format."""
    if len(parts) == 1:
        try:
            return parts[0] == INTERNAL or bool(_decoded(parts[0]))
        except MappingError:
            return False
    return len(parts) < _OF_CLIENTS and parts[0] != INTERNAL and parts[1] in _NUMBERS


def encode(key_id: bytes, attributes: bytes) -> bytes:
    """Return the content of a mapping file."""
    return len(key_id).to_bytes(_LENGTH, "little") + key_id + attributes


def decode(content: bytes) -> tuple[bytes, bytes]:
    """Return key id and encoded attributes; content is the file up to `MAX_FILE` bytes.

    Raises:
        MappingError: It is empty, cut off or not a mapping.
    """
    reader = ByteReader(content, MappingError, "little")
    key_id = reader.prefixed(_LENGTH)
    if len(key_id) > MAX_KEY_ID:
        raise MappingError(f"a key id of {len(key_id)} bytes")
    attributes = reader.rest()[:MAX_ATTRIBUTES]
    try:
        return key_id, attributes[: attributes_length(attributes)]
    except EncodingError as error:
        raise MappingError(f"undecodable attributes: {error}") from error


def _internal(name: str) -> Mapped | None:
    for word, provider in _WORDS.items():
        if name.startswith(word):
            return Mapped(provider, None, name.removeprefix(word))
    return None


def _encoded(name: str) -> str:
    coded = base64.urlsafe_b64encode(name.encode()).decode()
    if not 0 < len(coded) <= _MAX_NAME:
        raise MappingError(f"a name of {len(name.encode())} bytes, which a mapping file cannot have")
    return coded


def _decoded(coded: str) -> str:
    try:
        name = base64.b64decode(coded, b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise MappingError("a name that is not the base64 of a text") from error
    # Bits beyond the text, or none of it, would give one key two paths.
    if not name or _encoded(name) != coded:
        raise MappingError("a name that is not the base64 of a text")
    return name
