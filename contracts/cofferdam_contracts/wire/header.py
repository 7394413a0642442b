"""The fixed header of requests and responses: 36 bytes, packed, little endian.

Source: docs/reference/parsec-protocol.md, "Header" and "Two headers of a response".
"""

import struct
from typing import Final, NamedTuple

from cofferdam_contracts.registry import AuthType, Opcode, ProviderId
from cofferdam_contracts.status import Status

HEADER: Final = struct.Struct("<IHBBHBQBBBIHIHBB")
"""Magic number, header size, version (major, minor), flags, provider, session, content type, accept type,
authentication type, body length, authentication length, opcode, status, two reserved bytes."""
HEADER_LENGTH: Final = 36
if HEADER.size != HEADER_LENGTH:
    raise RuntimeError(f"the header has {HEADER.size} bytes")

MAGIC: Final = 0x5EC0A710
MAGIC_BYTES: Final = MAGIC.to_bytes(4, "little")
HEADER_SIZE: Final = 30
"""The only value of the field header_size: the number of bytes after it."""
VERSION: Final = (1, 0)
PROTOBUF: Final = 0
"""The only content type and accept type."""
KEEP_ALIVE: Final = 0x8000
"""Request flag: the client wants to send another request on the same connection. The reference ignores flags."""
MAX_AUTH: Final = (1 << 16) - 1

_pack = HEADER.pack


class HeaderError(ValueError):
    """Raised when bytes are not the header of a response."""


class RequestHeader(NamedTuple):
    """The fields of an acceptable request; those with only one acceptable value are left out."""

    flags: int
    provider: ProviderId
    session: int
    auth_type: AuthType
    body_length: int
    auth_length: int
    opcode: Opcode


class ResponseHeader(NamedTuple):
    """The fields of a response that matter to a client; `status` may be a number that this version does not know."""

    provider: int
    session: int
    body_length: int
    opcode: int
    status: int


def request_bytes(  # noqa: PLR0913  one parameter per field that clients choose
    opcode: int,
    provider: int,
    body: bytes,
    auth_type: int = AuthType.NO_AUTH,
    auth: bytes = b"",
    *,
    session: int = 0,
    flags: int = 0,
) -> bytes:
    """Return a whole request: header, body, authentication.

    Raises:
        ValueError: A field does not fit its width.
    """
    major, minor = VERSION
    try:
        header = _pack(
            MAGIC, HEADER_SIZE, major, minor, flags, provider, session, PROTOBUF, PROTOBUF, auth_type,
            len(body), len(auth), opcode, 0, 0, 0,
        )  # fmt: skip
    except struct.error as error:
        raise ValueError(f"a field of the request does not fit: {error}") from error
    return header + body + auth


def response_bytes(header: RequestHeader, status: int, body: bytes = b"") -> bytes:
    """Return a whole response to a request: provider, session and opcode are the request's."""
    return (
        _pack(
            MAGIC, HEADER_SIZE, 1, 0, 0, header.provider, header.session, PROTOBUF, 0, 0,
            len(body), 0, header.opcode, status, 0, 0,
        )
        + body
    )  # fmt: skip


def fallback_response(status: int) -> bytes:
    """Return the response to bytes that are not a request: it names Ping and repeats nothing that was sent."""
    return _pack(MAGIC, HEADER_SIZE, 1, 0, 0, 0, 0, PROTOBUF, 0, 0, 0, 0, Opcode.PING, status, 0, 0)


def decode_response(data: bytes) -> ResponseHeader:
    """Read the header of a response from its first 36 bytes; `body_length` bytes follow them.

    Raises:
        HeaderError: It is not a header of this protocol version.
    """
    if len(data) < HEADER_LENGTH:
        raise HeaderError(f"{len(data)} bytes of {HEADER_LENGTH}")
    (
        magic, header_size, major, minor, _flags, provider, session, content_type, _accept_type, _auth_type,
        body_length, auth_length, opcode, status, reserved1, reserved2,
    ) = HEADER.unpack_from(data)  # fmt: skip
    if magic != MAGIC or header_size != HEADER_SIZE or (major, minor) != VERSION:
        raise HeaderError(f"magic number {magic:#x}, header size {header_size}, version {major}.{minor}")
    if content_type != PROTOBUF or auth_length or reserved1 or reserved2:
        raise HeaderError("a field that must be 0 is not")
    if status != Status.SUCCESS and body_length:
        raise HeaderError(f"a body of {body_length} bytes with status {status}")
    return ResponseHeader(provider, session, body_length, opcode, status)
