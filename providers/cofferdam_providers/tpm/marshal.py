"""Reading and writing the few simple structures of TPM 2.0; complete public areas are left to the TSS (`public`).

Everything is big-endian; a sized buffer (TPM2B) is its length in two bytes and its content (TCG part 2, 10.4).
"""

import struct
from typing import Final

from cofferdam_contracts.byte_reader import ByteReader
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.tpm.errors import MalformedAnswerError

U16: Final = struct.Struct(">H")
U32: Final = struct.Struct(">I")
_MOST: Final = 2048
"""Bytes of the longest buffer; none sent is longer than a key of 4096 bits with its envelope."""


def sized(content: bytes) -> bytes:
    """Return a sized buffer.

    Raises:
        ServiceError: No buffer of a TPM is that long (`PSA_ERROR_INVALID_ARGUMENT`).
    """
    if len(content) > _MOST:
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"{len(content)} bytes are more than a TPM takes")
    return U16.pack(len(content)) + content


class Reader(ByteReader):
    """Reads a response; raises `MalformedAnswerError`."""

    __slots__ = ()

    def __init__(self, data: bytes, at: int = 0) -> None:
        super().__init__(data, _malformed, "big", at)

    def sized(self) -> bytes:
        """Return the content of the sized buffer that follows."""
        return self.prefixed(U16.size)


def _malformed(detail: str) -> MalformedAnswerError:
    return MalformedAnswerError(f"an answer that is {detail}")
