"""Messages that a compromised frontend would send to a worker, the key store or the broker, numbered as the attacks.

Each is a datagram, or a few, for one of the three. An honest message goes the same way first, so that what is refused
is refused for what it says. This runs inside a frontend; what it imports is there before confinement.
"""

import _socket
import array
import json
import time
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from cofferdam_contracts.ipc.control import (
    SIZE,
    Busy,
    Failed,
    Failure,
    Ping,
    Pong,
    Ready,
    Record,
    SettingsDocument,
    Violation,
    encode,
)
from cofferdam_contracts.ipc.framing import Common
from cofferdam_contracts.ipc.keystore import KimMessage
from cofferdam_contracts.registry import AuthType, Opcode
from cofferdam_contracts.roles import Role

NO_AUTH, DIRECT, PEER = int(AuthType.NO_AUTH), int(AuthType.DIRECT), int(AuthType.UNIX_PEER_CREDENTIALS)
EXPORT, DELETE_CLIENT = int(Opcode.PSA_EXPORT_PUBLIC_KEY), int(Opcode.DELETE_CLIENT)
ADMIN_OPERATION, DOES_NOT_EXIST = 21, 1140
REFUSED: Final = "refused"
"""The server closes its channel to this frontend, tells the broker, and answers nothing."""
ENDED: Final = "died"
"""The broker ends the frontend: what breaks the protocol of a control socket is believed in nothing."""
SERVERS: Final = {"worker": Role.SOFTWARE_WORKER, "kim": Role.KIM}
LATER: Final = 1 << 62
"""A deadline that is far away."""
_PATIENCE_S: Final = 0.5
"""Time after which a channel that is still full counts as one from which the server takes no more."""


@dataclass(frozen=True)
class Forgery:
    """One attempt."""

    number: int
    name: str
    server: str
    """`worker`, `kim` or `broker`."""
    datagrams: tuple[bytes, ...]
    outcome: int | str = REFUSED
    """The status of the answer, or what comes instead: `REFUSED`, of the broker always `ENDED`."""
    descriptors: int = 0
    """How many descriptors go along."""


def _packed(*elements: object) -> tuple[bytes, ...]:
    return (bytes(msgpack.packb(elements)),)


def _export(name: object = "k", *more: object, auth: object = PEER, application: object = "") -> tuple[bytes, ...]:
    return _packed(EXPORT, 7, LATER, auth, application, name, *more)


def _record(record: Record) -> tuple[bytes, ...]:
    return (encode(record)[0],)


HONEST: Final = {
    "worker": _export("none of this name"),
    "kim": _packed(int(KimMessage.LIST_KEYS), 7, PEER, ""),
}
ANSWERED: Final = {"worker": DOES_NOT_EXIST, "kim": 0}
"""The status of the answer to each honest message."""

FORGERIES: Final = (
    Forgery(41, "a uid behind a request", "worker", _export("root's", 0)),
    Forgery(41, "a uid behind a question", "kim", _packed(int(KimMessage.LIST_KEYS), 7, PEER, "", 0)),
    Forgery(41, "a name where the uid counts", "worker", _export("root's", application="0")),
    Forgery(41, "a name where the uid counts, for kim", "kim", _packed(int(KimMessage.LIST_KEYS), 7, PEER, "0")),
    Forgery(42, "the same message twice", "worker", _export("none") * 2, DOES_NOT_EXIST),
    Forgery(44, "a client is deleted by nobody", "worker", _packed(DELETE_CLIENT, 7, LATER, PEER, "", "0"),
            ADMIN_OPERATION),
    Forgery(44, "clients are listed by nobody", "kim", _packed(int(KimMessage.LIST_CLIENTS), 7, PEER, ""),
            ADMIN_OPERATION),
    Forgery(45, "another's key", "worker", _export("root's"), DOES_NOT_EXIST),
    Forgery(46, "bytes in place of a name", "worker", _export(bytes(16))),
    Forgery(46, "the question of a worker: look up", "kim", _packed(int(KimMessage.LOOKUP), 7, PEER, "0", "root's")),
    Forgery(46, "the question of a worker: mark", "kim",
            _packed(int(KimMessage.MARK_DELETING), 7, PEER, "0", "root's")),
    Forgery(46, "the question of a worker: what is pending", "kim", _packed(int(KimMessage.PENDING), 7)),
    Forgery(47, "an answer to nothing", "worker", _packed(EXPORT | 0x80, 7, 0, b"x")),
    Forgery(47, "an answer to nothing, for kim", "kim", _packed(int(KimMessage.LIST_KEYS) + 1, 7, 0, ())),
    Forgery(48, "the greeting of a successor", "worker", _packed(int(Common.HELLO))),
    Forgery(49, "a control record", "worker", _record(Ready(3, 7, 0, 0))),
    Forgery(49, "a control record, for kim", "kim", _record(SettingsDocument(0, 0, -1))),
    Forgery(51, "an extension type", "worker", _export(msgpack.ExtType(5, b"x"))),
    Forgery(51, "a map", "worker", _export({"k": 1})),
    Forgery(51, "an array of 2**32 elements", "worker", (b"\xdd\xff\xff\xff\xff",)),
    Forgery(51, "a text of 2**32 bytes", "worker", (b"\x92\x07\xdb\xff\xff\xff\xff",)),
    Forgery(51, "ten thousand arrays in each other", "worker", (b"\x91" * 10_000 + b"\x01",)),
    Forgery(51, "ten thousand arrays in each other, for kim", "kim", (b"\x91" * 10_000 + b"\x01",)),
    Forgery(51, "not a number", "worker", _packed(EXPORT, float("nan"), LATER, PEER, "", "k")),
    Forgery(51, "a huge number", "worker", _packed(EXPORT, 7, -(1 << 63), PEER, "", "k", 1)),
    Forgery(51, "a negative authenticator", "worker", _export(auth=-1)),
    Forgery(51, "no array", "worker", (b"\x01",)),
    Forgery(51, "bytes behind a message", "worker", (_export()[0] + b"\x01",)),
    Forgery(51, "no UTF-8", "kim", (b"\x94\x28\x07\x03\xa1\xff",)),
    Forgery(52, "a part out of order", "worker", _packed(int(Common.PART), 1, 100_000, bytes(60_000))),
    Forgery(52, "a message of a terabyte", "worker", _packed(int(Common.PART), 0, 1 << 40, bytes(60_000))),
    Forgery(52, "a message of a terabyte, for kim", "kim", _packed(int(Common.PART), 0, 1 << 40, bytes(60_000))),
    Forgery(56, "Direct where it is not configured", "worker", _export(auth=DIRECT, application="root")),
    Forgery(56, "Direct where it is not configured, for kim", "kim",
            _packed(int(KimMessage.LIST_KEYS), 7, DIRECT, "root")),
    Forgery(56, "an authenticator that does not exist", "worker", _export(auth=2)),
    Forgery(56, "a name without authentication", "worker", _export(auth=NO_AUTH, application="0")),
    Forgery(50, "descriptors with a record", "broker", _record(Pong(1, 0, 0, 0)), ENDED, descriptors=3),
    Forgery(49, "it is ready once more", "broker", _record(Ready(3, 7, 0, 0)), ENDED),
    Forgery(49, "an accusation by a frontend", "broker", _record(Violation(Role.FRONTEND, 1)), ENDED),
    Forgery(49, "a configuration", "broker", _record(SettingsDocument(0, 0, -1)), ENDED),
    Forgery(49, "it gives up", "broker", _record(Failed(Failure.SANDBOX)), ENDED),
    Forgery(49, "a device that is busy", "broker", _record(Busy(busy=True)), ENDED),
    Forgery(49, "a record of a kind that does not exist", "broker", (bytes([200]).ljust(SIZE, b"\0"),), ENDED),
    Forgery(49, "half a record", "broker", (bytes(20),), ENDED),
    Forgery(49, "a record and more", "broker", (bytes(41),), ENDED),
)  # fmt: skip


def channel_to(owner: Any, server: str) -> _socket.socket:  # noqa: ANN401  the shipped Frontend
    """Return the socket of a frontend that leads to a server."""
    if server == "broker":
        found: _socket.socket = owner._reporter._control.socket
    else:
        found = owner._upstreams[SERVERS[server], 0]._channel.socket
    return found


def forge(owner: Any, name: str) -> object:  # noqa: ANN401
    """Make an attempt; return the statuses of the honest message and of the attempt, or what came instead."""
    forgery = next(forgery for forgery in FORGERIES if forgery.name == name)
    channel = channel_to(owner, forgery.server)
    said: list[object] = []
    if forgery.server in HONEST:
        channel.send(HONEST[forgery.server][0])
        said.append(_status(channel))
    ancillary = []
    if forgery.descriptors:
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [0] * forgery.descriptors))]
    for datagram in forgery.datagrams:
        try:
            channel.sendmsg([datagram], ancillary)
        except PermissionError:
            # The kernel refuses descriptors on this socket, since Linux 6.16.
            channel.send(bytes(1))
    # Each has its answer, which must not be taken for that of a later message.
    said.append([_status(channel) for _ in forgery.datagrams][-1])
    return said


def ask(owner: Any, server: str) -> object:  # noqa: ANN401
    """Send the honest message; return the status of its answer."""
    channel = channel_to(owner, server)
    channel.send(HONEST[server][0])
    return _status(channel)


def _status(channel: _socket.socket) -> object:
    """Return the status of an answer, or that the channel was closed; where the broker ends this process, never."""
    while True:
        try:
            datagram = channel.recv(1 << 18)
        except ConnectionResetError:
            return REFUSED
        if not datagram:
            return REFUSED
        if len(datagram) == SIZE and datagram[:1] == _record(Ping(0))[0][:1]:
            continue  # a ping of the broker
        return msgpack.unpackb(datagram, use_list=False)[2]


def send_descriptors(owner: Any, server: str, count: int) -> object:  # noqa: ANN401
    """Send descriptors with honest messages; return the statuses of the answers."""
    channel = channel_to(owner, server)
    statuses: list[object] = []
    for _ in range(count):
        rights = array.array("i", [0] * 253)
        try:
            channel.sendmsg([HONEST[server][0]], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        except OSError as error:
            statuses.append(error.errno)  # the kernel refuses descriptors on this socket
            continue
        statuses.append(_status(channel))
    return statuses


def flood(owner: Any, server: str, count: int) -> object:  # noqa: ANN401
    """Send messages and read no answer, now or later; return how many went before the server took no more."""
    channel = channel_to(owner, server)
    owner.loop.remove(channel.fileno())
    for sent in range(count):
        until = time.monotonic() + _PATIENCE_S
        # A frontend may not sleep.
        while not _is_taken(channel, HONEST[server][0]):
            if time.monotonic() > until:
                return sent
    return count


def _is_taken(channel: _socket.socket, datagram: bytes) -> bool:
    try:
        channel.send(datagram, _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True


def probe_descriptors() -> object:
    """Return what each of the first 4,096 descriptors is connected to, by its own word."""
    found = {}
    for number in range(4096):
        try:
            end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, number)
        except OSError:
            continue
        try:
            kind = end.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE)
            found[str(number)] = kind
        except OSError:
            pass
        finally:
            end.detach()
    return found


def code(entry: str, *arguments: object) -> str:
    """Return code that calls one of the entries in a frontend."""
    words = ", ".join([*(["owner"] if entry != "probe_descriptors" else []), *map(json.dumps, arguments)])
    return f"import sys\nsay(sys.modules[{__name__!r}].{entry}({words}))"
