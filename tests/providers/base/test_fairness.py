"""Turns of the worker's channels, tested by the order of the work: how busy the machine is changes nothing here.

A device that takes processor time is charged by the thread's own clock, so a request that burns a millisecond costs
one, however long it had to wait for a processor.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace
from tests.providers.base.device import ATTRIBUTES, KEK, LOG, Asking, Device, running

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.ipc.requests import WorkerOperation, encode_request
from cofferdam_contracts.operations import DeleteClient, ExportPublicKey, GenerateKey, GenerateRandom
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind
from cofferdam_contracts.status import Status
from cofferdam_providers.base.kim_client import KimClient
from cofferdam_providers.base.provider import StoredKey
from cofferdam_providers.base.row_codes import RowCodes
from cofferdam_runtime.channel import Channel
from cofferdam_runtime.pairs import socket_pair

FLOOD, QUIET, THIRD = 1, 2, 3
_HUNDRED = 100
"""Random bytes of number N of channel C are asked for as C * 100 + N."""
MS = 1_000_000


class Measured(Device):
    """Random bytes take the time that `costs` says, by channel."""

    on_processor = True

    def __init__(self) -> None:
        super().__init__({})
        self.order: list[int] = []
        self.costs = {FLOOD: MS, QUIET: MS, THIRD: MS}
        self.hold: set[int] = set()
        """Places in the order of all requests at which the worker waits to be let on."""
        self.held, self.let = threading.Semaphore(0), threading.Semaphore(0)

    def generate_random(self, size: int) -> bytes:
        self.order.append(size // _HUNDRED)
        if len(self.order) - 1 in self.hold:
            self.held.release()
            assert self.let.acquire(timeout=10)
        self.take(self.costs[size // _HUNDRED])
        return b""

    def take(self, nanoseconds: int) -> None:
        """Take processor time."""
        until = time.thread_time_ns() + nanoseconds
        while time.thread_time_ns() < until:
            pass

    def destroy_key(self, identity: KeyIdentity, stored: StoredKey) -> None:
        self.order.append(THIRD)
        self.take(MS)
        super().destroy_key(identity, stored)


class Sleeping(Measured):
    """A device outside: what it takes passes on the wall."""

    on_processor = False

    def take(self, nanoseconds: int) -> None:
        time.sleep(nanoseconds / 1e9)


def send(frontend: Asking, operation: WorkerOperation, number: int = 0) -> None:
    frontend.channel.send(encode_request(operation, number, 1 << 62, 3, ""))


def ask_many(frontend: Asking, channel: int, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        send(frontend, GenerateRandom(channel * _HUNDRED + number), number)


def receive(frontend: Asking, count: int) -> None:
    for _ in range(count):
        assert frontend.receive()[2] == Status.SUCCESS


def test_who_comes_while_another_floods_is_next(tmp_path: Path) -> None:
    """Notices a worker that serves a channel until it is empty, or looks for others only then."""
    device = Measured()
    device.hold = {10}
    with running(tmp_path, device) as worker:
        flood, quiet = worker.connect(1000), worker.connect(1001, 1)
        ask_many(flood, FLOOD, 90)
        assert device.held.acquire(timeout=10)
        send(quiet, GenerateRandom(QUIET * _HUNDRED))
        device.let.release()
        receive(quiet, 1)
        receive(flood, 90)
    # The one that was held, and no other.
    assert device.order.index(QUIET) == 11


def test_many_floods_do_not_add_up_for_who_asks_once_in_a_while(tmp_path: Path) -> None:
    device = Measured()
    device.hold = {0, 20, 60, 100}
    with running(tmp_path, device) as worker:
        floods, quiet = [worker.connect(1000 + number, number) for number in range(4)], worker.connect(2000, 9)
        for flood in floods:
            ask_many(flood, FLOOD, 40)
        assert device.held.acquire(timeout=10)
        device.let.release()
        for _ in range(3):
            assert device.held.acquire(timeout=10)
            send(quiet, GenerateRandom(QUIET * _HUNDRED))
            device.let.release()
            receive(quiet, 1)
        for flood in floods:
            receive(flood, 40)
    assert [place for place, who in enumerate(device.order) if who == QUIET] == [21, 61, 101]


def test_idleness_saves_nothing_up(tmp_path: Path) -> None:
    device = Measured()
    device.hold = {50}
    with running(tmp_path, device) as worker:
        busy, idle = worker.connect(1000), worker.connect(1001, 1)
        ask_many(busy, FLOOD, 99)
        assert device.held.acquire(timeout=10)
        ask_many(idle, QUIET, 40)
        device.let.release()
        receive(idle, 40)
        receive(busy, 99)
    # From then on they take turns.
    for place in range(51, 81, 10):
        assert 4 <= device.order[place : place + 10].count(QUIET) <= 6


def shares(tmp_path: Path, device: Measured, dear: int, cost: int = 5 * MS) -> float:
    """Return how many cheap requests are served for each expensive one, while both wait; cheap ones take 1 ms."""
    device.costs[dear], device.hold = cost, {0}
    with running(tmp_path, device) as worker:
        first, one, other = (worker.connect(1000 + number, number) for number in range(3))
        send(first, GenerateRandom(THIRD * _HUNDRED))
        assert device.held.acquire(timeout=10)
        ask_many(one, FLOOD, 50)
        ask_many(other, QUIET, 50)
        device.let.release()
        receive(one, 50)
        receive(other, 50)
    last = len(device.order) - 1 - device.order[::-1].index(QUIET if dear == FLOOD else FLOOD)
    return 50 / device.order[:last].count(dear)


def test_shares_are_of_time_and_not_of_requests(tmp_path: Path) -> None:
    assert 3.5 < shares(tmp_path, Measured(), FLOOD) < 6.5


def test_the_time_of_a_device_is_that_on_the_wall(tmp_path: Path) -> None:
    """Requests that sleep cost little on a processor, so that with its clock their numbers would be about equal."""
    assert shares(tmp_path, Sleeping(), QUIET, cost=20 * MS) > 6


def test_what_a_worker_on_the_processor_was_not_running_is_charged_to_nobody(tmp_path: Path) -> None:
    device = Sleeping()
    device.on_processor = True
    # To wake up costs more the longer a sleep was, several times as much and not fifty times.
    assert shares(tmp_path, device, FLOOD, cost=50 * MS) < 20


@contextmanager
def slow_key_store(seconds: float) -> Iterator[KimClient]:
    """Simulate a key store that knows no key, and takes some time to say so."""
    ours, theirs = socket_pair()
    end = Channel(theirs, 1 << 20)
    stop = threading.Event()

    def answer() -> None:
        while not stop.is_set():
            message = end.receive()
            if message is None:
                stop.wait(0.0005)
            else:
                time.sleep(seconds)
                end.send((message[0] + 1, message[1], Status.PSA_ERROR_DOES_NOT_EXIST.value))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield KimClient(Channel(ours, 1 << 20), RowCodes(KEK, Device({})), LOG)
    finally:
        stop.set()
        thread.join()
        end.close()
        ours.close()


def test_waiting_for_the_key_store_is_charged_to_who_makes_the_worker_wait(tmp_path: Path) -> None:
    device = Measured()
    device.hold = {0}
    with slow_key_store(0.005) as store, running(tmp_path, device, store=store) as worker:
        asking, quiet = worker.connect(1000), worker.connect(1001, 1)
        ask_many(quiet, QUIET, 40)
        assert device.held.acquire(timeout=10)
        for number in range(40):
            send(asking, ExportPublicKey("none"), number)
        device.let.release()
        receive(quiet, 40)
        # It had as much time as the other, and so about five questions for 25 milliseconds of work.
        answered = 0
        while (message := asking.channel.receive()) is not None:
            assert message[2] == Status.PSA_ERROR_DOES_NOT_EXIST
            answered += 1
        assert answered < 20


def test_a_client_is_deleted_step_by_step(tmp_path: Path) -> None:
    device = Measured()
    with running(tmp_path, device) as worker:
        owner, admin, quiet = worker.connect(1000), worker.connect(7, 1), worker.connect(1001, 2)
        for number in range(20):
            assert owner.ask(GenerateKey(f"k{number}", ATTRIBUTES)).status == Status.SUCCESS
        device.order.clear()
        device.hold = {0}
        send(quiet, GenerateRandom(QUIET * _HUNDRED))
        assert device.held.acquire(timeout=10)
        send(admin, DeleteClient("1000"))
        ask_many(quiet, QUIET, 30, first=1)
        device.let.release()
        receive(quiet, 31)
        receive(admin, 1)
    # While the other has something, there are never two steps in a row for its one request.
    runs = [
        len(list(run)) for who, run in itertools.groupby(device.order[: device.order.index(THIRD) + 16]) if who == THIRD
    ]
    assert max(runs) <= 2


def test_who_does_not_take_its_answers_is_not_served_further_and_goes_on_when_it_does(tmp_path: Path) -> None:
    size = 200_000
    served: list[int] = []

    class Large(Device):
        def generate_random(self, size: int) -> bytes:
            served.append(size)
            return bytes(size)

    with running(tmp_path, Large({})) as worker:
        lazy, other = worker.connect(1000), worker.connect(1001, 1)
        for number in range(100):
            send(lazy, GenerateRandom(size), number)
        before = -1
        while (now := served.count(size)) != before:
            before = now
            for _ in range(20):
                assert other.ask(GenerateRandom(1)).status == Status.SUCCESS
        assert 0 < now < 20
        assert [lazy.receive()[1:3] for _ in range(100)] == [(number, Status.SUCCESS) for number in range(100)]


class TwoKinds(Measured):
    """RSA keys take a thread until they are released; others are generated at once."""

    concurrent_generation = True

    def is_slow(self, attributes: KeyAttributes) -> bool:
        return attributes.type.kind is KeyKind.RSA_KEY_PAIR

    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        if self.is_slow(attributes):
            assert self.let.acquire(timeout=10)
        return super().generate_key(identity, attributes, planned_id)


def test_keys_that_are_made_quickly_do_not_wait_for_those_that_are_not(tmp_path: Path) -> None:
    rsa = replace(ATTRIBUTES, type=replace(ATTRIBUTES.type, kind=KeyKind.RSA_KEY_PAIR, family=None))
    device = TwoKinds()
    with running(tmp_path, device) as worker:
        flood, quiet = worker.connect(1000), worker.connect(1001, 1)
        for number in range(8):
            send(flood, GenerateKey(f"k{number}", rsa), number)
        for number in range(20):
            assert quiet.ask(GenerateKey(f"k{number}", ATTRIBUTES)).status == Status.SUCCESS
        assert worker.in_flight() == 8
        device.let.release(8)
        receive(flood, 8)
