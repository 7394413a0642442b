"""Splits a stream of bytes into requests, without any I/O.

These are checks 1 to 11 of docs/reference/parsec-protocol.md, "Order of checks"; the frontend makes the others, see
its `pipeline.py`. Their order is that of the reference, so that the same wrong bytes get the same status from both. The
sizes that a client announces are checked before memory is used for them.

    1       magic number                                `RequestDecoder._fixed_part`, after 4 bytes
    2       header size                                 `RequestDecoder._size_field`, after as many bytes as it says
    3-5     version, reserved bytes, body_len_limit     `RequestDecoder._fixed_part`, after 36 bytes
    6       everything announced arrives in time        whoever reads the connection (`RequestDecoder.give_up`)
    7-11    content type, accept type, authenticator,   `RequestDecoder._request`, once the request is whole
            opcode and provider exist
"""

from typing import Final, NamedTuple

from cofferdam_contracts.registry import AuthType, Opcode, ProviderId
from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.header import (
    HEADER,
    HEADER_LENGTH,
    HEADER_SIZE,
    MAGIC_BYTES,
    PROTOBUF,
    VERSION,
    RequestHeader,
)

_MAGIC_END: Final = 4
_SIZE_END: Final = 6
# A look-up here is four times as fast as calling the enumeration.
_AUTH_TYPES: Final = {int(member): member for member in AuthType}
_OPCODES: Final = {int(member): member for member in Opcode}
_PROVIDERS: Final = {int(member): member for member in ProviderId}

_unpack_from = HEADER.unpack_from


class WireError(Exception):
    """Raised when the stream is not a request; the answer has the fallback header and this status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class Limits(NamedTuple):
    """What a client may announce."""

    body_len: int
    """Longest body in bytes (`body_len_limit`)."""


class Request(NamedTuple):
    """One whole request; body and authentication field are not checked yet."""

    header: RequestHeader
    body: bytes
    auth: bytes

    def __repr__(self) -> str:
        """Show the sizes, not the contents."""
        return f"Request({self.header!r}, {len(self.body)} bytes of body, {len(self.auth)} of authentication)"


class NeedData:
    """There is no whole request yet."""


NEED_DATA: Final = NeedData()


class RequestDecoder:
    """Splits the bytes of one connection into requests.

    After `feed`, call `next_event` until it needs data. Whoever reads the connection also answers one that ends or
    falls silent before a request is whole, even before its first byte: like a `WireError` with status
    `CONNECTION_ERROR`. After a `WireError` there are no further requests; every call raises it again.
    """

    __slots__ = ("_announced", "_buffer", "_leftover", "_limit", "_needed", "error")

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.body_len
        self._buffer: bytes | bytearray = b""
        self._needed = _MAGIC_END
        self._announced: tuple[int, ...] | None = None
        self.error: Status | None = None
        """The status of the refusal after which there are no further requests."""
        self._leftover = 0

    @property
    def leftover(self) -> int:
        """Return how many bytes came after the last request, or were not read because of an error."""
        return len(self._buffer) + self._leftover

    @property
    def announced(self) -> int:
        """Return how many bytes have to be kept until the request under way is whole."""
        return max(self._needed, len(self._buffer))

    @property
    def missing(self) -> int:
        """Return how many bytes the request under way lacks, as far as its size is known."""
        return self._needed - len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        if self.error is not None:
            self._leftover += len(data)
        elif not self._buffer:
            self._buffer = data
        elif isinstance(self._buffer, bytearray):
            self._buffer += data
        else:
            self._buffer = bytearray(self._buffer)
            self._buffer += data

    def next_event(self) -> Request | NeedData:
        """Return the next request, or `NeedData`.

        Raises:
            WireError: The stream is not a request.
        """
        if self.error is not None:
            raise WireError(self.error)
        if len(self._buffer) < self._needed:
            return NEED_DATA
        announced = self._announced
        if announced is None:
            announced = self._fixed_part()
            if announced is None or len(self._buffer) < self._needed:
                return NEED_DATA
        return self._request(announced)

    def _fixed_part(self) -> tuple[int, ...] | None:
        """Check the fields of the header that decide how much is to be read; return the header once it is whole."""
        buffer = self._buffer
        if buffer[:_MAGIC_END] != MAGIC_BYTES:
            raise self._refuse(Status.INVALID_HEADER, _MAGIC_END)
        if len(buffer) < HEADER_LENGTH or buffer[_MAGIC_END] != HEADER_SIZE or buffer[_MAGIC_END + 1]:
            self._size_field()
            return None
        fields = _unpack_from(buffer)
        if (fields[2], fields[3]) != VERSION:
            raise self._refuse(Status.WIRE_PROTOCOL_VERSION_NOT_SUPPORTED, HEADER_LENGTH)
        if fields[14] or fields[15]:
            raise self._refuse(Status.INVALID_HEADER, HEADER_LENGTH)
        if fields[10] > self._limit:
            raise self._refuse(Status.BODY_SIZE_EXCEEDS_LIMIT, HEADER_LENGTH)
        self._needed = HEADER_LENGTH + fields[10] + fields[11]
        self._announced = fields
        return fields

    def _size_field(self) -> None:
        """Wait for as many bytes as header_size announces, and only then refuse a wrong number."""
        self._needed = _SIZE_END
        if len(self._buffer) >= _SIZE_END:
            header_size = int.from_bytes(self._buffer[_MAGIC_END:_SIZE_END], "little")
            self._needed = _SIZE_END + header_size
            if len(self._buffer) >= self._needed:
                raise self._refuse(Status.INVALID_HEADER, self._needed)

    def _request(self, fields: tuple[int, ...]) -> Request:
        """Return the whole request in the buffer; prepare for the next one."""
        flags, provider_number, session, content_type, accept_type, auth_number, body_length, auth_length = fields[4:12]
        end = self._needed
        if content_type != PROTOBUF:
            raise self._refuse(Status.CONTENT_TYPE_NOT_SUPPORTED, end)
        if accept_type != PROTOBUF:
            raise self._refuse(Status.ACCEPT_TYPE_NOT_SUPPORTED, end)
        auth_type = _AUTH_TYPES.get(auth_number)
        if auth_type is None:
            raise self._refuse(Status.AUTHENTICATOR_DOES_NOT_EXIST, end)
        opcode = _OPCODES.get(fields[12])
        if opcode is None:
            raise self._refuse(Status.OPCODE_DOES_NOT_EXIST, end)
        provider = _PROVIDERS.get(provider_number)
        if provider is None:
            raise self._refuse(Status.PROVIDER_DOES_NOT_EXIST, end)
        buffer = self._buffer
        body_end = HEADER_LENGTH + body_length
        request = Request(
            RequestHeader(flags, provider, session, auth_type, body_length, auth_length, opcode),
            bytes(buffer[HEADER_LENGTH:body_end]),
            bytes(buffer[body_end:end]),
        )
        self._buffer = bytes(buffer[end:]) if len(buffer) > end else b""
        self._needed = _MAGIC_END
        self._announced = None
        return request

    def give_up(self, status: Status) -> None:
        """Accept no further requests, for a reason that is not in the bytes, and drop what was kept."""
        if self.error is None:
            self._refuse(status, 0)

    def _refuse(self, status: Status, consumed: int) -> WireError:
        """Remember the error, drop what was kept, and return the exception."""
        self.error = status
        self._leftover = len(self._buffer) - consumed
        self._buffer = b""
        return WireError(status)
