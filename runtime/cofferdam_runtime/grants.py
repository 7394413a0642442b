"""The identities by token that a server accepts: for whom each frontend's channel may speak, and until when.

The identity process says so over its own channel (`contracts.ipc.grants`); a frontend only names a handle, which means
nothing on another's channel. A handle that is unknown, expired or withdrawn gets AUTHENTICATION_ERROR, on which the
frontend shows the token to the identity process once more. So whatever is lost costs a question, never an identity that
lasts: without a channel to the identity process, which could withdraw it, no grant is in force.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.control import DownstreamChannel
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.grants import MAX_GRANT, SCHEMAS, GrantMessage
from cofferdam_contracts.registry import TOKEN_AUTHENTICATORS
from cofferdam_contracts.roles import Role
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.entry import Reporter
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, WRITE, Loop

_TURN: Final = 64
"""Messages taken before frontends have their turn."""
MOST: Final = 1 << 16
"""Grants that are kept. The identity process keeps fewer for each frontend, and withdraws the oldest."""
_HEADER: Final = 2


class _Grant(NamedTuple):
    application: Application
    until_us: int


def now_us() -> int:
    """Return the time of the clock by which grants end, in microseconds; it goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Grants:
    """What the identity process has granted."""

    def __init__(self, loop: Loop, log: Log, reporter: Reporter, now_us: Callable[[], int] = now_us) -> None:
        """Have none until there is a channel to the identity process."""
        self._loop, self._log, self._reporter, self._now_us = loop, log, reporter, now_us
        self._grants: dict[tuple[int, str], _Grant] = {}
        self._channel: Channel | None = None
        self._serial = 0

    def add_channel(self, record: DownstreamChannel) -> None:
        """Obey the identity process at the other end of a channel; what its predecessor granted ends."""
        self._close()
        self._channel, self._serial = Channel.of(record.descriptor, MAX_GRANT, adopted=record.adopted), record.serial
        self._loop.add(record.descriptor, READ, self._on_events)
        if record.adopted:
            try:
                self._send((Common.HELLO,))
            except ChannelClosedError:
                self._close()

    def application(self, serial: int, authenticator: int, handle: str) -> Application:
        """Return the application that a handle stands for on the channel of the frontend with this serial.

        Raises:
            ServiceError: AUTHENTICATION_ERROR if there is no such grant now.
        """
        grant = self._grants.get((serial, handle))
        if grant is None or grant.until_us <= self._now_us() or grant.application.authenticator != authenticator:
            raise ServiceError(Status.AUTHENTICATION_ERROR, "no identity was granted for this handle, or it has ended")
        return grant.application

    def _on_events(self, events: int) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            if events & WRITE:
                channel.flush()
                if not channel.backlog:
                    self._loop.change(channel.fileno(), READ)
            for _ in range(_TURN):
                message = None if channel.backlog else channel.receive()
                if message is None:
                    return
                self._take(message)
        except ChannelClosedError:
            self._close()
        except (FramingError, ForbiddenMessageError) as error:
            self._log.error("the identity process broke the protocol; its channel is closed", cause=error)
            self._reporter.violated(Role.IDENTITY, self._serial)
            self._close()

    def _take(self, message: tuple[Any, ...]) -> None:
        number, message_id, fields = message[0], message[1] if len(message) > 1 else None, message[_HEADER:]
        take = self._TABLE.get(number)
        if take is None or type(message_id) is not int or not SCHEMAS[GrantMessage(number)].accepts(fields):
            raise ForbiddenMessageError(f"message {number!r:.20} with {len(message)} elements")
        take(self, *fields)
        self._send((number + 1, message_id))

    def _grant(self, serial: int, handle: str, authenticator: int, application: str, until_us: int) -> None:
        if authenticator not in TOKEN_AUTHENTICATORS or not handle or not application:
            raise ForbiddenMessageError(f"an identity of authenticator {authenticator}")
        if len(self._grants) >= MOST and (serial, handle) not in self._grants:
            raise ForbiddenMessageError(f"more than {MOST} grants")
        self._grants[serial, handle] = _Grant(Application(authenticator, application), until_us)

    def _withdraw(self, serial: int, handle: str) -> None:
        if handle:
            self._grants.pop((serial, handle), None)
        else:
            self._grants = {key: grant for key, grant in self._grants.items() if key[0] != serial}

    _TABLE: ClassVar[Mapping[int, Callable[..., None]]] = {
        int(GrantMessage.GRANT): _grant,
        int(GrantMessage.WITHDRAW): _withdraw,
    }

    def _send(self, message: tuple[object, ...]) -> None:
        if self._channel is None:
            return
        self._channel.send(message)
        if self._channel.backlog:
            self._loop.change(self._channel.fileno(), WRITE)

    def _close(self) -> None:
        self._grants.clear()
        channel, self._channel = self._channel, None
        if channel is not None:
            self._loop.remove(channel.fileno())
            channel.close()
