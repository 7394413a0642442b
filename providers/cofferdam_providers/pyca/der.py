"""A strict reader and a writer for the one form of DER that PKCS#1 keys have: a SEQUENCE of non-negative INTEGERs.

Whatever DER forbids is rejected (long forms of short lengths, padded integers), and so are trailing bytes, so that each
key has exactly one encoding: what is exported is what was imported.
"""

from typing import Final

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_LONG: Final = 0x80
_MAX_LENGTH_BYTES: Final = 2
MAX_DER: Final = 4096
"""More bytes than any supported key has."""


class DerError(ValueError):
    """Raised when bytes are not the DER of a sequence of non-negative integers."""


def read_integers(data: bytes) -> tuple[int, ...]:
    """Return the integers of the sequence that makes up all of `data`.

    Raises:
        DerError: The bytes are anything else.
    """
    if len(data) > MAX_DER:
        raise DerError(f"{len(data)} bytes are more than any key")
    start, end = _element(data, 0, _SEQUENCE)
    if end != len(data):
        raise DerError(f"{len(data) - end} bytes left over")
    integers = []
    while start < end:
        first, start = _element(data, start, _INTEGER)
        integers.append(_integer(data[first:start]))
    return tuple(integers)


def _element(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return where the content of the element at `at` starts and ends."""
    if data[at : at + 1] != bytes((tag,)):
        raise DerError(f"no element of type {tag:#x} at {at}")
    start = at + 2
    if start > len(data):
        raise DerError("no length")
    length = data[at + 1]
    if length & _LONG:
        count = length & ~_LONG
        digits = data[start : start + count]
        if not 0 < count <= _MAX_LENGTH_BYTES or len(digits) != count:
            raise DerError("a length that is indefinite, too long or cut off")
        length = int.from_bytes(digits, "big")
        if length < _LONG or digits[0] == 0:
            raise DerError("a length that is not in its shortest form")
        start += count
    if start + length > len(data):
        raise DerError("content that is cut off")
    return start, start + length


def _integer(content: bytes) -> int:
    if not content:
        raise DerError("an integer of no bytes")
    if content[0] & 0x80:
        raise DerError("a negative integer")
    if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
        raise DerError("an integer that is not in its shortest form")
    return int.from_bytes(content, "big")


def write_integers(*numbers: int) -> bytes:
    """Return the DER of a sequence of non-negative integers."""
    content = b"".join(_written(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in numbers)
    return _written(_SEQUENCE, content)


def _written(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < _LONG:
        return bytes((tag, length)) + content
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG | len(digits))) + digits + content
