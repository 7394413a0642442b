"""Reading and writing the few simple structures of TPM 2.0; whole public areas are left to the TSS (`public`).

Everything is big-endian; a sized buffer (TPM2B) is its length in two bytes and its content (TCG part 2, 10.4).
"""

import struct
from typing import Final

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.tpm.errors import MalformedAnswerError

U16: Final = struct.Struct(">H")
U32: Final = struct.Struct(">I")
_MOST: Final = 2048
"""Bytes of a buffer; none that is sent has more than a key of 4096 bits and what is around it."""


def sized(content: bytes) -> bytes:
    """Return a sized buffer.

    Raises:
        ServiceError: No buffer of a TPM is so long (`PSA_ERROR_INVALID_ARGUMENT`).
    """
    if len(content) > _MOST:
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"{len(content)} bytes are more than a TPM takes")
    return U16.pack(len(content)) + content


class Reader:
    """Takes an answer apart from its beginning."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        """Begin at an offset."""
        self._data = data
        self._at = at

    def take(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            MalformedAnswerError: There are not so many.
        """
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise MalformedAnswerError("an answer that is cut off")
        return self._data[start : self._at]

    def u8(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Return the next two bytes as a number."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Return the next four bytes as a number."""
        return int.from_bytes(self.take(4), "big")

    def sized(self) -> bytes:
        """Return the content of the sized buffer that comes next."""
        return self.take(self.u16())

    def rest(self) -> bytes:
        """Return whatever is left."""
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        """Refuse what is left over.

        Raises:
            MalformedAnswerError: There is something.
        """
        if self._at != len(self._data):
            raise MalformedAnswerError(f"{len(self._data) - self._at} bytes left over")
