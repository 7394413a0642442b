"""The frontend's side of a channel to a worker or to the key store: requests in flight, and what became of them.

A server that died is replaced behind the same channel. Its successor says HELLO; what is then still unanswered when
the successor has answered everything that was queued (SYNC) was lost with the predecessor, and fails at once. Questions
to the key store change nothing, so they are asked again instead.
"""

import abc
import time
from collections.abc import Callable
from typing import Any, Final

from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.keystore import KimMessage
from cofferdam_contracts.ipc.requests import decode_answer, encode_request
from cofferdam_contracts.operations import CryptoOperation, DeleteClient
from cofferdam_contracts.settings import FrontendSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_frontend.auth import Client
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.loop import READ, WRITE, Loop

Result = Callable[[int, tuple[Any, ...]], None]
"""Takes the status and, on success, the results."""
_HEADER: Final = 3
_TURN: Final = 64
"""Answers taken before others have their turn."""


class Backend(abc.ABC):
    """One server of this frontend."""

    def __init__(
        self, channel: Channel, loop: Loop, settings: FrontendSettings, lost: Callable[[Exception], None]
    ) -> None:
        """Serve on this loop; `lost` is called when the channel cannot be used any more."""
        self._channel = channel
        self._loop = loop
        self._timeout_us = settings.answer_timeout_ms * 1000
        self._most = settings.max_in_flight
        self._lost = lost
        self._last_id = 0
        self._in_flight: dict[int, tuple[Result, int]] = {}
        loop.add(channel.fileno(), READ, self._on_events)

    def __len__(self) -> int:
        """Return how many requests are in flight."""
        return len(self._in_flight)

    def expire(self, now_us: int) -> None:
        """Fail what is overdue: the oldest first, all have the same time."""
        while self._in_flight:
            request_id = next(iter(self._in_flight))
            result, deadline = self._in_flight[request_id]
            if deadline > now_us:
                return
            del self._in_flight[request_id]
            result(Status.PSA_ERROR_COMMUNICATION_FAILURE, ())

    def next_deadline(self) -> int | None:
        """Return when the oldest request is overdue, in microseconds of the monotonic clock."""
        for _, deadline in self._in_flight.values():
            return deadline
        return None

    def _add(self, request_id: int, result: Result) -> int:
        if len(self._in_flight) >= self._most:
            raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_MEMORY, f"{self._most} requests are in flight")
        self._last_id = request_id
        # A server drops what it cannot begin in time; a little later we stop waiting for it.
        deadline = time.monotonic_ns() // 1000 + self._timeout_us
        self._in_flight[request_id] = (result, deadline)
        return deadline

    def _send(self, message: list[object] | tuple[object, ...]) -> None:
        try:
            self._channel.send(message)
        except ChannelClosedError as error:
            self._lost(error)
            return
        if self._channel.backlog:
            self._loop.change(self._channel.fileno(), READ | WRITE)

    def _on_events(self, events: int) -> None:
        try:
            if events & WRITE:
                self._channel.flush()
                if not self._channel.backlog:
                    self._loop.change(self._channel.fileno(), READ)
            for _ in range(_TURN):
                message = self._channel.receive()
                if message is None:
                    return
                self._take(message)
                if not self._in_flight:
                    # Nothing else can be there, and asking costs as much as an answer.
                    return
        except (ChannelClosedError, FramingError, ForbiddenMessageError) as error:
            self._lost(error)

    @abc.abstractmethod
    def _take(self, message: tuple[Any, ...]) -> None:
        """Make of a message what the server means by it."""

    def _finish(self, request_id: int, status: int, results: tuple[Any, ...]) -> None:
        entry = self._in_flight.pop(request_id, None)
        # An answer that came after its deadline belongs to nobody.
        if entry is not None:
            entry[0](status, results)


class WorkerBackend(Backend):
    """A provider worker."""

    def request(
        self, operation: CryptoOperation | DeleteClient, client: Client, request_id: int, result: Result
    ) -> None:
        """Ask the worker; ids grow from request to request. `result` is called once, now or later.

        Raises:
            ServiceError: Too much is in flight.
        """
        deadline = self._add(request_id, result)
        self._send(encode_request(operation, request_id, deadline, client.authenticator, client.claimed))

    def _take(self, message: tuple[Any, ...]) -> None:
        number = message[0]
        if number == Common.HELLO:
            if self._in_flight:
                self._send((Common.SYNC, self._last_id))
        elif number == Common.SYNCED:
            for request_id in [known for known in self._in_flight if known <= message[1]]:
                self._finish(request_id, Status.PSA_ERROR_COMMUNICATION_FAILURE, ())
        else:
            answer = decode_answer(message)
            self._finish(answer.id, answer.status, answer.results)


class StoreBackend(Backend):
    """The key store."""

    def __init__(
        self, channel: Channel, loop: Loop, settings: FrontendSettings, lost: Callable[[Exception], None]
    ) -> None:
        """Remember every question until it is answered."""
        super().__init__(channel, loop, settings, lost)
        self._questions: dict[int, tuple[object, ...]] = {}

    def ask(self, number: KimMessage, client: Client, request_id: int, result: Result) -> None:
        """Ask the key store about a client; ids grow from question to question. `result` is called once.

        Raises:
            ServiceError: Too much is in flight.
        """
        self._add(request_id, result)
        self._questions = {known: self._questions[known] for known in self._questions if known in self._in_flight}
        self._questions[request_id] = (int(number), request_id, client.authenticator, client.claimed)
        self._send(self._questions[request_id])

    def _take(self, message: tuple[Any, ...]) -> None:
        if message[0] == Common.HELLO:
            for request_id in list(self._in_flight):
                self._send(self._questions[request_id])
        elif len(message) < _HEADER or type(message[1]) is not int or type(message[2]) is not int:
            raise ForbiddenMessageError("a malformed answer of the key store")
        else:
            self._finish(message[1], message[2], message[_HEADER:])
