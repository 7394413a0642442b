"""Slow, numerous, silent and greedy clients are limited, and all others are still served."""

import contextlib
import os
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness import wire
from tests.harness.interpreter import program_as
from tests.harness.running import started
from tests.harness.service import Service, acting_as
from tests.harness.watch import wait_for
from tests.harness.wire import ECDSA_SHA_256, KEEP_ALIVE, P256_SIGN, RSA_SIGN, Caller, Request, call, exchange

PING = Request()
PING_ANSWER = 38
"""Size of its response, in bytes."""
AS_ROOT = os.geteuid() == 0
NOBODY_ELSE = 59002
MANY = range(59100, 59104)
"""Uids of one person who controls many."""


def has_spare(service: Service) -> bool:
    return any(row["principal"] is None and row["state"] == "ready" for row in service.rows("frontend"))


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def pings(path: str, count: int = 50) -> None:
    for _ in range(count):
        assert call(path, PING).status == 0


def test_many_silent_connections_keep_nobody_from_being_served() -> None:
    with Service(tables={"listener": {"timeout": 600_000}}) as service, contextlib.ExitStack() as opened:
        silent = [opened.enter_context(wire.connect(service.socket_path)) for _ in range(900)]
        pings(service.socket_path)
        for client in silent:
            client.settimeout(0)
            with pytest.raises(BlockingIOError):
                client.recv(1)


def test_silent_connections_are_cut_at_the_deadline() -> None:
    with Service(tables={"listener": {"timeout": 1000}}) as service, contextlib.ExitStack() as opened:
        began = time.monotonic()
        silent = [opened.enter_context(wire.connect(service.socket_path)) for _ in range(100)]
        for client in silent:
            data = client.recv(100)
            assert int.from_bytes(data[32:34], "little") == 15
            assert client.recv(100) == b""
            assert time.monotonic() - began > 0.9


def test_a_client_that_drips_is_cut_at_the_absolute_deadline() -> None:
    tables = {"listener": {"timeout": 500}, "limits": {"request_timeout_ms": 1500}}
    with Service(tables=tables) as service, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(service.socket_path)
        began = time.monotonic()
        data = PING.but(body_len=1000).to_bytes() + bytes(1000)
        sent = 0
        while sent < len(data):
            try:
                sent += client.send(data[sent : sent + 1])
            except BrokenPipeError:
                break
            if select.select([client], [], [], 0.05)[0]:
                break
        assert int.from_bytes(client.recv(100)[32:34], "little") == 15
        assert sent < len(data) // 2
        assert time.monotonic() - began > 1.3


def test_connections_of_one_principal_are_bounded() -> None:
    with Service(tables={"limits": {"max_connections": 20}, "listener": {"timeout": 600_000}}) as service:
        held = []
        for _ in range(20):
            client = socket.socket(socket.AF_UNIX)
            client.connect(service.socket_path)
            client.sendall(PING.to_bytes()[:10])
            held.append(client)
        with pytest.raises((wire.BrokenResponseError, OSError)):
            call(service.socket_path, PING)
        for client in held:
            client.close()

        def is_served() -> bool:
            try:
                return call(service.socket_path, PING).status == 0
            except (wire.BrokenResponseError, OSError):
                return False

        wait_for(is_served)


def test_a_kept_connection_that_says_nothing_is_closed_without_a_word() -> None:
    tables = {"limits": {"idle_connection_ms": 1000}}
    with Service(tables=tables) as service, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(service.socket_path)
        client.sendall(PING.but(flags=KEEP_ALIVE).to_bytes())
        assert len(client.recv(100)) == 38
        began = time.monotonic()
        assert client.recv(100) == b""
        assert time.monotonic() - began > 0.8


def test_a_reader_that_never_reads_holds_up_only_itself() -> None:
    with Service(tables={"listener": {"timeout": 1000}}) as service:
        stuck = []
        for _ in range(10):
            client = socket.socket(socket.AF_UNIX)
            client.connect(service.socket_path)
            client.sendall(Caller(os.getuid()).random(1 << 20).to_bytes())
            stuck.append(client)
        pings(service.socket_path)
        for client in stuck:
            # The service closes what is not read in time, and poll says so whether or not there is something to read.
            assert wait_for_hang_up(client)
            client.close()
        assert len(wire.first_blob(call(service.socket_path, Caller(os.getuid()).random(1 << 20)).body)) == 1 << 20


def wait_for_hang_up(client: socket.socket) -> bool:
    poll = select.poll()
    poll.register(client, 0)
    return bool(poll.poll(30_000))


@pytest.fixture
def stopped_worker() -> Iterator[Callable[..., Service]]:
    """Return a function that starts a service whose worker is stopped by SIGSTOP."""
    services = []

    def start(keys: dict[int, list[str]], limits: dict[str, int]) -> Service:
        details = {"log_error_details": True}
        service = Service(tables={"limits": {"hang_ms": 60_000, **limits}, "core_settings": details})
        services.append(service)
        service.start()
        for uid, names in keys.items():
            with acting_as(uid):
                for name in names:
                    assert call(service.socket_path, Caller(uid).generate(name, P256_SIGN)).status == 0
        os.kill(service.pids("worker[software]")[0], signal.SIGSTOP)
        return service

    yield start
    for service in services:
        service.close()


def ask(service: Service, request: Request, uid: int) -> socket.socket:
    """Send a request without reading the response."""
    with acting_as(uid):
        client = wire.connect(service.socket_path)
    client.sendall(request.to_bytes())
    return client


def statuses(clients: list[socket.socket]) -> list[int]:
    """Return the status of each response, and close the connections."""
    found = []
    for client in clients:
        with client:
            found.append(wire.read_response(client).status)
    return found


def go_on(service: Service) -> None:
    os.kill(service.pids("worker[software]")[0], signal.SIGCONT)


def test_requests_under_way_are_bounded_for_each_uid(stopped_worker: Callable[..., Service]) -> None:
    me, most = os.getuid(), 3
    other = NOBODY_ELSE if AS_ROOT else me
    service = stopped_worker({me: ["k"]} | ({other: ["o"]} if AS_ROOT else {}), {"max_in_flight": most})
    waiting = [ask(service, Caller(me).sign("k", ECDSA_SHA_256, bytes(32)), me) for _ in range(most)]
    wait_for(lambda: sum(row["in_flight"] for row in service.rows("frontend")) == most)
    # At once, and not only when the others are done; what needs no worker is served.
    for _ in range(2):
        assert call(service.socket_path, Caller(me).sign("k", ECDSA_SHA_256, bytes(32))).status == 1141
    assert call(service.socket_path, PING).status == 0
    if AS_ROOT:
        waiting.append(ask(service, Caller(other).sign("o", ECDSA_SHA_256, bytes(32)), other))
    go_on(service)
    assert statuses(waiting) == [0] * len(waiting)
    assert call(service.socket_path, Caller(me).sign("k", ECDSA_SHA_256, bytes(32))).status == 0


def test_a_request_that_nobody_waits_for_any_more_is_not_begun(stopped_worker: Callable[..., Service]) -> None:
    me = os.getuid()
    service = stopped_worker({me: ["k"]}, {"answer_timeout_ms": 1000})
    clients = [ask(service, Caller(me).destroy("k"), me), ask(service, Caller(me).generate("late", P256_SIGN), me)]
    assert statuses(clients) == [1145, 1145]
    go_on(service)
    assert call(service.socket_path, Caller(me).sign("k", ECDSA_SHA_256, bytes(32))).status == 0
    assert call(service.socket_path, Caller(me).destroy("late")).status == 1140


@pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")
def test_a_worker_gives_everybody_a_turn(stopped_worker: Callable[..., Service]) -> None:
    me, count = os.getuid(), 48
    service = stopped_worker({me: [f"k{number}" for number in range(count)], NOBODY_ELSE: ["k"]}, {})
    clients = [ask(service, Caller(me).destroy(f"k{number}"), me) for number in range(count)]
    wait_for(lambda: sum(row["in_flight"] for row in service.rows("frontend")) == count)
    clients.append(ask(service, Caller(NOBODY_ELSE).destroy("k"), NOBODY_ELSE))
    wait_for(lambda: sum(row["in_flight"] for row in service.rows("frontend")) == count + 1)
    go_on(service)
    assert statuses(clients) == [0] * (count + 1)
    changes = [line for line in service.log().splitlines() if "op=PSA_DESTROY_KEY" in line]
    assert len(changes) == count + 1
    # The log lines of one worker are in the order of its work.
    (place,) = [place for place, line in enumerate(changes) if f"uid={NOBODY_ELSE}" in line]
    assert place < count // 2


def test_generating_keys_without_pause_keeps_nobody_waiting() -> None:
    with Service() as service:
        caller, path = Caller(os.getuid()), service.socket_path
        assert call(path, caller.generate("k", P256_SIGN)).status == 0
        made, stop = list[int](), threading.Event()

        def generate(prefix: str) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                made.append(call(path, caller.generate(f"{prefix}{number}", RSA_SIGN)).status == 0)

        threads = [threading.Thread(target=generate, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        wait_for(lambda: sum(made) > 0)
        before = sum(made)
        for _ in range(100):
            assert call(path, caller.sign("k", ECDSA_SHA_256, bytes(32))).status == 0
        during = sum(made) - before
        stop.set()
        for thread in threads:
            thread.join()
        # If signatures waited for keys, there would be about as many of both.
        assert during < 50


@pytest.mark.skipif(not AS_ROOT, reason="only root sees the descriptors of a process that is not dumpable")
def test_nothing_leaks_a_descriptor_or_a_process(service: Service) -> None:
    caller, path = Caller(os.getuid()), service.socket_path
    assert call(path, caller.generate("k", P256_SIGN)).status == 0
    wait_for(lambda: has_spare(service))
    before = {pid: descriptors(pid) for pid in service.pids()}
    requests = [PING, PING.but(magic=1), caller.random(100_000), caller.sign("k", ECDSA_SHA_256, bytes(32))]
    for number in range(1000):
        request = requests[number % len(requests)].to_bytes()
        exchange(path, request + bytes(number % 3))
        exchange(path, request[: number % len(request)], half_close=True)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.send(request)
    wait_for(lambda: {pid: descriptors(pid) for pid in service.pids()} == before)
    call(path, caller.destroy("k"))


def test_key_names_reach_the_log_only_with_leave() -> None:
    for details in (False, True):
        with Service(tables={"core_settings": {"log_error_details": details, "log_level": "trace"}}) as service:
            caller = Caller(os.getuid())
            name = "very\nsecret name"
            assert call(service.socket_path, caller.generate(name, P256_SIGN)).status == 0
            assert call(service.socket_path, caller.sign(name, ECDSA_SHA_256, b"digest" + bytes(26))).status == 0
            assert call(service.socket_path, caller.destroy("none")).status == 1140
            log = service.log()
            assert ("very\\u000asecret name" in log) == details
            assert "secret name\n" not in log
            assert "status=1140" in log
            assert all(line.startswith("level=") or "event=" in line for line in log.splitlines())


def test_two_service_folders_are_two_services() -> None:
    with Service() as one, Service() as other:
        caller = Caller(os.getuid())
        assert call(one.socket_path, caller.generate("k", P256_SIGN)).status == 0
        assert call(other.socket_path, caller.destroy("k")).status == 1140


@pytest.mark.skipif(not AS_ROOT, reason="only root may limit a process that is not dumpable")
def test_a_broker_without_descriptors_sheds_load_and_recovers() -> None:
    with Service(tables={"listener": {"timeout": 3000}}) as service:
        assert call(service.socket_path, PING).status == 0
        wait_for(lambda: has_spare(service))
        used = {int(name) for name in os.listdir(f"/proc/{service.pid}/fd")}
        full = min(set(range(1000)) - used)
        _, most = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (full, most))
        for _ in range(5):
            with pytest.raises((wire.BrokenResponseError, OSError)):
                call(service.socket_path, PING)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (most, most))
        assert call(service.socket_path, PING).status == 0
        assert "LimitNOFILE" in service.log()


def test_an_answer_may_be_larger_than_any_request() -> None:
    with Service(tables={"core_settings": {"buffer_size_limit": 4 << 20}}) as service:
        response = call(service.socket_path, Caller(os.getuid()).random(3 << 20))
        assert len(wire.first_blob(response.body)) == 3 << 20
        assert "died" not in service.log()


def silent_connection(path: str, uid: int) -> socket.socket:
    with acting_as(uid):
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
    client.settimeout(0)
    return client


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")
def test_uids_that_hold_silent_connections_lock_nobody_out() -> None:
    """They outnumber the frontends and reconnect whenever they are closed, and nobody else is refused."""
    limits = {"max_frontends": 2, "request_timeout_ms": 60_000}
    with Service(tables={"listener": {"timeout": 60_000}, "limits": limits}) as service:
        silent = {uid: silent_connection(service.socket_path, uid) for uid in MANY}
        victims = range(NOBODY_ELSE, NOBODY_ELSE + 3)
        for victim in victims:
            with acting_as(victim):
                assert call(service.socket_path, PING).status == 0
            for uid in [uid for uid, client in silent.items() if is_closed(client)]:
                silent[uid].close()
                silent[uid] = silent_connection(service.socket_path, uid)
            assert len(service.rows("frontend")) <= limits["max_frontends"] + 1
        assert service.log().count("a frontend makes room") >= len(victims)
        for client in silent.values():
            client.close()


@pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")
def test_a_uid_that_owns_keys_finds_a_place_among_those_that_work() -> None:
    """A uid that owns keys gets a frontend although all others are busy, even after the key store was replaced."""
    owner, working = Caller(NOBODY_ELSE), MANY[0]
    with Service(tables={"limits": {"max_frontends": 1}}) as service:
        path = service.socket_path
        with acting_as(NOBODY_ELSE):
            assert call(path, owner.generate("k", P256_SIGN)).status == 0
        os.kill(service.pids("kim")[0], signal.SIGKILL)
        with started(program_as(working, WITHOUT_PAUSE, path, PING.to_bytes().hex())) as busy:
            while not any(row["principal"] == working and row["requests"] for row in service.rows("frontend")):
                assert busy.poll() is None
                time.sleep(0.05)
            with acting_as(NOBODY_ELSE):
                assert call(path, owner.sign("k", ECDSA_SHA_256, bytes(32))).status == 0
                assert call(path, owner.destroy("k")).status == 0
        assert f'"a frontend makes room" uid={working}' in service.log()


WITHOUT_PAUSE = """
while True:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(sys.argv[1])
            client.sendall(bytes.fromhex(sys.argv[2]))
            client.recv(100)
    except OSError:
        pass
"""


@pytest.mark.skipif(not AS_ROOT, reason="only root can be another uid")
def test_the_log_tells_whose_frontend_is_which() -> None:
    with Service() as service:
        with acting_as(NOBODY_ELSE):
            assert call(service.socket_path, PING).status == 0
        (row,) = [row for row in service.rows("frontend") if row["principal"] == NOBODY_ELSE]
        line = f'event="a frontend has its principal" uid={NOBODY_ELSE} process={row["role"]} pid={row["pid"]}'
        assert line in service.log()


def test_each_process_gives_way_to_the_broker_by_its_role(service: Service) -> None:
    """The OOM killer prefers frontends, and prefers clients to every other child, even while a child starts."""
    broker = service.pid
    ranks = {"kim": (0, 100), "worker": (0, 200), "frontend": (0, 500)}
    if os.getpriority(os.PRIO_PROCESS, broker) < 0:
        assert os.sched_getscheduler(broker) == os.SCHED_BATCH | os.SCHED_RESET_ON_FORK
    for row in service.status()["processes"]:
        nice, score = ranks[row["role"].partition("[")[0]]
        assert os.getpriority(os.PRIO_PROCESS, row["pid"]) == max(nice, os.getpriority(os.PRIO_PROCESS, broker))
        assert os.sched_getscheduler(row["pid"]) == os.SCHED_OTHER
        assert oom_score(row["pid"]) == max(score, oom_score(broker))


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.skipif(not AS_ROOT, reason="only root can be another uid")
def test_a_loop_that_only_connects_takes_nobody_anything() -> None:
    """No connection of another uid fails, waiting or not, while the flood overflows its own queue."""
    with Service(tables={"limits": {"max_connections": 64}}) as service:
        path = service.socket_path
        with acting_as(NOBODY_ELSE):
            assert call(path, PING).status == 0
        with started(program_as(MANY[0], FLOOD, path)):
            # Each round a ping of a client that connects without waiting, until the flood has lost something.
            for rounds in range(2000):
                with acting_as(NOBODY_ELSE), socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(0)
                    client.connect(path)
                    client.settimeout(20)
                    client.sendall(PING.to_bytes())
                    assert len(client.recv(100)) == PING_ANSWER
                if rounds >= 50 and f"uid={MANY[0]}" in service.log().partition("connections are closed unserved")[2]:
                    break
            else:
                pytest.fail("the flood never filled its own queue")
        assert f'unserved" uid={NOBODY_ELSE}' not in service.log()
        assert "is killed" not in service.log()


FLOOD = """
while True:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(sys.argv[1])
"""
