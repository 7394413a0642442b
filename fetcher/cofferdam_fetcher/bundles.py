"""The answers of `FetchJWTBundles`, from the bytes of a gRPC stream to documents by trust domain. No I/O.

SPIFFE Workload API, section 6.2.2; gRPC over HTTP/2, "Length-Prefixed-Message".
"""

import re
from typing import Final

from cofferdam_contracts.status import ServiceError
from cofferdam_contracts.wire.protobuf import BYTES, STRING, Message, decode, listing
from cofferdam_fetcher.limits import MAX_DOCUMENT, MAX_DOMAINS, MAX_MESSAGE
from cofferdam_fetcher.source import SourceError, quoted

_PREFIX: Final = 5
"""Bytes before a message: whether it is compressed, and its length in four bytes."""
_SCHEME: Final = "spiffe://"
_DOMAIN: Final = re.compile("[a-z0-9._-]{1,255}")
"""A trust domain (SPIFFE ID, section 2.1)."""
_RESPONSE: Final = listing(bundles=Message(key=STRING, value=BYTES))
"""JWTBundlesResponse: a map is a list of messages, each with a key and a value."""


class Messages:
    """Cuts a gRPC stream into messages."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        """Start at the beginning of the stream."""
        self._limit = limit
        self._data = bytearray()

    @property
    def is_partial(self) -> bool:
        """Tell whether a message has begun and not ended."""
        return bool(self._data)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes, and return the messages that end with them.

        Raises:
            SourceError: A message is compressed or too long.
        """
        self._data += data
        found = []
        while len(self._data) >= _PREFIX:
            if self._data[0]:
                raise SourceError("it compresses messages, which it was not asked for")
            size = int.from_bytes(self._data[1:_PREFIX], "big")
            if size > self._limit:
                raise SourceError(f"it announces a message of {size} bytes; at most {self._limit} are taken")
            end = _PREFIX + size
            if len(self._data) < end:
                break
            found.append(bytes(self._data[_PREFIX:end]))
            del self._data[:end]
        return found


def decode_bundles(message: bytes) -> dict[str, bytes]:
    """Return the documents of a message by the names of their trust domains.

    Raises:
        SourceError: It is no such message, or has a name or document that cannot be used. Nothing of it holds then: it
            may be that what it says of other domains was not meant either.
    """
    try:
        entries = decode(_RESPONSE, message)
    except ServiceError as error:
        raise SourceError(f"its message is not protobuf: {error.detail}") from None
    if len(entries) > MAX_DOMAINS:
        raise SourceError(f"it has bundles of {len(entries)} trust domains; at most {MAX_DOMAINS} are taken")
    found: dict[str, bytes] = {}
    for key, document in entries:
        domain = key.removeprefix(_SCHEME)
        if not _DOMAIN.fullmatch(domain):
            raise SourceError(f"it has a bundle of {quoted(key)!r}, which is no trust domain")
        if domain in found:
            raise SourceError(f"it has two bundles of the trust domain {domain}")
        if not 0 < len(document) <= MAX_DOCUMENT:
            raise SourceError(
                f"its bundle of the trust domain {domain} has {len(document)} bytes; 1 to {MAX_DOCUMENT} are taken"
            )
        found[domain] = document
    return found
