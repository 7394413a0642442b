"""The frontend's side of a channel to a worker or to the key store (kim): requests in flight and their outcomes.

    DOWN --attach--> UP --the channel is closed, or the server breaks the protocol--> DOWN

UP      Requests are sent and wait for their answers, each at most `answer_timeout_ms`, after which it fails with
        PSA_ERROR_COMMUNICATION_FAILURE (1145). An answer that comes later is dropped.
DOWN    Requests fail with 1145 at once. Those that were in flight when the channel was lost have failed too; whether
        the server carried them out is unknown. Other servers are not affected. The broker makes another channel.

A server that dies is replaced behind the same channel, and the kernel keeps the requests that it had not read. The
successor says HELLO, and the frontend sends SYNC with the last request id. When SYNCED comes back, the successor has
answered everything that was queued: older requests that are still unanswered were lost with the predecessor and fail at
once. This needs ids that grow in the order of sending. Questions to the key store change nothing, so they are asked
again instead.
"""

import abc
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.keystore import SCHEMAS, KimMessage
from cofferdam_contracts.ipc.requests import decode_answer, encode_request
from cofferdam_contracts.operations import CryptoOperation, DeleteClient
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import FrontendSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_frontend.auth import Identity
from cofferdam_frontend.budget import Budget, Share
from cofferdam_runtime.channel import Channel, ChannelClosedError, MessageSizeError
from cofferdam_runtime.loop import READ, WRITE, Loop

Result = Callable[[int, tuple[Any, ...]], None]
"""Takes the status and, on success, the results."""
_HEADER: Final = 3
_SYNCED_LENGTH: Final = 2
_TURN: Final = 64
_TURN_S: Final = 0.005
"""Number of answers, or seconds spent on them, before other channels and connections have their turn."""
_GREETINGS: Final = 4
"""Successors in a row that may say HELLO while none of them reads what is queued."""
_STATUSES: Final = frozenset(map(int, Status))


class UpstreamOwner(Protocol):
    """What an upstream needs of its frontend."""

    def on_lost(self, upstream: "Upstream", cause: Exception) -> None:
        """Note that the channel is closed: the server broke the protocol, or the broker closed it."""


class InFlight(NamedTuple):
    """A request that waits for an answer."""

    result: Result
    deadline: int
    question: tuple[Any, ...] = ()
    """The message, if it may be sent again."""


class Upstream(abc.ABC):
    """One server of this frontend."""

    def __init__(
        self, server: tuple[Role, int], loop: Loop, budget: Budget, settings: FrontendSettings, owner: UpstreamOwner
    ) -> None:
        """Be down until there is a channel to the server with this role and number."""
        self.role, self.number = server
        self._loop = loop
        self._budget = budget
        self._owner = owner
        self.before = 0
        """How many channels to the server there were before this one."""
        self._channel: Channel | None = None
        self._share = Share(budget)
        self._timeout_us = settings.answer_timeout_ms * 1000
        self._most = settings.max_in_flight
        self._last_id = 0
        self._greetings = 0
        self._in_flight: dict[int, InFlight] = {}

    def __len__(self) -> int:
        """Return how many requests are in flight."""
        return len(self._in_flight)

    def attach(self, channel: Channel, before: int) -> None:
        """Use this channel, which comes after `before` others; requests in flight on the last of them fail."""
        lost = self._detach()
        self._channel, self.before = channel, before
        self._loop.add(channel.fileno(), READ, self._on_events)
        _fail(lost)

    def expire(self, now_us: int) -> None:
        """Fail the requests that are overdue; the oldest comes first, because all have the same timeout."""
        while self._in_flight:
            request_id = next(iter(self._in_flight))
            if self._in_flight[request_id].deadline > now_us:
                return
            self._finish(request_id, Status.PSA_ERROR_COMMUNICATION_FAILURE, ())

    def next_deadline(self) -> int | None:
        """Return when the oldest request is overdue, in microseconds of the monotonic clock."""
        for waiting in self._in_flight.values():
            return waiting.deadline
        return None

    def _admit(self) -> int:
        """Return the deadline of a new request, or refuse it."""
        if self._channel is None:
            raise ServiceError(Status.PSA_ERROR_COMMUNICATION_FAILURE, "there is no channel to the server now")
        if len(self._in_flight) >= self._most:
            raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, f"{self._most} requests are in flight")
        if self._channel.backlog and self._budget.is_full:
            raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, "too much waits to be sent")
        # The server drops a request that it cannot begin before the same deadline.
        return time.monotonic_ns() // 1000 + self._timeout_us

    def _ask(self, request_id: int, waiting: InFlight, message: list[object] | tuple[object, ...]) -> None:
        """Send a request and remember it."""
        self._last_id = request_id
        self._in_flight[request_id] = waiting
        try:
            self._send(message)
        except MessageSizeError as error:
            del self._in_flight[request_id]
            raise ServiceError(Status.BODY_SIZE_EXCEEDS_LIMIT, str(error)) from error

    def _send(self, message: list[object] | tuple[object, ...]) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            channel.send(message)
        except ChannelClosedError as error:
            self._lose(error)
            return
        if channel.backlog:
            self._share.force(channel.waiting)
            self._loop.change(channel.fileno(), READ | WRITE)

    def _on_events(self, events: int) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            if events & WRITE:
                channel.flush()
                self._share.force(channel.waiting)
                if not channel.backlog:
                    self._greetings = 0
                    self._loop.change(channel.fileno(), READ)
            until = time.monotonic() + _TURN_S
            for _ in range(_TURN):
                message = channel.receive()
                if message is None:
                    return
                self._take(message)
                # With nothing in flight there is nothing more to read, and trying costs as much as an answer.
                if not self._in_flight or self._channel is not channel or time.monotonic() > until:
                    return
        except (ChannelClosedError, FramingError, ForbiddenMessageError) as error:
            self._lose(error)

    def _take(self, message: tuple[Any, ...]) -> None:
        if message[0] != Common.HELLO:
            self._take_answer(message)
            return
        self._greetings += 1 if self._channel is not None and self._channel.backlog else 0
        if self._greetings > _GREETINGS:
            raise ForbiddenMessageError("successors that read nothing")
        if self._in_flight:
            self._greet()

    @abc.abstractmethod
    def _take_answer(self, message: tuple[Any, ...]) -> None:
        """Handle an answer of the server."""

    @abc.abstractmethod
    def _greet(self) -> None:
        """Find out which of the requests in flight a successor still has."""

    def _finish(self, request_id: int, status: int, results: tuple[Any, ...]) -> None:
        waiting = self._in_flight.pop(request_id, None)
        # An answer that comes after its deadline is for nobody.
        if waiting is not None:
            waiting.result(status, results)

    def _lose(self, cause: Exception) -> None:
        lost = self._detach()
        self._owner.on_lost(self, cause)
        _fail(lost)

    def _detach(self) -> dict[int, InFlight]:
        """Go down; return the requests that were in flight."""
        channel, self._channel = self._channel, None
        lost, self._in_flight = self._in_flight, {}
        if channel is not None:
            self._loop.remove(channel.fileno())
            channel.close()
        self._share.force(0)
        self._greetings = 0
        return lost


def _fail(lost: dict[int, InFlight]) -> None:
    for waiting in lost.values():
        waiting.result(Status.PSA_ERROR_COMMUNICATION_FAILURE, ())


class WorkerUpstream(Upstream):
    """A provider worker."""

    def request(
        self, operation: CryptoOperation | DeleteClient, identity: Identity, request_id: int, result: Result
    ) -> None:
        """Ask the worker; ids grow. `result` is called once, now or later.

        Raises:
            ServiceError: The worker is down, too much is in flight, or the request is too large for its channel.
        """
        deadline = self._admit()
        message = encode_request(operation, request_id, deadline, identity.authenticator, identity.claimed)
        self._ask(request_id, InFlight(result, deadline), message)

    def _take_answer(self, message: tuple[Any, ...]) -> None:
        if message[0] == Common.SYNCED:
            if len(message) != _SYNCED_LENGTH or type(message[1]) is not int:
                raise ForbiddenMessageError("a malformed SYNCED")
            for request_id in [known for known in self._in_flight if known <= message[1]]:
                self._finish(request_id, Status.PSA_ERROR_COMMUNICATION_FAILURE, ())
        else:
            answer = decode_answer(message)
            self._finish(answer.id, answer.status, answer.results)

    def _greet(self) -> None:
        self._send((Common.SYNC, self._last_id))


class KimUpstream(Upstream):
    """The key store."""

    def ask(self, number: KimMessage, identity: Identity, request_id: int, result: Result) -> None:
        """Ask the key store about an application; ids grow. `result` is called once, now or later.

        Raises:
            ServiceError: The key store is down, too much is in flight, or the application's name is impossible.
        """
        deadline = self._admit()
        fields = (int(identity.authenticator), identity.claimed)
        if not SCHEMAS[number].accepts(fields):
            raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"{number.name} for an impossible application")
        question = (int(number), request_id, *fields)
        self._ask(request_id, InFlight(result, deadline, question), question)

    def _take_answer(self, message: tuple[Any, ...]) -> None:
        if len(message) < _HEADER or type(message[1]) is not int or type(message[2]) is not int:
            raise ForbiddenMessageError("a malformed answer of the key store")
        number, request_id, status = message[:_HEADER]
        waiting = self._in_flight.get(request_id)
        if waiting is None:
            return
        schema = SCHEMAS[KimMessage(waiting.question[0])]
        results = message[_HEADER:]
        right = not results if status else schema.accepts_answer(results)
        if number != waiting.question[0] + 1 or status not in _STATUSES or not right:
            raise ForbiddenMessageError("an answer of the key store to another question")
        self._finish(request_id, status, results)

    def _greet(self) -> None:
        for waiting in list(self._in_flight.values()):
            self._send(waiting.question)
