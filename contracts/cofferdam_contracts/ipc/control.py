"""Records between the broker and its children: 40 bytes, at most one descriptor each, no msgpack.

The channel is a SOCK_SEQPACKET socketpair, so that one record is one datagram: a byte that names the kind of the
record, its fields as the layout of the kind says, then zeros. Records with text for operators have 512 bytes. A record
of another size, of an unknown kind, or of a kind that the receiver has no handler for, ends the sender.
"""

import enum
import re
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
    """From the key store: the providers that have a check value, as bits by the provider's number; see `Sealed`."""
    rows: int
    """From the key store: the providers that have rows of their own form, as bits by the provider's number."""


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


class Condition(NamedTuple):
    """From a worker: whether its provider can be used. From the key store: whether keys can be made and destroyed.

    They say it before they are ready and whenever it changes. The log has it.

    The broker shows the last one in the status, and does not interpret it. The texts hold nothing that comes from a
    client, and no secret.
    """

    up: bool
    retry_ms: int
    """When a provider that is down is tried again; 0 if not before a reload."""
    device: str
    """The token or the TPM; of the key store its database."""
    cause: str
    """Why it is down, and what to do about it: the log's words."""


class KeyCount(NamedTuple):
    """From the key store, at its start and when it changes: how many keys a provider has."""

    provider: int
    """Its number in the protocol."""
    keys: int


class Refusal(NamedTuple):
    """From the configuration reader, for each of the first mistakes: the line that it logs as well."""

    text: str


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
"""Bytes of a record without text."""
LONG_SIZE: Final = 512
"""Bytes of a record with text."""
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
    (24, Condition, "?Q100s400s"),
    (25, KeyCount, "QQ"),
    (26, Refusal, "500s"),
    (27, Said, "Q"),
)
"""Number of each kind, and the layout of its fields behind the number (struct, little endian, no padding).

A text is UTF-8 without control characters; zeros follow it.
"""


class _Form(NamedTuple):
    number: int
    kind: Any
    layout: struct.Struct
    """Of the whole record, with its zeros."""
    size: int
    """Bytes of the number and the fields."""
    has_descriptor: bool
    texts: tuple[tuple[int, int], ...]
    """Position among the fields, and most bytes, of each text."""


def _form(number: int, kind: Any, layout: str) -> _Form:  # noqa: ANN401  a class of records
    size = struct.calcsize(f"<B{layout}")
    whole = struct.Struct(f"<B{layout}{(SIZE if size <= SIZE else LONG_SIZE) - size}x")
    sizes = [0 if mark != "s" else int(count) for count, mark in _FIELD.findall(layout)]
    texts = tuple((place, most) for place, most in enumerate(sizes) if most)
    return _Form(number, kind, whole, size, "descriptor" in kind._fields, texts)


_FIELD: Final = re.compile("([0-9]*)([a-zA-Z?])")
_FORMS: Final = tuple(_form(*row) for row in _KINDS)
_BY_NUMBER: Final = {form.number: form for form in _FORMS}
_BY_KIND: Final = {form.kind: form for form in _FORMS}
_MORE: Final = "…"


def bounded(text: str, most: int) -> str:
    """Return a text as a record takes it: characters that do not print replaced, cut to `most` bytes of UTF-8."""
    text = "".join(mark if mark.isprintable() else "?" for mark in text[: most + 1]).rstrip()
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    return encoded[: most - len(_MORE.encode())].decode(errors="ignore") + _MORE


def encode(record: Record) -> tuple[bytes, int | None]:
    """Return the datagram of a record, and the descriptor that goes with it; a text is `bounded`."""
    form = _BY_KIND[type(record)]
    fields, descriptor = (list(record[:-1]), record[-1]) if form.has_descriptor else (list(record), None)
    for place, most in form.texts:
        fields[place] = bounded(fields[place], most).encode()
    return form.layout.pack(form.number, *fields), descriptor


def decode(datagram: bytes, descriptor: int | None) -> Record:
    """Read a datagram and what came with it.

    Raises:
        ValueError: The size is wrong, the kind unknown, something follows the fields, a text is none, or there is a
            descriptor with a kind that has none, or none with a kind that has one.
    """
    form = _BY_NUMBER.get(datagram[0]) if datagram else None
    if form is None:
        raise ValueError(f"a control record of the unknown kind {datagram[0] if datagram else 'nothing'}")
    name = form.kind.__name__
    if len(datagram) != form.layout.size:
        raise ValueError(f"a {name} record has {form.layout.size} bytes, not {len(datagram)}")
    if any(datagram[form.size :]):
        raise ValueError(f"a {name} record with more than its fields")
    if form.has_descriptor != (descriptor is not None):
        raise ValueError(f"a {name} record {'without' if form.has_descriptor else 'with'} descriptor")
    fields: list[Any] = list(form.layout.unpack(datagram)[1:])
    for place, _ in form.texts:
        fields[place] = _text(name, fields[place])
    record: Record = form.kind._make((*fields, descriptor) if form.has_descriptor else fields)
    return record


def _text(name: str, field: bytes) -> str:
    text = field.rstrip(b"\0").decode()
    if not text.isprintable() or text.endswith(" "):
        raise ValueError(f"a {name} record with a text that does not print, or that ends with a space")
    return text
