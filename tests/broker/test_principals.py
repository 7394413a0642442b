"""Who is served by which frontend, and who waits, makes room or is refused. With real processes and several uids."""

import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from tests.broker.test_children import SETTINGS
from tests.broker.test_deployment import OWNER, OWNERS, Stage, actors, stage
from tests.harness.service import acting_as

from cofferdam_broker.process import ChildProcess
from cofferdam_contracts.ipc.control import Record
from cofferdam_contracts.roles import READER_UID, RELAY_UID, UID_COUNT, Role
from cofferdam_contracts.settings import LogSettings, UidRange
from cofferdam_runtime import listener, places
from cofferdam_runtime.backoff import FREE_RESTARTS
from cofferdam_runtime.intake import OVERFLOW_UID, Intake
from cofferdam_runtime.log import Log
from cofferdam_runtime.places import Users

__all__ = ["actors", "stage"]
AS_ROOT = os.geteuid() == 0
needs_uids = pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")
ONE, TWO, THREE = 59001, 59002, 59003
Make = Callable[..., Stage]


class Clients:
    """Connections of several uids to the actors."""

    def __init__(self, play: Stage) -> None:
        self.play = play
        self.path = play.listen()
        self._stack = ExitStack()
        self._working: dict[int, socket.socket] = {}

    def connect(self, uid: int | None = None) -> socket.socket:
        client = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        with acting_as(os.geteuid() if uid is None else uid):
            client.connect(self.path)
        client.settimeout(0)
        return client

    def let_work(self, uid: int) -> None:
        """Have a uid ask for something, over and over, whenever the loop runs."""
        self._working[uid] = self.connect(uid)

    def _work(self) -> None:
        for uid in [uid for uid, client in self._working.items() if is_closed(client)]:
            self.let_work(uid)

    def answer(self, client: socket.socket) -> bytes:
        """Return what the client got: a mark if it was served, nothing if it was hung up on."""
        got: list[bytes] = []

        def has_come() -> bool:
            self._work()
            if got:
                return True
            try:
                got.append(client.recv(10))
            except BlockingIOError:
                return False
            except ConnectionResetError:
                got.append(b"")
            return True

        self.play.until(has_come)
        return got[0]

    def close(self) -> None:
        self._stack.close()
        self.play.listener.close()
        shutil.rmtree(os.path.dirname(self.path))


@pytest.fixture
def clients(stage: Make) -> Iterator[Callable[..., Clients]]:
    made: list[Clients] = []

    def make(**arguments: object) -> Clients:
        play = stage(**arguments)
        play.until(lambda: play.starts == 1)
        made.append(Clients(play))
        return made[-1]

    yield make
    for each in made:
        each.close()


def frontends(play: Stage) -> dict[int, ChildProcess]:
    return {p.principal: p for p in play.deployment.children if p.role is Role.FRONTEND and p.principal is not None}


@needs_uids
def test_each_uid_has_a_frontend_of_its_own_and_keeps_it(clients: Callable[..., Clients]) -> None:
    scene = clients()
    for uid in (ONE, TWO, ONE, TWO):
        assert scene.answer(scene.connect(uid)) == b"!"
    served = frontends(scene.play)
    assert set(served) == {ONE, TWO}
    assert served[ONE].spawned.pid != served[TWO].spawned.pid


@needs_uids
@pytest.mark.parametrize("which", ["overflow", "reader", "relay", "first", "last"])
def test_some_uids_are_never_clients(clients: Callable[..., Clients], which: str) -> None:
    scene = clients()
    base = scene.play.settings.uid_base
    uids = {"overflow": OVERFLOW_UID, "reader": READER_UID, "relay": RELAY_UID}
    uid = (uids | {"first": base, "last": base + UID_COUNT - 1})[which]
    assert scene.answer(scene.connect(uid)) == b""
    assert not frontends(scene.play)
    assert scene.answer(scene.connect(base + UID_COUNT)) == b"!"


def test_the_most_connections_of_a_uid_wait_and_no_more(tmp_path: Path) -> None:
    """However fast they come: none of the most is lost, and what is beyond is hung up on at once."""
    settings = SETTINGS._replace(max_connections=100)
    intake = Intake(Log("broker", settings.log), settings, Users(()), lambda _uid, _now: True)
    with closing(listener.bind(str(tmp_path / "socket"), listener.CLIENT_MODE)) as bound, ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(103)]
        for client in clients:
            client.connect(bound.getsockname())
            client.settimeout(0)
        while intake.keep(intake.acceptor.accept(bound), 0.0):
            pass
        assert [is_closed(client) for client in clients] == [False] * 100 + [True] * 3
        intake.close()
        assert all(map(is_closed, clients))


def test_a_line_about_closed_connections_tells_a_uids_own_from_others(
    capfd: pytest.CaptureFixture[str],
) -> None:
    intake = Intake(Log("broker", LogSettings()), SETTINGS, Users(()), lambda _uid, _now: True)
    for uid, count in ((1, 1), (2, 3), (3, 2)):
        ends = [end for _ in range(count) for end in socket.socketpair()]
        intake.turn_away(uid, ends, "no reason")
    # The first line came at once; the second waits until a second has passed.
    intake._warned = 0.0
    intake.turn_away(3, [socket.socket(socket.AF_UNIX)], "no reason")
    lines = [line.partition("unserved")[2] for line in capfd.readouterr().err.splitlines()]
    assert ["uid=1 closed=2 others=0" in lines[0], "uid=3 closed=5 others=6" in lines[1]] == [True, True], lines


@needs_uids
def test_whoever_connects_much_gets_no_more_turns_than_others(clients: Callable[..., Clients]) -> None:
    scene = clients(limits={"max_connections": 500})
    for uid in (ONE, TWO):
        assert scene.answer(scene.connect(uid)) == b"!"
    many = [scene.connect(ONE) for _ in range(320)]
    few = [scene.connect(TWO) for _ in range(20)]
    order: list[int] = []
    for uid, process in frontends(scene.play).items():
        count_hand_overs(process, uid, order)
    scene.play.until(lambda: len(order) == len(many) + len(few))
    # Of what was handed over until the few had all theirs, half was theirs, but for what came before they were there.
    last = len(order) - order[::-1].index(TWO)
    assert Counter(order[:last])[ONE] <= len(few) + 64 * 5


def count_hand_overs(process: ChildProcess, uid: int, order: list[int]) -> None:
    send = process.spawned.control.send

    def counted(record: Record) -> bool:
        sent = send(record)
        order.extend([uid] * sent)
        return sent

    process.spawned.control.send = counted  # type: ignore[method-assign]


def test_a_frontend_that_takes_nothing_costs_only_its_own_uid(clients: Callable[..., Clients]) -> None:
    """Its control socket is full; it is not killed for that, but as one that hangs, and its clients hang up on."""
    scene = clients(frontend=["takes nothing", "serves"], limits={"hang_ms": 60_000})
    held = [scene.connect() for _ in range(90)]
    scene.play.until(lambda: bool(frontends(scene.play)) and os.geteuid() in scene.play.deployment.principals._waiting)
    (stuck,) = frontends(scene.play).values()
    now = time.monotonic()
    killed = []
    for later in (0, 59, 61):
        scene.play.deployment.check(now + later)
        killed.append(bool(stuck.killed))
    assert killed == [False, False, True]
    assert {scene.answer(client) for client in held} == {b""}
    # Who comes before the death is known shares it.
    scene.play.until(lambda: stuck not in scene.play.deployment.children)
    assert scene.answer(scene.connect()) == b"!"


@needs_uids
def test_a_silent_uid_makes_room_and_a_working_one_does_not(clients: Callable[..., Clients]) -> None:
    scene = clients(frontend=["serves", "keeps its clients", "serves"], limits={"max_frontends": 2})
    assert scene.answer(scene.connect(ONE)) == b"!"
    silent = scene.connect(TWO)
    scene.play.until(lambda: TWO in frontends(scene.play))
    scene.let_work(ONE)
    assert scene.answer(scene.connect(THREE)) == b"!"
    assert scene.answer(silent) == b""
    assert set(frontends(scene.play)) == {ONE, THREE}


def is_closed(client: socket.socket) -> bool:
    """Tell whether the peer hung up, or has answered, which it does before."""
    try:
        client.recv(10)
    except BlockingIOError:
        return False
    return True


@needs_uids
def test_who_owns_keys_is_served_while_all_others_work(
    clients: Callable[..., Clients], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PATIENCE_S", 0.5)
    scene = clients(kim=["owns"], limits={"max_frontends": 1})
    scene.play.until(lambda: OWNER in scene.play.deployment.children.key_owners)
    scene.let_work(ONE)
    scene.play.until(lambda: ONE in frontends(scene.play))
    assert scene.answer(scene.connect(TWO)) == b"", "nobody makes room for one without keys, and it is told so"
    assert scene.answer(scene.connect(OWNER)) == b"!"
    assert OWNER in frontends(scene.play)


@needs_uids
def test_a_user_with_many_uids_that_own_keys_keeps_nobody_out(
    clients: Callable[..., Clients], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PATIENCE_S", 0.5)
    one_user = (UidRange(first=OWNER, size=len(OWNERS), owner=ONE),)
    scene = clients(kim=["owns"], limits={"max_frontends": 2, "subuids": one_user})
    scene.play.until(lambda: all(uid in scene.play.deployment.children.key_owners for uid in OWNERS))
    for uid in OWNERS:
        scene.let_work(uid)
    scene.play.until(lambda: len(frontends(scene.play)) == 2)
    assert scene.answer(scene.connect(TWO)) == b"!"
    served = frontends(scene.play)[TWO]
    for _ in range(3):
        assert scene.answer(scene.connect(TWO)) == b"!"
    assert frontends(scene.play)[TWO] is served, "it has no more than its share, and nobody takes that"


@needs_uids
def test_uids_of_one_user_share_what_one_user_may_have_waiting(clients: Callable[..., Clients]) -> None:
    scene = clients(
        limits={"max_connections": 10, "subuids": (UidRange(first=200_000, size=100, owner=ONE),)},
    )
    held = [scene.connect(200_000 + number) for number in range(15)]
    other = scene.connect(TWO)
    assert Counter(scene.answer(client) for client in held[10:]) == {b"": 5}
    assert scene.answer(other) == b"!"


def test_a_uid_whose_frontends_die_again_and_again_has_to_wait(clients: Callable[..., Clients]) -> None:
    scene = clients()
    for _ in range(FREE_RESTARTS + 1):
        assert scene.answer(scene.connect()) == b"!"
        frontends(scene.play)[os.geteuid()].kill("a test")
        scene.play.until(lambda: not frontends(scene.play))
    assert scene.answer(scene.connect()) == b""


def test_an_idle_frontend_ends(clients: Callable[..., Clients]) -> None:
    scene = clients(limits={"idle_ms": 1000})
    assert scene.answer(scene.connect()) == b"!"
    (idle,) = frontends(scene.play).values()
    scene.play.deployment.check(idle.pulse.active + 0.5)
    scene.play.until(lambda: not idle.pulse.asked)
    assert frontends(scene.play)
    scene.play.deployment.principals.retire(time.monotonic() + 2)
    scene.play.until(lambda: not frontends(scene.play))
    assert scene.answer(scene.connect()) == b"!"


def test_nothing_of_the_broker_is_inherited(clients: Callable[..., Clients]) -> None:
    """Whatever was opened since the interpreter started: sockets, channels, documents, pidfds."""
    scene = clients()
    assert scene.answer(scene.connect()) == b"!"
    links = scene.play.deployment.children.wiring._links
    assert len(links) == 5
    kept = [link.descriptor for link in links]
    for process in scene.play.deployment.children:
        kept += [process.spawned.pidfd, process.spawned.control.fileno()]
    assert not any(os.get_inheritable(descriptor) for descriptor in kept)
    for process in scene.play.deployment.children:
        if AS_ROOT:
            # stdin and stderr, twice; control socket, epoll, test socket pairs: far from what the broker has.
            sockets = []
            for fd in descriptors(process):
                with suppress(FileNotFoundError):  # it was closed meanwhile
                    sockets.append(os.readlink(f"/proc/{process.spawned.pid}/fd/{fd}"))
            ours = {os.readlink(f"/proc/self/fd/{link.descriptor}") for link in links if link.server != process.key}
            assert not ours & set(sockets)


def descriptors(process: ChildProcess) -> list[str]:
    return os.listdir(f"/proc/{process.spawned.pid}/fd")
