"""Warnings about states that last: said once, whoever says them."""

import _socket
from collections import deque
from collections.abc import Iterator

import pytest

from cofferdam_contracts.ipc.control import Said
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.control import Control
from cofferdam_runtime.entry import Start
from cofferdam_runtime.notices import ChildLog
from cofferdam_runtime.said import MOST, Memory

KIM = (Role.KIM, 0)


class Broker:
    """The broker's end of the control sockets of one child after the other."""

    def __init__(self) -> None:
        self.memory = Memory()
        self._controls: list[Control] = []

    def child(self, level: str = "warning") -> ChildLog:
        """Start a successor."""
        ours, theirs = map(Control, _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET))
        self._controls += ours, theirs
        said = (self.memory.hand_over(KIM),)
        start = Start(Role.KIM, 0, uid=None, parent=1, control=theirs, document=-1, arguments=said, early=deque())
        return ChildLog("kim", LogSettings(level=level, timestamp=False), start)

    def take(self) -> None:
        """Take what the last child has said."""
        while (record := self._controls[-2].receive()) is not None:
            assert isinstance(record, Said)
            self.memory.note(KIM, record.digest)

    def close(self) -> None:
        for control in self._controls:
            control.socket.close()


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.close()


def _lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().err.splitlines()


def test_a_successor_repeats_nothing_and_says_what_is_new(broker: Broker, capfd: pytest.CaptureFixture[str]) -> None:
    broker.child().notice("a slot is skipped", slot=1)
    broker.take()
    assert len(_lines(capfd)) == 1
    for _ in range(3):
        broker.child().notice("a slot is skipped", slot=1)
        broker.take()
    assert _lines(capfd) == []
    log = broker.child()
    log.notice("a slot is skipped", slot=1)
    log.notice("a slot is skipped", slot=2)
    assert _lines(capfd) == ['level=warning component=kim event="a slot is skipped" slot=2']


def test_what_was_over_is_said_again(broker: Broker, capfd: pytest.CaptureFixture[str]) -> None:
    for says in (True, False, True):
        if says:
            broker.child().notice("a slot is skipped")
        else:
            broker.child()
        broker.take()
    assert len(_lines(capfd)) == 2


def test_what_is_repeated_is_there_at_debug(broker: Broker, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        broker.child("debug").notice("a slot is skipped")
        broker.take()
    assert [line.split()[0] for line in _lines(capfd)] == ["level=warning", "level=debug"]


def test_the_memory_is_bounded_and_each_child_has_its_own() -> None:
    memory = Memory()
    for digest in range(10 * MOST):
        memory.note(KIM, digest)
    memory.note((Role.TPM_WORKER, 0), 7)
    assert len(memory.hand_over(KIM).split(",")) == MOST
    assert memory.hand_over(KIM) == ""
    assert memory.hand_over((Role.TPM_WORKER, 0)) == "7"


def test_a_broker_that_is_gone_prevents_no_line(broker: Broker, capfd: pytest.CaptureFixture[str]) -> None:
    log = broker.child()
    broker.close()
    broker._controls.clear()
    log.notice("a slot is skipped", name="\udcff")
    assert len(_lines(capfd)) == 1
