"""Commands and answers of a TPM on a stream: TPM 2.0 Library Part 1, section 18, a header of tag, size and code."""

import socket
import struct
from typing import Final

HEADER: Final = struct.Struct(">HII")
SESSIONS: Final = 0x8002
NO_SESSIONS: Final = 0x8001
MAX_SIZE: Final = 1 << 16
LOOPBACK: Final = "127.0.0.1"
Address = int | str
"""A port of the loopback interface, or the path of a Unix socket."""


class BadMessageError(Exception):
    """Raised when a header says a size that no message can have."""


def control_of(address: Address) -> Address:
    """Return where swtpm's control channel is, by the convention of tss2's TCTI for it."""
    return address + 1 if isinstance(address, int) else f"{address}.ctrl"


def connect(address: Address, timeout_s: float | None = None) -> socket.socket:
    """Connect to a port or a path."""
    if isinstance(address, int):
        connection = socket.create_connection((LOOPBACK, address), timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def receive(connection: socket.socket) -> bytes | None:
    """Return one whole command or response, None if the peer has closed the connection.

    Raises:
        BadMessageError: The header says an impossible size.
    """
    header = _exactly(connection, HEADER.size)
    if header is None:
        return None
    size = HEADER.unpack(header)[1]
    if not HEADER.size <= size <= MAX_SIZE:
        raise BadMessageError(f"a message of {size} bytes")
    rest = _exactly(connection, size - HEADER.size)
    return None if rest is None else header + rest


def code_of(message: bytes) -> int:
    """Return the command code of a command, the response code of an answer."""
    return int(HEADER.unpack_from(message)[2])


def answer_of(code: int) -> bytes:
    """Return an answer that is nothing but a response code."""
    return HEADER.pack(NO_SESSIONS, HEADER.size, code)


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)
