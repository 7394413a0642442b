"""Google's protobuf as the measure of ours: made as strict as prost, and between its messages and our records.

Google's runtime treats a known field of the wrong wire type as an unknown one, and allows five bytes for a field key or
a length. `canonical` walks a body by prost's rules and writes it again with the known fields only, in their shortest
form; what it lets through, both read alike.
"""

import re
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as GoogleMessage
from tests.contracts import parsec_pb2
from tests.contracts.protobuf import BYTES, END_GROUP, FIXED32, FIXED64, START_GROUP, VARINT, varint

from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire import messages
from cofferdam_contracts.wire.protobuf import FIELDS, LISTING, ONEOF, Message, Record, Scalar

_VARINT = re.compile(rb"[\x80-\xff]{0,8}[\x00-\x7f]|[\x80-\xff]{9}[\x00\x01]")
BODIES: list[tuple[str, Message]] = [
    (f"{opcode.name.title().replace('_', '')}{part}", table[opcode])
    for opcode in Opcode
    for part, table in (("Operation", messages.OPERATIONS), ("Result", messages.RESULTS))
]
"""Every body: the name of its message in `parsec.proto`, and its type here."""


class RefusedError(Exception):
    """Raised for a body that prost would refuse."""


def google_type(name: str) -> type[GoogleMessage]:
    found: type[GoogleMessage] = getattr(parsec_pb2, name)
    return found


def google_decode(name: str, message: Message, body: bytes) -> Record:
    """Return the record of a body as Google's parser reads it after `canonical`."""
    kind = google_type(name)
    try:
        parsed = kind.FromString(canonical(body, kind.DESCRIPTOR))
    except DecodeError as error:
        raise RefusedError from error
    return record_of(message, parsed)


def google_encode(name: str, message: Message, record: Record) -> bytes:
    """Return the encoding of a record by Google's library."""
    target = google_type(name)()
    fill(message, record, target)
    return target.SerializeToString(deterministic=True)


def shape_of(descriptor: Descriptor) -> int:
    if descriptor.oneofs:
        return ONEOF
    return LISTING if any(field.is_repeated for field in descriptor.fields) else FIELDS


def record_of(message: Message, parsed: Any) -> Record:  # noqa: ANN401  a message of any type
    if message.shape == ONEOF:
        (group,) = parsed.DESCRIPTOR.oneofs
        name = parsed.WhichOneof(group.name)
        if name is None:
            return (0, None)
        return [*message.fields].index(name) + 1, _value(message.fields[name], getattr(parsed, name))
    if message.shape == LISTING:
        ((name, kind),) = message.fields.items()
        return tuple(_value(kind, element) for element in getattr(parsed, name))
    return tuple(
        None if isinstance(kind, Message) and not parsed.HasField(name) else _value(kind, getattr(parsed, name))
        for name, kind in message.fields.items()
    )


def _value(kind: Scalar | Message, value: Any) -> Any:  # noqa: ANN401  of the type `kind`
    if isinstance(kind, Message):
        return record_of(kind, value)
    # Google's enumerations have a sign.
    return value & kind.greatest if kind.name == "uint32" else value


def fill(message: Message, record: Record, target: Any) -> None:  # noqa: ANN401  a message of any type
    if message.shape == ONEOF:
        number, value = record
        if number:
            name, kind = [*message.fields.items()][number - 1]
            _set(target, name, kind, value)
    elif message.shape == LISTING:
        ((name, kind),) = message.fields.items()
        for value in record:
            if isinstance(kind, Message):
                fill(kind, value, getattr(target, name).add())
            else:
                getattr(target, name).append(value)
    else:
        for (name, kind), value in zip(message.fields.items(), record, strict=True):
            if value is not None:
                _set(target, name, kind, value)


def _set(target: Any, name: str, kind: Scalar | Message, value: Any) -> None:  # noqa: ANN401  of the type `kind`
    if isinstance(kind, Message):
        getattr(target, name).SetInParent()
        fill(kind, value, getattr(target, name))
    else:
        setattr(target, name, value)


def canonical(body: bytes, descriptor: Any, depth: int = 0) -> bytes:  # noqa: ANN401  the back end's own type
    """Return a body without its unknown fields and with every varint in its shortest form."""
    pieces: list[bytes] = []
    place = 0
    while place < len(body):
        key, place = _key(body, place)
        field = descriptor.fields_by_number.get(key >> 3)
        if field is None:
            place = _skip(key, body, place, depth)
        elif key & 7 == VARINT == _wire_type(field):
            value, place = _varint(body, place)
            pieces.append(varint(key) + varint(value))
        elif key & 7 == BYTES and (_wire_type(field) == BYTES or field.is_repeated):
            length, place = _varint(body, place)
            content, place = body[place : place + length], place + length
            if place > len(body):
                raise RefusedError
            if field.message_type is not None:
                content = canonical(content, field.message_type, depth + 1)
            elif _wire_type(field) == VARINT:
                content = _packed(content)
            pieces.append(varint(key) + varint(len(content)) + content)
        else:
            raise RefusedError
    return b"".join(pieces)


def _wire_type(field: FieldDescriptor) -> int:
    delimited = field.message_type is not None or field.type in {
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_BYTES,
    }
    return BYTES if delimited else VARINT


def _packed(content: bytes) -> bytes:
    numbers: list[bytes] = []
    place = 0
    while place < len(content):
        number, place = _varint(content, place)
        numbers.append(varint(number))
    return b"".join(numbers)


def _varint(body: bytes, place: int) -> tuple[int, int]:
    match = _VARINT.match(body, place)
    if match is None:
        raise RefusedError
    return sum((byte & 0x7F) << 7 * index for index, byte in enumerate(match[0])), match.end()


def _key(body: bytes, place: int) -> tuple[int, int]:
    key, place = _varint(body, place)
    if key >= 1 << 32 or not key >> 3 or key & 7 > FIXED32:
        raise RefusedError
    return key, place


def _skip(key: int, body: bytes, place: int, depth: int) -> int:
    if depth >= 100:
        raise RefusedError
    if key & 7 == START_GROUP:
        while True:
            inner, place = _key(body, place)
            if inner & 7 == END_GROUP:
                if inner >> 3 != key >> 3:
                    raise RefusedError
                return place
            place = _skip(inner, body, place, depth + 1)
    if key & 7 == END_GROUP:
        raise RefusedError
    value, end = _varint(body, place) if key & 7 in {VARINT, BYTES} else (0, place)
    end += {VARINT: 0, BYTES: value, FIXED32: 4, FIXED64: 8}[key & 7]
    if end > len(body):
        raise RefusedError
    return end
