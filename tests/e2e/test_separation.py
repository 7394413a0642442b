"""The separation of the processes as seen from outside, and the consequences when one of them dies."""

import contextlib
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import kernel_view, wire
from tests.harness.running import started
from tests.harness.service import UNPRIVILEGED_UID, Service, acting_as, is_alive
from tests.harness.watch import contains, wait_for
from tests.harness.wire import ECDSA_SHA_256, P256_SIGN, Caller, Request, call, exchange

PING = Request()
AS_ROOT = os.geteuid() == 0
VARIANTS = [None, UNPRIVILEGED_UID] if AS_ROOT else [None]
NOBODY_ELSE = 59002


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda uid: "own uids" if uid is None and AS_ROOT else "one uid")
def variant(request: pytest.FixtureRequest) -> Iterator[Service]:
    with Service(as_user=request.param) as running:
        yield running


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def has_spare(service: Service) -> bool:
    rows = service.rows("frontend")
    return any(row["principal"] is None and row["state"] != "starting" for row in rows)


def test_every_process_is_confined_by_the_kernels_word(variant: Service) -> None:
    call(variant.socket_path, PING)
    wait_for(lambda: has_spare(variant))
    expected = "uid" if status_of(variant.pid)["Uid"].startswith("0") else "landlock"
    for row in variant.status()["processes"]:
        assert row["level"] == expected, row
        seen = status_of(row["pid"])
        assert seen["Seccomp"] == "2"
        assert seen["NoNewPrivs"] == "1"
        assert seen["CapEff"] == seen["CapPrm"] == seen["CapAmb"] == "0" * 16


def test_ps_reads_like_a_table_of_roles(variant: Service) -> None:
    call(variant.socket_path, Caller(os.getuid()).generate("a secret name", P256_SIGN))
    # A process that is starting has no title yet.
    wait_for(lambda: has_spare(variant))
    listing = subprocess.run(
        ["ps", "-o", "args=", *(f"-p{pid}" for pid in variant.pids())], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    titles = {line.strip() for line in listing if line.strip()}
    assert titles == {"cofferdam: broker", "cofferdam: kim", "cofferdam: worker[software]", "cofferdam: frontend"}


@pytest.mark.skipif(not AS_ROOT, reason="only root sees into a process that is not dumpable")
def test_children_have_the_descriptors_they_need_and_no_others(variant: Service) -> None:
    call(variant.socket_path, PING)
    wait_for(lambda: has_spare(variant))
    for row in variant.status()["processes"]:
        folder = f"/proc/{row['pid']}/fd"
        kinds = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
        files = {kind for kind in kinds if kind.startswith("/")} - {"/dev/null"}
        allowed = {str(variant.folder / "kim" / name) for name in ("kim.sqlite3", "kim.sqlite3-wal", "kim.sqlite3-shm")}
        assert files <= (allowed if row["role"] == "kim" else set()), (row["role"], files)


@pytest.mark.skipif(not AS_ROOT, reason="only root sees into a process that is not dumpable")
def test_environment_and_arguments_hold_nothing_of_ours(variant: Service) -> None:
    for row in variant.status()["processes"]:
        environment = Path(f"/proc/{row['pid']}/environ").read_bytes()
        assert {entry.partition(b"=")[0] for entry in environment.split(b"\0") if entry} <= {b"LANG", b"JOURNAL_STREAM"}


def test_clients_of_different_uids_have_different_frontends_and_keys() -> None:
    with Service() as service:
        one, other = Caller(os.getuid()), Caller(NOBODY_ELSE)
        assert call(service.socket_path, one.generate("k", P256_SIGN)).status == 0
        if AS_ROOT:
            with acting_as(NOBODY_ELSE):
                sign = other.sign("k", ECDSA_SHA_256, bytes(32))
                assert call(service.socket_path, sign).status == 1140
                forged = one.sign("k", ECDSA_SHA_256, bytes(32))
                assert call(service.socket_path, forged).status == 11
            principals = {row["principal"] for row in service.rows("frontend")}
            assert {os.getuid(), NOBODY_ELSE} <= principals
        else:
            assert call(service.socket_path, other.sign("k", ECDSA_SHA_256, bytes(32))).status == 11


@pytest.mark.skipif(not AS_ROOT, reason="only root can be a uid of the service")
def test_the_services_own_uids_are_no_clients() -> None:
    with Service() as service:
        worker = service.rows("worker[software]")[0]["uid"]
        assert worker is not None
        with acting_as(worker), pytest.raises((OSError, wire.BrokenResponseError)):
            call(service.socket_path, PING)
        assert call(service.socket_path, PING).status == 0


@pytest.mark.parametrize("role", ["kim", "worker[software]", "frontend"])
def test_a_killed_process_is_replaced(variant: Service, role: str) -> None:
    caller = Caller(os.getuid())
    path = variant.socket_path
    call(path, caller.generate("survivor", P256_SIGN))
    wait_for(lambda: has_spare(variant))
    before = set(variant.pids(role))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not before & set(variant.pids(role)) and bool(variant.pids(role)))
    assert call(path, caller.sign("survivor", ECDSA_SHA_256, bytes(32))).status == 0
    wait_for(lambda: has_spare(variant))


def more_than(statuses: list[int], count: int) -> None:
    """Wait until a number of further responses has arrived."""
    before = len(statuses)
    wait_for(lambda: len(statuses) > before + count, 60)


def test_nobody_notices_that_the_key_store_died() -> None:
    with Service() as service:
        caller, path = Caller(os.getuid()), service.socket_path
        statuses: list[int] = []
        stop = threading.Event()

        def work() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                statuses.append(call(path, caller.generate(f"k{number}", P256_SIGN)).status)
                statuses.append(call(path, caller.request(wire.LIST_KEYS, provider=0)).status)
                statuses.append(call(path, caller.destroy(f"k{number}")).status)

        thread = threading.Thread(target=work)
        thread.start()
        # The third successor of a minute is the last that starts at once.
        for _ in range(3):
            more_than(statuses, 6)
            os.kill(service.pids("kim")[0], signal.SIGKILL)
            wait_for(lambda: bool(service.pids("kim")))
        more_than(statuses, 6)
        stop.set()
        thread.join()
        assert set(statuses) == {0}, service.log()


def test_a_killed_worker_costs_only_the_request_it_was_working_on() -> None:
    with Service() as service:
        caller, path = Caller(os.getuid()), service.socket_path
        assert call(path, caller.generate("k", P256_SIGN)).status == 0
        sign = caller.sign("k", ECDSA_SHA_256, bytes(32))
        statuses: list[int] = []
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                statuses.append(call(path, sign).status)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        kills = 3
        for _ in range(kills):
            more_than(statuses, 20)
            os.kill(service.pids("worker[software]")[0], signal.SIGKILL)
            wait_for(lambda: bool(service.pids("worker[software]")))
        more_than(statuses, 20)
        stop.set()
        for thread in threads:
            thread.join()
        failed = [status for status in statuses if status]
        assert len(failed) <= kills, failed
        assert set(failed) <= {1145}


@pytest.mark.skipif(not AS_ROOT, reason="only root may stop a process that is not dumpable as a debugger does")
def test_whoever_cannot_react_dies_with_the_broker_all_the_same() -> None:
    with Service() as service, contextlib.ExitStack() as stopped:
        assert call(service.socket_path, PING).status == 0
        wait_for(lambda: has_spare(service))
        children = service.pids()[1:]
        for pid in children:
            stopped.enter_context(kernel_view.stopped(pid))
        # They are stopped and do not see that the control socket was closed: only the kernel can end them.
        service.kill()
        assert [pid for pid in children if is_alive(pid)] == []


def test_a_hanging_process_is_replaced() -> None:
    with Service(tables={"limits": {"hang_ms": 1000}}) as service:
        caller, path = Caller(os.getuid()), service.socket_path
        assert call(path, caller.generate("k", P256_SIGN)).status == 0
        stopped = service.pids("worker[software]")[0]
        os.kill(stopped, signal.SIGSTOP)
        assert call(path, caller.sign("k", ECDSA_SHA_256, bytes(32))).status in {0, 1145}
        assert service.pids("worker[software]") != [stopped]
        assert call(path, caller.sign("k", ECDSA_SHA_256, bytes(32))).status == 0
        assert "a process hangs and is killed" in service.log()


def test_a_process_that_dies_again_and_again_is_not_restarted_without_end() -> None:
    with Service() as service:

        def kill_until_it_stays_away() -> bool:
            for pid in service.pids("worker[software]"):
                os.kill(pid, signal.SIGKILL)
            return "dies again and again" in service.log()

        wait_for(kill_until_it_stays_away)
        assert call(service.socket_path, PING).status == 0


def test_an_idle_frontend_retires_and_its_principal_is_served_again() -> None:
    with Service(tables={"limits": {"frontend_idle_ms": 1000}}) as service:
        assert call(service.socket_path, PING).status == 0
        wait_for(lambda: all(row["principal"] is None for row in service.rows("frontend")))
        assert call(service.socket_path, PING).status == 0
        assert "died" not in service.log()


def test_what_cannot_be_confined_enough_does_not_start() -> None:
    service = Service(tables={"isolation": {"require": "uid"}}, as_user=UNPRIVILEGED_UID if AS_ROOT else None)
    try:
        with pytest.raises(Exception, match=r"isolation\.require"):
            service.start()
    finally:
        service.close()


def test_the_secrets_of_the_worker_are_its_own(variant: Service) -> None:
    kek = variant.folder / "kek" / "software.kek"
    state = kek.stat()
    assert stat.S_IMODE(state.st_mode) == 0o400
    assert stat.S_IMODE((variant.folder / "kim" / "kim.sqlite3").stat().st_mode) == 0o600
    worker = variant.rows("worker[software]")[0]["uid"]
    assert state.st_uid != worker or worker is None


@pytest.mark.skipif(not AS_ROOT, reason="only root may read the memory of a process that is not dumpable")
def test_the_key_encryption_key_is_in_the_memory_of_one_process() -> None:
    with Service() as service:
        caller = Caller(os.getuid())
        assert call(service.socket_path, caller.generate("k", P256_SIGN)).status == 0
        assert call(service.socket_path, caller.sign("k", ECDSA_SHA_256, bytes(32))).status == 0
        needle = (service.folder / "kek" / "software.kek").read_bytes()
        holders = {row["role"] for row in service.status()["processes"] if contains(row["pid"], needle)}
        assert holders == {"worker[software]"}
        assert not contains(service.pid, needle)


@pytest.mark.skipif(not AS_ROOT, reason="only root may trace the broker, which is not dumpable")
def test_the_broker_reads_not_one_byte_of_a_client() -> None:
    with Service() as service:
        call(service.socket_path, PING)
        trace = service.folder / "trace"
        with started(["strace", "-f", "-qq", "-y", "-o", trace, "-p", str(service.pid)]) as tracer:
            wait_for(lambda: kernel_view.status(service.pid)["TracerPid"] == str(tracer.pid))
            marker = b"no broker may ever see this"
            for _ in range(20):
                body = wire.number(1, wire.SHA_256) + wire.blob(2, marker)
                assert call(service.socket_path, Request(opcode=wire.HASH_COMPUTE, provider=1, body=body)).status == 0
                assert exchange(service.socket_path, PING.to_bytes() + marker).status == 0
            tracer.terminate()
            tracer.wait(10)
        lines = trace.read_text().splitlines()
        assert any("accept4(" in line for line in lines)
        assert not any("no broker" in line for line in lines)
        reads = [
            line for line in lines if any(f" {name}(" in line for name in ("read", "recvfrom", "recvmsg", "readv"))
        ]
        assert not [line for line in reads if "parsec.sock" in line]
