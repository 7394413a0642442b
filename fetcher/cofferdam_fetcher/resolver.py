"""From the name of a host to its addresses, without blocking: a stub resolver (RFC 1034 section 5.3.1) on the loop.

The C library's blocks for as long as a name server is silent, loads modules that the system configures, and asks the
kernel for its interfaces; this process answers pings meanwhile, and is confined. What is here knows `/etc/hosts`, the
name servers of `/etc/resolv.conf`, and UDP. An answer that does not fit is refused: it would be of over 40 addresses.
"""

import ipaddress
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from cofferdam_contracts.byte_reader import ByteReader
from cofferdam_fetcher.source import SourceError
from cofferdam_runtime.loop import READ, Loop

_PORT: Final = 53
_A, _AAAA, _OPT, _IN = 1, 28, 41, 1
_SIZES: Final = {_A: 4, _AAAA: 16}
_ANSWER, _TRUNCATED, _CODE = 0x8000, 0x0200, 0x000F
"""Bits of the flags (RFC 1035 section 4.1.1)."""
_RECURSE: Final = 0x0100
_NO_SUCH_NAME: Final = 3
_POINTER: Final = 0xC0
_MAX_ANSWER: Final = 1232
"""Bytes of an answer; larger ones are cut to pieces by networks (DNS flag day 2020)."""
_MOST_RECORDS: Final = 64
_MOST_SERVERS: Final = 3
_MOST_ADDRESSES: Final = 8
_PATIENCE_S: Final = 2.0
"""How long a server may take before the next one is asked."""
_ROUNDS: Final = 2


class Names(NamedTuple):
    """What the system says about names; read before confinement."""

    hosts: dict[str, list[str]]
    servers: list[str]
    port: int = _PORT


def read_names(hosts: str = "/etc/hosts", resolv: str = "/etc/resolv.conf") -> Names:
    """Read the system's files; one that is missing is as good as empty."""
    return Names(parse_hosts(_text(hosts)), parse_servers(_text(resolv)))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def parse_hosts(text: str) -> dict[str, list[str]]:
    """Return the addresses of each name in a text like `/etc/hosts` (hosts(5))."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if _is_address(address):
            for name in names:
                found.setdefault(name.lower(), []).append(address)
    return found


def parse_servers(text: str) -> list[str]:
    """Return the name servers in a text like `/etc/resolv.conf` (resolv.conf(5)); if there are none, the machine's."""
    words = [line.split() for line in text.splitlines()]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and _is_address(line[1])]
    return found[:_MOST_SERVERS] or ["127.0.0.1"]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def encode_question(number: int, name: str, kind: int) -> bytes:
    """Return a question (RFC 1035 section 4.1) that says how long its answer may be (RFC 6891)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    header = struct.pack(">6H", number, _RECURSE, 1, 0, 0, 1)
    return header + labels + struct.pack(">B2H", 0, kind, _IN) + struct.pack(">B2HIH", 0, _OPT, _MAX_ANSWER, 0, 0)


def decode_answer(data: bytes, question: bytes) -> list[str] | None:
    """Return the addresses in an answer to a question; None if it answers something else, or is malformed.

    All records of the wanted type count, whatever name they are for: a server that follows aliases puts nothing else
    into its answer, and who could put in a record of another name could as well put in one of ours.

    Raises:
        SourceError: There is no such name, or the server cannot tell.
    """
    try:
        return _decode(ByteReader(data, ValueError, "big"), question)
    except ValueError:
        return None


def _decode(reader: ByteReader, question: bytes) -> list[str] | None:
    number, flags, questions, answers = (reader.u16() for _field in range(4))
    reader.take(4)
    asked = question[12:-11]
    is_ours = number == int.from_bytes(question[:2], "big") and flags & _ANSWER and questions == 1
    if not is_ours or reader.take(len(asked)).lower() != asked.lower():
        return None
    if flags & _CODE == _NO_SUCH_NAME:
        raise SourceError("there is no host of this name")
    if flags & (_CODE | _TRUNCATED):
        raise SourceError("the name server cannot tell its address" + (f" (code {flags & _CODE})"))
    wanted = int.from_bytes(asked[-4:-2], "big")
    found = []
    for _record in range(min(answers, _MOST_RECORDS)):
        _skip_name(reader)
        kind, family, _seconds = reader.u16(), reader.u16(), reader.u32()
        content = reader.prefixed(2)
        if (kind, family) == (wanted, _IN) and len(content) == _SIZES[kind]:
            found.append(str(ipaddress.ip_address(content)))
    return found


def _skip_name(reader: ByteReader) -> None:
    """Pass over a name, each of whose labels takes at least two bytes; a pointer ends it."""
    while size := reader.u8():
        if size >= _POINTER:
            reader.take(1)
            return
        reader.take(size)


class Lookup:
    """One search for the addresses of a host; calls back once, with addresses, or with none and why."""

    def __init__(self, loop: Loop, names: Names, host: str, done: Callable[[list[str], str], None]) -> None:
        """Prepare the search."""
        self._loop, self._names, self._host, self._done = loop, names, host, done
        self._servers = names.servers * _ROUNDS
        self._socket: socket.socket | None = None
        self._questions: dict[int, bytes] = {}
        """What the server has not answered yet, by type."""
        self._addresses: dict[int, list[str]] = {}
        self._problem = "no name server answers"
        self._next_at = 0.0

    def start(self) -> None:
        """Call back at once if no server has to be asked, else with a tick or from the loop."""
        known = [self._host] if _is_address(self._host) else self._names.hosts.get(self._host)
        if known:
            self._done(known[:_MOST_ADDRESSES], "")
        else:
            self._next_at = time.monotonic()

    def left(self) -> float:
        """Return the seconds until a tick has something to do."""
        return max(0.0, self._next_at - time.monotonic())

    def tick(self) -> None:
        """Ask the next server if the last one took too long."""
        if not self.left():
            self._ask_next()

    def close(self) -> None:
        """Give up."""
        if self._socket is not None:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _ask_next(self) -> None:
        self.close()
        while self._servers:
            server = self._servers.pop(0)
            try:
                self._ask(server)
            except OSError as error:
                self.close()
                self._problem = f"the name server {server} cannot be asked: {error.strerror}"
            else:
                self._next_at = time.monotonic() + _PATIENCE_S
                return
        self._finish()

    def _ask(self, server: str) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        # A socket of its own for each server: connected, so that only it can answer, from a port that nobody knows.
        connection = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket = connection
        self._loop.add(connection.fileno(), READ, self._on_events)
        connection.connect((server, self._names.port))
        self._addresses.clear()
        for kind in (_A, _AAAA):
            number = int.from_bytes(os.urandom(2), "big")
            self._questions[kind] = encode_question(number, self._host, kind)
            connection.send(self._questions[kind])

    def _on_events(self, _events: int) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_MAX_ANSWER)
            for kind, question in list(self._questions.items()):
                if (addresses := decode_answer(data, question)) is not None:
                    del self._questions[kind]
                    self._addresses[kind] = addresses
        except BlockingIOError:
            return
        except (OSError, SourceError) as error:
            self._problem = str(error)
            self._ask_next()
            return
        if not self._questions:
            self._problem = "this host has no address"
            self._servers.clear()
            self._finish()

    def _finish(self) -> None:
        self.close()
        found = [address for kind in (_AAAA, _A) for address in self._addresses.get(kind, [])]
        self._done(found[:_MOST_ADDRESSES], self._problem)
