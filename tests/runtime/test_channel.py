"""Channels: whole messages in order, large ones in parts, and nothing lost when the reader is slow or replaced."""

import _socket
import os
from collections.abc import Iterator

import pytest

from cofferdam_contracts.ipc.framing import Assembler, Common, FramingError, pack, split
from cofferdam_contracts.ipc.limits import MAX_DATAGRAM, MAX_PARTS, PART_SIZE
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.pairs import socket_pair

LIMIT = 1 << 21
Ends = tuple[_socket.socket, _socket.socket]
Pair = tuple[Channel, Channel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = socket_pair()
    yield made
    for end in made:
        end.close()


@pytest.fixture
def pair(ends: Ends) -> Pair:
    return Channel(ends[0], LIMIT), Channel(ends[1], LIMIT)


def take_over(end: _socket.socket) -> Channel:
    """Do what the broker does: give a duplicate of a dead server's end to its successor."""
    duplicate = os.dup(end.fileno())
    end.close()
    return Channel.of(duplicate, LIMIT, adopted=True)


def test_a_message_arrives_whole(pair: Pair) -> None:
    sender, receiver = pair
    sender.send((4, 1, b"\0" * 100, "name"))
    assert receiver.receive() == (4, 1, b"\0" * 100, "name")
    assert receiver.receive() is None


@pytest.mark.parametrize("size", [PART_SIZE - 10, PART_SIZE, PART_SIZE + 1, 1 << 20])
def test_large_messages_arrive_between_small_ones(pair: Pair, size: int) -> None:
    sender, receiver = pair
    sent = [(4, 1, b"a"), (4, 2, os.urandom(size)), (4, 3, b"z")]
    for outgoing in sent:
        sender.send(outgoing)
    got: list[object] = []
    for _ in range(1000):
        message = receiver.receive()
        if message is None:
            if len(got) == len(sent):
                break
            sender.flush()
        else:
            got.append(message)
    assert got == sent
    assert not sender.backlog


def test_a_reader_that_reads_nothing_stalls_only_the_backlog(pair: Pair) -> None:
    sender, receiver = pair
    for number in range(2000):
        sender.send((4, number, b"x" * 1000))
    assert sender.backlog
    numbers: list[int] = []
    while len(numbers) < 2000:
        message = receiver.receive()
        if message is None:
            sender.flush()
        else:
            numbers.append(message[1])
    assert numbers == list(range(2000))


def test_the_queue_survives_the_reader(pair: Pair) -> None:
    sender, first = pair
    sender.send((4, 1))
    sender.send((4, 2))
    assert first.receive() == (4, 1)
    successor = take_over(first.socket)
    assert successor.receive() == (4, 2)
    successor.close()


def test_a_successor_drops_the_rest_of_a_message_that_began_before_it(pair: Pair) -> None:
    sender, first = pair
    sender.send((4, 1, b"x" * (2 * PART_SIZE)))
    sender.send((4, 2))
    first.socket.recv(1 << 18)
    successor = take_over(first.socket)
    assert successor.receive() == (4, 2)
    successor.close()


def test_a_closed_end_is_noticed_by_both_directions(pair: Pair) -> None:
    sender, receiver = pair
    sender.close()
    with pytest.raises(ChannelClosedError):
        receiver.receive()
    with pytest.raises(ChannelClosedError):
        receiver.send((4, 1))


@pytest.mark.parametrize(
    "datagram",
    [
        b"\xc1",
        b"\x90",
        b"\x05",
        pack(("4", 1)),
        pack((0x60, 0, 10, b"x")),
        pack((0x60, 1, PART_SIZE * 2, b"x")),
        pack((0x60, 0, LIMIT + 1, b"x")),
        pack((0x60, 0, "x", b"x")),
        b"\x91\x81\x01\x02",
        b"\x92\x04\x80",
        b"\x92\x04\xc7\x00\x05",
        b"\x92\x04\xc7\x01\x05x",
        b"\x93\x04\x01\xdd\xff\xff\xff\xff",
        b"\x93\x04\x01\xc6\xff\xff\xff\xff",
        b"\x91" * 5000 + b"\x04",
    ],
)
def test_what_is_no_message_is_refused(ends: Ends, datagram: bytes) -> None:
    one, other = ends
    one.send(datagram)
    with pytest.raises(FramingError):
        Channel(other, LIMIT).receive()


def test_a_message_beyond_the_limit_is_refused(ends: Ends) -> None:
    one, other = ends
    message = pack((4, 1, b"x" * 4000))
    for limit in (4000, len(message) - 1):
        one.send(message)
        with pytest.raises(FramingError):
            Channel(other, limit).receive()
    one.send(message)
    assert Channel(other, len(message)).receive() is not None


def test_a_call_ends_after_so_many_parts_though_there_are_more(ends: Ends) -> None:
    """Whoever sends parts has no more of the receiver's turn than whoever sends messages."""
    one, other = ends
    adopted = Channel(other, LIMIT, adopted=True)
    for _ in range(2 * MAX_PARTS):
        # The rest of a message whose beginning a dead server took: dropped, but not for nothing.
        one.send(pack((Common.PART, 1, PART_SIZE + 1, b"x")))
    one.send(pack((4, 1)))
    assert [adopted.receive() for _ in range(3)] == [None, None, (4, 1)]


FIRST = pack((Common.PART, 0, PART_SIZE + 1, bytes(PART_SIZE)))
NESTED = pack((Common.PART, 0, PART_SIZE, bytes(PART_SIZE)))


@pytest.mark.parametrize(
    "datagrams",
    [
        [FIRST, pack((4, 1))],
        [FIRST, FIRST],
        [FIRST, pack((Common.PART, 2, PART_SIZE + 1, b"x"))],
        [FIRST, pack((Common.PART, 1, PART_SIZE + 2, b"xx"))],
        [FIRST, pack((Common.PART, 1, PART_SIZE + 1, b"xx"))],
        [FIRST, pack((Common.PART, 1, PART_SIZE + 1, b""))],
        list(split(NESTED)),
    ],
)
def test_parts_that_do_not_follow_each_other_are_refused(datagrams: list[bytes]) -> None:
    assembler = Assembler(LIMIT)
    for datagram in datagrams[:-1]:
        assert assembler.feed(datagram) is None
    with pytest.raises(FramingError):
        assembler.feed(datagrams[-1])


@pytest.mark.parametrize("size", [1, PART_SIZE - 1])
def test_parts_are_full(size: int) -> None:
    """Else a message could be cut into as many datagrams as it has bytes."""
    with pytest.raises(FramingError):
        Assembler(LIMIT).feed(pack((Common.PART, 0, PART_SIZE + 1, bytes(size))))
    assembler = Assembler(LIMIT)
    assert assembler.feed(pack((Common.PART, 0, 2 * PART_SIZE + 1, bytes(PART_SIZE)))) is None
    with pytest.raises(FramingError):
        assembler.feed(pack((Common.PART, 1, 2 * PART_SIZE + 1, bytes(size))))


def test_no_datagram_is_longer_than_a_part(ends: Ends) -> None:
    """The buffer is as long as the longest honest datagram; what is longer is refused, not cut."""
    one, other = ends
    longest = max(len(datagram) for datagram in split(bytes(LIMIT)))
    assert PART_SIZE < longest <= MAX_DATAGRAM
    for size in (MAX_DATAGRAM + 1, MAX_DATAGRAM + 1000):
        padding = size - len(pack((4, b"x" * PART_SIZE))) + PART_SIZE
        datagram = pack((4, b"x" * padding))
        assert len(datagram) == size
        one.send(datagram)
        with pytest.raises(FramingError, match="a datagram of"):
            Channel(other, LIMIT).receive()


def test_descriptors_that_a_peer_attaches_go_nowhere(ends: Ends) -> None:
    one, other = ends
    receiver = Channel(other, LIMIT)
    before = len(os.listdir("/proc/self/fd"))
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, (2).to_bytes(4, "little") * 100)]
    try:
        one.sendmsg([pack((4, 1))], rights)
    except OSError:
        return  # refused by the kernel (SO_PASSRIGHTS)
    assert receiver.receive() == (4, 1)
    assert len(os.listdir("/proc/self/fd")) == before
