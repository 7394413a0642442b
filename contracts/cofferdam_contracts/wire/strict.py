"""The strictness of the reference's protobuf decoder (prost), which Google's does not have.

Google's runtime treats a known field of the wrong wire type as an unknown one, and allows five bytes for a field key or
a length. `canonical` parses a body by prost's rules and writes it again with the known fields only, in their shortest
form, so that both decoders agree on the result. Source: docs/reference/parsec-protocol.md, "Decoding".
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from cofferdam_contracts.status import ServiceError, Status

VARINT, FIXED64, LENGTH_DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)
_MAX_DEPTH: Final = 100
_MAX_KEY: Final = (1 << 32) - 1
# At most ten bytes; of the tenth only the lowest bit belongs to a 64-bit value.
_VARINT: Final = re.compile(rb"[\x80-\xff]{0,8}[\x00-\x7f]|[\x80-\xff]{9}[\x00\x01]")
_FIXED_WIDTH: Final = {FIXED64: 8, FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Known:
    """A field of a message: how it must be encoded, and the schema of the message in it, if it holds one."""

    wire_type: int
    repeated_number: bool
    schema: "Schema | None"


Schema = dict[int, Known]
"""The fields of a message by number."""


def schema_of(message: type[Message]) -> Schema:
    """Return the fields of a message and, within them, of the messages it contains."""
    return {field.number: _known(field) for field in message.DESCRIPTOR.fields}


def _known(field: Any) -> Known:  # noqa: ANN401  the back end's own type of a field descriptor has no public name
    if field.message_type is not None:
        schema = {inner.number: _known(inner) for inner in field.message_type.fields}
        return Known(LENGTH_DELIMITED, repeated_number=False, schema=schema)
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return Known(LENGTH_DELIMITED, repeated_number=False, schema=None)
    return Known(VARINT, repeated_number=field.is_repeated, schema=None)


def canonical(body: bytes, schema: Schema) -> bytes:
    """Return a body without its unknown fields and with every varint in its shortest form.

    Raises:
        ServiceError: `DESERIALIZING_BODY_FAILED` if prost would refuse it. The encoding of strings is not checked here.
    """
    pieces: list[bytes] = []
    _copy(_Cursor(body, 0, len(body), 0), schema, pieces)
    return b"".join(pieces)


def _malformed(detail: str) -> ServiceError:
    return ServiceError(Status.DESERIALIZING_BODY_FAILED, detail)


def write_varint(value: int) -> bytes:
    """Return a number as a varint."""
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004  seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Cursor:
    """A position in a body, the end of the message around it, and how deeply that message is nested."""

    __slots__ = ("body", "depth", "end", "place")

    def __init__(self, body: bytes, place: int, end: int, depth: int) -> None:
        self.body = body
        self.place = place
        self.end = end
        self.depth = depth

    def varint(self) -> int:
        place = self.place
        if place < self.end and self.body[place] < 0x80:  # noqa: PLR2004  the usual case: one byte
            self.place = place + 1
            return self.body[place]
        match = _VARINT.match(self.body, place, self.end)
        if match is None:
            raise _malformed("a varint that does not end")
        self.place = match.end()
        value = 0
        for byte in reversed(match[0]):
            value = value << 7 | byte & 0x7F
        return value

    def key(self) -> tuple[int, int]:
        """Read the number and the wire type of a field."""
        key = self.varint()
        if key > _MAX_KEY:
            raise _malformed("a field number of more than 29 bits")
        number, wire_type = key >> 3, key & 7
        if not number or wire_type > FIXED32:
            raise _malformed(f"field {number} of wire type {wire_type}")
        return number, wire_type

    def advance(self, count: int) -> int:
        """Skip `count` bytes; return where they begin."""
        begin = self.place
        if count > self.end - begin:
            raise _malformed("a field that is longer than the message that holds it")
        self.place = begin + count
        return begin


def _copy(cursor: _Cursor, schema: Schema, pieces: list[bytes]) -> None:
    """Copy a message; the recursion is bounded, because it is as deep as the schema."""
    while cursor.place < cursor.end:
        number, wire_type = cursor.key()
        known = schema.get(number)
        if known is None:
            _skip(cursor, number, wire_type)
        elif wire_type == LENGTH_DELIMITED and (known.wire_type == LENGTH_DELIMITED or known.repeated_number):
            pieces.append(write_varint(number << 3 | LENGTH_DELIMITED))
            _copy_delimited(cursor, known, pieces)
        elif wire_type == known.wire_type:
            pieces.append(write_varint(number << 3 | wire_type))
            pieces.append(write_varint(cursor.varint()))
        else:
            raise _malformed(f"field {number} of wire type {wire_type}, not {known.wire_type}")


def _copy_delimited(cursor: _Cursor, known: Known, pieces: list[bytes]) -> None:
    length = cursor.varint()
    begin = cursor.advance(length)
    if known.schema is None and not known.repeated_number:
        pieces.append(write_varint(length))
        pieces.append(cursor.body[begin : cursor.place])
        return
    inner = _Cursor(cursor.body, begin, cursor.place, cursor.depth + 1)
    inner_pieces: list[bytes] = []
    if known.schema is not None:
        _copy(inner, known.schema, inner_pieces)
    else:
        while inner.place < inner.end:
            inner_pieces.append(write_varint(inner.varint()))
    content = b"".join(inner_pieces)
    pieces.append(write_varint(len(content)))
    pieces.append(content)


def _skip(cursor: _Cursor, number: int, wire_type: int) -> None:
    """Skip a field and, if it is a group, everything in it."""
    groups: list[int] = []
    while True:
        if wire_type == END_GROUP:
            if not groups or groups.pop() != number:
                raise _malformed(f"an end of group {number} that did not begin")
        elif cursor.depth + len(groups) >= _MAX_DEPTH:
            raise _malformed("groups nested too deep")
        elif wire_type == START_GROUP:
            groups.append(number)
        elif wire_type == VARINT:
            cursor.varint()
        else:
            cursor.advance(cursor.varint() if wire_type == LENGTH_DELIMITED else _FIXED_WIDTH[wire_type])
        if not groups:
            return
        number, wire_type = cursor.key()
