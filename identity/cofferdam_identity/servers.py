"""The servers that are told whom a frontend's channel may speak for: the key store and the workers.

What is said to a server waits for its acknowledgement. A server that dies is replaced behind the same channel; its
successor says HELLO, and hears again what was not acknowledged. A server without a channel is not waited for: it knows
no grant, and says so to whoever asks it.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from cofferdam_contracts.ipc.control import UpstreamChannel
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.grants import MAX_GRANT, GrantMessage
from cofferdam_contracts.roles import Role
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.entry import Reporter
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, WRITE, Loop

_TURN: Final = 64
_ACKNOWLEDGEMENT: Final = 2

Acknowledged = Callable[[], None]


class _Server:
    def __init__(self, channel: Channel, before: int) -> None:
        self.channel, self.before = channel, before
        self.waiting: dict[int, tuple[tuple[object, ...], Acknowledged]] = {}
        """What was said, by its number, and what is called when the server knows it."""


class Servers:
    """The channels to the servers."""

    def __init__(self, loop: Loop, log: Log, reporter: Reporter) -> None:
        """Have no channel yet."""
        self._loop, self._log, self._reporter = loop, log, reporter
        self._servers: dict[int, _Server] = {}
        self._last = 0

    def attach(self, record: UpstreamChannel) -> None:
        """Use a channel to a server in place of the one before."""
        lost = self._servers.pop(record.role, None)
        channel = Channel.of(record.descriptor, MAX_GRANT)
        self._servers[record.role] = server = _Server(channel, record.before)
        self._loop.add(channel.fileno(), READ, lambda events: self._on_events(record.role, server, events))
        if lost is not None:
            self._drop(lost)

    def say(self, roles: Iterable[int], message: GrantMessage, fields: tuple[object, ...], known: Acknowledged) -> None:
        """Tell some servers; `known` is called once when each of them knows, or has no channel."""
        left = {role for role in roles if role in self._servers}
        if not left:
            known()
            return

        def one(role: int) -> Acknowledged:
            def done() -> None:
                left.discard(role)
                if not left:
                    known()

            return done

        for role in sorted(left):
            server = self._servers.get(role)
            if server is None:
                # It was lost while another one was told; what waited for it has been answered.
                one(role)()
                continue
            self._last = number = self._last + 1
            whole = (int(message), number, *fields)
            server.waiting[number] = (whole, one(role))
            self._send(role, server, whole)

    def all(self) -> list[int]:
        """Return the roles of the servers that can be told something."""
        return sorted(self._servers)

    def waiting(self) -> int:
        """Return how much is not acknowledged yet."""
        return sum(len(server.waiting) for server in self._servers.values())

    def _send(self, role: int, server: _Server, message: tuple[object, ...]) -> None:
        try:
            server.channel.send(message)
        except ChannelClosedError as error:
            self._lose(role, server, error)
            return
        if server.channel.backlog:
            self._loop.change(server.channel.fileno(), READ | WRITE)

    def _on_events(self, role: int, server: _Server, events: int) -> None:
        try:
            if events & WRITE:
                server.channel.flush()
                if not server.channel.backlog:
                    self._loop.change(server.channel.fileno(), READ)
            for _ in range(_TURN):
                message = server.channel.receive()
                if message is None:
                    return
                self._take(role, server, message)
        except (ChannelClosedError, FramingError, ForbiddenMessageError) as error:
            self._lose(role, server, error)

    def _take(self, role: int, server: _Server, message: tuple[Any, ...]) -> None:
        if message[0] == Common.HELLO:
            for whole, _ in list(server.waiting.values()):
                self._send(role, server, whole)
            return
        number, *rest = message
        if len(message) != _ACKNOWLEDGEMENT or type(rest[0]) is not int:
            raise ForbiddenMessageError(f"message {number!r:.20} with {len(message)} elements")
        found = server.waiting.pop(rest[0], None)
        # A successor may answer what its predecessor has answered, too.
        if found is not None:
            found[1]()

    def _lose(self, role: int, server: _Server, cause: Exception) -> None:
        if self._servers.get(role) is not server:
            return
        del self._servers[role]
        self._log.error(
            "a channel to a server is lost; identities by token wait until the broker makes another",
            server=Role(role).name.lower(),
            cause=str(cause) or type(cause).__name__,
        )
        self._reporter.broken(Role(role), 0, server.before)
        self._drop(server)

    def _drop(self, server: _Server) -> None:
        self._loop.remove(server.channel.fileno())
        server.channel.close()
        waiting, server.waiting = server.waiting, {}
        for _, known in waiting.values():
            known()
