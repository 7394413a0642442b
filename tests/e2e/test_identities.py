"""Nobody reaches the keys of another, whoever was replaced meanwhile: what a successor is told has to be right.

Every check goes through real processes with clients of several uids and of both authenticators. A root-only client
would be served by a service that forgets who a channel belongs to.
"""

import os
from collections.abc import Callable, Iterator

import pytest
from tests.harness import wire
from tests.harness.events import reload, replace, restart
from tests.harness.identities import AS_ROOT, DOES_NOT_EXIST, Identity, check, people
from tests.harness.service import UNPRIVILEGED_UID, Service, acting_as
from tests.harness.wire import ECDSA_SHA_256, KEEP_ALIVE, P256_SIGN, UNIX_PEER, Caller, Request, call

PING = Request()
AUTHENTICATORS = ("UnixPeerCredentials", "Direct")
OVERFLOW_UID = 65534
OWN_UIDS = range(60706, 60706 + 256)
READER_UID = 65533
RELAY_UID = 65532
"""Those of the service where `isolation.uid_base` is not set."""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Service, list[Identity]]]:
    with Service(authenticators=AUTHENTICATORS) as service:
        everybody = people()
        for who in everybody:
            who.make(service.socket_path, "k")
        everybody[0].make(service.socket_path, "only of the first")
        everybody[1].make(service.socket_path, "only of the second")
        yield service, everybody


EVENTS: dict[str, tuple[Callable[[Service], None], ...]] = {
    "nothing": (),
    "another worker": (lambda service: replace(service, "worker[software]"),),
    "another kim": (lambda service: replace(service, "kim"),),
    "other frontends": (lambda service: replace(service, "frontend"),),
    # A second successor adopts what the first one adopted.
    "another worker after another kim": (
        lambda service: replace(service, "kim"),
        lambda service: replace(service, "worker[software]"),
    ),
    "a reload": (reload,),
    "another broker": (restart,),
}


@pytest.mark.parametrize("event", EVENTS)
def test_everybody_has_their_own_keys_after(served: tuple[Service, list[Identity]], event: str) -> None:
    service, everybody = served
    for happen in EVENTS[event]:
        happen(service)
    check(service.socket_path, everybody)


def test_a_kept_connection_keeps_its_identity_when_servers_are_replaced(
    served: tuple[Service, list[Identity]],
) -> None:
    service, everybody = served
    connections = []
    for who in everybody:
        with acting_as(who.uid):
            connection = wire.connect(service.socket_path)
        connections.append((who, connection))
    for role in ("", "worker[software]", "kim"):
        if role:
            replace(service, role)
        for who, connection in connections:
            sign = Caller(who.uid).sign("only of the second", ECDSA_SHA_256, bytes(32)).but(flags=KEEP_ALIVE)
            connection.sendall(who.request(sign).to_bytes())
            expected = 0 if "only of the second" in who.keys else DOES_NOT_EXIST
            assert wire.read_response(connection).status == expected, who.title
    for _, connection in connections:
        connection.close()


def test_nobody_destroys_or_makes_anothers_key(served: tuple[Service, list[Identity]]) -> None:
    service, everybody = served
    stranger = everybody[2] if AS_ROOT else everybody[-1]
    name = "only of the first"
    for _ in range(2):
        assert stranger.call(service.socket_path, Caller(stranger.uid).destroy(name)).status == DOES_NOT_EXIST
        # The name is free for everybody else, and what is made there is another key.
        stranger.make(service.socket_path, name)
        check(service.socket_path, everybody)
        assert stranger.call(service.socket_path, Caller(stranger.uid).destroy(name)).status == 0
        del stranger.keys[name]
        replace(service, "worker[software]")
    check(service.socket_path, everybody)


@pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")
def test_a_uid_that_cannot_be_a_client_is_turned_away() -> None:
    with Service() as service:
        assert call(service.socket_path, PING).status == 0
        own = {row["uid"] for row in service.status()["processes"]} - {None}
        refused = {RELAY_UID, READER_UID, OVERFLOW_UID, OWN_UIDS[0], OWN_UIDS[-1]}
        for uid in sorted(refused | {uid for uid in own if uid is not None}):
            with acting_as(uid), pytest.raises((OSError, wire.BrokenResponseError)):
                call(service.socket_path, PING)
        # It may be said once for several.
        assert "cannot be a client" in service.log()
        assert {row["principal"] for row in service.rows("frontend")} == {0, None}
        for uid in (RELAY_UID - 1, OVERFLOW_UID + 1, OWN_UIDS[0] - 1, OWN_UIDS[-1] + 1):
            with acting_as(uid):
                assert call(service.socket_path, PING).status == 0


@pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")
def test_a_service_of_a_user_takes_every_uid_for_itself_alone() -> None:
    with Service(as_user=UNPRIVILEGED_UID) as service:
        everybody = [Identity(uid) for uid in (0, UNPRIVILEGED_UID, 59002)]
        for who in everybody:
            who.make(service.socket_path, "k")
        for role in ("worker[software]", "kim", "frontend"):
            replace(service, role)
            check(service.socket_path, everybody)


def test_a_direct_name_has_a_length_and_a_longer_one_costs_no_process() -> None:
    with Service(authenticators=["Direct"]) as service:
        caller = Caller(os.getuid())

        def status_of(name: bytes) -> int:
            request = caller.request(wire.LIST_KEYS, provider=wire.CORE).but(auth_type=wire.DIRECT, auth=name)
            return call(service.socket_path, request).status

        def generate(name: bytes) -> int:
            request = caller.generate("k", P256_SIGN).but(auth_type=wire.DIRECT, auth=name)
            return call(service.socket_path, request).status

        assert (status_of(b"n" * 4096), generate(b"n" * 4096)) == (0, 0)
        before = service.pids("frontend")
        for size in (4097, 5000, 60_000):
            assert (status_of(b"n" * size), generate(b"n" * size)) == (11, 11)
        assert status_of(b"") == 11
        assert status_of(b"\xff") == 11
        assert set(before) <= set(service.pids("frontend"))
        assert "broke the protocol" not in service.log()


def test_a_forged_uid_is_refused_whatever_its_form(served: tuple[Service, list[Identity]]) -> None:
    service, everybody = served
    path, me = service.socket_path, os.getuid()
    sign = Caller(me).sign("k", ECDSA_SHA_256, bytes(32))
    forms = (
        *(wire.unix_auth(uid) for uid in (me + 1, me ^ 0x100, 0xFFFF_FFFF)),
        *(b"", wire.unix_auth(me)[:3], wire.unix_auth(me) + b"\0", wire.unix_auth(me)[::-1] + b"x"),
    )
    for auth in forms:
        assert call(path, sign.but(auth_type=UNIX_PEER, auth=auth)).status == 11, auth
    if AS_ROOT:
        with acting_as(everybody[1].uid):
            assert call(path, sign.but(auth_type=UNIX_PEER, auth=wire.unix_auth(0))).status == 11
