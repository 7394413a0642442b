"""Sizes and counts of the channels between processes: one place for all of them, with units and reasons.

A receiver refuses whatever is beyond a limit and closes the channel; an honest sender checks before it sends. What a
client may send is limited by the configuration and by `wire`.
"""

from typing import Final

# Datagrams, see `ipc.framing`.
PART_SIZE: Final = 60_000
"""Payload bytes of one datagram; a SOCK_SEQPACKET socket takes at least 200 kB with default kernel settings."""
MAX_DATAGRAM: Final = PART_SIZE + 32
"""Bytes of the largest datagram: a full part and the array around it."""
MAX_ITEMS: Final = 1_000_000
"""Elements of the largest array (a listing of keys), each of which takes memory before it is looked at."""
MAX_PARTS: Final = 16
"""Datagrams taken in one call: the parts of a large message are work too, and others have their turn in between."""
AROUND: Final = 16
"""Bytes, more than msgpack puts around one value."""

# Messages between a frontend and a worker, see `ipc.requests`.
OVERHEAD: Final = 1 << 16
"""Bytes of a message beside the client's body or the worker's result: names, attributes, framing."""


def message_limit(body_len_limit: int, buffer_size_limit: int) -> int:
    """Return the bytes of the largest message between a frontend and a worker, in either direction."""
    return max(body_len_limit, buffer_size_limit) + OVERHEAD


# Fields of messages to the key store, see `ipc.keystore`.
MAX_STORED_KEY_NAME: Final = 1 << 20
"""Bytes of the name of a key that exists: the reference accepts whatever a request of its default size holds."""
MAX_KEY_ID: Final = 1 << 16
"""Bytes of a backend's key id, which may be a wrapped key."""
MAX_ATTRIBUTES: Final = 256
"""Bytes of encoded attributes; more than any need."""
MAX_CODE: Final = 48
"""Bytes of the authentication code of a row, which only the workers can interpret."""
MAX_SEAL: Final = 32
"""Bytes of the value that authenticates the set of a provider's codes."""
MAX_CHECK: Final = 16
"""Bytes of the check value of a provider's key-encryption key: it tells whether the rows were made with this key."""
MAX_ROW_NUMBER: Final = (1 << 63) - 1
"""Largest row number of SQLite."""

# Fields of messages about tokens, see `ipc.grants`.
MAX_TOKEN: Final = 8192
"""Bytes of a token; nothing of a longer one is looked at."""
MAX_HANDLE: Final = 16
"""Bytes of what stands for a granted identity in a request."""
MAX_BUNDLE_NAME: Final = 2048
"""Bytes of a trust domain or issuer."""
MAX_BUNDLE: Final = 1 << 18
"""Bytes of a document with keys."""

# Answers of the key store.
MAX_ANSWER: Final = 16 << 20
"""Bytes of the largest answer to a worker. A longer listing is cut; the worker handles what it got and asks again."""
MAX_LISTING: Final = 4 << 20
"""Bytes of the largest answer to a frontend, which holds several copies in memory while it encodes it. A longer listing
is refused; 10,000 keys with names of 256 bytes fit in."""
