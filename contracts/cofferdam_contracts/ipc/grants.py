"""Messages of identities by token: who verifies a token, and who is told whom a channel may speak for.

A frontend shows a token to the identity process (VERIFY). That tells the servers which the frontend is about to ask,
over channels of its own, which application the frontend's channel may speak for, and until when (GRANT), and answers
with a handle. The handle stands in a request where a claimed name would stand; only on that frontend's channel does it
mean anything. `SCHEMAS` is the whole protocol: a message is `[number, id, fields…]`, its answer `[number + 1, id,
fields…]`, where the answer to VERIFY has the status as its first field and further ones only if that is success.

Every message may be repeated: the identical one has no further effect.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from cofferdam_contracts.identity import MAX_APPLICATION
from cofferdam_contracts.ipc.fields import Field, is_row, most_bytes_of
from cofferdam_contracts.ipc.limits import MAX_BUNDLE, MAX_BUNDLE_NAME, MAX_HANDLE, MAX_TOKEN
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR

_MOST: Final = (1 << 63) - 1


@enum.unique
class GrantMessage(enum.IntEnum):
    """Number of each message; its answer is the number plus one."""

    VERIFY = 0x50
    """Of a frontend to the identity process."""
    GRANT = 0x52
    """Of the identity process to a server."""
    WITHDRAW = 0x54
    """Of the identity process to a server. An empty handle stands for all of a frontend's channel."""
    BUNDLE = 0x56
    """Of a fetcher to the identity process; there is no answer."""


class GrantSchema(NamedTuple):
    """The fields of a message, and the size of the largest."""

    accepts: Callable[[Any], bool]
    most_bytes: int


def _schema(*fields: Field) -> GrantSchema:
    return GrantSchema(is_row(fields), most_bytes_of(fields))


_NUMBER: Final = Field(int, _MOST)
_HANDLE: Final = Field(str, MAX_HANDLE)
_AUTHENTICATOR: Final = Field(int, INTERNAL_AUTHENTICATOR)

SCHEMAS: Final[Mapping[GrantMessage, GrantSchema]] = {
    # Deadline (as in requests, `ipc.requests`), authenticator, the servers that will be asked as bits by role, token.
    GrantMessage.VERIFY: _schema(_NUMBER, _AUTHENTICATOR, _NUMBER, Field(bytes, MAX_TOKEN)),
    # Serial of the frontend whose channel it is, handle, authenticator, application, until when.
    GrantMessage.GRANT: _schema(_NUMBER, _HANDLE, _AUTHENTICATOR, Field(str, MAX_APPLICATION), _NUMBER),
    # Serial, handle.
    GrantMessage.WITHDRAW: _schema(_NUMBER, _HANDLE),
    # Name of what issued the keys (trust domain or issuer), the document with the keys.
    GrantMessage.BUNDLE: _schema(Field(str, MAX_BUNDLE_NAME), Field(bytes, MAX_BUNDLE)),
}
VERIFIED: Final = _schema(_HANDLE, Field(int, 1), _NUMBER)
"""The answer to VERIFY behind its status: handle, whether the application is an administrator, until when.

`until` counts microseconds of CLOCK_BOOTTIME: a machine that sleeps must not lengthen the life of a token.
"""
MAX_GRANT: Final = max(SCHEMAS[GrantMessage.GRANT].most_bytes, SCHEMAS[GrantMessage.WITHDRAW].most_bytes)
"""Bytes of the largest message to a server."""
MAX_VERIFY: Final = SCHEMAS[GrantMessage.VERIFY].most_bytes
MAX_ANNOUNCED: Final = SCHEMAS[GrantMessage.BUNDLE].most_bytes
"""Bytes of the largest message of a fetcher."""
