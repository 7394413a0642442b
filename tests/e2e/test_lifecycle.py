"""Start, reload and shutdown, as systemd and an operator see them."""

import collections
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.harness import wire
from tests.harness.configuration import Tables
from tests.harness.events import reload
from tests.harness.identities import AS_ROOT, Identity, people
from tests.harness.interpreter import cofferdam
from tests.harness.service import Service, ServiceFailedError, acting_as, is_alive
from tests.harness.watch import wait_for
from tests.harness.wire import ECDSA_SHA_256, KEEP_ALIVE, P256_SIGN, Caller, Request, call

PING = Request()
MINE = Caller(os.getuid())


class Manager:
    """The receiver of NOTIFY_SOCKET's messages, in place of systemd."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(20)

    def wait_for(self, text: str) -> dict[str, str]:
        while True:
            fields = dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())
            if text in fields:
                return fields

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def wait_until(what: str, service: Service) -> None:
    wait_for(lambda: what in service.log(), explain=lambda: service.failure(f"never logged: {what}"))


def test_sockets_have_the_reference_modes_and_go_with_the_service() -> None:
    with Service() as service:
        assert stat.S_IMODE(os.stat(service.socket_path).st_mode) == 0o666
        assert stat.S_IMODE(os.stat(service.status_path).st_mode) == 0o600
        assert service.stop() == 0
        assert not os.path.exists(service.socket_path)
        assert not os.path.exists(service.status_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_after_what_was_begun(number: signal.Signals) -> None:
    with Service() as service:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(service.socket_path)
            data = PING.but(flags=KEEP_ALIVE).to_bytes()
            client.sendall(data[:20])
            # What comes later is handed over later.
            assert call(service.socket_path, PING).status == 0
            service.signal(number)
            wait_for(lambda: service.status()["phase"] == "draining")
            client.sendall(data[20:])
            assert len(client.recv(100)) == 38
            assert client.recv(100) == b""
        assert service.stop() == 0


def test_a_second_signal_does_not_wait() -> None:
    with (
        Service(
            tables={"limits": {"drain_ms": 600_000, "request_timeout_ms": 600_000}, "listener": {"timeout": 600_000}}
        ) as service,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(service.socket_path)
        client.sendall(PING.to_bytes()[:20])
        # What comes later is handed over later.
        assert call(service.socket_path, PING).status == 0
        service.signal(signal.SIGTERM)
        wait_for(lambda: service.status()["phase"] == "draining")
        # This sends the second one; neither the client nor the limit is waited for.
        assert service.stop() == 0


def test_a_second_service_does_not_take_the_socket_of_the_first() -> None:
    with Service() as service:
        second = subprocess.run(
            [*cofferdam(), "serve", "-c", str(service.configuration_path)], capture_output=True, timeout=20, check=False
        )
        assert second.returncode == 1
        assert b"another service is listening there" in second.stderr
        assert call(service.socket_path, PING).status == 0


def test_a_stale_socket_is_replaced_and_another_file_is_not() -> None:
    service = Service()
    try:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(service.socket_path)
        service.start()
        assert call(service.socket_path, PING).status == 0
        service.stop()
        Path(service.socket_path).write_text("precious")
        with pytest.raises(ServiceFailedError, match="something else is there"):
            service.start()
        assert Path(service.socket_path).read_text() == "precious"
    finally:
        service.close()


def test_a_bad_configuration_is_refused_with_line_key_found_allowed() -> None:
    service = Service(tables={"listener": {"timeout": "soon"}})
    try:
        with pytest.raises(
            ServiceFailedError, match=r"config.toml:\d+: listener.timeout: found .*, allowed: "
        ) as caught:
            service.start()
        assert f"ended with status {os.EX_CONFIG} " in str(caught.value)
    finally:
        service.close()


def test_a_missing_configuration_is_named() -> None:
    run = subprocess.run(
        [*cofferdam(), "serve", "-c", "/nonexistent.toml"], capture_output=True, timeout=20, check=False
    )
    assert run.returncode == 1
    assert b"/nonexistent.toml" in run.stderr


def test_keys_survive_a_restart() -> None:
    with Service() as service:
        assert call(service.socket_path, MINE.generate("k", P256_SIGN)).status == 0
        service.stop()
        service.start()
        assert call(service.socket_path, MINE.generate("k", P256_SIGN)).status == 1139
        assert call(service.socket_path, MINE.destroy("k")).status == 0


def test_a_reload_loses_no_request_of_many_clients() -> None:
    everybody = people() if AS_ROOT else [Identity(os.getuid())]
    stop, answers, broken = threading.Event(), collections.Counter[str](), list[str]()
    with Service(authenticators=("UnixPeerCredentials", "Direct")) as service:
        for who in everybody:
            who.make(service.socket_path, "k")

        def work(who: Identity, opcode: str) -> None:
            sign = Caller(who.uid).sign("k", ECDSA_SHA_256, bytes(32))
            request = who.request(sign) if opcode == "sign" else PING
            while not stop.is_set():
                try:
                    with one_at_a_time, acting_as(who.uid):
                        connection = wire.connect(service.socket_path)
                    with connection:
                        connection.sendall(request.to_bytes())
                        status = wire.read_response(connection).status
                except (OSError, wire.BrokenResponseError) as error:
                    broken.append(f"{who.title}: {error}")
                    continue
                answers[f"{who.title} {opcode}"] += 1
                if status:
                    broken.append(f"{who.title}: {opcode} {status}")

        one_at_a_time = threading.Lock()
        threads = [threading.Thread(target=work, args=(who, kind)) for who in everybody for kind in ("sign", "ping")]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                before = dict(answers)

                def has_worked(before: dict[str, int] = before) -> bool:
                    counts = dict(answers)
                    return len(counts) == len(threads) and all(
                        count > before.get(key, 0) + 3 for key, count in counts.items()
                    )

                wait_for(has_worked)
                with one_at_a_time:
                    kim = service.pids("kim")
                service.signal(signal.SIGHUP)

                def is_new(kim: list[int] = kim) -> bool:
                    with one_at_a_time:
                        return service.status()["phase"] == "running" and service.pids("kim") not in (kim, [])

                wait_for(is_new)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert broken == []
        assert len(answers) == len(threads)


def test_who_waits_for_a_frontend_is_served_after_a_reload() -> None:
    with Service() as service, ExitStack() as opened:
        assert call(service.socket_path, PING).status == 0
        kim, (frontend,) = (
            service.pids("kim"),
            [row["pid"] for row in service.rows("frontend") if row["principal"] is not None],
        )
        # It is stopped, so that most connections wait in the broker.
        os.kill(frontend, signal.SIGSTOP)
        waiting = []
        for _ in range(200):
            waiting.append(opened.enter_context(wire.connect(service.socket_path)))
            waiting[-1].sendall(PING.to_bytes())
        service.signal(signal.SIGHUP)
        wait_for(lambda: service.status()["phase"] != "running")
        os.kill(frontend, signal.SIGCONT)
        assert [wire.read_response(connection).status for connection in waiting] == [0] * len(waiting)
        assert service.pids("kim") != kim


def test_reloads_during_a_reload_become_one_that_follows() -> None:
    with Service() as service:
        service.signal(signal.SIGHUP)
        wait_until("event=reloading", service)
        for count in (2, 3, 4):
            service.signal(signal.SIGHUP)
            wait_for(lambda count=count: service.status()["reload"]["asked"] == count)  # type: ignore[misc]
        wait_for(lambda: service.log().count("event=serving") == 3)
        assert service.status()["reload"]["done"] == 4
        assert service.log().count("event=reloading") == 2
        assert call(service.socket_path, PING).status == 0


def test_a_reload_changes_what_the_file_says() -> None:
    with Service() as service:
        broker, kim = service.pid, service.pids("kim")
        assert call(service.socket_path, MINE.random(100)).status == 0
        service.configure({"core_settings": {"buffer_size_limit": 50}})
        service.signal(signal.SIGHUP)
        statuses = [call(service.socket_path, PING).status for _ in range(200)]
        assert set(statuses) == {0}
        wait_for(lambda: call(service.socket_path, MINE.random(100)).status == 10)
        assert service.pid == broker
        assert service.pids("kim") != kim


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ({"listener": {"timeout": 0}}, "listener.timeout"),
        ({"listener": {"socket_path": "/elsewhere.sock"}}, "change with a restart only"),
        ({"provider": {"key_encryption_key_file": "/dev/null"}}, "found something else at /dev/null"),
        ({"provider": {"key_encryption_key_file": "/nonexistent"}}, "found nothing at /nonexistent"),
    ],
)
def test_a_reload_that_cannot_be_stops_nothing(tables: dict[str, dict[str, str | int | bool]], complaint: str) -> None:
    with Service() as service:
        processes = service.pids()
        service.configure(tables)
        service.signal(signal.SIGHUP)
        wait_until("the reload is refused, the old configuration goes on", service)
        assert complaint in service.log()
        said = service.status()["reload"]
        assert said["outcome"] == "refused"
        assert any(complaint in problem for problem in said["problems"]), said
        assert service.pids() == processes
        service.configure({})
        reload(service)
        assert service.status()["reload"]["problems"] == []


def test_a_reload_without_a_change_repeats_no_warning() -> None:
    with Service(extra="[unheard-of]\n[[strange]]\n") as service:
        warnings = [line for line in service.log().splitlines() if "level=warning component=config" in line]
        assert len(warnings) == 2
        for _ in range(2):
            reload(service)
        assert service.log().count("level=warning component=config") == 2
        service.configure({}, "[unheard-of]\n[new]\n")
        reload(service)
        (said,) = [line for line in service.log().splitlines() if "level=warning component=config" in line][2:]
        assert ": new: " in said


def test_a_reload_that_fails_later_leaves_the_old_service_running() -> None:
    with Service() as service:
        short = service.folder / "short.kek"
        short.write_bytes(bytes(5))
        short.chmod(0o400)
        tables, complaint = {"provider": {"key_encryption_key_file": str(short)}}, "needed the key of exactly 32 bytes"
        assert call(service.socket_path, MINE.generate("k", P256_SIGN)).status == 0
        service.configure(tables)
        service.signal(signal.SIGHUP)
        wait_until(complaint, service)
        for _ in range(50):
            assert call(service.socket_path, PING).status == 0
        assert call(service.socket_path, MINE.generate("k", P256_SIGN)).status == 1139
        service.configure({})
        service.signal(signal.SIGHUP)
        for _ in range(50):
            assert call(service.socket_path, PING).status == 0


def test_whatever_was_launched_ends_with_its_harness() -> None:
    with closing(Service()) as service:
        service.launch()
        wait_for(service.is_ready)
        first = service.pids()
        service.kill()
        service.launch()
        wait_for(service.is_ready)
        second = service.pids()
    assert [pid for pid in (*first, *second) if is_alive(pid)] == []


def test_systemd_is_told_what_happens(manager: Manager) -> None:
    with closing(Service()) as service:
        service.launch(variables={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "3000000"})
        assert "Serving" in manager.wait_for("READY")["STATUS"]
        manager.wait_for("WATCHDOG")
        service.signal(signal.SIGHUP)
        assert int(manager.wait_for("RELOADING")["MONOTONIC_USEC"]) > 0
        manager.wait_for("READY")
        key = service.folder / "kek" / "software.kek"
        key.chmod(0o644)
        service.signal(signal.SIGHUP)
        told = manager.wait_for("READY")["STATUS"]
        assert "down" not in told
        assert f"reload refused: {service.configuration_path}" in told
        assert f"{key} with mode 0644" in told
        # What only its worker finds out about a key is told as the status tells it.
        key.chmod(0o600)
        key.write_bytes(bytes(5))
        key.chmod(0o400)
        service.signal(signal.SIGHUP)
        manager.wait_for("RELOADING")
        told = manager.wait_for("STATUS")["STATUS"]
        while "down" not in told:
            told = manager.wait_for("STATUS")["STATUS"]
        found = service.provider("MbedCrypto")
        assert found["cause"] in told
        assert f"{key}: found 5 bytes" in found["cause"]
        assert "reload refused: " in told
        service.signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        assert service.stop() == 0


def test_a_socket_of_systemd_is_used_and_left(tmp_path: Path) -> None:
    path = str(tmp_path / "activated.sock")
    with (
        closing(Service(tables={"listener": {"socket_path": path}})) as service,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        listener.bind(path)
        listener.listen(100)
        service.launch(listener=listener)
        assert call(path, PING).status == 0
        service.signal(signal.SIGHUP)
        for _ in range(100):
            assert call(path, PING).status == 0
        assert service.stop() == 0
        assert os.path.exists(path)


def test_who_waits_in_a_socket_of_systemd_is_turned_away_with_the_configuration(tmp_path: Path) -> None:
    """A service is started again by systemd as long as somebody waits in its socket, also after an exit with 78."""
    path = str(tmp_path / "activated.sock")
    service = Service(tables={"listener": {"socket_path": path}, "core_settings": {"log_level": "loud"}})
    try:
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind(path)
            listener.listen(100)
            client.connect(path)
            assert service.launch(listener=listener).wait(60) == os.EX_CONFIG
            client.settimeout(0)
            assert client.recv(1) == b""
            listener.settimeout(0)
            with pytest.raises(BlockingIOError):
                listener.accept()
            client.close()
    finally:
        service.close()


def test_the_service_outlives_every_timer_of_its_start() -> None:
    # The timers of the configuration reader and of the start refer to processes and descriptors that are long gone.
    with Service(tables={"limits": {"start_ms": 5000}}) as service:
        for _ in range(2):
            reload(service)
        time.sleep(6)
        assert call(service.socket_path, PING).status == 0
        assert "too long" not in service.log()


def test_a_key_store_that_is_in_use_is_named_and_left_to_its_owner() -> None:
    with Service() as service:
        path = service.folder / "kim" / "kim.sqlite3"
        tables: Tables = {"key_manager": {"sqlite_db_path": str(path)}, "isolation": {"uid_base": 61_200}}
        before = [(file, file.stat().st_uid) for file in (path.parent, *sorted(path.parent.iterdir()))]
        second = Service(tables=tables)
        try:
            with pytest.raises(ServiceFailedError, match="a database that another process has open"):
                second.start()
            assert "SIGSYS" not in second.log()
        finally:
            second.close()
        assert [(file, file.stat().st_uid) for file in (path.parent, *sorted(path.parent.iterdir()))] == before
        assert call(service.socket_path, MINE.generate("k", P256_SIGN)).status == 0


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_a_configuration_that_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    run = subprocess.run([*cofferdam(), "serve", "-c", str(path)], capture_output=True, timeout=20, check=False)
    assert run.returncode == os.EX_CONFIG
    assert b"not a regular file" in run.stderr
    assert b"Traceback" not in run.stderr


def test_a_supervisor_may_signal_the_whole_group() -> None:
    with Service() as service:
        assert call(service.socket_path, PING).status == 0
        # A starting process does not handle signals yet and would die of them, so wait for the spare frontend.
        wait_until('"a process is ready" process=frontend[1]', service)
        os.killpg(service.pid, signal.SIGTERM)
        assert service.stop() == 0
        assert "died" not in service.log()
        # The relay of the log outlives the processes that log.
        assert "event=stopped" in service.log()


def test_a_credential_of_systemd_is_the_key_encryption_key(tmp_path: Path) -> None:
    credential = tmp_path / "cofferdam.software.kek"
    credential.write_bytes(os.urandom(32))
    credential.chmod(0o400)
    variables = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    with closing(Service()) as service:
        for _ in range(2):
            service.launch(variables=variables)
            wait_for(service.is_ready)
            assert call(service.socket_path, MINE.sign("k", ECDSA_SHA_256, bytes(32))).status in {0, 1140}
            call(service.socket_path, MINE.generate("k", P256_SIGN))
            assert service.stop() == 0
        assert not (service.folder / "kek").exists()
        credential.chmod(0o600)
        credential.write_bytes(os.urandom(32))
        service.launch(variables=variables)
        wait_for(service.is_ready)
        # The rows were made with another key, so their provider does not serve.
        assert call(service.socket_path, MINE.sign("k", ECDSA_SHA_256, bytes(32))).status == 1145
        assert "the key-encryption key is not that of the stored rows" in service.log()
        assert "then restart the service" in service.log()
        assert service.stop() == 0
