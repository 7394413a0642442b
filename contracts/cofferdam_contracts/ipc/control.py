"""Records between the broker and its children: fixed size, at most one descriptor each, no msgpack.

The channel is a SOCK_SEQPACKET socketpair, so that one record is one datagram. A record of another size or of a kind
that is not in the receiver's table ends the sender.
"""

import enum
import struct
from typing import Final, NamedTuple


@enum.unique
class Role(enum.IntEnum):
    """What a process is; one row of the process table each."""

    CONFIG = 1
    KIM = 2
    FRONTEND = 3
    SOFTWARE_WORKER = 4
    PKCS11_WORKER = 5
    TPM_WORKER = 6


WORKERS: Final = frozenset({Role.SOFTWARE_WORKER, Role.PKCS11_WORKER, Role.TPM_WORKER})
"""Those that serve a provider each; the number of a worker is the index of its provider."""


@enum.unique
class Level(enum.IntEnum):
    """How far a process is confined; each level includes those below it."""

    NONE = 0
    SECCOMP = 1
    """no_new_privs, resource limits, not dumpable, no capabilities, seccomp allow-list."""
    LANDLOCK = 2
    """And Landlock."""
    UID = 3
    """And a uid of its own."""


@enum.unique
class ToChild(enum.IntEnum):
    """Records that the broker sends."""

    CLIENT = 1
    """To a frontend, with a connection that a client made."""
    CHANNEL = 2
    """With one end of a channel: a = peer role, b = peer uid (the principal of a frontend), c = peer number,
    d = what `channel_flags` makes of the peer's serial number and of whether a predecessor served the channel.
    A channel between the same two takes the place of the one before. To a client: d = how many those were."""
    ASSIGN = 3
    """To a spare frontend: a = the principal's uid. Clients follow."""
    PING = 4
    """a = sequence number."""
    STOP = 5
    """Finish what was begun, then exit with status 0."""
    SEALED = 6
    """To a worker, once the key store is ready: a = 1 if it has the check value of the provider's key, b = 1 if it has
    rows in a form of the provider's own. Only a worker that lacks its key waits for it."""


@enum.unique
class FromChild(enum.IntEnum):
    """Records that a child sends."""

    READY = 1
    """The sandbox is closed and tested: a = level, b = Landlock ABI. Of the key store besides: c = which providers have
    a check value, d = which have rows in a form of their own, as bits by the provider's index; see SEALED."""
    PONG = 2
    """a = the ping's sequence number, b = requests served, c = requests in flight, d = role's own count."""
    FAILED = 3
    """Start-up failed for a reason that a restart does not cure; the log has it. a = reason (`Failure`), one that
    the role may have."""
    PLAN = 4
    """From the configuration reader: a settings document. a = role it is for (0: the broker), b = number in it."""
    VIOLATION = 5
    """From a server: a client broke the protocol of its channel, which is closed now. a = the client's role, b = its
    serial number, which unlike its number within the role no other process ever gets. The broker believes it as far as
    the accuser itself is concerned: it drops this channel, and makes another, later with each time. A server that
    accuses the frontends of many users is replaced, once in a long while. A worker that the key store accuses is
    replaced, because it cannot work without."""
    BUSY = 6
    """From a worker with a device: a = 1 before a key is made in it, so that an answer to a ping may take
    `limits.generate_ms`; a = 0 after."""
    BROKEN = 7
    """From a frontend: the channel to a server is closed, or the server broke its protocol. a = the server's role, b =
    its number, c = d of the CHANNEL record. The broker makes another channel, as after a VIOLATION; this never counts
    against the server."""
    OWNER = 8
    """From the key store, for each uid that owns keys, and when that changes: a = uid, b = 1 if it owns any, else 0.
    Only uids that the kernel named count; which place makes room for another depends on it."""


@enum.unique
class Failure(enum.IntEnum):
    """Why a child gives up for good."""

    CONFIGURATION = 1
    SANDBOX = 2
    CREDENTIAL = 3
    STORE = 4


RECORD: Final = struct.Struct("<B7xQQQQ")
"""Kind, then four numbers."""


class Record(NamedTuple):
    """One control record; what the numbers mean is said at the kind."""

    kind: int
    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0

    def to_bytes(self) -> bytes:
        """Return the record's datagram."""
        return RECORD.pack(*self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Record":
        """Read a datagram.

        Raises:
            ValueError: The size is wrong.
        """
        if len(data) != RECORD.size:
            raise ValueError(f"a control record has {RECORD.size} bytes, not {len(data)}")
        return cls._make(RECORD.unpack(data))


def channel_flags(serial: int, *, adopted: bool) -> int:
    """Return the last number of a CHANNEL record."""
    return serial << 1 | adopted


def is_adopted(record: Record) -> bool:
    """Tell whether a predecessor served the channel of a CHANNEL record."""
    return bool(record.d & 1)


def serial_of(record: Record) -> int:
    """Return the serial number of the process at the other end of the channel of a CHANNEL record."""
    return record.d >> 1
