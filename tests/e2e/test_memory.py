"""One frontend stays small, whatever the clients of its uid send and however slowly they read.

Each greedy uid has a frontend of its own, whose greatest size (VmHWM) the kernel keeps. What the clients got is looked
at as well: one that refused everything would be small, too.
"""

import contextlib
import os
import resource
import socket
import sqlite3
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path

import pytest
from tests.harness import wire
from tests.harness.service import Service, acting_as
from tests.harness.wire import KEEP_ALIVE, P256_SIGN, Caller, Request, call

MOST_MIB = 64
BODY = 1 << 20
KEYS = 10_000
UIDS = count(59301)
FULL = 1141
TOO_LARGE = 10
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be many uids")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    tables = {"listener": {"timeout": 20_000}, "limits": {"idle_connection_ms": 20_000, "answer_timeout_ms": 60_000}}
    with Service(tables=tables) as running:
        yield running
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def connections(service: Service, uid: int, many: int) -> Iterator[list[socket.socket]]:
    """Make connections, each of which has been served once."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(many)]
        for connection in made:
            connection.settimeout(10)
            with acting_as(uid):
                connection.connect(service.socket_path)
            connection.sendall(Request(flags=KEEP_ALIVE).to_bytes())
            assert len(connection.recv(100)) == 38
        yield made


def send(connection: socket.socket, data: bytes) -> None:
    """Send until the service stops reading."""
    with contextlib.suppress(OSError):
        connection.sendall(data)


def peak_mib(service: Service, uid: int) -> float:
    """Return the greatest size of the frontend of a uid, after it has had the time to do what was sent."""
    with acting_as(uid):
        assert call(service.socket_path, Request()).status == 0
    (pid,) = (row["pid"] for row in service.rows("frontend") if row["principal"] == uid)
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def status_of(connection: socket.socket, seconds: float = 0) -> int | None:
    """Return the status of the response that came, None if none did."""
    connection.settimeout(seconds)
    try:
        return int.from_bytes(connection.recv(36)[32:34], "little")
    except (BlockingIOError, TimeoutError):
        return None


def hashed(size: int) -> Request:
    return Request(opcode=wire.HASH_COMPUTE, provider=1, body=wire.number(1, wire.SHA_256) + wire.blob(2, bytes(size)))


def test_bodies_that_lack_their_last_byte(service: Service) -> None:
    uid = next(UIDS)
    with connections(service, uid, 150) as made:
        data = Request(opcode=wire.HASH_COMPUTE, provider=1, body=bytes(BODY)).to_bytes()[:-1]
        for connection in made:
            send(connection, data)
        assert peak_mib(service, uid) < MOST_MIB
        found = [status_of(connection) for connection in made]
        assert set(found) == {None, FULL}
        assert found.count(None) > 10
    with acting_as(uid):
        assert call(service.socket_path, hashed(BODY - 100)).status == 0


def test_as_many_idle_connections_as_there_may_be(service: Service) -> None:
    uid = next(UIDS)
    with connections(service, uid, 1000):
        assert peak_mib(service, uid) < MOST_MIB


def test_a_thousand_slow_senders(service: Service) -> None:
    uid = next(UIDS)
    with connections(service, uid, 1000) as made:
        data = hashed(60_000).to_bytes()
        for start, end in pairwise((0, 40, 4_000, 20_000, 50_000)):
            for connection in made:
                send(connection, data[start:end])
        assert peak_mib(service, uid) < MOST_MIB
        found = [status_of(connection) for connection in made]
        assert set(found) == {None, FULL}
        assert found.count(None) > 200


def test_requests_in_a_row_whose_responses_nobody_reads(service: Service) -> None:
    uid = next(UIDS)
    with connections(service, uid, 200) as made:
        requests = (hashed(50_000).but(flags=KEEP_ALIVE).to_bytes() + Request(flags=KEEP_ALIVE).to_bytes() * 500) * 3
        for connection in made:
            connection.settimeout(0.05)
            send(connection, requests)
        assert peak_mib(service, uid) < MOST_MIB


def test_large_responses_that_nobody_reads(service: Service) -> None:
    uid = next(UIDS)
    with connections(service, uid, 100) as made:
        for connection in made:
            connection.sendall(Caller(uid).random(BODY).to_bytes())
        assert {status_of(connection, 10) for connection in made} == {0, FULL}
        assert peak_mib(service, uid) < MOST_MIB


@pytest.mark.parametrize(("keys", "length", "status"), [(KEYS, 64, 0), (1_000, 4_000, 0), (3_900, 4_000, TOO_LARGE)])
def test_long_listings_that_nobody_reads(service: Service, keys: int, length: int, status: int) -> None:
    """As many keys as there may be, the longest listing there is, and one that is refused for its length."""
    uid = next(UIDS)
    with acting_as(uid):
        assert call(service.socket_path, Caller(uid).generate("k", P256_SIGN)).status == 0
    service.stop()
    multiply(service.folder / "kim" / "kim.sqlite3", uid, keys, length)
    service.start()
    listing = Caller(uid).request(wire.LIST_KEYS, provider=0)
    with connections(service, uid, 16) as made:
        for connection in made:
            connection.sendall(listing.to_bytes())
        assert {status_of(connection, 60) for connection in made} <= {status, FULL}
        assert peak_mib(service, uid) < MOST_MIB
    with acting_as(uid):
        listed = call(service.socket_path, listing)
    assert listed.status == status
    assert sum(number == 1 for number, _ in wire.fields(listed.body)) == (0 if status else keys)


def multiply(path: Path, uid: int, keys: int, length: int) -> None:
    """Make so many rows of the one that a uid has, with names of so many bytes."""
    database = sqlite3.connect(path)
    with database:
        cursor = database.execute("SELECT * FROM key_mapping WHERE application_name = ?", (str(uid),))
        names = [column[0] for column in cursor.description]
        row = dict(zip(names, cursor.fetchone(), strict=True))
        marks = ", ".join("?" * len(names))
        rows = [tuple((row | {"key_name": f"{number:0{length}}"}).values()) for number in range(keys - 1)]
        database.executemany(f"INSERT INTO key_mapping VALUES ({marks})", rows)
    database.close()
