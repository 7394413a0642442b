"""Protobuf as the reference reads and writes it: messages as tables, one decoder and one encoder for all of them.

A body is accepted exactly when prost 0.9 accepts it, and means the same; what is written is what prost writes. The
rules are in docs/reference/parsec-protocol.md, "Decoding" and "Encoding".

A message becomes a *record*, a tuple that depends on the shape of the message:

    fields      the value of each field in the order of their numbers; a field that did not come has its default, which
                is None for a message
    oneof       the number of the member that came last and its value; (0, None) if none came
    listing     the values of its only field, which is repeated

A value is an `int`, a `bool`, a `str`, a `bytes` or again a record, by the type of the field.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, TypeAlias

from cofferdam_contracts.status import ServiceError, Status

Record: TypeAlias = tuple[Any, ...]

VARINT, FIXED64, LENGTH_DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)
_FIXED_WIDTH: Final = {FIXED64: 8, FIXED32: 4}
_MAX_KEY: Final = (1 << 32) - 1
_MAX_DEPTH: Final = 100
_MAX_FIELDS: Final = 15
"""The key of a field up to this number is one byte."""
_MAX_VARINT: Final = 10
"""Longest varint in bytes."""
_LONG: Final = 0x80
"""From here on a varint has more than one byte."""
_SHORT: Final = tuple(bytes([number]) for number in range(_LONG))
_MAX_REMEMBERED: Final = 64
"""Longest encoding in bytes whose record is kept. No groups in it can nest too deep, wherever it stands."""


# Types of fields and messages.


class Scalar:
    """A type of fields that hold no message."""

    __slots__ = ("default", "greatest", "name")
    remembered: Final = 0

    def __init__(self, name: str, default: Any, greatest: int = 0) -> None:  # noqa: ANN401  a value of the type
        self.name = name
        self.default = default
        """The value of a field that did not come."""
        self.greatest = greatest
        """The greatest value of a number; 0 if the type is no number, so that its values have a length."""


UINT32: Final = Scalar("uint32", 0, (1 << 32) - 1)
"""Also an enumeration: prost keeps 32 bits of both."""
UINT64: Final = Scalar("uint64", 0, (1 << 64) - 1)
BOOL: Final = Scalar("bool", default=False, greatest=1)
STRING: Final = Scalar("string", "")
BYTES: Final = Scalar("bytes", b"")
_PACKED: Final = Scalar("packed", None)
"""Numbers of a list in one piece."""

_ALWAYS: Final = object()
"""Stands for the default of a field that has none: each of its values is written."""

FIELDS, ONEOF, LISTING = range(3)
"""The shapes of a message: fields by themselves, the members of one oneof, or one field that is repeated."""


class Message:
    """The type of a message: its fields by name, numbered from 1 in the order of the arguments."""

    __slots__ = ("absent", "by_key", "fields", "remembered", "shape", "written")
    default: Final = None
    greatest: Final = 0

    def __init__(self, shape: int = FIELDS, /, **fields: "Scalar | Message") -> None:
        if len(fields) > _MAX_FIELDS or (shape == LISTING and len(fields) != 1):
            raise ValueError(f"{len(fields)} fields")
        self.shape = shape
        self.fields = fields
        self.absent: Record = (tuple(kind.default for kind in fields.values()), (0, None), ())[shape]
        """The record of an encoding without fields."""
        self.by_key: dict[int, _Place] = {}
        """Every field by the byte that announces it."""
        self.written: list[_Written] = []
        """Every field in the order of their numbers."""
        for number, kind in enumerate(fields.values(), 1):
            self._add(number, kind)
        self.remembered: int = (
            _MAX_REMEMBERED if all(kind.greatest or kind.remembered for kind in fields.values()) else 0
        )
        """The longest encoding whose record is remembered: none unless the message holds numbers only, for then nothing
        in it is secret, and the same few encodings come again and again."""

    def _add(self, number: int, kind: "Scalar | Message") -> None:
        slot, member = ((number - 1, 0), (1, number), (-1, 0))[self.shape]
        key = number << 3 | (VARINT if kind.greatest else LENGTH_DELIMITED)
        self.by_key[key] = slot, member, kind.greatest, kind
        if kind is UINT32 and self.shape == LISTING:
            # They may come one by one, and are written together.
            key = number << 3 | LENGTH_DELIMITED
            self.by_key[key] = slot, member, 0, _PACKED
        self.written.append((bytes([key]), kind, kind.default if self.shape == FIELDS else _ALWAYS))


_Place: TypeAlias = tuple[int, int, int, Scalar | Message]
"""How a field is read: its slot in the record (-1 in a listing), its number if it is a member of a oneof (else 0), the
bits of it that count if it is a number (else 0), and its type."""
_Written: TypeAlias = tuple[bytes, Scalar | Message, Any]
"""How a field is written: the byte that announces it, its type, and the value that is left out. Members of a oneof and
elements of a list are written whatever they are."""


def oneof(**members: Scalar | Message) -> Message:
    """Return the type of a message whose fields are the members of one oneof."""
    return Message(ONEOF, **members)


def listing(**field: Scalar | Message) -> Message:
    """Return the type of a message whose only field is repeated."""
    return Message(LISTING, **field)


# From bytes to records.


def decode(message: Message, body: bytes, before: Record | None = None, depth: int = 0) -> Record:
    """Return the record of an encoding, merged into the record `before` if there is one.

    It calls itself only for a message in a message, so never more often than the type is deep.

    Raises:
        ServiceError: `DESERIALIZING_BODY_FAILED` if prost would refuse it.
    """
    values = [*(before or message.absent)]
    field_of = message.by_key.get
    place, end = 0, len(body)
    while place < end:
        field = field_of(body[place])
        place += 1
        if field is None:
            field, place = _unusual_key(message, body, place - 1, depth)
            if field is None:
                continue
        slot, member, mask, kind = field
        # A number, or the length of the value.
        number = body[place] if place < end else _LONG
        place += 1
        if number >= _LONG:
            number, place = _varint(body, place - 1)
        if member and member != values[0]:
            values = [member, None]
        value: Any
        if mask:
            value = number & mask if kind is not BOOL else number != 0
        else:
            value = body[place : place + number]
            place += number
            if place > end:
                raise _malformed("a field that is longer than the message that holds it")
            if kind is STRING:
                value = _text(value)
            elif kind is not BYTES:
                value = _nested(kind, value, values[slot] if slot >= 0 else None, depth)
        if slot >= 0:
            values[slot] = value
        else:
            values += value if kind is _PACKED else (value,)
    return tuple(values)


def _malformed(detail: str) -> ServiceError:
    return ServiceError(Status.DESERIALIZING_BODY_FAILED, detail)


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _malformed("a string that is not UTF-8") from None


def _nested(kind: Any, body: bytes, before: Record | None, depth: int) -> Any:  # noqa: ANN401  of any such type
    """Return the value of a message or a packed list; `before` is the record of its earlier occurrences."""
    if kind is _PACKED:
        return _numbers(body)
    if before is None and len(body) <= kind.remembered:
        return _remembered(kind, body)
    return decode(kind, body, before, depth + 1)


@lru_cache(maxsize=512)
def _remembered(message: Message, body: bytes) -> Record:
    return decode(message, body)


def _numbers(body: bytes) -> list[int]:
    """Return the numbers of a packed list."""
    numbers: list[int] = []
    place = 0
    while place < len(body):
        number, place = _varint(body, place)
        numbers.append(number & UINT32.greatest)
    return numbers


def _varint(body: bytes, place: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place after it."""
    number = shift = 0
    for byte in body[place : place + _MAX_VARINT]:
        place += 1
        if byte < _LONG:
            number |= byte << shift
            if number > UINT64.greatest:
                raise _malformed("a varint of more than 64 bits")
            return number, place
        number |= (byte & 0x7F) << shift
        shift += 7
    raise _malformed("a varint that does not end")


def _key(body: bytes, place: int) -> tuple[int, int]:
    """Return the key of a field, and the place after it."""
    key, place = _varint(body, place)
    if key > _MAX_KEY or key >> 3 == 0 or key & 7 > FIXED32:
        raise _malformed(f"field {key >> 3} of wire type {key & 7}")
    return key, place


def _unusual_key(message: Message, body: bytes, place: int, depth: int) -> tuple[_Place | None, int]:
    """Return a field whose key is longer than one byte, and the place after the key; skip a field that is unknown."""
    key, place = _key(body, place)
    field = message.by_key.get(key)
    if field is None:
        if key >> 3 <= len(message.fields):
            raise _malformed(f"field {key >> 3} of wire type {key & 7}, which is not its own")
        place = _skip(key, body, place, depth)
    return field, place


def _skip(key: int, body: bytes, place: int, depth: int) -> int:
    """Return the place after an unknown field: if it is a group, after everything in it."""
    groups: list[int] = []
    while True:
        number, wire_type = key >> 3, key & 7
        if wire_type == END_GROUP:
            if not groups or groups.pop() != number:
                raise _malformed(f"an end of group {number} that did not begin")
        elif depth + len(groups) >= _MAX_DEPTH:
            raise _malformed("groups nested too deep")
        elif wire_type == START_GROUP:
            groups.append(number)
        elif wire_type == VARINT:
            _number, place = _varint(body, place)
        elif wire_type == LENGTH_DELIMITED:
            length, place = _varint(body, place)
            place += length
        else:
            place += _FIXED_WIDTH[wire_type]
        if place > len(body):
            raise _malformed("a field that is longer than the message that holds it")
        if not groups:
            return place
        key, place = _key(body, place)


# From records to bytes.


def encode(message: Message, record: Record) -> bytes:
    """Return the encoding of a record; in place of the record of a message in it, it may hold the encoding.

    Raises:
        TypeError: A value has another type than its field.
        ValueError: The record has another number of values, a number does not fit, or a string is not Unicode.
    """
    pieces: list[bytes] = []
    for (key, kind, default), value in _fields(message, record):
        if value == default:
            continue
        if kind.greatest:
            pieces += key, _number(kind, value)
            continue
        content = value
        if kind is STRING:
            content = str.encode(value)
        elif isinstance(kind, Message) and not isinstance(value, bytes):
            content = encode(kind, value)
        elif not isinstance(value, bytes):
            raise TypeError(f"bytes expected, found {type(value).__name__}")
        pieces += key, write_varint(len(content)), content
    return b"".join(pieces)


def _fields(message: Message, record: Record) -> Iterable[tuple[_Written, Any]]:
    """Return the values of a record beside what is known of their fields."""
    if message.shape == FIELDS:
        if len(record) != len(message.written):
            raise ValueError(f"{len(message.written)} values expected, found {len(record)}")
        return zip(message.written, record, strict=True)
    if message.shape == ONEOF:
        number, value = record
        return [(message.written[number - 1], value)] if number else []
    (field,) = message.written
    key, kind, _default = field
    if kind.greatest:
        return [((key, BYTES, b""), b"".join([_number(kind, value) for value in record]))]
    return [(field, value) for value in record]


def _number(kind: Scalar | Message, value: int) -> bytes:
    if not 0 <= value <= kind.greatest:
        raise ValueError(f"a number from 0 to {kind.greatest} expected, found {value}")
    return write_varint(value)


def write_varint(number: int) -> bytes:
    """Return a number as a varint."""
    if number < _LONG:
        return _SHORT[number]
    encoded = bytearray()
    while number >= _LONG:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
