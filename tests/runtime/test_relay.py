"""The relay of the log: a budget for each sender, lines that stay apart, an end when nobody is left."""

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.log import Log
from cofferdam_runtime.relay.join import join
from cofferdam_runtime.relay.relay import BURST, LONGEST, PAUSE_S, RATE, SAY_EVERY_S, Relay

PAGE = 4096
FULL = b"x" * (LONGEST - 1)
START = """
import os
from cofferdam_runtime.relay.start import start
before = os.fstat(2).st_ino
start()
print(os.fstat(2).st_ino == before)
"""


class Stage:
    """A relay that takes turns when it is told to, and those who send to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Start with the broker alone."""
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        theirs, self.shared = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.shared.settimeout(0)
        self.ends = [self.shared]
        self.relay = Relay(theirs, Log("relay", LogSettings(timestamp=False)))

    def introduce(self, name: str) -> socket.socket:
        """Return the end of another sender."""
        theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        theirs.settimeout(0)
        socket.send_fds(self.shared, [name.encode()], [theirs.fileno()])
        theirs.close()
        self.ends.append(ours)
        self.work()
        return ours

    def close(self) -> None:
        """Let everybody go, and the relay end."""
        for end in self.ends:
            end.close()
        for _ in range(20):
            self.now += PAUSE_S
            self.work()
        self.relay.run()

    def work(self) -> None:
        """Let the relay do what there is to do."""
        for _ in range(200):
            self.relay.turn(0)

    def flood(self, sender: socket.socket, size: int) -> None:
        """Send so many bytes, or try to."""
        for sent in range(0, size, LONGEST):
            try:
                sender.send(FULL)
            except BlockingIOError:
                self.work()
            if not sent % (8 * LONGEST):
                self.work()
        self.work()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(monkeypatch)
    yield made
    made.close()


def test_every_message_is_lines_of_its_own(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    one, other = stage.introduce("kim 1 2"), stage.introduce("frontend 3 4")
    for sender, message in ((one, b"half a line"), (other, b"a line\n"), (one, b"two\nlines"), (other, b"z" * 100_000)):
        sender.send(message)
        stage.work()
    stage.shared.send(b"of the broker\n")
    stage.work()
    lines = capfd.readouterr().err.split("\n")
    assert lines == ["half a line", "a line", "two", "lines", "z" * LONGEST, "of the broker", ""]


def test_who_sends_too_much_is_not_read_for_a_time_and_costs_nobody_else(
    stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    greedy, other = stage.introduce("frontend 3 4"), stage.introduce("kim 1 2")
    stage.flood(greedy, 4 * BURST)
    lines = capfd.readouterr().err.splitlines()
    size = lines.count(FULL.decode()) * LONGEST
    assert BURST <= size < BURST + LONGEST
    (told,) = [line for line in lines if line != FULL.decode()]
    assert told.startswith('level=warning component=relay event="a process fills the log; ')
    assert told.endswith(" process=frontend pid=3 uid=4")
    for sender in (other, stage.shared):
        sender.send(b"honest")
    stage.work()
    assert capfd.readouterr().err == "honest\n" * 2
    for _ in range(5):
        stage.now += PAUSE_S
        stage.flood(greedy, 4 * RATE)
        lines = capfd.readouterr().err.splitlines()
        assert set(lines) == {FULL.decode()}
        assert RATE * PAUSE_S - LONGEST <= len(lines) * LONGEST <= RATE * PAUSE_S + LONGEST
    stage.now += SAY_EVERY_S
    stage.flood(greedy, 4 * BURST)
    times = capfd.readouterr().err.count("fills the log")
    assert times == 1


def test_it_ends_when_the_last_one_is_gone(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    last = stage.introduce("kim 1 2")
    stage.shared.send(b"from the broker")
    stage.shared.close()
    stage.work()
    last.send(b"later")
    last.close()
    stage.relay.run()
    assert capfd.readouterr().err == "from the broker\nlater\n"


def test_what_was_cut_by_a_full_pipe_is_no_beginning_of_another_line(stage: Stage) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) - PAGE))
    saved = os.dup(2)
    os.dup2(writer, 2)
    try:
        stage.shared.send(b"y" * (LONGEST - 1))
        stage.work()
        os.read(reader, 1 << 20)
        stage.shared.send(b"next")
        stage.work()
        assert os.read(reader, 1 << 20) == b"\nnext\n"
    finally:
        os.dup2(saved, 2)
        for descriptor in (saved, reader, writer):
            os.close(descriptor)


def test_a_stderr_that_is_no_relay_stays_what_it_is() -> None:
    before = os.fstat(2)
    join("kim", None)
    assert os.fstat(2) == before


@pytest.mark.parametrize("is_journal", [True, False])
def test_there_is_a_relay_unless_the_journal_is_there(is_journal: bool) -> None:
    journal, stderr = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    state = os.fstat(stderr.fileno())
    environment = {"JOURNAL_STREAM": f"{state.st_dev}:{state.st_ino + (not is_journal)}"}
    said = subprocess.check_output([sys.executable, "-c", START], env=environment, stderr=stderr.fileno(), text=True)
    assert said == f"{is_journal}\n"
    stderr.close()
    # The relay, if there is one, has ended as well.
    assert journal.recv(1) == b""
    journal.close()
