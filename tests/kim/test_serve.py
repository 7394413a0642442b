"""Whose question is answered next: counted in questions and steps, by a clock that costs what the test says."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness.broker_end import BrokerEnd
from tests.kim.support import ECDSA, MBED, PROVIDERS, alone, mapping_row, name, open_store, reference_database

from cofferdam_contracts.ipc.control import DownstreamChannel, Violation
from cofferdam_contracts.ipc.framing import Common, pack
from cofferdam_contracts.ipc.keystore import Asker, KimMessage
from cofferdam_contracts.ipc.limits import MAX_CODE, MAX_KEY_ID, PART_SIZE
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import AuthenticatorSettings, LogSettings
from cofferdam_contracts.status import Status
from cofferdam_kim.catalogue import STEP
from cofferdam_kim.serve import TURN_NS, TURNS, Server
from cofferdam_kim.service import Answer, GradualAnswer, KimService, Peer
from cofferdam_kim.store import MappingStore
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.grants import Grants
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.pairs import socket_pair

AUTHENTICATORS = (AuthenticatorSettings(auth_type=AuthType.UNIX_PEER_CREDENTIALS, admins=("0",)),)
FLOOD = 60
"""Questions that are asked at once: more than a turn has, and as many as a socket holds."""
LOOKUP = (int(KimMessage.LOOKUP), 0, 3, "1000", "key")
LIST_KEYS = (int(KimMessage.LIST_KEYS), 0, 3, "")
LIST_CLIENTS = (int(KimMessage.LIST_CLIENTS), 0, 3, "")


class Watched(KimService):
    """Remembers who was served in which order: each question, and each further step of one."""

    def __init__(self, store: MappingStore) -> None:
        super().__init__(alone(store), PROVIDERS, AUTHENTICATORS)
        self.order: list[Peer] = []
        self.costs: dict[Peer, int] = {}
        self.now_ns = 0
        self._askers: dict[GradualAnswer, Peer] = {}

    def answer(self, peer: Peer, number: object, fields: tuple[Any, ...]) -> Answer | GradualAnswer:
        self._count(peer)
        found = super().answer(peer, number, fields)
        if isinstance(found, GradualAnswer):
            self._askers[found] = peer
        return found

    def go_on(self, gradual: GradualAnswer) -> Answer | None:
        if gradual in self._askers:
            self._count(self._askers[gradual])
        return super().go_on(gradual)

    def _count(self, peer: Peer) -> None:
        self.order.append(peer)
        self.now_ns += self.costs.get(peer, 0)


class Kim:
    """The server with its loop, and the other ends of its channels, whose answers are collected."""

    def __init__(self, store: MappingStore) -> None:
        self.service = Watched(store)
        self.loop = Loop()
        log = Log("kim", LogSettings(level="off"))
        self.broker = BrokerEnd()
        self.server = Server(
            self.service,
            self.loop,
            log,
            self.broker.reporter,
            clock_ns=lambda: self.service.now_ns,
            grants=Grants(self.loop, log, self.broker.reporter),
        )
        self.answers: dict[Channel, list[tuple[Any, ...]]] = defaultdict(list)
        self.deaf: set[Channel] = set()
        """Ends that read no answers."""
        self.closed: set[Channel] = set()
        self._ends: list[Channel] = []

    def connect(self, role: Role, uid: int = 0, *, adopted: bool = False) -> tuple[Channel, Peer]:
        ours, theirs = socket_pair()
        record = DownstreamChannel(role, uid, 0, len(self._ends), adopted, theirs.detach())
        self.server.add_channel(record)
        end = Channel(ours, 64 << 20)
        self._ends.append(end)
        return end, self.service.peer(record)

    def run(self, rounds: int | None = None) -> None:
        """Serve until nobody has a question left, or for so many rounds."""
        self.loop._running = True
        idle = 0
        left = rounds

        def tick() -> float:
            nonlocal idle, left
            rests = self.server.tick() > 0
            idle = idle + 1 if rests and not self._collect() else 0
            left = None if left is None else left - 1
            if idle > 3 or left == 0:
                self.loop.stop()
            return 0.0

        self.loop.run(tick)

    def _collect(self) -> bool:
        before = sum(map(len, self.answers.values()))
        for end in self._ends:
            if end in self.closed:
                continue
            try:
                end.flush()
                while end not in self.deaf and (answer := end.receive()) is not None:
                    self.answers[end].append(answer)
            except ChannelClosedError:
                self.closed.add(end)
        return sum(map(len, self.answers.values())) > before

    def close(self) -> None:
        for asking in list(self.server._channels):
            self.server._close(asking)
        for end in self._ends:
            end.close()
        self.broker.close()


@pytest.fixture
def kim(path: Path) -> Iterator[Kim]:
    rows = [mapping_row(name(f"{number:05}", "1000"), MBED) for number in range(15 * STEP)]
    reference_database(path, [*rows, *(mapping_row(name("key", str(uid)), MBED) for uid in range(2000, 2100))])
    store = open_store(path)
    running = Kim(store)
    yield running
    running.close()
    store.close()


def before(order: list[Peer], one: Peer, other: Peer) -> int:
    """Return how often one was served before the other was for the first time."""
    return order[: order.index(other)].count(one)


def test_a_turn_has_so_many_questions(kim: Kim) -> None:
    """Though they cost nothing."""
    (flood, greedy), (one, modest) = kim.connect(Role.FRONTEND, 1), kim.connect(Role.FRONTEND, 2)
    for _ in range(FLOOD):
        flood.send(LIST_KEYS)
    one.send(LIST_KEYS)
    kim.run()
    assert before(kim.service.order, greedy, modest) <= TURNS[Asker.FRONTEND] < FLOOD
    assert (len(kim.answers[flood]), len(kim.answers[one])) == (FLOOD, 1)
    assert kim.broker.reporter.served == FLOOD + 1


def test_a_turn_has_so_much_time(kim: Kim) -> None:
    (flood, greedy), (one, modest) = kim.connect(Role.FRONTEND, 1), kim.connect(Role.FRONTEND, 2)
    assert TURN_NS <= 5_000_000, "what a worker may have to wait"
    kim.service.costs = {greedy: TURN_NS // 2, modest: 0}
    for _ in range(FLOOD):
        flood.send(LIST_KEYS)
    one.send(LIST_KEYS)
    kim.run()
    assert before(kim.service.order, greedy, modest) <= 3
    assert len(kim.answers[flood]) == FLOOD


def test_whoever_took_more_than_a_turn_lets_others_pass(kim: Kim) -> None:
    """Long steps are no way to a larger share: both have the same time, not the same number of turns."""
    (flood, greedy), (other, modest) = kim.connect(Role.FRONTEND, 1), kim.connect(Role.FRONTEND, 2)
    kim.service.costs = {greedy: 5 * TURN_NS, modest: TURN_NS // 16 + 1}
    for end in (flood, other):
        for _ in range(FLOOD):
            end.send(LIST_KEYS)
    kim.run()
    order = kim.service.order
    first, second = [at for at, peer in enumerate(order) if peer == greedy][:2]
    assert order[first:second].count(modest) >= FLOOD // 2
    assert len(kim.answers[flood]) == len(kim.answers[other]) == FLOOD, "and is served all the same"


@pytest.mark.parametrize("question", [LIST_KEYS, LIST_CLIENTS])
def test_long_answers_are_made_in_turns(kim: Kim, question: tuple[object, ...]) -> None:
    uid = 1000 if question is LIST_KEYS else 0
    (long, greedy), (one, modest) = kim.connect(Role.FRONTEND, uid), kim.connect(Role.FRONTEND, 2)
    kim.service.costs = {greedy: TURN_NS + 1}
    long.send(question)
    one.send(LIST_KEYS)
    kim.run()
    assert before(kim.service.order, greedy, modest) == 1
    assert kim.service.order.count(greedy) > 3
    ((number, _, status, listed),) = kim.answers[long]
    assert (number, status) == (question[0] + 1, Status.SUCCESS)  # type: ignore[operator]
    assert listed


def test_workers_wait_for_one_turn_of_one_frontend(kim: Kim) -> None:
    """Other requests stand still with a worker that waits."""
    crowd = [kim.connect(Role.FRONTEND, uid) for uid in range(10)]
    worker, waiting = kim.connect(Role.SOFTWARE_WORKER)
    for end, _ in crowd:
        for _ in range(FLOOD):
            end.send(LIST_KEYS)
    kim.run(rounds=3)
    served = len(kim.service.order)
    worker.send(LOOKUP)
    kim.run()
    assert kim.service.order[served:].index(waiting) <= TURNS[Asker.FRONTEND]
    assert len(set(kim.service.order[:served])) > 1, "frontends had their turns before"


def test_a_worker_has_one_question_at_a_time(kim: Kim) -> None:
    """An honest one asks nothing before it has its answer."""
    (flood, greedy), (other, honest) = kim.connect(Role.SOFTWARE_WORKER), kim.connect(Role.PKCS11_WORKER)
    frontend, modest = kim.connect(Role.FRONTEND, 2)
    for _ in range(FLOOD):
        flood.send(LOOKUP)
    for end, question in ((other, LOOKUP), (frontend, LIST_KEYS)):
        end.send(question)
    kim.run()
    assert before(kim.service.order, greedy, honest) <= 1
    assert before(kim.service.order, greedy, modest) <= 1
    assert len(kim.answers[flood]) == FLOOD


def test_nobody_is_served_who_does_not_read(kim: Kim) -> None:
    """What waits to be sent is that of one answer."""
    end, _ = kim.connect(Role.FRONTEND, 1000)
    other, _ = kim.connect(Role.FRONTEND, 2)
    kim.deaf.add(end)
    for _ in range(FLOOD):
        end.send(LIST_KEYS)
    other.send(LIST_KEYS)
    kim.run()
    asked = kim.broker.reporter.served
    assert asked < FLOOD
    assert len(kim.answers[other]) == 1
    kim.deaf.clear()
    kim.run()
    assert len(kim.answers[end]) == FLOOD
    assert len({answer[3] for answer in kim.answers[end]}) == 1


def test_an_end_that_is_gone_takes_its_listing_along(kim: Kim) -> None:
    end, peer = kim.connect(Role.FRONTEND, 1000)
    kim.service.costs = {peer: TURN_NS + 1}
    end.send(LIST_KEYS)
    kim.run(rounds=6)
    steps = len(kim.service.order)
    assert steps > 1
    end.close()
    kim.closed.add(end)
    kim.run()
    assert len(kim.service.order) == steps
    assert kim.broker.told(Violation) == []
    assert kim.service._stores.catalogue.listings.bytes == 0


@pytest.mark.parametrize(
    "datagram",
    [
        pack((int(KimMessage.LIST_KEYS),)),
        pack((int(KimMessage.LIST_KEYS), "0", 3, "")),
        pack((int(KimMessage.LOOKUP), 0, 3, "1000", "key")),
        pack((int(KimMessage.LIST_KEYS), 0, 3, "x" * 5000)),
        pack((Common.PART, 0, PART_SIZE + 1, bytes(PART_SIZE))),
        b"\xc1",
    ],
)
def test_a_frontend_that_breaks_the_protocol_is_hung_up_on(kim: Kim, datagram: bytes) -> None:
    """Also by a question that is larger than any that a frontend has; others go on."""
    end, _ = kim.connect(Role.FRONTEND, 1000)
    other, _ = kim.connect(Role.FRONTEND, 2)
    end.socket.send(datagram)
    other.send(LIST_KEYS)
    kim.run()
    assert kim.closed == {end}
    assert kim.broker.told(Violation) == [Violation(Role.FRONTEND, 0)]
    assert len(kim.answers[other]) == 1


def test_a_worker_sends_its_largest_question(kim: Kim) -> None:
    worker, _ = kim.connect(Role.SOFTWARE_WORKER)
    planned = (3, "a" * 4096, "k" * 4096, bytes(MAX_KEY_ID), 2, ECDSA, bytes(MAX_CODE))
    worker.send((int(KimMessage.RESERVE), 1, *planned))
    kim.run()
    assert kim.answers[worker] == [(KimMessage.RESERVE + 1, 1, Status.SUCCESS)]
    other, _ = kim.connect(Role.SOFTWARE_WORKER)
    other.send((int(KimMessage.RESERVE), 1, *planned[:3], bytes(MAX_KEY_ID + 1000), 2, ECDSA, b""))
    kim.run()
    assert kim.closed == {other}


def test_an_adopted_channel_is_greeted(kim: Kim) -> None:
    end, _ = kim.connect(Role.FRONTEND, 1000, adopted=True)
    kim.run()
    assert kim.answers[end] == [(Common.HELLO,)]
