"""Protobuf bytes by hand, so that no test builds its input with the code it tests."""

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)


def varint(value: int, length: int = 0) -> bytes:
    """Return a varint, at least `length` bytes long."""
    out = bytearray()
    while value > 0x7F or len(out) + 1 < length:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def num(number: int, value: int) -> bytes:
    return key(number, VARINT) + varint(value)


def text(number: int, value: bytes) -> bytes:
    """Return a string, a byte field, a sub-message or a packed list."""
    return key(number, BYTES) + varint(len(value)) + value


def group(number: int, content: bytes = b"") -> bytes:
    return key(number, START_GROUP) + content + key(number, END_GROUP)


def nested_groups(depth: int, content: bytes = b"") -> bytes:
    for _ in range(depth):
        content = group(999, content)
    return content


def split(body: bytes) -> list[tuple[int, int, int | bytes]]:
    """Return number, wire type and value of each field of a canonical message without fixed-width fields."""
    fields: list[tuple[int, int, int | bytes]] = []
    place = 0

    def take() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = body[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(body):
        tag = take()
        value: int | bytes = take()
        if tag & 7 == BYTES:
            assert isinstance(value, int)
            place, value = place + value, body[place : place + value]
        fields.append((tag >> 3, tag & 7, value))
    return fields
