"""Converts messages to datagrams of a channel between processes, and back; without I/O.

A message is one msgpack array of scalars, byte strings and arrays of them: no maps, no extension types. It is sent as
one datagram or, when it is larger than `PART_SIZE`, as consecutive parts `[PART, index, total, bytes]`. All parts but
the last are full, so that the size of a message bounds the number of its datagrams. Sizes are checked before memory is
allocated for them.
"""

import enum
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import msgpack

from cofferdam_contracts.ipc.limits import MAX_DATAGRAM, MAX_ITEMS, PART_SIZE


@enum.unique
class Common(enum.IntEnum):
    """Message numbers with the same meaning on every channel; none is an opcode or a question to the key store."""

    PART = 0x60
    """[PART, index, total bytes of the message, bytes]"""
    HELLO = 0x62
    """[HELLO] from a server that has taken over a predecessor's channel; the predecessor's unfinished work is lost."""
    SYNC = 0x64
    """[SYNC, token] from the client of the channel, after a HELLO."""
    SYNCED = 0x65
    """[SYNCED, token]: the answer to SYNC, sent after the answers to everything that was sent before it."""


_PART: Final = int(Common.PART)
"""A plain number, which compares faster than a member of an enumeration."""


class FramingError(ValueError):
    """Raised when a peer sends bytes that are not a message; the channel must not be used again."""


def pack(message: tuple[object, ...] | list[object]) -> bytes:
    """Return the msgpack form of a message."""
    packed: bytes = msgpack.Packer().pack(message)
    return packed


def split(message: bytes) -> Iterator[bytes]:
    """Yield the datagrams that carry a packed message."""
    total = len(message)
    if total <= PART_SIZE:
        yield message
        return
    for index, start in enumerate(range(0, total, PART_SIZE)):
        yield pack((Common.PART, index, total, message[start : start + PART_SIZE]))


def _refuse(*_arguments: object) -> NoReturn:
    raise FramingError("maps and extension types are not used between processes")


def _unpack(data: bytes | memoryview) -> tuple[Any, ...]:
    try:
        # By default msgpack limits the length of strings to the size of the data.
        message = msgpack.unpackb(
            data,
            use_list=False,
            object_pairs_hook=_refuse,
            ext_hook=_refuse,
            max_array_len=min(len(data), MAX_ITEMS),
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException, msgpack.StackError) as error:
        raise FramingError(f"not a message: {type(error).__name__}") from error
    if type(message) is not tuple or not message or type(message[0]) is not int:
        raise FramingError("not an array that begins with a number")
    return message


class Assembler:
    """Assembles the datagrams of one direction of a channel into messages."""

    def __init__(self, limit: int, *, adopted: bool = False) -> None:
        """Accept messages of at most `limit` bytes; an adopted channel may begin in the middle of a message."""
        self._limit = limit
        self._longest = limit if limit <= PART_SIZE else MAX_DATAGRAM
        self._adopted = adopted
        self._parts = bytearray()
        self._total = 0
        self._index = 0

    def feed(self, datagram: bytes | memoryview) -> tuple[Any, ...] | None:
        """Take one datagram; return the message it completes, or None.

        Raises:
            FramingError: The peer broke the protocol.
        """
        if len(datagram) > self._longest:
            raise FramingError(f"a datagram of {len(datagram)} bytes, the limit is {self._limit}")
        message = _unpack(datagram)
        if message[0] == _PART:
            return self._add(message)
        if self._total:
            raise FramingError("a message inside the parts of another")
        self._adopted = False
        return message

    def _add(self, part: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if [type(value) for value in part] != [int, int, int, bytes]:
            raise FramingError("a malformed part")
        _, index, total, data = part
        if self._adopted and index != 0:
            return None
        self._adopted = False
        if index != self._index or (index and total != self._total):
            raise FramingError("a part out of order")
        if not PART_SIZE < total <= self._limit:
            raise FramingError(f"a message of {total} bytes in parts, the limit is {self._limit}")
        if len(data) != min(PART_SIZE, total - len(self._parts)):
            raise FramingError("a part of the wrong size")
        self._total, self._index = total, index + 1
        self._parts += data
        if len(self._parts) < total:
            return None
        whole = bytes(self._parts)
        self._parts, self._total, self._index = bytearray(), 0, 0
        message = _unpack(whole)
        if message[0] == _PART:
            raise FramingError("parts inside parts")
        return message
