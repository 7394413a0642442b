"""Key generation on the loop's own thread: a quick request waits for one key at most, and gets its time afterwards."""

import itertools
import threading
import time
from pathlib import Path

import pytest
from tests.providers.base.device import ATTRIBUTES, Asking, Device, key_store, running

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.ipc.requests import WorkerOperation, encode_request
from cofferdam_contracts.operations import DestroyKey, GenerateKey, GenerateRandom
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.status import Status
from cofferdam_providers.base import worker as worker_module
from cofferdam_providers.base.provider import DeviceLostError, StoredKey
from cofferdam_providers.base.worker import MAX_SLOW


class OneThread(Device):
    """Notes what it does in `order`, a key as 0 and random bytes as their number, and generates a key when released."""

    slow_generation = True
    takes = 0.0
    """Seconds that random bytes take."""
    lasts: float | None = None
    """Seconds that a key takes, in place of until it is let."""

    def __init__(self) -> None:
        super().__init__({})
        self.order: list[int] = []
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        self.order.append(0)
        self.begun.release()
        if self.lasts is None:
            self.let.acquire(timeout=10)
        else:
            time.sleep(self.lasts)
        if identity.key_name == "lost":
            raise DeviceLostError(Status.PSA_ERROR_HARDWARE_FAILURE, "lost")
        return super().generate_key(identity, attributes, planned_id)

    def generate_random(self, size: int) -> bytes:
        self.order.append(size)
        time.sleep(self.takes)
        return super().generate_random(size)

    def wait(self) -> None:
        """Return when the next key is being generated."""
        assert self.begun.acquire(timeout=10)


def send(frontend: Asking, operation: WorkerOperation, number: int = 0, deadline: int = 1 << 62) -> None:
    frontend.channel.send(encode_request(operation, number, deadline, 3, ""))


def key(name: str) -> GenerateKey:
    return GenerateKey(name, ATTRIBUTES)


def test_a_quiet_client_waits_for_one_key_however_many_principals_generate(tmp_path: Path) -> None:
    device = OneThread()
    with running(tmp_path, device) as worker:
        quiet, others = worker.connect(1000), [worker.connect(1001 + number, 1 + number) for number in range(4)]
        for other in others:
            for number in range(2):
                send(other, key(f"k{number}"), number)
        for _ in range(7):
            device.wait()
            send(quiet, GenerateRandom(1))
            device.let.release()
            assert quiet.receive()[2] == Status.SUCCESS
        device.let.release()
        for other in others:
            assert [other.receive()[1:3] for _ in range(2)] == [(number, Status.SUCCESS) for number in range(2)]
    assert device.order == [0, 1] * 7 + [0]
    assert worker.busy == [True, False] * 8


def test_everybody_who_waits_has_a_turn_before_the_next_key(tmp_path: Path) -> None:
    device = OneThread()
    device.takes = 0.005
    with running(tmp_path, device) as worker:
        one, other, *generating = (worker.connect(1000 + number, number) for number in range(6))
        for frontend in generating:
            send(frontend, key("k"))
        device.wait()
        for _ in range(40):
            send(one, GenerateRandom(1))
            send(other, GenerateRandom(2))
        device.let.release(4)
        assert [frontend.receive()[2] for frontend in generating] == [Status.SUCCESS] * 4
    keys = [place for place, what in enumerate(device.order) if what == 0]
    for begin, end in itertools.pairwise(keys):
        assert {1, 2} <= set(device.order[begin:end])


def test_quick_requests_without_end_do_not_starve_generation(tmp_path: Path) -> None:
    device = OneThread()
    device.takes = 0.001
    device.let.release(3)
    with running(tmp_path, device) as worker:
        flood, generating = worker.connect(1000), worker.connect(1001, 1)
        for number in range(150):
            send(flood, GenerateRandom(1), number)
        for number in range(3):
            assert generating.ask(key(f"k{number}")).status == Status.SUCCESS
        assert device.order.count(1) < 150


def test_too_many_keys_of_one_principal_are_refused_before_they_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "TURN_NS", 10**10)  # all are taken in one turn
    device = OneThread()
    with running(tmp_path, device) as worker:
        first, many = worker.connect(1000), worker.connect(1001, 1)
        send(first, key("k"))
        device.wait()
        for number in range(MAX_SLOW + 1):
            send(many, key(f"k{number}"), number)
        device.let.release()
        assert many.receive()[1:3] == (MAX_SLOW, Status.PSA_ERROR_INSUFFICIENT_MEMORY)
        device.let.release(MAX_SLOW)
        assert [many.receive()[1:3] for _ in range(MAX_SLOW)] == [(n, Status.SUCCESS) for n in range(MAX_SLOW)]


def test_a_key_whose_deadline_passes_while_it_waits_is_not_made_and_its_name_is_free(tmp_path: Path) -> None:
    device = OneThread()
    with running(tmp_path, device) as worker:
        one, two, other = (worker.connect(1000 + number, number) for number in range(3))
        send(one, key("k0"))
        device.wait()
        deadline = time.monotonic_ns() // 1000 + 1_000_000
        send(two, key("k1"))
        send(other, key("late"), deadline=deadline)
        device.let.release()
        device.wait()
        time.sleep(max(0.0, deadline / 1e6 - time.monotonic() + 0.01))
        device.let.release(2)
        assert other.receive()[2] == Status.PSA_ERROR_COMMUNICATION_FAILURE
        assert device.order == [0, 0]
        assert other.ask(key("late")).status == Status.SUCCESS


def test_a_key_whose_owner_rests_beyond_its_deadline_fails_then_and_its_name_is_free(tmp_path: Path) -> None:
    device = OneThread()
    with running(tmp_path, device) as worker:
        quick, generating = worker.connect(1000), worker.connect(1001, 1)
        send(generating, key("k0"))
        device.wait()
        time.sleep(2.0)  # and so has to rest for as long
        send(quick, GenerateRandom(1))
        device.let.release()
        assert generating.receive()[2] == Status.SUCCESS
        assert quick.receive()[2] == Status.SUCCESS
        send(generating, key("late"), 1, deadline=time.monotonic_ns() // 1000 + 400_000)
        send(generating, key("next"), 2)
        assert generating.receive()[1:3] == (1, Status.PSA_ERROR_COMMUNICATION_FAILURE)
        # That was not told at its turn: its owner rests on.
        for _ in range(10):
            quick.ask(GenerateRandom(1))
        assert device.order == [0, *[1] * 11]
        device.let.release(2)
        assert quick.ask(key("late")).status == Status.SUCCESS
        assert generating.receive()[1:3] == (2, Status.SUCCESS)
        assert generating.ask(DestroyKey("late")).status == Status.PSA_ERROR_DOES_NOT_EXIST


def test_others_are_served_for_as_long_as_a_key_took_before_its_owner_makes_the_next(tmp_path: Path) -> None:
    """Without that, a client that asks again after each answer would get one answer for each key."""
    device = OneThread()
    device.lasts = 0.3
    with running(tmp_path, device) as worker:
        quick, generating = worker.connect(1000), worker.connect(1001, 1)
        quick.ask(GenerateRandom(1))
        for number in range(4):
            send(generating, key(f"k{number}"), number)
        while device.order.count(0) < 4:
            assert quick.ask(GenerateRandom(1)).status == Status.SUCCESS
    keys = [place for place, what in enumerate(device.order) if what == 0]
    assert min(end - begin for begin, end in itertools.pairwise(keys)) > 5


def test_who_rests_is_served_with_everything_else(tmp_path: Path) -> None:
    device = OneThread()
    device.lasts = 1.0
    with running(tmp_path, device) as worker:
        quick, generating = worker.connect(1000), worker.connect(1001, 1)
        quick.ask(GenerateRandom(1))
        for number in range(2):
            send(generating, key(f"k{number}"), number)
        device.wait()
        for _ in range(3):
            quick.ask(GenerateRandom(1))
            send(generating, GenerateRandom(2))
        assert generating.receive()[2] == Status.SUCCESS
        assert [generating.receive()[0] for _ in range(3)] == [GenerateRandom.opcode | 0x80] * 3
        assert device.order.count(0) == 1


def test_when_the_device_is_lost_those_in_the_lane_are_told_and_the_rest_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "TURN_NS", 10**10)  # all are taken in one turn
    device = OneThread()
    with running(tmp_path, device) as worker:
        one, two, three = (worker.connect(1000 + number, number) for number in range(3))
        send(one, key("made"))
        device.wait()
        send(two, key("lost"))
        send(two, key("a"))
        send(three, key("b"))
        device.let.release()
        device.wait()
        send(one, GenerateRandom(1))
        device.let.release()
        assert one.receive()[2] == Status.SUCCESS
        assert two.receive()[2] == Status.PSA_ERROR_HARDWARE_FAILURE
        assert two.receive()[2] == three.receive()[2] == Status.PSA_ERROR_COMMUNICATION_FAILURE
    assert device.order == [0, 0]
    with key_store(tmp_path) as store:
        assert [row[1].key_name for row in store.pending()] == ["lost"]


def test_keys_of_a_frontend_that_is_gone_are_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "TURN_NS", 10**10)  # all are taken in one turn
    device = OneThread()
    with running(tmp_path, device) as worker:
        gone, other = worker.connect(1000), worker.connect(1001, 1)
        send(gone, key("k0"))
        device.wait()
        for number in (1, 2):
            send(gone, key(f"k{number}"), number)
        device.let.release()
        device.wait()
        gone.channel.close()
        device.let.release(3)
        assert other.ask(key("k")).status == Status.SUCCESS
    # k0, the one that was under way, and the other's.
    assert device.order == [0, 0, 0]
    with key_store(tmp_path) as store:
        assert list(store.pending()) == []


def test_a_worker_that_shall_stop_makes_the_keys_that_wait_and_lets_nobody_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "TURN_NS", 10**10)  # all are taken in one turn
    device = OneThread()
    with running(tmp_path, device) as worker:
        frontend, quick = worker.connect(1000), worker.connect(1001, 1)
        send(frontend, key("k0"))
        device.wait()
        for number in (1, 2):
            send(frontend, key(f"k{number}"), number)
        device.let.release()
        device.wait()
        time.sleep(1.0)  # and so it would have to rest for as long
        assert worker.in_flight() == 2
        monkeypatch.undo()
        device.takes = 0.005
        for _ in range(100):
            send(quick, GenerateRandom(1))
        worker.stop()
        device.let.release(2)
        assert [frontend.receive()[1:3] for _ in range(3)] == [(number, Status.SUCCESS) for number in range(3)]
        worker.thread.join(10)
        assert not worker.thread.is_alive()
    # The other has its turn before the last key, and not the time of a rest.
    assert [what for what, _ in itertools.groupby(device.order[:10])][:3] == [0, 1, 0]
