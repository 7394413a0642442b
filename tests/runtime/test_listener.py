"""The listening sockets: what they replace, and how much one turn of the loop does for readers of the status."""

import _socket
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cofferdam_runtime.listener import MOST_STATUS, STATUS_MODE, Acceptor, Door, ListenError, bind, hand_out
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop

READERS = 150


@pytest.fixture
def acceptor() -> Iterator[Acceptor]:
    made = Acceptor(Log("broker"))
    yield made
    made.close()


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[_socket.socket]:
    listener = bind(str(tmp_path / "status"), STATUS_MODE)
    yield listener
    listener.close()


def test_readers_of_the_status_cannot_keep_the_loop(bound: _socket.socket, acceptor: Acceptor) -> None:
    """One that connects while the others are served would otherwise keep it for ever."""
    made: list[bool] = []

    def document(whole: bool) -> bytes:
        made.append(whole)
        readers.enter_context(socket.socket(socket.AF_UNIX)).connect(bound.getsockname())
        return b"{}"

    with ExitStack() as readers:
        waiting = [readers.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(READERS)]
        for reader in waiting:
            reader.connect(bound.getsockname())
        hand_out(acceptor.accept(bound), document)
        assert made == [True]
        assert sum(_is_served(reader) for reader in waiting) < READERS / 2
        for _ in range(READERS):
            hand_out(acceptor.accept(bound), document)
        assert all(_is_served(reader) for reader in waiting), "the others were served later"


def test_a_slow_reader_gets_the_whole_status(bound: _socket.socket, acceptor: Acceptor) -> None:
    with socket.socket(socket.AF_UNIX) as reader:
        reader.connect(bound.getsockname())
        hand_out(acceptor.accept(bound), lambda _whole: bytes(MOST_STATUS))
        reader.settimeout(10)
        assert sum(map(len, iter(lambda: reader.recv(1 << 12), b""))) == MOST_STATUS


def test_readers_for_whom_no_descriptor_is_left_do_not_wake_the_loop_for_ever(bound: _socket.socket) -> None:
    """The connection is closed with the descriptor in reserve, or it would stay pending."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    acceptor = Acceptor(Log("broker"))
    with socket.socket(socket.AF_UNIX) as reader:
        reader.connect(bound.getsockname())
        # The lowest number that is free is beyond the limit.
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limit[1]))
        try:
            hand_out(acceptor.accept(bound), lambda _whole: b"{}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            acceptor.close()
        reader.settimeout(10)
        assert reader.recv(1) == b""


class Clients:
    """Connections that wait at a door, and who was accepted."""

    def __init__(self, path: str, acceptor: Acceptor, opened: ExitStack) -> None:
        self.door = Door(Loop(), path, STATUS_MODE)
        opened.callback(self.door.close)
        self.accepted = 0
        self._path, self._acceptor, self._opened = path, acceptor, opened

    def connect(self) -> None:
        for _ in range(READERS):
            self._opened.enter_context(socket.socket(socket.AF_UNIX)).connect(self._path)

    def serve(self, bound: _socket.socket) -> None:
        for _, connection in self._acceptor.accept(bound):
            self.accepted += 1
            connection.close()


def test_all_who_wait_are_served_when_the_file_is_made_again(tmp_path: Path, acceptor: Acceptor) -> None:
    path, log = str(tmp_path / "clients"), Log("broker")
    with ExitStack() as opened:
        clients = Clients(path, acceptor, opened)
        clients.door.open(clients.serve)
        clients.connect()
        os.unlink(path)
        clients.door.look(log)
        assert clients.accepted == READERS
        # While nobody is served, as during a reload, they wait.
        clients.door.shut()
        clients.connect()
        os.unlink(path)
        clients.door.look(log)
        clients.door.open(clients.serve)
        clients.door.look(log)
        assert clients.accepted == 2 * READERS
        clients.connect()


def _is_served(reader: socket.socket) -> bool:
    try:
        return reader.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) != b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_a_socket_in_use_is_not_replaced(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(path)
        if kind != socket.SOCK_DGRAM:
            other.listen()
        before = os.stat(path)
        with pytest.raises(ListenError, match="stop it first"):
            bind(path, STATUS_MODE)
        assert os.stat(path).st_ino == before.st_ino


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_nobody_has_open_is_replaced(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(path)
    bind(path, STATUS_MODE).close()
