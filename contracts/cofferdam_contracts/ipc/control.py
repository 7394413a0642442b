"""Records between the broker and its children: 40 bytes, at most one descriptor each, no msgpack.

The channel is a SOCK_SEQPACKET socketpair, so that one record is one datagram: a byte that names the kind of the
record, its fields as the layout of the kind says, then zeros. A record of another size, of an unknown kind, or of a
kind that the receiver has no handler for, ends the sender.
"""

import enum
import struct
from typing import Any, Final, NamedTuple, TypeAlias


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
class Failure(enum.IntEnum):
    """Why a child gives up for good."""

    CONFIGURATION = 1
    SANDBOX = 2
    CREDENTIAL = 3
    STORE = 4


# From the broker to a child.


class NewClient(NamedTuple):
    """To a frontend, with a connection that a client made."""

    descriptor: int


class UpstreamChannel(NamedTuple):
    """To a process, with its end of a channel to a server; a channel to the same server is replaced."""

    role: int
    """Of the server."""
    number: int
    """Of the server within its role."""
    before: int
    """Channels that the process had to this server before."""
    descriptor: int


class DownstreamChannel(NamedTuple):
    """To a server, with its end of a channel from a client process; a channel from the same process is replaced."""

    role: int
    """Of the client."""
    uid: int
    """Principal of a frontend, 0 for other roles."""
    number: int
    """Of the client within its role."""
    serial: int
    """Number of the client that, unlike `number`, no other process ever gets."""
    adopted: bool
    """Whether a predecessor of this server has served the channel."""
    descriptor: int


class Assign(NamedTuple):
    """To a spare frontend: it now serves this principal. Clients follow."""

    uid: int
    number: int


class Ping(NamedTuple):
    """To every child: answer with `Pong`."""

    sequence: int


class Stop(NamedTuple):
    """To every child: finish what is under way, then exit with status 0."""


class Sealed(NamedTuple):
    """To a worker when the key store is ready; only a worker whose key-encryption key is missing waits for it."""

    has_check: bool
    """Whether the key store has the check value of the provider's key."""
    has_rows: bool
    """Whether it has rows that are encrypted or authenticated with that key."""


# From a child to the broker.


class Ready(NamedTuple):
    """The sandbox is closed and tested."""

    level: int
    landlock_abi: int
    checks: int
    """From the key store: the providers that have a check value, as bits by the provider's index; see `Sealed`."""
    rows: int
    """From the key store: the providers that have rows of their own form, as bits by the provider's index."""


class Pong(NamedTuple):
    """The answer to `Ping`."""

    sequence: int
    served: int
    """Requests since the process started."""
    in_flight: int
    connections: int


class Failed(NamedTuple):
    """Start-up failed for a reason that a restart does not cure; the log has it."""

    reason: int
    """One of `Failure` that the role may have."""


class SettingsDocument(NamedTuple):
    """From the configuration reader, with a settings document."""

    role: int
    """Whom it is for; 0 is the broker."""
    number: int
    descriptor: int


class Violation(NamedTuple):
    """From a server: a client broke the protocol of its channel, which is closed now.

    The broker does not judge who is right: it drops this channel and makes another, later each time. A server that
    accuses the frontends of many users is replaced, at most once in ten minutes. A worker that the key store accuses is
    replaced, because it cannot work without.
    """

    role: int
    """Of the client."""
    serial: int
    """Of the client."""


class Busy(NamedTuple):
    """From a worker with a device: an answer to a ping may take `limits.generate_ms` from now on, or no longer."""

    busy: bool


class Broken(NamedTuple):
    """From a frontend: the channel to a server is closed, or the server broke its protocol.

    The broker makes another channel, as after a `Violation`; this never counts against the server.
    """

    role: int
    """Of the server."""
    number: int
    """Of the server within its role."""
    before: int
    """`before` of the channel's `UpstreamChannel` record."""


class KeyOwner(NamedTuple):
    """From the key store, for each uid that owns keys, and whenever that changes.

    Only uids that the kernel named count; which frontend makes room for another depends on it.
    """

    uid: int
    owns: bool


class Said(NamedTuple):
    """From any child: it has warned the operator of a state that lasts; a successor is told when it starts."""

    digest: int
    """Identifies the words."""


Record: TypeAlias = tuple[Any, ...]
"""One of the records above. A field `descriptor` is no part of the datagram: the kernel passes it along."""

SIZE: Final = 40
"""Bytes of every record."""
_KINDS: Final = (
    (1, NewClient, ""),
    (2, UpstreamChannel, "QQQ"),
    (3, DownstreamChannel, "BQQQ?"),
    (4, Assign, "QQ"),
    (5, Ping, "Q"),
    (6, Stop, ""),
    (7, Sealed, "??"),
    (16, Ready, "QQQQ"),
    (17, Pong, "QQQQ"),
    (18, Failed, "Q"),
    (19, SettingsDocument, "QQ"),
    (20, Violation, "QQ"),
    (21, Busy, "?"),
    (22, Broken, "QQQ"),
    (23, KeyOwner, "Q?"),
    (24, Said, "Q"),
)
"""Number of each kind, and the layout of its fields behind the number (struct, little endian, no padding)."""


class _Form(NamedTuple):
    number: int
    kind: Any
    layout: struct.Struct
    """Of the whole record, with its zeros."""
    size: int
    """Bytes of the number and the fields."""
    has_descriptor: bool


_FORMS: Final = tuple(
    _Form(number, kind, struct.Struct(f"<B{layout}{SIZE - size}x"), size, "descriptor" in kind._fields)
    for number, kind, layout in _KINDS
    for size in (struct.calcsize(f"<B{layout}"),)
)
_BY_NUMBER: Final = {form.number: form for form in _FORMS}
_BY_KIND: Final = {form.kind: form for form in _FORMS}


def encode(record: Record) -> tuple[bytes, int | None]:
    """Return the datagram of a record, and the descriptor that goes with it."""
    form = _BY_KIND[type(record)]
    fields, descriptor = (record[:-1], record[-1]) if form.has_descriptor else (record, None)
    return form.layout.pack(form.number, *fields), descriptor


def decode(datagram: bytes, descriptor: int | None) -> Record:
    """Read a datagram and what came with it.

    Raises:
        ValueError: The size is wrong, the kind unknown, something follows the fields, or there is a descriptor with a
            kind that has none, or none with a kind that has one.
    """
    if len(datagram) != SIZE:
        raise ValueError(f"a control record has {SIZE} bytes, not {len(datagram)}")
    form = _BY_NUMBER.get(datagram[0])
    if form is None:
        raise ValueError(f"a control record of the unknown kind {datagram[0]}")
    name = form.kind.__name__
    if any(datagram[form.size :]):
        raise ValueError(f"a {name} record with more than its fields")
    if form.has_descriptor != (descriptor is not None):
        raise ValueError(f"a {name} record {'without' if form.has_descriptor else 'with'} descriptor")
    fields = form.layout.unpack(datagram)[1:]
    record: Record = form.kind._make((*fields, descriptor) if form.has_descriptor else fields)
    return record
