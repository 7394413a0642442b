"""A client connection with its owner and its client: each state, and what may happen from outside.

The socket pair and the loop are real; the tests play the owner and the client.
"""

import socket
from collections.abc import Callable

from tests.harness.wire import KEEP_ALIVE, Request

from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.decoder import Limits
from cofferdam_contracts.wire.decoder import Request as Decoded
from cofferdam_contracts.wire.header import response_bytes
from cofferdam_frontend.budget import Budget
from cofferdam_frontend.connection import ClientConnection, State
from cofferdam_runtime.loop import Loop

KEPT = Request(flags=KEEP_ALIVE).to_bytes()
ONCE = Request().to_bytes()
LARGE = bytes(3 << 20)
BODY = 100_000
WITH_BODY = Request(opcode=0x0F, provider=1, body=bytes(BODY), flags=KEEP_ALIVE).to_bytes()
REFUSED = Status.CONNECTION_ERROR


class Owner:
    """What a connection has around it; requests are answered at once, or when a test says so."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self.loop = Loop()
        self.limits = Limits(body_len=1 << 20)
        self.budget = Budget(limit)
        self.draining = False
        self.at_once: bytes | None = b""
        self.requests: list[Decoded] = []
        self.refused: list[Status] = []
        self.waits: list[State] = []
        self.abandoned = 0
        self.closed = 0

    def on_request(self, connection: ClientConnection, request: Decoded) -> None:
        self.requests.append(request)
        if self.at_once is not None:
            self.answer(connection, self.at_once)

    def answer(self, connection: ClientConnection, body: bytes = b"") -> None:
        connection.respond(response_bytes(self.requests[-1].header, Status.SUCCESS, body))

    def on_wait(self, connection: ClientConnection) -> None:
        self.waits.append(connection.state)

    def on_refuse(self, status: Status) -> None:
        self.refused.append(status)

    def on_abandon(self, _connection: ClientConnection) -> None:
        self.abandoned += 1

    def on_close(self, _connection: ClientConnection) -> None:
        self.closed += 1

    def keeps_connections(self) -> bool:
        return not self.draining


class Talk:
    """A connection, its owner and its client."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self.owner = Owner(limit)
        self.client, theirs = socket.socketpair()
        self.client.settimeout(0)
        self.connection = ClientConnection(
            theirs.detach(), self.owner.loop, self.owner.limits, self.owner.budget, self.owner
        )

    def state(self) -> State:
        return self.connection.state

    def turn(self) -> bool:
        """Turn the loop once; return whether there was anything to do."""
        events = self.owner.loop._epoll.poll(0)
        for descriptor, mask in events:
            callback = self.owner.loop._callbacks.get(descriptor)
            if callback is not None:
                callback(mask)
        return bool(events)

    def settle(self) -> None:
        for _ in range(2000):
            if not self.turn():
                return
        raise AssertionError("the loop never comes to rest")

    def send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self.client.send(data) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                return
            self.settle()

    def begin(self, data: bytes = b"") -> None:
        """Hand the connection over with so many bytes in it."""
        if data:
            self.client.send(data)
        self.connection.start()
        self.settle()

    def received(self) -> bytes:
        found = bytearray()
        while True:
            self.settle()
            try:
                part = self.client.recv(1 << 20)
            except (BlockingIOError, ConnectionResetError):
                return bytes(found)
            if not part:
                return bytes(found)
            found += part

    def close(self) -> None:
        self.connection.close()
        self.client.close()
        self.owner.loop._epoll.close()


def receiving(talk: Talk) -> None:
    talk.begin(KEPT[:20])


def idle(talk: Talk) -> None:
    talk.begin(KEPT)
    talk.received()


def working(talk: Talk) -> None:
    talk.owner.at_once = None
    talk.begin(KEPT[:20])
    talk.send(KEPT[20:])


def sending(talk: Talk) -> None:
    talk.owner.at_once = LARGE
    talk.begin(KEPT)
    talk.owner.at_once = b""


def draining(talk: Talk) -> None:
    talk.begin(b"no request of any kind")


def closed(talk: Talk) -> None:
    talk.begin(ONCE)


SETUPS: dict[State, Callable[[Talk], None]] = {
    State.RECEIVING: receiving,
    State.IDLE: idle,
    State.WORKING: working,
    State.SENDING: sending,
    State.DRAINING: draining,
    State.CLOSED: closed,
}


def rest(talk: Talk) -> None:
    talk.send(KEPT[20:])


def another(talk: Talk) -> None:
    talk.send(KEPT)


def end(talk: Talk) -> None:
    talk.client.shutdown(socket.SHUT_WR)
    talk.settle()


def hang_up(talk: Talk) -> None:
    talk.client.close()
    talk.settle()


def time_out(talk: Talk) -> None:
    talk.connection.on_time_out()
    talk.settle()


def answer(talk: Talk) -> None:
    talk.owner.answer(talk.connection)
    talk.settle()


def stop(talk: Talk) -> None:
    talk.connection.close()
