"""Bounds-checked reading of binary structures, field by field."""

from collections.abc import Callable
from typing import Literal


class ByteReader:
    """Reads consecutive fields of fixed or prefixed length; short or left-over input is an error."""

    __slots__ = ("_at", "_data", "_error", "_order")

    def __init__(
        self, data: bytes, error: Callable[[str], Exception], order: Literal["little", "big"], at: int = 0
    ) -> None:
        """Start reading at an offset.

        Args:
            data: The bytes to read.
            error: Makes the exception from a text that describes the input ("cut off after 3 bytes").
            order: Byte order of all numbers.
            at: Offset of the first field.
        """
        self._data = data
        self._error = error
        self._order = order
        self._at = at

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise self._error(f"cut off after {len(self._data)} bytes")
        return self._data[start : self._at]

    def number(self, size: int) -> int:
        """Return the next `size` bytes as an unsigned number."""
        return int.from_bytes(self.take(size), self._order)

    def u8(self) -> int:
        """Return the next byte."""
        return self.number(1)

    def u16(self) -> int:
        """Return the next two bytes as a number."""
        return self.number(2)

    def u32(self) -> int:
        """Return the next four bytes as a number."""
        return self.number(4)

    def u64(self) -> int:
        """Return the next eight bytes as a number."""
        return self.number(8)

    def prefixed(self, size: int) -> bytes:
        """Return the content of a buffer that follows its length, a number of `size` bytes."""
        return self.take(self.number(size))

    def rest(self) -> bytes:
        """Return all remaining bytes."""
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        """Reject left-over input."""
        if self._at != len(self._data):
            raise self._error(f"{len(self._data) - self._at} bytes too long")
