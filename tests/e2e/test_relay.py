"""The log of a service with compromised frontends: it keeps the lines of all others, and its growth is bounded."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import kernel_view
from tests.harness.events import replace
from tests.harness.identities import AS_ROOT
from tests.harness.relay import relays
from tests.harness.service import Service, is_alive
from tests.harness.takeover.service import TakenOver
from tests.harness.watch import wait_for
from tests.harness.wire import Request, call
from tests.runtime.sandbox.harness import playground

from cofferdam_runtime.relay.relay import BURST, LONGEST, RATE

PING = Request()
ATTACKERS, VICTIM = (59002, 59003), 59004
ROUND, ROUNDS = 10 << 20, 5
FLOOD = f"""
import os
line = b"x" * 4095 + b"\\n"
for number in range({ROUND} // len(line)):
    try:
        os.write(1 + number % 2, line)
    except BlockingIOError:
        pass
say("flooded")
"""
SHUT_DOWN = """
import _socket
end = _socket.socket(fileno=2)
end.shutdown(_socket.SHUT_RDWR)
end.detach()
say("shut down")
"""
pytestmark = pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")


@pytest.fixture
def service() -> Iterator[TakenOver]:
    with playground() as folder, TakenOver(playground=Path(folder)) as made:
        yield made


def says(text: str) -> str:
    """Return the source of a program that writes a line."""
    return f"import os\nsay(os.write(2, {text.encode()!r}))"


def test_what_a_taken_over_frontend_writes_neither_fills_the_log_nor_hides_the_others(service: TakenOver) -> None:
    connections = {uid: service.connect(uid) for uid in (*ATTACKERS, VICTIM)}
    others_are_done, rounds = threading.Event(), dict.fromkeys(ATTACKERS, 0)

    def attack(uid: int) -> None:
        while rounds[uid] < ROUNDS or not others_are_done.is_set():
            service.send(connections[uid], "frontend", FLOOD)
            assert service.answer(connections[uid]) == "flooded"
            rounds[uid] += 1

    began = time.monotonic()
    threads = [threading.Thread(target=attack, args=(uid,)) for uid in ATTACKERS]
    for thread in threads:
        thread.start()
    try:
        for number in range(100):
            service.send(connections[VICTIM], "frontend", says(f"line {number} of the victim"))
            assert service.answer(connections[VICTIM]) > 0
        replace(service, "kim")
    finally:
        others_are_done.set()
        for thread in threads:
            thread.join()
    log = service.log()
    budget = BURST + LONGEST + RATE * (time.monotonic() - began)
    assert all(rounds[uid] >= ROUNDS for uid in ATTACKERS)
    assert BURST < log.count("x" * 4095 + "\n") * 4096 <= len(ATTACKERS) * budget
    lines = [line for line in log.splitlines() if not line.startswith("xxx")]
    assert [line for line in lines if line.endswith("of the victim")] == [f"line {n} of the victim" for n in range(100)]
    assert any('"a process died" process=kim' in line for line in lines)
    for uid in ATTACKERS:
        (row,) = [row for row in service.rows("frontend") if row["principal"] == uid]
        told = [line for line in lines if f"process=frontend pid={row['pid']} uid={row['uid']}" in line]
        assert ["fills the log" in line for line in told] == [True]
    for connection in connections.values():
        connection.close()


def test_who_would_shut_the_log_down_ends_by_itself(service: TakenOver) -> None:
    """Under systemd the log is one stream for all, so it is the filter that has to stop that."""
    assert service.run("frontend", SHUT_DOWN, uid=ATTACKERS[0]) == "died"
    wait_for(lambda: "SIGSYS" in service.log())
    assert service.run("frontend", says("of another"), uid=VICTIM) > 0
    replace(service, "kim")
    assert "of another\n" in service.log()
    assert '"a process died" process=kim' in service.log()


def test_a_service_whose_relay_died_serves_on() -> None:
    with Service() as service:
        (relay,) = relays(service.pid)
        os.kill(relay, signal.SIGKILL)
        before = service.log()
        replace(service, "worker[software]")
        wait_for(lambda: call(service.socket_path, PING).status == 0)
        assert service.log() == before
        assert service.stop() == 0


def test_what_was_said_before_the_service_was_killed_is_written_after_that() -> None:
    with Service() as service:
        (relay,) = relays(service.pid)
        os.kill(relay, signal.SIGSTOP)
        replace(service, "kim")
        service.kill()
        os.kill(relay, signal.SIGCONT)
        assert '"a process died" process=kim' in service.log()
        wait_for(lambda: not is_alive(relay))


class _Silent(Service):
    """A service whose stderr is closed when it starts."""

    def words(self) -> list[str]:
        return ["bash", "-c", 'exec "$@" 2>&-', "bash", *super().words()]


def test_a_service_without_stderr_takes_no_other_descriptor_for_it() -> None:
    with _Silent() as service:
        assert call(service.socket_path, PING).status == 0
        (relay,) = relays(service.pid)
        log = {found.target for found in kernel_view.descriptors(relay) if found.number in (1, 2)}
        assert log == {os.devnull}
        for pid in service.pids():
            (stderr,) = [found for found in kernel_view.descriptors(pid) if found.number == 2]
            assert stderr.inode is not None
        assert service.log() == ""
