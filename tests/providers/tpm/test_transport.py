"""Data from a simulator's socket: whole, in pieces, too much, or none."""

import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cofferdam_contracts.settings import TctiSettings
from cofferdam_providers.tpm.transport import StreamTransport, TransportError

COMMAND = b"a command"
ANSWER = struct.pack(">HII", 0x8001, 14, 0) + b"body"
PAUSE_S = 0.01


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "tpm"))
        bound.listen()
        yield bound


def exchange(listener: socket.socket, pieces: Sequence[bytes], timeout_s: float = 5.0) -> bytes:
    """Let a simulator answer a command with these pieces, one after the other."""
    path = listener.getsockname()
    transport = StreamTransport(
        TctiSettings(kind="swtpm", path=path, host=None, port=None, bus_name=None, bus_type=None)
    )
    simulator, _ = listener.accept()

    def answer() -> None:
        assert simulator.recv(64) == COMMAND
        for piece in pieces:
            simulator.sendall(piece)
            time.sleep(PAUSE_S)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        return transport.exchange(COMMAND, timeout_s)
    finally:
        thread.join()
        transport.close()
        simulator.close()


@pytest.mark.parametrize("cuts", [(), (10,), (3,), (12,), (1, 9, 11, 13)])
def test_an_answer_is_put_together(listener: socket.socket, cuts: Sequence[int]) -> None:
    edges = (0, *cuts, len(ANSWER))
    pieces = [ANSWER[start:end] for start, end in itertools.pairwise(edges)]
    assert exchange(listener, pieces) == ANSWER


def test_an_answer_may_be_a_header_alone(listener: socket.socket) -> None:
    assert exchange(listener, [struct.pack(">HII", 0x8001, 10, 0x100)]) == struct.pack(">HII", 0x8001, 10, 0x100)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([ANSWER + b"x"], "1 bytes after an answer"),
        ([struct.pack(">HII", 0x8001, 9, 0)], "an answer of 9 bytes"),
        ([struct.pack(">HII", 0x8001, 1 << 31, 0)], "an answer of 2147483648 bytes"),
        ([ANSWER[:12]], "no answer within 0.1 s"),
        ([], "no answer within 0.1 s"),
    ],
)
def test_anything_else_breaks_the_way(listener: socket.socket, pieces: Sequence[bytes], text: str) -> None:
    with pytest.raises(TransportError, match=text):
        exchange(listener, pieces, 0.1)


def test_what_nobody_asked_for_is_not_taken_for_an_answer(listener: socket.socket) -> None:
    transport = StreamTransport(
        TctiSettings(kind="swtpm", path=listener.getsockname(), host=None, port=None, bus_name=None, bus_type=None)
    )
    connection, _ = listener.accept()
    with connection:
        connection.sendall(ANSWER)
        with pytest.raises(TransportError, match="unexpected data"):
            transport.exchange(COMMAND, 1.0)
    transport.close()
