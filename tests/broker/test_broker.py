"""The broker's life, in this process, with real children that are actors: start, reload, refusal, end."""

import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.broker.test_children import SETTINGS
from tests.broker.test_deployment import actors

from cofferdam_broker.broker import Broker
from cofferdam_broker.deployment import Phase
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import LogSettings, dump
from cofferdam_runtime.log import Log

__all__ = ["actors"]
pytestmark = pytest.mark.usefixtures("actors")
Condition = Callable[[], bool]
Story = Iterator[Condition]


class Scene:
    """A broker, its configuration, and what happens to it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cofferdam-"))
        self.path = self.folder / "config.toml"
        self.broker: Broker

    def configure(
        self, *, raw: str | None = None, words: str = "serves", kim: str = "serves", drain_ms: int = 1000
    ) -> None:
        """Write a configuration; its processes do what the words say."""
        settings = SETTINGS._replace(
            log=LogSettings(level="info"),
            socket_path=str(self.folder / "socket"),
            status_path=str(self.folder / "status"),
            start_ms=60_000,
            hang_ms=30_000,
            drain_ms=drain_ms,
        )
        records = [["SettingsDocument", 0, 0, dump(settings).decode()]]
        for role, word in ((Role.KIM, kim), (Role.FRONTEND, words)):
            script = {"lives": str(self.folder / role.name), "words": [word], "groups": []}
            records.append(["SettingsDocument", role, 0, json.dumps(script)])
        self.path.write_text(json.dumps({"records": records}) if raw is None else raw)

    def run(self, story: Callable[["Scene"], Story]) -> int:
        """Run the broker while a story goes on, whose steps say what they wait for; return the exit status."""
        self.broker = Broker(str(self.path), Log("broker", LogSettings(level="info")))
        steps = story(self)
        waits_for: Condition = lambda: True  # noqa: E731

        def go_on() -> None:
            nonlocal waits_for
            while waits_for():
                try:
                    waits_for = next(steps)
                except StopIteration:
                    return
            self.broker._timers.after(0.02, go_on)

        self.broker._timers.after(0.0, go_on)
        return self.broker.run()

    def serves(self) -> bool:
        deployment = self.broker._deployment
        return deployment is not None and deployment.phase is Phase.SERVING

    def served(self) -> Condition:
        """Connect, and return when there was an answer."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.folder / "socket"))
        client.settimeout(0)

        def has_answer() -> bool:
            try:
                answer = client.recv(10)
            except BlockingIOError:
                return False
            client.close()
            assert answer == b"!"
            return True

        return has_answer


@pytest.fixture
def scene() -> Iterator[Scene]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    made = Scene()
    yield made
    os.close(signal.set_wakeup_fd(-1))
    for number, handler in before.items():
        signal.signal(number, handler)
    shutil.rmtree(made.folder)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def in_log(capfd: pytest.CaptureFixture[str], text: str) -> Condition:
    seen: list[str] = []

    def is_there() -> bool:
        seen.append(capfd.readouterr().err)
        return text in "".join(seen)

    return is_there


def test_it_serves_tells_its_status_reloads_and_ends(scene: Scene) -> None:
    def story(scene: Scene) -> Story:
        yield scene.serves
        yield scene.served()
        first = scene.broker._deployment
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(scene.folder / "status"))
            yield lambda: is_readable(asking)
            status = json.loads(asking.recv(1 << 16))
        assert status["phase"] == "running"
        assert next(row["role"] for row in status["processes"]) == "kim"
        assert os.geteuid() in {row["principal"] for row in status["processes"]}
        send(signal.SIGHUP)
        yield lambda: scene.serves() and scene.broker._deployment is not first
        yield scene.served()
        send(signal.SIGTERM)

    scene.configure()
    assert scene.run(story) == 0
    assert {path.name for path in scene.folder.iterdir()} == {"config.toml", "KIM", "FRONTEND"}


def test_the_service_manager_gives_a_start_and_a_reload_more_time_while_they_get_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has one time for a start, on every machine."""
    more, well = b"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=30000000", b"WATCHDOG=1"
    let = scene.folder / "KIM.let"
    last = b""

    def told(text: bytes) -> Condition:
        def is_told() -> bool:
            nonlocal last
            with suppress(BlockingIOError):
                last = manager.recv(4096, socket.MSG_DONTWAIT)
            return last.startswith(text)

        return is_told

    def change() -> Story:
        nonlocal last
        for _ in range(2):
            yield told(more)
            last = b""
        let.touch()
        yield told(b"READY=1")
        let.unlink()
        yield told(well)
        assert last == well

    def story(_scene: Scene) -> Story:
        yield from change()
        send(signal.SIGHUP)
        yield from change()
        send(signal.SIGTERM)

    scene.configure(kim="waits to be let")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(scene.folder / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(scene.folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        assert scene.run(story) == 0
    assert scene.broker._notifier._socket is not None
    scene.broker._notifier._socket.close()


def is_readable(end: socket.socket) -> bool:
    try:
        return bool(end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


@pytest.mark.parametrize("raw", ['{"records": []}', '{"records": [], "status": 1}', None])
def test_it_does_not_start_without_a_good_configuration(scene: Scene, raw: str | None) -> None:
    if raw is not None:
        scene.configure(raw=raw)
    assert scene.run(lambda _scene: iter(())) == 1


def test_it_does_not_start_without_its_key_store(scene: Scene) -> None:
    scene.configure(kim="dies")
    assert scene.run(lambda _scene: iter(())) == 1


def test_it_does_not_start_where_it_cannot_listen(scene: Scene) -> None:
    scene.configure()
    (scene.folder / "socket").write_text("something else")
    assert scene.run(lambda _scene: iter(())) == 1


def test_a_bad_reload_changes_nothing(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    def story(scene: Scene) -> Story:
        yield scene.serves
        first = scene.broker._deployment
        elsewhere = scene.path.read_text().replace(str(scene.folder / "socket"), "/else")
        for why, text in (("cannot be used", "{}"), ("change with a restart only", elsewhere)):
            refused = in_log(capfd, why)
            scene.configure(raw=text)
            send(signal.SIGHUP)
            yield refused
            yield lambda: not scene.broker._reading
        assert scene.broker._deployment is first
        scene.configure()
        send(signal.SIGHUP)
        yield lambda: scene.serves() and scene.broker._deployment is not first
        yield scene.served()
        send(signal.SIGINT)

    scene.configure()
    assert scene.run(story) == 0


def test_reloads_during_a_reload_become_one_that_follows(scene: Scene) -> None:
    def story(scene: Scene) -> Story:
        yield scene.serves
        first = scene.broker._deployment
        send(signal.SIGHUP)
        yield lambda: scene.broker._reading
        for count in (2, 3, 4):
            send(signal.SIGHUP)
            yield lambda count=count: scene.broker._reports._asked == count  # type: ignore[misc]
        yield lambda: scene.serves() and scene.broker._deployment is not first
        second = scene.broker._deployment
        yield lambda: scene.serves() and scene.broker._deployment is not second
        yield scene.served()
        assert (scene.folder / "KIM").stat().st_size == 3, "of the start, and of two reloads"
        document = json.loads(scene.broker._status(whole=True))
        assert document["reload"] | {"ended_s": 0} == {
            "asked": 4, "done": 4, "outcome": "taken over", "ended_s": 0, "problems": [],
        }  # fmt: skip
        send(signal.SIGTERM)

    scene.configure()
    assert scene.run(story) == 0


def test_when_the_new_processes_do_not_start_the_old_ones_do(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    def story(scene: Scene) -> Story:
        yield scene.serves
        first = scene.broker._deployment
        back = in_log(capfd, "the old configuration is started again")
        scene.configure(kim="dies")
        send(signal.SIGHUP)
        yield back
        yield lambda: scene.serves() and scene.broker._deployment is not first
        yield scene.served()
        send(signal.SIGTERM)

    scene.configure()
    assert scene.run(story) == 0


@pytest.mark.parametrize("how", ["asked again", "limits.drain_ms"])
def test_who_does_not_stop_is_not_waited_for(scene: Scene, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    def story(scene: Scene) -> Story:
        yield scene.serves
        yield scene.served()
        send(signal.SIGTERM)
        yield lambda: scene.broker._stopping
        if how == "asked again":
            send(signal.SIGTERM)

    scene.configure(words="does not stop", drain_ms=100 if how != "asked again" else 60_000)
    assert scene.run(story) == 0
    why = "as the others of its configuration end" if how == "asked again" else "did not finish within limits.drain_ms"
    assert why in capfd.readouterr().err


def test_a_frontend_that_cannot_be_started_now_is_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def story(scene: Scene) -> Story:
        yield scene.serves
        deployment = scene.broker._deployment
        assert deployment is not None
        start = deployment.children.start
        failures = [OSError("no process"), OSError("no process")]

        def failing(role: Role, number: int) -> object:
            if failures:
                raise failures.pop()
            return start(role, number)

        monkeypatch.setattr(deployment.children, "start", failing)
        said = in_log(capfd, "a process cannot be started; trying again")
        kim = next(process for process in deployment.children if process.role is Role.KIM)
        os.kill(kim.spawned.pid, signal.SIGKILL)
        yield said
        yield lambda: any(
            process.ready and process is not kim for process in deployment.children if process.role is Role.KIM
        )
        failures.append(OSError("no process"))
        yield scene.served()
        yield lambda: not failures
        yield lambda: any(
            child.ready and child.principal is None for child in deployment.children if child.role is Role.FRONTEND
        )
        send(signal.SIGTERM)

    scene.configure()
    assert scene.run(story) == 0
