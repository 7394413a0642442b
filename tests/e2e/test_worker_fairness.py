"""Keys that take long in software, and what a client of another uid sees meanwhile: counted, not timed."""

import os
import threading

import pytest
from tests.harness import wire
from tests.harness.service import UNPRIVILEGED_UID, ProcessStatus, Service, acting_as

from cofferdam_providers.base.lane import NICE

GREEDY = 4
QUICK = 16


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_small_keys_of_a_uid_do_not_wait_for_large_ones_of_another() -> None:
    with Service() as service:
        greedy, quiet = wire.Caller(os.geteuid()), wire.Caller(UNPRIVILEGED_UID)
        statuses: list[int] = []

        def generate(number: int) -> None:
            statuses.append(wire.call(service.socket_path, greedy.generate(f"k{number}", wire.RSA_4096_SIGN)).status)

        threads = [threading.Thread(target=generate, args=(number,)) for number in range(GREEDY)]
        for thread in threads:
            thread.start()
        while _worker(service)["in_flight"] < GREEDY // 2:
            assert any(thread.is_alive() for thread in threads)
        for number in range(QUICK):
            with acting_as(UNPRIVILEGED_UID):
                assert wire.call(service.socket_path, quiet.generate(f"q{number}", wire.P256_SIGN)).status == 0
        # Each would have waited for at least one of the others, and there are not so many.
        assert len(statuses) < GREEDY
        priorities = _priorities(_worker(service)["pid"])
        for thread in threads:
            thread.join()
        assert set(statuses) <= {0, 1145}
    # The thread of the loop, and that of the slow lane with the lowest priority.
    assert priorities == [0, NICE]


def _worker(service: Service) -> ProcessStatus:
    return next(row for row in service.status()["processes"] if row["role"].startswith("worker"))


def _priorities(pid: int) -> list[int]:
    """Return the nice values of a process's threads, the first thread first (proc_pid_stat(5))."""
    found = []
    for task in sorted(map(int, os.listdir(f"/proc/{pid}/task"))):
        with open(f"/proc/{pid}/task/{task}/stat") as file:
            found.append(int(file.read().rpartition(")")[2].split()[16]))
    return found
