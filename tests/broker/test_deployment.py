"""How the processes of a configuration start: everybody is needed but the worker of a device. With real processes."""

import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from tests.broker.test_children import SETTINGS

from cofferdam_broker.config import LoadedConfig
from cofferdam_broker.deployment import Deployment, Phase
from cofferdam_broker.process import ChildProcess, Key
from cofferdam_contracts.ipc.control import Failure
from cofferdam_contracts.roles import TABLE, Role
from cofferdam_contracts.settings import WorkerEntry
from cofferdam_runtime import listener
from cofferdam_runtime.loop import READ, Loop
from cofferdam_runtime.starting import usage_of
from cofferdam_runtime.timers import Timers

DEVICE: Key = (Role.PKCS11_WORKER, 0)
SOFTWARE: Key = (Role.SOFTWARE_WORKER, 0)
IS_ROOT = os.getuid() == 0
GROUPS = (60801, 60802)
REASONS = ["is misconfigured", "cannot be confined", "lacks its key"]
OWNER = 59004
OWNERS = range(OWNER, OWNER + 6)
"""The uids that own keys, if the key store says so."""


class Stage:
    """A deployment whose processes are actors."""

    def __init__(self, folder: Path, limits: Mapping[str, Any], *, worked: frozenset[Key], **words: list[str]) -> None:
        self._folder = folder
        self.failures: list[str] = []
        self.starts = 0
        self.deaths: list[ChildProcess] = []
        self._loop, self._timers = Loop(), Timers()
        workers = (
            WorkerEntry(role=Role.SOFTWARE_WORKER, name="software"),
            WorkerEntry(role=Role.PKCS11_WORKER, name="pkcs11", groups=GROUPS),
        )
        settings = SETTINGS._replace(
            workers=workers,
            **{"start_ms": 60_000, "hang_ms": 5000, "generate_ms": 5000} | dict(limits),
        )
        keys = ((Role.KIM, 0), (Role.FRONTEND, 0), SOFTWARE, DEVICE)
        documents = {key: self._script(folder, key, words.get(key[0].name.lower(), ["serves"])) for key in keys}
        self.settings = settings
        self._config = LoadedConfig(settings, documents)
        self.deployment = Deployment(self._config, self._loop, self._timers, worked)
        on_death = self.deployment.on_death

        def count_death(child: ChildProcess) -> None:
            self.deaths.append(child)
            on_death(child)

        self.deployment.on_death = count_death  # type: ignore[method-assign]
        self.deployment.start(self._started, self._failed)

    def _script(self, folder: Path, key: Key, words: list[str]) -> int:
        script = {
            "lives": str(folder / key[0].name),
            "words": words,
            "groups": GROUPS if key == DEVICE else (),
            # What the key store says: one provider has a check value, the other one rows of its own.
            "ready": {"checks": 1 << SOFTWARE[0].row.provider, "rows": 1 << DEVICE[0].row.provider}
            if key[0] is Role.KIM
            else {},
            "owners": [*OWNERS],
        }
        document = os.memfd_create("script")
        os.write(document, json.dumps(script).encode())
        return document

    def _started(self) -> None:
        self.starts += 1

    def _failed(self, why: str) -> None:
        self.failures.append(why)
        self.deployment.close()

    def listen(self) -> str:
        """Let clients come, and return where."""
        # Other uids get in here.
        folder = Path(tempfile.mkdtemp(prefix="cofferdam-"))
        folder.chmod(0o755)
        path = str(folder / "socket")
        self.listener = listener.bind(path, listener.CLIENT_MODE)
        self._loop.add(self.listener.fileno(), READ, lambda _events: self.deployment.principals.accept(self.listener))
        return path

    def until(self, condition: Callable[[], bool], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds

        def tick() -> float:
            wait = 0.0 if self.deployment.principals.hand_over() else self._timers.run()
            if condition() or time.monotonic() > deadline:
                self._loop.stop()
                return 0
            return min(wait, 0.02)

        self._loop._running = True
        self._loop.run(tick)
        assert condition()

    def running(self, key: Key) -> ChildProcess | None:
        return next((process for process in self.deployment.children if process.key == key), None)

    def lives(self, key: Key) -> int:
        return (self._folder / key[0].name).stat().st_size

    def is_ready(self, key: Key) -> bool:
        process = self.running(key)
        return process is not None and process.ready

    def close(self) -> None:
        self.deployment.close()
        self._config.close()


@pytest.fixture
def actors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the actor in the place of every package."""
    package = tmp_path / "stage" / "cofferdam_actor"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(Path(__file__).with_name("actor.py"), package / "__main__.py")
    monkeypatch.syspath_prepend(package.parent)
    for role in Role:
        monkeypatch.setitem(TABLE, role, role.row._replace(package="cofferdam_actor"))


@pytest.fixture
def stage(tmp_path: Path, actors: None) -> Iterator[Callable[..., Stage]]:  # noqa: ARG001  it replaces what starts
    made: list[Stage] = []

    def make(
        *, limits: Mapping[str, Any] = MappingProxyType({}), worked: frozenset[Key] = frozenset(), **words: list[str]
    ) -> Stage:
        made.append(Stage(tmp_path, limits, worked=worked, **words))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_start_waits_for_everybody(stage: Callable[..., Stage]) -> None:
    play = stage()
    play.until(lambda: play.starts == 1)
    assert [process.ready for process in play.deployment.children] == [True] * 4
    assert not play.failures
    assert not play.deaths


@pytest.mark.skipif(not IS_ROOT, reason="groups belong to uids of their own")
def test_a_worker_has_exactly_the_groups_of_its_entry(stage: Callable[..., Stage]) -> None:
    play = stage()
    play.until(lambda: play.starts == 1)
    groups = {
        process.key: Path(f"/proc/{process.spawned.pid}/status").read_text().partition("Groups:\t")[2].split("\n")[0]
        for process in play.deployment.children
    }
    assert groups.pop(DEVICE).split() == [str(gid) for gid in GROUPS]
    assert {text.strip() for text in groups.values()} == {""}


@pytest.mark.skipif(not IS_ROOT, reason="groups belong to uids of their own")
def test_a_worker_with_other_groups_is_not_confined(stage: Callable[..., Stage]) -> None:
    play = stage()
    play.deployment.children._groups[DEVICE] = GROUPS[:1]
    play.until(lambda: play.starts == 1)
    assert [(process.key, process.failed) for process in play.deaths] == [(DEVICE, Failure.SANDBOX)]


@pytest.mark.parametrize("role", [Role.KIM, Role.FRONTEND])
def test_a_death_of_who_serves_everybody_fails_the_start(stage: Callable[..., Stage], role: Role) -> None:
    play = stage(**{role.name.lower(): ["dies"]})
    play.until(lambda: bool(play.failures))
    assert play.failures[0].endswith("ended before it was ready")
    assert play.starts == 0


@pytest.mark.parametrize("key", [DEVICE, SOFTWARE])
@pytest.mark.parametrize("word", ["dies", "is killed"])
@pytest.mark.parametrize("had", [False, True])
def test_a_provider_that_dies_costs_nobody_else_anything(
    stage: Callable[..., Stage], key: Key, word: str, had: bool
) -> None:
    """Not even a reload, because the next attempt may be the right one."""
    play = stage(worked=frozenset({key} if had else ()), **{key[0].name.lower(): [word, word, "serves"]})
    play.until(lambda: play.starts == 1)
    play.until(lambda: play.is_ready(key))
    assert [process.key for process in play.deaths] == [key] * 2
    assert not play.failures
    assert play.deployment.children.histories[key].total == 2


@pytest.mark.parametrize("key", [DEVICE, SOFTWARE])
def test_a_provider_that_always_dies_waits_longer_each_time(stage: Callable[..., Stage], key: Key) -> None:
    play = stage(**{key[0].name.lower(): ["dies"]})
    play.until(lambda: play.starts == 1 and len(play.deaths) == 4)
    assert play.deployment.children.histories[key].delay(time.monotonic()) > 1
    play.until(lambda: play.running(key) is None)
    assert play.deployment.phase is Phase.SERVING


GIVES_UP = [
    (key, word)
    for key, words in ((SOFTWARE, ["cannot be confined", "lacks its key"]), (DEVICE, REASONS))
    for word in words
]


@pytest.mark.parametrize(("key", "word"), GIVES_UP)
def test_a_provider_that_says_that_it_cannot_work_is_left_out(stage: Callable[..., Stage], key: Key, word: str) -> None:
    """At a start, and at a reload after which there is no less than before."""
    others = frozenset({(Role.KIM, 0), SOFTWARE, DEVICE} - {key})
    play = stage(worked=others, **{key[0].name.lower(): [word]})
    play.until(lambda: play.starts == 1)
    assert [process.key for process in play.deaths] == [key]
    assert not play.failures
    assert play.running(key) is None


@pytest.mark.parametrize(("key", "word"), GIVES_UP)
def test_a_configuration_that_takes_a_provider_away_is_not_put_in_force(
    stage: Callable[..., Stage], key: Key, word: str
) -> None:
    play = stage(worked=frozenset({key}), **{key[0].name.lower(): [word]})
    play.until(lambda: bool(play.failures))
    assert play.failures == [f"{key[0].row.title} ended before it was ready"]
    assert play.starts == 0


def test_with_no_provider_at_all_the_service_starts(stage: Callable[..., Stage]) -> None:
    play = stage(software_worker=["lacks its key"], pkcs11_worker=["dies"])
    play.until(lambda: play.starts == 1)
    assert play.is_ready((Role.KIM, 0))


def test_what_works_is_known_when_a_deployment_ends(stage: Callable[..., Stage]) -> None:
    play = stage(software_worker=["lacks its key"])
    play.until(lambda: play.starts == 1)
    play.deployment.drain(lambda: None)
    assert play.deployment.working == {(Role.KIM, 0), DEVICE}


def test_a_worker_without_its_key_hears_what_depends_on_it(stage: Callable[..., Stage], tmp_path: Path) -> None:
    play = stage(software_worker=["waits to hear"], pkcs11_worker=["waits to hear"])
    play.until(lambda: play.starts == 1)
    heard = [(tmp_path / f"{key[0].name}.heard").read_text() for key in (SOFTWARE, DEVICE)]
    assert heard == ["1 0", "0 1"]
    # A successor hears that its predecessor's key is known, which the key store did not say when it started.
    first = play.running(DEVICE)
    assert first is not None
    first.kill("to be succeeded")
    play.until(lambda: play.lives(DEVICE) == 2 and play.is_ready(DEVICE))
    assert (tmp_path / f"{DEVICE[0].name}.heard").read_text() == "1 1"


def test_a_device_that_is_late_is_not_waited_for_and_tried_again(stage: Callable[..., Stage]) -> None:
    play = stage(pkcs11_worker=["sleeps", "serves"], limits={"start_ms": 3000})
    play.until(lambda: play.deployment.check(time.monotonic()) and play.starts == 1)
    play.until(lambda: play.is_ready(DEVICE))
    assert [process.key for process in play.deaths] == [DEVICE]
    assert not play.failures


def test_somebody_else_who_is_late_fails_the_start(stage: Callable[..., Stage]) -> None:
    play = stage(kim=["sleeps"], pkcs11_worker=["sleeps"], limits={"start_ms": 2000})
    play.until(lambda: play.deployment.check(time.monotonic()) and bool(play.failures))
    # On a busy machine others may be late as well, but the device is nobody to wait for.
    assert re.fullmatch(r"(?!.*pkcs11).* ended before it was ready", play.failures[0])
    assert play.starts == 0


@pytest.mark.parametrize("key", [DEVICE, SOFTWARE])
def test_a_successor_that_is_late_is_killed_and_replaced(stage: Callable[..., Stage], key: Key) -> None:
    play = stage(**{key[0].name.lower(): ["serves", "sleeps", "serves"]})
    play.until(lambda: play.starts == 1)
    first = play.running(key)
    assert first is not None
    os.kill(first.spawned.pid, signal.SIGKILL)
    play.until(lambda: play.lives(key) == 2)
    successor = play.running(key)
    assert successor is not None
    play.until(lambda: usage_of(successor.spawned.pid).state == "S" and play.lives(key) == 2)
    play.deployment.check(successor.started + 1)
    play.deployment.check(successor.started + 60)
    assert not successor.killed
    play.deployment.check(successor.started + 62)
    play.until(lambda: successor in play.deaths)
    # The next one has to wait for as long as this one took, and then has twice the time.
    history = play.deployment.children.histories[key]
    assert (history.late, history.delay(time.monotonic())) == (1, successor.starting.late_s)
    assert successor.starting.late_s > 60
    play.deployment.children.start(*key)
    play.until(lambda: play.is_ready(key))
    third = play.running(key)
    assert third is not None
    assert third.starting._silence_s == 120


def crawl(play: Stage, *who: Key) -> None:
    """Let 45 of 60 seconds pass whenever all of these have had a little processor time, until they are ready."""
    now, steps = time.monotonic(), 0
    while not all(play.is_ready(key) for key in who) and not play.deaths:
        before = {key: usage_of(child.spawned.pid).cpu_s for key in who if (child := play.running(key))}
        play.until(lambda: all(has_got_on(play, key, before[key] + 0.1) for key in before))  # noqa: B023
        if not all(play.is_ready(key) for key in who):
            play.deployment.check(now := now + 45)
            steps += 1
    play.until(lambda: play.starts == 1)
    assert steps > 3
    assert (play.failures, play.deaths) == ([], [])


def has_got_on(play: Stage, key: Key, cpu_s: float) -> bool:
    child = play.running(key)
    return child is None or child.ready or usage_of(child.spawned.pid).cpu_s > cpu_s


CRAWLING = {"start_ms": 60_000, "hang_ms": 1 << 40}


def test_a_start_that_computes_is_not_killed(stage: Callable[..., Stage]) -> None:
    slow = ["computes 1"]
    play = stage(kim=slow, software_worker=slow, pkcs11_worker=slow, frontend=slow, limits=CRAWLING)
    crawl(play, (Role.KIM, 0), (Role.FRONTEND, 0), SOFTWARE, DEVICE)


def test_a_worker_waits_for_a_slow_key_store(stage: Callable[..., Stage]) -> None:
    play = stage(kim=["computes 2"], software_worker=["waits to hear"], limits=CRAWLING)
    play.until(lambda: play.is_ready((Role.FRONTEND, 0)))
    crawl(play, (Role.KIM, 0))


def test_a_device_that_makes_a_key_has_time_for_it(stage: Callable[..., Stage]) -> None:
    play = stage(pkcs11_worker=["is busy"], limits={"hang_ms": 1500, "generate_ms": 4000})
    play.until(lambda: play.starts == 1)
    device, software = play.running(DEVICE), play.running(SOFTWARE)
    assert device is not None
    assert software is not None
    play.until(lambda: device.pulse.busy)
    for stopped in (device, software):
        os.kill(stopped.spawned.pid, signal.SIGSTOP)
    began = time.monotonic()
    play.until(lambda: play.deployment.check(time.monotonic()) and device in play.deaths)
    # On a busy machine the successor of the other one may count as hanging as well.
    assert play.deaths[0] is software
    assert time.monotonic() - began > 3.9
    assert device.pulse.pings == 1
