"""Regression tests for flaws that were found by reviewing the code as an attacker."""

import os
import signal

import pytest
from tests.harness import wire
from tests.harness.events import replace
from tests.harness.service import Service, acting_as
from tests.harness.watch import wait_for
from tests.harness.wire import P256_SIGN, Caller, Request, call

from cofferdam_client import Client, Direct, ServiceStatusError, Status, ecc_signing_key

PING = Request()
AS_ROOT = os.geteuid() == 0


def test_a_client_has_a_quota_of_keys() -> None:
    with Service(tables={"limits": {"max_keys": 5}}) as service:
        caller, path = Caller(os.getuid()), service.socket_path
        statuses = [call(path, caller.generate(f"k{number}", P256_SIGN)).status for number in range(7)]
        assert statuses == [0] * 5 + [1142] * 2
        assert call(path, caller.destroy("k0")).status == 0
        assert call(path, caller.generate("k7", P256_SIGN)).status == 0


def test_a_name_that_is_too_long_is_refused_and_costs_nothing() -> None:
    with Service() as service:
        caller, path = Caller(os.getuid()), service.socket_path
        for name in ("n" * 4097, "n" * 900_000):
            assert call(path, caller.generate(name, P256_SIGN)).status == 1135
            # The reference may have stored a key of this name.
            assert call(path, caller.destroy(name)).status == 1140
        assert call(path, caller.generate("n" * 4096, P256_SIGN)).status == 0
        assert "broke the protocol" not in service.log()


@pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")
def test_values_that_no_process_takes_restart_none() -> None:
    """A frontend that passed such a value on unchecked would be accused in place of its client."""
    greedy, victim = 59201, 59202
    with Service(admins=[str(greedy)]) as service:
        caller, other, path = Caller(greedy), Caller(victim), service.socket_path
        with acting_as(victim):
            assert call(path, other.generate("k", P256_SIGN)).status == 0
        before = processes(service)
        oversized = [
            (caller.request(wire.DELETE_CLIENT, wire.blob(1, name.encode()), provider=0), 1135)
            for name in ("n" * 4097, "é" * 2049, "n" * 1_000_000)
        ]
        oversized += [(caller.generate("n" * 4097, P256_SIGN), 1135), (caller.destroy("n" * 4097), 1140)]
        oversized += [(caller.random((1 << 64) - 1), 10)]
        with acting_as(greedy):
            for request, status in oversized * 2:
                assert call(path, request).status == status
            at_most = caller.request(wire.DELETE_CLIENT, wire.blob(1, b"n" * 4096), provider=0)
            assert call(path, at_most).status == 0
        with acting_as(victim):
            assert call(path, other.sign("k", wire.ECDSA_SHA_256, bytes(32))).status == 0
        assert processes(service) == before
        assert "broke the protocol" not in service.log()


def processes(service: Service) -> dict[str, tuple[int, int]]:
    """Return pid and restarts of the servers."""
    return {
        row["role"]: (row["pid"], row["restarts"])
        for row in service.status()["processes"]
        if not row["role"].startswith("frontend")
    }


def test_deleting_a_client_with_many_keys_keeps_nobody_waiting_and_leaves_none() -> None:
    with Service(authenticators=["UnixPeerCredentials", "Direct"], admins=["boss"]) as service:
        with Client(service.endpoint, auth=Direct("app")) as app:
            for number in range(150):
                app.generate_key(f"k{number}", ecc_signing_key())
            with Client(service.endpoint, auth=Direct("boss")) as boss:
                boss.delete_client("app")
            assert app.list_keys() == []
            with pytest.raises(ServiceStatusError) as caught:
                app.export_public_key("k1")
            assert caught.value.status == Status.PSA_ERROR_DOES_NOT_EXIST
        assert "died" not in service.log()


def test_a_frontend_that_does_not_answer_the_key_store_does_not_keep_it_from_starting() -> None:
    with Service(tables={"limits": {"hang_ms": 60_000}}) as service:
        caller, path = Caller(os.getuid()), service.socket_path
        assert call(path, caller.generate("k", P256_SIGN)).status == 0
        frontend = next(row["pid"] for row in service.rows("frontend") if row["principal"] == os.getuid())
        os.kill(frontend, signal.SIGSTOP)
        replace(service, "kim")
        os.kill(frontend, signal.SIGKILL)
        wait_for(lambda: frontend not in service.pids("frontend"))
        assert call(path, caller.request(wire.LIST_KEYS, provider=0)).status == 0
        assert service.log().count("process=kim") <= 4


@pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")
def test_many_uids_at_once_are_served_or_refused_and_the_broker_stays() -> None:
    with Service(tables={"limits": {"max_frontends": 3, "frontend_idle_ms": 1000}}) as service:
        broker = service.pid
        served = 0
        uids = range(59100, 59112)
        for uid in uids:
            with acting_as(uid):
                try:
                    served += call(service.socket_path, PING).status == 0
                except (wire.BrokenResponseError, OSError):
                    continue
        assert served >= 3
        wait_for(lambda: not any(row["principal"] in uids for row in service.rows("frontend")))
        assert call(service.socket_path, PING).status == 0
        assert service.pid == broker
        assert len(service.rows("frontend")) <= 5
