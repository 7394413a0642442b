"""Keys as the key store has them: private blob, authorisation value and public part.

The reference's form is the `bincode` encoding of its PasswordContext, fixed-width and little-endian:

    legacy context (24 zero bytes) | auth value | 0: modulus, 1: x, y (u32 before) | private blob

with a length of eight bytes before each value. Our own form is

    parent (1 byte: 0 the storage root key, 1 that of the application) | the reference's form

encrypted and bound to the key's name and attributes, so that the authorisation value is not readable, and a row that
was moved or changed is detected. Source: docs/reference/parsec-behaviour.md, "Stored keys of the TPM".
"""

import struct
from typing import Final

from msgspec import Struct

from cofferdam_contracts.byte_reader import ByteReader
from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.tpm.public import EccPart, Part, RsaPart

_NO_CONTEXT: Final = bytes(24)
_LENGTH: Final = struct.Struct("<Q")
_KIND: Final = struct.Struct("<I")
_RSA: Final = 0
_ECC: Final = 1
_MOST_NUMBER: Final = 512
"""Bytes of the longest modulus: that of 4096 bits."""
ROOT_PARENT: Final = 0
APPLICATION_PARENT: Final = 1


class Blob(Opaque, Struct, frozen=True, kw_only=True):
    """A key of the TPM, outside of it; without a private blob only the public part of a key."""

    part: Part
    private: bytes = b""
    """Content of the TPM2B_PRIVATE."""
    auth: bytes = b""
    parent: int = ROOT_PARENT


def encode(blob: Blob) -> bytes:
    """Return the reference's form."""
    if isinstance(blob.part, RsaPart):
        part = _KIND.pack(_RSA) + _sized(blob.part.modulus)
    else:
        part = _KIND.pack(_ECC) + _sized(blob.part.x) + _sized(blob.part.y)
    return _NO_CONTEXT + _sized(blob.auth) + part + _sized(blob.private)


def decode(data: bytes, parent: int = ROOT_PARENT) -> Blob:
    """Read the reference's form; bytes after it are ignored, as the reference does.

    Raises:
        ServiceError: It is malformed (`PSA_ERROR_DATA_CORRUPT`).
    """
    reader = ByteReader(data, _corrupt, "little")
    if reader.take(len(_NO_CONTEXT)) != _NO_CONTEXT:
        raise _corrupt("a saved context, as Parsec kept until 2021, which no TPM loads after a restart")
    auth = reader.prefixed(_LENGTH.size)
    kind = reader.u32()
    part: Part
    if kind == _RSA:
        part = RsaPart(reader.prefixed(_LENGTH.size))
    elif kind == _ECC:
        part = EccPart(reader.prefixed(_LENGTH.size), reader.prefixed(_LENGTH.size))
    else:
        raise _corrupt(f"a public part of kind {kind}")
    numbers = (part.modulus,) if isinstance(part, RsaPart) else (part.x, part.y)
    if not all(0 < len(number) <= _MOST_NUMBER for number in numbers):
        raise _corrupt("a public part of a length that no key has")
    return Blob(part=part, auth=auth, private=reader.prefixed(_LENGTH.size), parent=parent)


def encode_own(blob: Blob) -> bytes:
    """Return the plaintext of our own form."""
    return bytes((blob.parent,)) + encode(blob)


def decode_own(data: bytes) -> Blob:
    """Read the plaintext of our own form.

    Raises:
        ServiceError: It is malformed (`PSA_ERROR_DATA_CORRUPT`).
    """
    if data[:1] not in (bytes((ROOT_PARENT,)), bytes((APPLICATION_PARENT,))):
        raise _corrupt("no parent")
    return decode(data[1:], data[0])


def encode_name(name: bytes) -> bytes:
    """Return what the reference stores of the root key's Name."""
    return _sized(name)


def decode_name(data: bytes) -> bytes:
    """Read what the reference stores of the root key's Name.

    Raises:
        ServiceError: It is malformed.
    """
    return ByteReader(data, _corrupt, "little").prefixed(_LENGTH.size)


def _sized(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content


def _corrupt(detail: str) -> ServiceError:
    return ServiceError(Status.PSA_ERROR_DATA_CORRUPT, f"a stored key that is {detail}")
