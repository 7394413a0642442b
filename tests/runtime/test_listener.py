"""The listening sockets: what they replace, and how much one turn of the loop does for readers of the status."""

import _socket
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cofferdam_runtime.listener import STATUS_MODE, ListenError, bind, hand_out

READERS = 150


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[_socket.socket]:
    listener = bind(str(tmp_path / "status"), STATUS_MODE)
    yield listener
    listener.close()


def test_readers_of_the_status_cannot_keep_the_loop(bound: _socket.socket) -> None:
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
        hand_out(bound, document)
        assert made == [True]
        assert sum(_is_served(reader) for reader in waiting) < READERS / 2
        for _ in range(READERS):
            hand_out(bound, document)
        assert all(_is_served(reader) for reader in waiting), "the others were served later"


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
