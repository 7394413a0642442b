"""Messages to the key store (kim) and its answers.

A frame is one msgpack array `[number, request id, fields…]`; the answer is `[number + 1, request id, status, fields…]`
with the fields only when the status is success. `SCHEMAS` is the whole protocol: who may ask, what the fields are.
The provider of a question is that of the channel it came on, and so is the peer uid; no field names them.

Every question may be asked again when its answer was lost: repeating it word for word has no further effect.
"""

import enum
import struct
from collections.abc import Mapping
from typing import Final

from cofferdam_contracts.record import record
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.status import Status

MAX_APPLICATION: Final = 4096
"""Bytes of an application name. Names are kept in memory for each key in use and sent with each listing."""
MAX_KEY_NAME: Final = 4096
"""Bytes of a key name, for the same reason; the reference's on-disk store takes 189."""
MAX_KEY_ID: Final = 1 << 16
"""Bytes of a backend's key id, which may be a wrapped key."""
MAX_ATTRIBUTES: Final = 256
"""Bytes of encoded attributes."""
MAX_CODE: Final = 48
"""Bytes of the authentication code of a row; what they mean is known to the workers alone."""
MAX_SEAL: Final = 32
"""Bytes of what authenticates the set of a provider's codes."""
MAX_CHECK: Final = 16
"""Bytes that tell whether a provider's key-encryption key is the one that its rows were made with."""
MAX_ROW_NUMBER: Final = (1 << 63) - 1
MAX_ANSWER: Final = 16 << 20
"""Bytes of the largest answer to a worker. A listing that is longer is cut, so that the worker handles what it got and
asks again."""
MAX_LISTING: Final = 4 << 20
"""Bytes of the largest answer to a frontend, which has it in memory several times while it encodes it. A listing that
is longer is refused; 10,000 keys with names of 256 bytes fit in."""

ID_TAKEN: Final = Status.PSA_ERROR_GENERIC_ERROR
"""Answer to a planned key id that another key of the provider has, and to nothing else; another id may be free."""


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
    STATE = 26
    ENROL = 28
    ROWS = 30
    ADOPT = 32
    LIST_KEYS = 40
    LIST_CLIENTS = 42


@enum.unique
class Asker(enum.IntEnum):
    """Who is at the other end of a channel of the key store."""

    WORKER = 1
    FRONTEND = 2


MOST_ANSWERED: Final[Mapping[Asker, int]] = {Asker.WORKER: MAX_ANSWER, Asker.FRONTEND: MAX_LISTING}
"""Bytes of the largest answer that somebody gets."""


@enum.unique
class PendingState(enum.IntEnum):
    """What was going on with a key that is neither usable nor gone."""

    RESERVED = 1
    DELETING = 2


PENDING_STATES: Final = frozenset(PendingState)


@record
class Field:
    """A field of a message: its exact type, and the largest number or the most bytes (of text: in UTF-8)."""

    type: type
    most: int

    def accepts(self, value: object) -> bool:
        """Tell whether a value may stand in this field."""
        if type(value) is not self.type:
            return False
        if isinstance(value, int):
            return 0 <= value <= self.most
        if isinstance(value, str):
            return len(value) <= self.most and _utf8_length(value) <= self.most
        return isinstance(value, bytes) and len(value) <= self.most


def _utf8_length(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return MAX_ANSWER


@record
class Array:
    """A field of an answer that is an array of values or rows; if `of` is None, its reader checks what is in it."""

    of: Field | tuple[Field, ...] | None = None

    def accepts(self, value: object) -> bool:
        """Tell whether a value may stand in this field."""
        if type(value) is not tuple or self.of is None:
            return type(value) is tuple
        if isinstance(self.of, Field):
            return all(map(self.of.accepts, value))
        return all(type(row) is tuple and _accepts(self.of, row) for row in value)


def _accepts(fields: tuple["Field | Array", ...], values: tuple[object, ...]) -> bool:
    return len(values) == len(fields) and all(field.accepts(value) for field, value in zip(fields, values, strict=True))


@record
class Schema:
    """Who may ask, the fields of the question and those of the answer."""

    asker: Asker
    fields: tuple[Field, ...]
    answer: tuple[Field | Array, ...]

    def accepts(self, values: tuple[object, ...]) -> bool:
        """Tell whether the values are the fields of this question."""
        return _accepts(self.fields, values)

    def accepts_answer(self, values: tuple[object, ...]) -> bool:
        """Tell whether the values are the fields of the answer."""
        return _accepts(self.answer, values)


_AROUND: Final = 16
"""More bytes than msgpack puts around one value."""
_ENVELOPE: Final = 3
"""The array, the number and the id of a question."""
_APPLICATION: Final = (Field(int, INTERNAL_AUTHENTICATOR), Field(str, MAX_APPLICATION))
"""Authenticator, application name."""
_NAME: Final = (*_APPLICATION, Field(str, MAX_KEY_NAME))
_CODE: Final = Field(bytes, MAX_CODE)
_SEAL: Final = Field(bytes, MAX_SEAL)
_RECORD: Final = (Field(bytes, MAX_KEY_ID), Field(int, 2), Field(bytes, MAX_ATTRIBUTES), _CODE)
"""Key id, key id version, attributes, the row's code (empty for a row that its provider seals)."""

_STORED_NAME: Final = (Field(int, INTERNAL_AUTHENTICATOR), Field(str, MAX_ANSWER), Field(str, MAX_ANSWER))
"""The name of a row: another service may have stored a longer one than is taken here."""

CODED_ROW: Final = struct.Struct(f"<Q{MAX_CODE}s")
"""A row number and the code of that row."""
ROWS_AT_ONCE: Final = MAX_KEY_ID // CODED_ROW.size
"""Rows that one ADOPT gives their codes."""

SCHEMAS: Final[Mapping[KimMessage, Schema]] = {
    # -> key id, key id version, attributes, code (empty when the row has none), row number
    KimMessage.LOOKUP: Schema(Asker.WORKER, _NAME, (*_RECORD, Field(int, MAX_ROW_NUMBER))),
    # The key id is the planned one, or empty.
    KimMessage.RESERVE: Schema(Asker.WORKER, _NAME + _RECORD, ()),
    # The last field is the new seal of the provider's codes; empty where the row has no code.
    KimMessage.ACTIVATE: Schema(Asker.WORKER, (*_NAME, *_RECORD, _SEAL), ()),
    KimMessage.CANCEL: Schema(Asker.WORKER, _NAME, ()),
    # The code is that of the row in its new state, the seal that of the codes that remain.
    KimMessage.MARK_DELETING: Schema(Asker.WORKER, (*_NAME, _CODE, _SEAL), ()),
    KimMessage.REMOVE: Schema(Asker.WORKER, _NAME, ()),
    # -> array of [state, authenticator, application, key name, key id, key id version, attributes, code]
    KimMessage.PENDING: Schema(Asker.WORKER, (), (Array((Field(int, max(PendingState)), *_STORED_NAME, *_RECORD)),)),
    # -> check value of the provider's key, seal of the codes of its active rows, the codes one after the other
    KimMessage.STATE: Schema(Asker.WORKER, (), (Field(bytes, MAX_CHECK), _SEAL, Field(bytes, MAX_ANSWER))),
    # Check value of the provider's key; 1 to forget the codes of its active rows; the seal of no codes, which is kept
    # unless there is a seal already and nothing is forgotten.
    KimMessage.ENROL: Schema(Asker.WORKER, (Field(bytes, MAX_CHECK), Field(int, 1), _SEAL), ()),
    # Row number after which to go on
    # -> array of [row number, authenticator, application, key name, key id, key id version, attributes]
    KimMessage.ROWS: Schema(
        Asker.WORKER,
        (Field(int, MAX_ROW_NUMBER),),
        (Array((Field(int, MAX_ROW_NUMBER), *_STORED_NAME, *_RECORD[:-1])),),
    ),
    # `CODED_ROW` for each row that gets a code, one after the other; the new seal.
    KimMessage.ADOPT: Schema(Asker.WORKER, (Field(bytes, MAX_KEY_ID), _SEAL), ()),
    # -> array of key names of the asking provider
    KimMessage.CLIENT_KEYS: Schema(Asker.WORKER, _APPLICATION, (Array(Field(str, MAX_ANSWER)),)),
    # application empty for Unix peer credentials: the channel's uid counts
    # -> array of pages, see `ipc.pages`
    KimMessage.LIST_KEYS: Schema(Asker.FRONTEND, _APPLICATION, (Array(),)),
    # The application is the administrator, as in LIST_KEYS -> array of application names of the same authenticator
    KimMessage.LIST_CLIENTS: Schema(Asker.FRONTEND, _APPLICATION, (Array(),)),
}


def most_bytes(asker: Asker) -> int:
    """Return the bytes of the largest question that somebody may ask."""
    return max(
        sum(_AROUND + (0 if field.type is int else field.most) for field in schema.fields) + _AROUND * _ENVELOPE
        for schema in SCHEMAS.values()
        if schema.asker is asker
    )
