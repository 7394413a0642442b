"""The client's side of one call of `FetchJWTBundles`: gRPC over HTTP/2 with prior knowledge. No I/O.

h2 (RFC 9113) has the frames, the windows and the headers; this module has what gRPC makes of them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes

from cofferdam_fetcher.bundles import Messages, decode_bundles
from cofferdam_fetcher.limits import MAX_MESSAGE
from cofferdam_fetcher.source import SourceError, quoted

_REQUEST: Final = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/SpiffeWorkloadAPI/FetchJWTBundles"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("user-agent", "cofferdam"),
    # Demanded by the agent, so that no request that was forged through a browser or a proxy can reach it.
    ("workload.spiffe.io", "true"),
)
_EMPTY_MESSAGE: Final = bytes(5)
_MAX_HEADERS: Final = 1 << 13
"""Bytes of all headers of an answer."""
_ALLOWANCE: Final = MAX_MESSAGE + (1 << 18)
"""Bytes that may come without a message or an answer to a question: a message and its frames, and then some."""
_FRAME_HEADER: Final = 9
_MAX_FRAME: Final = 1 << 14
"""Bytes of a frame without its header, the least that HTTP/2 knows as a limit."""
_PING: Final = b"bundles?"
_CODES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_REMEDIES: Final = {
    "PERMISSION_DENIED": " (register the uid of this process as a workload, or set allow_unauthenticated_verifiers)",
}


class FrameLengths:
    """Refuses a frame that is too long when its header comes; h2 looks at the length only once it has the whole."""

    def __init__(self) -> None:
        """Start before a frame."""
        self._header = bytearray()
        self._left = 0

    def check(self, data: bytes) -> None:
        """Look at the next bytes.

        Raises:
            SourceError: A frame is longer than we allow any (RFC 9113 section 4.2).
        """
        place = 0
        while place < len(data):
            if self._left:
                step = min(self._left, len(data) - place)
                self._left -= step
            else:
                step = min(_FRAME_HEADER - len(self._header), len(data) - place)
                self._header += data[place : place + step]
                if len(self._header) == _FRAME_HEADER:
                    self._left = int.from_bytes(self._header[:3], "big")
                    self._header.clear()
            place += step
            if self._left > _MAX_FRAME:
                raise SourceError(f"it does not keep to HTTP/2: a frame of {self._left} bytes")


class BundleStream:
    """One connection with one call, which lasts until the agent or an error ends it."""

    def __init__(self) -> None:
        """Begin the connection and make the call."""
        self._connection = H2Connection(
            H2Configuration(client_side=True, header_encoding=None, validate_inbound_headers=True)
        )
        self._connection.local_settings.update(
            {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADERS}
        )
        self._connection.decoder.max_header_list_size = _MAX_HEADERS
        self._connection.initiate_connection()
        self._stream = self._connection.get_next_available_stream_id()
        self._connection.send_headers(self._stream, _REQUEST)
        self._connection.send_data(self._stream, _EMPTY_MESSAGE, end_stream=True)
        self._lengths, self._messages = FrameLengths(), Messages()
        self._allowance = _ALLOWANCE
        self._found: list[dict[str, bytes]] = []
        self._is_asked = False
        self.answers = 0
        """How many questions were answered."""

    @property
    def is_partial(self) -> bool:
        """Tell whether a message has begun and not ended."""
        return self._messages.is_partial

    def unsent(self) -> bytes:
        """Return the bytes to send now."""
        return self._connection.data_to_send()

    def ask(self) -> None:
        """Ask whether the agent is there."""
        self._is_asked = True
        self._connection.ping(_PING)

    def receive(self, data: bytes) -> list[dict[str, bytes]]:
        """Take bytes, none at their end, and return the bundles of each message that ends with them.

        Raises:
            SourceError: The call is over, for whatever reason. What came before it in these bytes is lost; an agent
                that sends something and ends the call at once has to be asked again anyway.
        """
        if not data:
            raise SourceError("it closed the connection")
        self._allowance -= len(data)
        if self._allowance < 0:
            raise SourceError(f"it sent {_ALLOWANCE} bytes without a message")
        self._lengths.check(data)
        try:
            for event in self._connection.receive_data(data):
                handle = _EVENTS.get(type(event))
                if handle is not None:
                    handle(self, event)
        except H2Error as error:
            raise SourceError(f"it does not keep to HTTP/2: {quoted(str(error))}") from None
        found, self._found = self._found, []
        return found

    def _on_headers(self, event: Any) -> None:  # noqa: ANN401  the event of the table
        headers = dict(event.headers)
        if headers.get(b":status") != b"200":
            raise SourceError(f"it answered with the HTTP status {quoted(headers.get(b':status', b''))}: no gRPC")
        kind = headers.get(b"content-type", b"")
        if kind.partition(b";")[0] not in {b"application/grpc", b"application/grpc+proto"}:
            raise SourceError(f"it answered with the content type {quoted(kind)!r}: no gRPC")
        if b"grpc-status" in headers:
            raise _ended(headers)

    def _on_data(self, event: Any) -> None:  # noqa: ANN401  the event of the table
        for message in self._messages.feed(event.data):
            self._found.append(decode_bundles(message))
            self._allowance = _ALLOWANCE
        if event.flow_controlled_length:
            self._connection.acknowledge_received_data(event.flow_controlled_length, self._stream)

    def _on_trailers(self, event: Any) -> None:  # noqa: ANN401  the event of the table
        raise _ended(dict(event.headers))

    def _on_end(self, _event: Any) -> None:  # noqa: ANN401  the event of the table
        raise SourceError("it ended the stream without a status")

    def _on_reset(self, event: Any) -> None:  # noqa: ANN401  the event of the table
        raise SourceError(f"it reset the stream: {_name(event.error_code)}")

    def _on_goodbye(self, event: Any) -> None:  # noqa: ANN401  the event of the table
        reason = f": {quoted(event.additional_data)}" if event.additional_data else ""
        raise SourceError(f"it ends the connection: {_name(event.error_code)}{reason}")

    def _on_answer(self, event: Any) -> None:  # noqa: ANN401  the event of the table
        if self._is_asked and event.ping_data == _PING:
            self._is_asked = False
            self.answers += 1
            self._allowance = _ALLOWANCE


_EVENTS: Final[Mapping[type[Event], Callable[[BundleStream, Any], None]]] = {
    ResponseReceived: BundleStream._on_headers,  # noqa: SLF001  a table of its own methods
    DataReceived: BundleStream._on_data,  # noqa: SLF001
    TrailersReceived: BundleStream._on_trailers,  # noqa: SLF001
    StreamEnded: BundleStream._on_end,  # noqa: SLF001
    StreamReset: BundleStream._on_reset,  # noqa: SLF001
    ConnectionTerminated: BundleStream._on_goodbye,  # noqa: SLF001
    PingAckReceived: BundleStream._on_answer,  # noqa: SLF001
}
"""What is done about an event; h2 itself does what others demand, such as to answer a ping."""


def _ended(headers: Mapping[bytes, bytes]) -> SourceError:
    """Return what the status of a call says."""
    number = headers.get(b"grpc-status", b"")
    code = int(number) if number.isdigit() and len(number) <= 2 else len(_CODES)  # noqa: PLR2004  two digits
    if code >= len(_CODES):
        return SourceError(f"it ended the call with the unknown status {quoted(number)!r}")
    name = _CODES[code]
    text = quoted(unquote_to_bytes(headers.get(b"grpc-message", b"")))
    return SourceError(f"it ended the call: {name}{f', {text}' if text else ''}{_REMEDIES.get(name, '')}")


def _name(code: int) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code}"
