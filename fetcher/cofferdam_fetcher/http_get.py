"""One GET over HTTP/1.1, with h11: the client's side. No I/O."""

from typing import Final

import h11

from cofferdam_contracts.endpoints import HttpsUrl
from cofferdam_fetcher.source import SourceError, quoted

_MAX_HEADERS: Final = 1 << 14
_MAX_AGE: Final = 1 << 31
"""Seconds; longer ages mean the same (RFC 9111 section 1.2.2)."""
_OK: Final = 200
_REDIRECTIONS: Final = range(300, 400)
_MOST_INTERIM: Final = 8


class Get:
    """A request and its answer."""

    def __init__(self, url: HttpsUrl, limit: int) -> None:
        """Begin; a document of more than `limit` bytes is refused."""
        self._limit = limit
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEADERS)
        self._document = bytearray()
        self._interim = 0
        request = h11.Request(
            method="GET",
            target=url.target,
            headers=[
                ("Host", url.authority),
                ("User-Agent", "cofferdam"),
                ("Accept", "application/json, application/jwk-set+json"),
                ("Accept-Encoding", "identity"),
                ("Connection", "close"),
            ],
        )
        self.request: bytes = (self._connection.send(request) or b"") + (
            self._connection.send(h11.EndOfMessage()) or b""
        )
        """The bytes to send."""
        self.max_age: int | None = None
        """Seconds for which the answer says that the document holds; None if it says nothing."""

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes, none at their end, and return the document once it is complete.

        Raises:
            SourceError: The answer is no document, or too long, or no HTTP.
        """
        try:
            self._connection.receive_data(data)
            while (event := self._connection.next_event()) is not h11.NEED_DATA:
                if self._take(event):
                    return bytes(self._document)
        except (h11.RemoteProtocolError, ValueError) as error:  # h11 0.14 makes numbers of lengths of any length
            raise SourceError(f"it does not keep to HTTP: {quoted(str(error))}") from None
        if not data:
            raise SourceError("it closed the connection")
        return None

    def _take(self, event: object) -> bool:
        """Take a part of the answer; tell whether it was the last."""
        if isinstance(event, h11.Response):
            self._begin(event)
        elif isinstance(event, h11.Data):
            self._document += event.data
            if len(self._document) > self._limit:
                raise self._too_long()
        elif isinstance(event, h11.InformationalResponse):
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                raise SourceError(f"it sent more than {_MOST_INTERIM} interim answers")
        return isinstance(event, h11.EndOfMessage)

    def _begin(self, response: h11.Response) -> None:
        if response.status_code in _REDIRECTIONS:
            raise SourceError(
                f"it redirects (HTTP status {response.status_code}), which is not followed; configure the final URL"
            )
        if response.status_code != _OK:
            raise SourceError(f"it answered with the HTTP status {response.status_code}")
        headers: dict[bytes, bytes] = {}
        for name, value in response.headers:
            headers[name] = headers[name] + b"," + value if name in headers else value
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise SourceError("its answer is compressed, which it was not asked for")
        # h11 has checked that it is a number.
        if int(headers.get(b"content-length", b"0")) > self._limit:
            raise self._too_long()
        self.max_age = max_age(headers.get(b"cache-control", b""), headers.get(b"age", b""))

    def _too_long(self) -> SourceError:
        return SourceError(f"its document has more than {self._limit} bytes")


def max_age(cache_control: bytes, age: bytes) -> int | None:
    """Return for how many seconds an answer holds (RFC 9111 section 4.2); None if it does not say so."""
    found = None
    for directive in cache_control.lower().split(b","):
        name, _, value = directive.strip().partition(b"=")
        if name in {b"no-store", b"no-cache"}:
            return 0
        if name == b"max-age" and found is None:
            found = _seconds(value.strip(b'"'))
    return None if found is None else max(0, found - (_seconds(age.strip()) or 0))


def _seconds(text: bytes) -> int | None:
    if not text.isdigit():
        return None
    return min(int(text), _MAX_AGE) if len(text) <= len(str(_MAX_AGE)) else _MAX_AGE
