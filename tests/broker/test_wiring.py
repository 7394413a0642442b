"""The channels between processes: only those of the process graph, and each server hears of all of its own."""

import _socket

import pytest
from tests.broker.test_children import Rogue, close_all, heard_by

from cofferdam_broker.wiring import Wiring
from cofferdam_contracts.ipc.control import DownstreamChannel
from cofferdam_contracts.roles import SERVERS, Role
from cofferdam_runtime.loop import READ, WRITE


@pytest.mark.parametrize("client", list(Role))
@pytest.mark.parametrize("server", list(Role))
def test_what_is_not_in_the_process_graph_is_not_connected(client: Role, server: Role) -> None:
    one, other = Rogue(client), Rogue(server)
    uid = 1000 if client is Role.FRONTEND else 0
    one.process.principal = uid or None
    wiring = Wiring()
    try:
        if server in client.row.asks:
            wiring.connect(one.process, other.process.key)
            assert wiring.announce(other.process)
            assert wiring.servers_of(one.process) == {other.process.key}
            expected = DownstreamChannel(client, uid, 0, one.process.serial, adopted=False, descriptor=-1)
            assert heard_by(other) == expected
            # A successor hears the same of it, but that somebody served it before.
            successor = Rogue(server)
            assert wiring.announce(successor.process)
            assert heard_by(successor) == expected._replace(adopted=True)
            successor.close()
        else:
            with pytest.raises(ValueError, match="may not ask"):
                wiring.connect(one.process, other.process.key)
    finally:
        close_all(wiring)
        one.close()
        other.close()


def test_a_frontend_without_principal_has_no_channels() -> None:
    one, other = Rogue(Role.FRONTEND), Rogue(Role.KIM)
    try:
        with pytest.raises(ValueError, match="may not ask"):
            Wiring().connect(one.process, other.process.key)
    finally:
        one.close()
        other.close()


@pytest.mark.parametrize("role", sorted(SERVERS & Role.FRONTEND.row.asks))
def test_a_server_that_takes_nothing_for_a_while_hears_of_every_channel_later(role: Role) -> None:
    """As the worker of a device does while it makes a key; more clients come meanwhile than its socket holds."""
    server = Rogue(role)
    clients = [Rogue(Role.FRONTEND, number) for number in range(40)]
    try:
        server.process.spawned.control.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1 << 13)
        server.children._loop.add(server.process.spawned.control.fileno(), READ, lambda _events: None)
        for number, client in enumerate(clients):
            client.process.principal = 1000 + number
            server.children._connect(client.process, server.process.key)
        assert not server.process.killed
        heard: list[int] = []
        while len(heard) < len(clients):
            heard.append(heard_by(server).uid)
            if len(heard) % 5 == 0:
                server.children._on_control(server.process, WRITE)
        assert heard == list(range(1000, 1040))
        with pytest.raises(BlockingIOError):
            server.theirs.recv(100, _socket.MSG_DONTWAIT)
    finally:
        close_all(server.children.wiring)
        for each in (server, *clients):
            each.close()
