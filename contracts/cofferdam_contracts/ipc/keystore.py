"""Messages to the key store (kim) and its answers.

A question is one msgpack array `[number, request id, fields…]`; its answer is `[number + 1, request id, status,
fields…]`, with fields only when the status is success. `SCHEMAS` is the whole protocol: who may ask, and what the
fields are. The provider or the uid that a question is about is that of the channel it arrives on; no field names it.

Every question may be repeated when its answer was lost: the identical question has no further effect.
"""

import enum
import struct
from collections.abc import Mapping
from typing import Final

from cofferdam_contracts.identity import MAX_APPLICATION, MAX_KEY_NAME
from cofferdam_contracts.ipc.fields import Array, Field, is_row, most_bytes_of
from cofferdam_contracts.ipc.limits import (
    MAX_ANSWER,
    MAX_ATTRIBUTES,
    MAX_CHECK,
    MAX_CODE,
    MAX_KEY_ID,
    MAX_LISTING,
    MAX_ROW_NUMBER,
    MAX_SEAL,
    MAX_STORED_KEY_NAME,
)
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.status import Status

ID_TAKEN: Final = Status.PSA_ERROR_GENERIC_ERROR
"""Status for a planned key id that another key of the provider has, and for nothing else; another id may be free."""
MISPLACED: Final = Status.PSA_ERROR_NOT_PERMITTED
"""Status for every question of a provider that has keys in another store than its own, and for nothing else."""


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
    """The kind of peer at the other end of a channel of the key store."""

    WORKER = 1
    FRONTEND = 2


MOST_ANSWERED: Final[Mapping[Asker, int]] = {Asker.WORKER: MAX_ANSWER, Asker.FRONTEND: MAX_LISTING}
"""Bytes of the largest answer to each kind of peer."""


@enum.unique
class PendingState(enum.IntEnum):
    """The unfinished step of a key that is neither usable nor gone."""

    RESERVED = 1
    DELETING = 2


PENDING_STATES: Final = frozenset(PendingState)


class QuestionSchema:
    """Who may ask a question, its fields and those of its answer."""

    def __init__(self, asker: Asker, fields: tuple[Field, ...], answer: tuple[Field | Array, ...]) -> None:
        self.asker = asker
        self.fields = fields
        self.accepts = is_row(fields)
        """Tells whether a tuple is the fields of this question."""
        self.accepts_answer = is_row(answer)
        """Tells whether a tuple is the fields of its answer."""


_APPLICATION: Final = (Field(int, INTERNAL_AUTHENTICATOR), Field(str, MAX_APPLICATION))
"""Authenticator, application name."""
_NEW_NAME: Final = (*_APPLICATION, Field(str, MAX_KEY_NAME))
_NAME: Final = (*_APPLICATION, Field(str, MAX_STORED_KEY_NAME))
"""The reference may have stored the key, under a longer name than a new one may have."""
_CODE: Final = Field(bytes, MAX_CODE)
_SEAL: Final = Field(bytes, MAX_SEAL)
_RECORD: Final = (Field(bytes, MAX_KEY_ID), Field(int, 2), Field(bytes, MAX_ATTRIBUTES), _CODE)
"""Key id, key id version, attributes, the row's code (empty for a row that its provider encrypts)."""

_STORED_NAME: Final = (Field(int, INTERNAL_AUTHENTICATOR), Field(str, MAX_ANSWER), Field(str, MAX_ANSWER))
"""The name in a row: another service may have stored a longer one than is accepted here."""

CODED_ROW: Final = struct.Struct(f"<Q{MAX_CODE}s")
"""A row number and the code of that row."""
ROWS_AT_ONCE: Final = MAX_KEY_ID // CODED_ROW.size
"""Most rows that one ADOPT assigns codes to."""

SCHEMAS: Final[Mapping[KimMessage, QuestionSchema]] = {
    # -> key id, key id version, attributes, code (empty when the row has none), row number
    KimMessage.LOOKUP: QuestionSchema(Asker.WORKER, _NAME, (*_RECORD, Field(int, MAX_ROW_NUMBER))),
    # The key id is the planned one, or empty.
    KimMessage.RESERVE: QuestionSchema(Asker.WORKER, _NEW_NAME + _RECORD, ()),
    # The last field is the new seal of the provider's codes; it is empty if the row has no code.
    KimMessage.ACTIVATE: QuestionSchema(Asker.WORKER, (*_NEW_NAME, *_RECORD, _SEAL), ()),
    KimMessage.CANCEL: QuestionSchema(Asker.WORKER, _NEW_NAME, ()),
    # The code authenticates the row in its new state, the seal the remaining codes.
    KimMessage.MARK_DELETING: QuestionSchema(Asker.WORKER, (*_NAME, _CODE, _SEAL), ()),
    KimMessage.REMOVE: QuestionSchema(Asker.WORKER, _NAME, ()),
    # -> array of [state, authenticator, application, key name, key id, key id version, attributes, code]
    KimMessage.PENDING: QuestionSchema(
        Asker.WORKER, (), (Array((Field(int, max(PendingState)), *_STORED_NAME, *_RECORD)),)
    ),
    # -> check value of the provider's key, seal of the codes of its active rows, the concatenated codes
    KimMessage.STATE: QuestionSchema(Asker.WORKER, (), (Field(bytes, MAX_CHECK), _SEAL, Field(bytes, MAX_ANSWER))),
    # Check value of the provider's key; 1 to delete the codes of its active rows; the seal of the empty set of codes,
    # which is stored unless there is a seal already and no codes are deleted.
    KimMessage.ENROL: QuestionSchema(Asker.WORKER, (Field(bytes, MAX_CHECK), Field(int, 1), _SEAL), ()),
    # Row number after which to continue
    # -> array of [row number, authenticator, application, key name, key id, key id version, attributes]
    KimMessage.ROWS: QuestionSchema(
        Asker.WORKER,
        (Field(int, MAX_ROW_NUMBER),),
        (Array((Field(int, MAX_ROW_NUMBER), *_STORED_NAME, *_RECORD[:-1])),),
    ),
    # Concatenated `CODED_ROW` of each row that gets a code; the new seal.
    KimMessage.ADOPT: QuestionSchema(Asker.WORKER, (Field(bytes, MAX_KEY_ID), _SEAL), ()),
    # -> array of key names of the asking provider
    KimMessage.CLIENT_KEYS: QuestionSchema(Asker.WORKER, _APPLICATION, (Array(Field(str, MAX_ANSWER)),)),
    # The application is empty for Unix peer credentials, where the channel's uid is used.
    # -> array of pages, see `ipc.pages`
    KimMessage.LIST_KEYS: QuestionSchema(Asker.FRONTEND, _APPLICATION, (Array(),)),
    # The application is the administrator, as in LIST_KEYS -> array of application names of the same authenticator
    KimMessage.LIST_CLIENTS: QuestionSchema(Asker.FRONTEND, _APPLICATION, (Array(),)),
}


def most_bytes(asker: Asker) -> int:
    """Return the bytes of the largest question of a kind of peer."""
    return max(most_bytes_of(schema.fields) for schema in SCHEMAS.values() if schema.asker is asker)
