"""An independent implementation of the wire protocol, so that the service does not check itself.

Every field of a request can be set to anything that fits its width. Bodies are protobuf by hand.
Source: docs/reference/parsec-protocol.md, "Header", "Operations" and "Bodies".
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Self

HEADER: Final = struct.Struct("<IHBBHBQBBBIHIHBB")
MAGIC: Final = 0x5EC0A710
HEADER_SIZE: Final = 30
KEEP_ALIVE: Final = 0x8000
CORE: Final = 0
SOFTWARE: Final = 1
NO_AUTH: Final = 0
DIRECT: Final = 1
UNIX_PEER: Final = 3

PING: Final = 0x01
GENERATE_KEY: Final = 0x02
DESTROY_KEY: Final = 0x03
SIGN_HASH: Final = 0x04
VERIFY_HASH: Final = 0x05
EXPORT_PUBLIC_KEY: Final = 0x07
LIST_PROVIDERS: Final = 0x08
LIST_OPCODES: Final = 0x09
ASYMMETRIC_ENCRYPT: Final = 0x0A
ASYMMETRIC_DECRYPT: Final = 0x0B
GENERATE_RANDOM: Final = 0x0D
LIST_AUTHENTICATORS: Final = 0x0E
HASH_COMPUTE: Final = 0x0F
AEAD_ENCRYPT: Final = 0x11
LIST_KEYS: Final = 0x1A
LIST_CLIENTS: Final = 0x1B
DELETE_CLIENT: Final = 0x1C
CAN_DO_CRYPTO: Final = 0x20

_TIMEOUT_S: Final = 30.0
_BODY_LEN: Final = slice(22, 26)


@dataclass(frozen=True, slots=True)
class Request:
    """A request, right or wrong; the lengths are those of body and authentication unless they are given."""

    opcode: int = PING
    provider: int = CORE
    body: bytes = b""
    auth_type: int = NO_AUTH
    auth: bytes = b""
    magic: int = MAGIC
    header_size: int = HEADER_SIZE
    version_major: int = 1
    version_minor: int = 0
    flags: int = 0
    session: int = 0
    content_type: int = 0
    accept_type: int = 0
    body_len: int | None = None
    auth_len: int | None = None
    status: int = 0
    reserved1: int = 0
    reserved2: int = 0

    def but(self, **fields: int | bytes) -> Self:
        """Return the request with some fields changed."""
        return replace(self, **fields)  # type: ignore[arg-type]  # a wrong name is refused by replace()

    def to_bytes(self) -> bytes:
        """Return what goes over the socket."""
        body_len = len(self.body) if self.body_len is None else self.body_len
        auth_len = len(self.auth) if self.auth_len is None else self.auth_len
        header = HEADER.pack(
            self.magic, self.header_size, self.version_major, self.version_minor, self.flags, self.provider,
            self.session, self.content_type, self.accept_type, self.auth_type, body_len, auth_len, self.opcode,
            self.status, self.reserved1, self.reserved2,
        )  # fmt: skip
        return header + self.body + self.auth


@dataclass(frozen=True, slots=True)
class Response:
    """A response that was read to its end."""

    provider: int
    session: int
    opcode: int
    status: int
    body: bytes = field(repr=False)
    reset: bool = False
    """Whether the connection was reset after the response, because the service had not read all that was sent."""


class BrokenResponseError(Exception):
    """Raised when what came is not exactly one response."""


def parse_response(data: bytes) -> Response:
    """Read one response that has to be all of `data`.

    Raises:
        BrokenResponseError: It is not, or a field has another value than every response has.
    """
    if len(data) < HEADER.size:
        raise BrokenResponseError(f"{len(data)} bytes")
    (
        magic, header_size, major, minor, flags, provider, session, content_type, accept_type, auth_type, body_len,
        auth_len, opcode, status, reserved1, reserved2,
    ) = HEADER.unpack_from(data)  # fmt: skip
    fixed = (magic, header_size, major, minor, flags, content_type, accept_type, auth_type, auth_len)
    if fixed != (MAGIC, HEADER_SIZE, 1, 0, 0, 0, 0, 0, 0) or reserved1 or reserved2:
        raise BrokenResponseError(f"header {data[: HEADER.size].hex()}")
    body = data[HEADER.size :]
    if len(body) != body_len or (status and body):
        raise BrokenResponseError(f"status {status}, {body_len} bytes announced, {len(body)} there")
    return Response(provider, session, opcode, status, body)


def exchange(path: str, data: bytes, *, half_close: bool = False) -> Response:
    """Send bytes over a connection of their own and return the one response, read until the end of the stream.

    Raises:
        OSError: The connection failed.
        BrokenResponseError: What came is not one response.
    """
    answer, reset = converse(path, data, half_close=half_close)
    return replace(parse_response(answer), reset=reset)


def connect(path: str) -> socket.socket:
    """Return a connection that is open until it is closed, for several requests."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_TIMEOUT_S)
    connection.connect(path)
    return connection


def read_response(connection: socket.socket) -> Response:
    """Read one response of a connection that stays open.

    Raises:
        OSError: The connection failed.
        BrokenResponseError: What came is no response, or the connection ended within it.
    """
    data = bytearray()
    missing = HEADER.size
    while missing:
        part = connection.recv(missing)
        if not part:
            raise BrokenResponseError(f"the connection ended after {len(data)} bytes")
        data += part
        missing -= len(part)
        if not missing and len(data) == HEADER.size:
            missing = int.from_bytes(data[_BODY_LEN], "little")
    return parse_response(bytes(data))


def converse(path: str, data: bytes, *, half_close: bool = False) -> tuple[bytes, bool]:
    """Send bytes over a connection of their own; return all that came back, and whether it ended with a reset.

    Raises:
        OSError: The connection failed.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(path)
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent; the response is there
        answer = bytearray()
        reset = False
        try:
            while part := connection.recv(1 << 16):
                answer += part
        except ConnectionResetError:
            reset = True
    return bytes(answer), reset


def split_responses(data: bytes) -> list[Response]:
    """Read responses that follow each other.

    Raises:
        BrokenResponseError: One of them is none.
    """
    responses = []
    while data:
        end = HEADER.size + int.from_bytes(data[_BODY_LEN], "little")
        responses.append(parse_response(data[:end]))
        data = data[end:]
    return responses


def call(path: str, request: Request) -> Response:
    """Send a request and return its response, whatever its status."""
    return exchange(path, request.to_bytes())


def unix_auth(uid: int) -> bytes:
    """Return the authentication field of UnixPeerCredentials."""
    return struct.pack("<I", uid)


def varint(value: int) -> bytes:
    """Encode an unsigned number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field_number: int, value: int) -> bytes:
    """Encode a scalar field."""
    return varint(field_number << 3) + varint(value)


def blob(field_number: int, value: bytes) -> bytes:
    """Encode a string, a byte field or a message within a message."""
    return varint(field_number << 3 | 2) + varint(len(value)) + value


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a well-formed message of scalars, byte fields and messages."""
    position = 0

    def take() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        key = take()
        if key & 7 == 0:
            yield key >> 3, take()
        elif key & 7 == 2:
            length = take()
            yield key >> 3, message[position : position + length]
            position += length
        else:
            raise ValueError(f"wire type {key & 7}")


def first_blob(message: bytes, field_number: int = 1) -> bytes:
    """Return the first byte field of this number; empty if there is none."""
    return next((value for found, value in fields(message) if found == field_number and isinstance(value, bytes)), b"")


# Algorithms, as members of the `alg` messages of operations, and the attributes of keys for them.
SHA_256: Final = 7
ECDSA_SHA_256: Final = blob(4, blob(1, number(2, SHA_256)))
RSA_SIGN_SHA_256: Final = blob(1, blob(1, number(2, SHA_256)))
RSA_PKCS1_CRYPT: Final = blob(1, b"")
AES_GCM: Final = number(1, 2)
_SIGN_USAGE: Final = number(6, 1) + number(7, 1) + number(8, 1) + number(9, 1)
_CRYPT_USAGE: Final = number(4, 1) + number(5, 1)
_RSA_KEY_PAIR: Final = blob(10, b"")


def attributes(key_type: bytes, bits: int, usage: bytes, algorithm: bytes) -> bytes:
    """Return key attributes; `algorithm` is a member of psa_algorithm.Algorithm."""
    return blob(1, key_type) + number(2, bits) + blob(3, blob(1, usage) + blob(2, algorithm))


P256_SIGN: Final = attributes(blob(11, number(1, 2)), 256, _SIGN_USAGE, blob(6, ECDSA_SHA_256))
RSA_SIGN: Final = attributes(_RSA_KEY_PAIR, 2048, _SIGN_USAGE, blob(6, RSA_SIGN_SHA_256))
RSA_4096_SIGN: Final = attributes(_RSA_KEY_PAIR, 4096, _SIGN_USAGE, blob(6, RSA_SIGN_SHA_256))
RSA_CRYPT: Final = attributes(_RSA_KEY_PAIR, 2048, _CRYPT_USAGE, blob(7, RSA_PKCS1_CRYPT))
AES_256_GCM: Final = attributes(blob(4, b""), 256, _CRYPT_USAGE, blob(5, AES_GCM))


@dataclass(frozen=True, slots=True)
class Caller:
    """One uid's view of a provider: builds authenticated requests."""

    uid: int
    auth_type: int = UNIX_PEER
    provider: int = SOFTWARE

    def request(self, opcode: int, body: bytes = b"", provider: int | None = None) -> Request:
        """Return a request with the uid's own credentials, to the caller's provider if none is given."""
        asked = self.provider if provider is None else provider
        return Request(opcode=opcode, provider=asked, body=body, auth_type=self.auth_type, auth=unix_auth(self.uid))

    def generate(self, name: str, key_attributes: bytes) -> Request:
        """Return a request for a new key."""
        return self.request(GENERATE_KEY, blob(1, name.encode()) + blob(2, key_attributes))

    def destroy(self, name: str) -> Request:
        """Return a request that destroys a key."""
        return self.request(DESTROY_KEY, blob(1, name.encode()))

    def sign(self, name: str, algorithm: bytes, digest: bytes) -> Request:
        """Return a request for a signature."""
        return self.request(SIGN_HASH, blob(1, name.encode()) + blob(2, algorithm) + blob(3, digest))

    def verify(self, name: str, algorithm: bytes, digest: bytes, signature: bytes) -> Request:
        """Return a request to verify a signature."""
        body = blob(1, name.encode()) + blob(2, algorithm) + blob(3, digest) + blob(4, signature)
        return self.request(VERIFY_HASH, body)

    def encrypt_aead(self, name: str, nonce: bytes, plaintext: bytes) -> Request:
        """Return a request to encrypt with AES-GCM."""
        body = blob(1, name.encode()) + blob(2, AES_GCM) + blob(3, nonce) + blob(4, b"") + blob(5, plaintext)
        return self.request(AEAD_ENCRYPT, body)

    def random(self, size: int) -> Request:
        """Return a request for random bytes."""
        return self.request(GENERATE_RANDOM, number(1, size))
