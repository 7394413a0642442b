"""Messages to the key store (kim) and its answers.

A frame is one msgpack array `[number, request id, fields…]`; the answer is `[number + 1, request id, status, fields…]`
with the fields only when the status is success. `SCHEMAS` is the whole protocol: who may ask, what the fields are.
The provider of a question is that of the channel it came on, and so is the peer uid; no field names them.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@enum.unique
class KimMessage(enum.IntEnum):
    """Number of each question; its answer is the number plus one."""

    LOOKUP = 10
    RESERVE = 12
    ACTIVATE = 14
    CANCEL = 16
    MARK_DELETING = 18
    REMOVE = 20
    PENDING = 22
    CLIENT_KEYS = 24
    LIST_KEYS = 40
    LIST_CLIENTS = 42


@enum.unique
class Asker(enum.IntEnum):
    """Who is at the other end of a channel of the key store."""

    WORKER = 1
    FRONTEND = 2


@enum.unique
class PendingState(enum.IntEnum):
    """What was going on with a key that is neither usable nor gone."""

    RESERVED = 1
    DELETING = 2


@dataclass(frozen=True, slots=True)
class Schema:
    """Who may ask and the exact types of question and answer fields (without number, id and status)."""

    asker: Asker
    question: tuple[type, ...]
    answer: tuple[type, ...]


SCHEMAS: Final[Mapping[KimMessage, Schema]] = {
    # authenticator, application, key name -> key id, key id version, attributes
    KimMessage.LOOKUP: Schema(Asker.WORKER, (int, str, str), (bytes, int, bytes)),
    # authenticator, application, key name, planned key id, key id version, attributes
    KimMessage.RESERVE: Schema(Asker.WORKER, (int, str, str, bytes, int, bytes), ()),
    # authenticator, application, key name, key id, key id version, attributes
    KimMessage.ACTIVATE: Schema(Asker.WORKER, (int, str, str, bytes, int, bytes), ()),
    KimMessage.CANCEL: Schema(Asker.WORKER, (int, str, str), ()),
    KimMessage.MARK_DELETING: Schema(Asker.WORKER, (int, str, str), ()),
    KimMessage.REMOVE: Schema(Asker.WORKER, (int, str, str), ()),
    # -> array of [state, authenticator, application, key name, key id, key id version, attributes]
    KimMessage.PENDING: Schema(Asker.WORKER, (), (tuple,)),
    # authenticator, application -> array of key names of the asking provider
    KimMessage.CLIENT_KEYS: Schema(Asker.WORKER, (int, str), (tuple,)),
    # authenticator, application (empty for Unix peer credentials: the channel's uid counts)
    # -> array of [provider number, key name, attributes]
    KimMessage.LIST_KEYS: Schema(Asker.FRONTEND, (int, str), (tuple,)),
    # authenticator, application of the administrator -> array of application names
    KimMessage.LIST_CLIENTS: Schema(Asker.FRONTEND, (int, str), (tuple,)),
}
