"""A compromised server, here one with a hostile PKCS#11 module, does not affect clients of other servers."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
from tests.harness import wire
from tests.harness.pkcs11.service import PROVIDER, WORKER, TokenService
from tests.harness.service import acting_as
from tests.harness.watch import wait_for
from tests.harness.wire import ECDSA_SHA_256, HEADER, KEEP_ALIVE, P256_SIGN, Caller, Request, Response, call

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be many uids")
ATTACKER = 59401
VICTIMS = range(59402, 59405)
CROWD = range(59402, 59412)
MOST_SERIALS = 100
BARE_SYNCED = 0x9165
ATTACKS = 2
ACCUSES = "a process says that another broke the protocol"
KILLED = "a process accuses too many others and is killed"


class Kept:
    """A persistent connection of a uid; the test fails if it breaks."""

    def __init__(self, path: str, uid: int) -> None:
        self.caller = Caller(uid)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        with acting_as(uid):
            self._socket.connect(path)

    def ask(self, request: Request) -> Response:
        self._socket.sendall(request.but(flags=KEEP_ALIVE).to_bytes())
        data = bytearray()
        while len(data) < HEADER.size or len(data) < HEADER.size + int.from_bytes(data[22:26], "little"):
            part = self._socket.recv(1 << 16)
            assert part, "the frontend is gone"
            data += part
        return wire.parse_response(bytes(data))

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def clients(running: TokenService, uids: range) -> Iterator[list[Kept]]:
    """Connect some uids, each of which has a key of the software provider."""
    with contextlib.ExitStack() as stack:
        made = []
        for uid in uids:
            kept = Kept(running.service.socket_path, uid)
            stack.callback(kept.close)
            assert kept.ask(kept.caller.generate("k", P256_SIGN)).status == 0
            made.append(kept)
        yield made


def frontends(running: TokenService, uids: range) -> dict[int | None, int]:
    return {row["principal"]: row["pid"] for row in running.service.rows("frontend") if row["principal"] in uids}


def provoke(running: TokenService) -> int:
    """Make the token's worker call its module."""
    caller = Caller(ATTACKER, provider=PROVIDER)
    with acting_as(ATTACKER):
        return call(running.service.socket_path, caller.random(8)).status


@pytest.mark.parametrize("action", [f"accuse {MOST_SERIALS}", f"speak {BARE_SYNCED:#x}"])
def test_who_uses_another_provider_loses_not_one_request(action: str) -> None:
    with TokenService(before="shim") as running, clients(running, VICTIMS) as victims:
        assert provoke(running) == 0
        before = frontends(running, VICTIMS)
        for _ in range(ATTACKS):
            running.shim.set(f"C_GenerateRandom {action}")
            provoke(running)
            for victim in victims * 2:
                assert victim.ask(victim.caller.sign("k", ECDSA_SHA_256, bytes(32))).status == 0
                with acting_as(victim.caller.uid):
                    assert call(running.service.socket_path, Request()).status == 0
            running.shim.clear()
        assert frontends(running, VICTIMS) == before
        # The token is used again by those whose channels were cut.
        for victim in victims:
            to_token = Caller(victim.caller.uid, provider=PROVIDER).random(8)
            wait_for(lambda ask=victim.ask, request=to_token: ask(request).status == 0, 40)  # type: ignore[misc]
        assert frontends(running, VICTIMS) == before
        restarts = {row["role"]: row["restarts"] for row in running.service.status()["processes"]}
        assert restarts["kim"] == restarts["worker[software]"] == 0
        told = "a channel to a server is lost" if action.startswith("speak") else ACCUSES
        assert told in running.service.log()


def test_a_worker_that_accuses_everybody_is_replaced_and_its_successor_is_not() -> None:
    with TokenService(before="shim") as running, clients(running, CROWD) as crowd:
        before, accuser = frontends(running, CROWD), running.worker()
        accuse_everybody(running)
        wait_for(lambda: running.service.pids(WORKER) not in ([], [accuser]), 10)
        assert running.service.log().count(KILLED) == 1
        check(crowd)
        # Once more: it costs channels, which those who use others do not notice either.
        said, accuser = running.service.log().count(ACCUSES), running.worker()
        accuse_everybody(running)
        wait_for(lambda: running.service.log().count(ACCUSES) >= said + len(CROWD), 10)
        check(crowd)
        assert running.worker() == accuser
        assert running.service.log().count(KILLED) == 1
        assert frontends(running, CROWD) == before


def accuse_everybody(running: TokenService) -> None:
    running.shim.set(f"C_GenerateRandom@1 accuse {MOST_SERIALS}")
    provoke(running)
    running.shim.clear()


def check(crowd: list[Kept]) -> None:
    """Check that the other provider serves everybody at once, and the token eventually."""
    for client in crowd:
        assert client.ask(client.caller.sign("k", ECDSA_SHA_256, bytes(32))).status == 0
        to_token = Caller(client.caller.uid, provider=PROVIDER).random(8)
        wait_for(lambda ask=client.ask, request=to_token: ask(request).status == 0, 10)  # type: ignore[misc]
