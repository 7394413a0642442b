"""The channels between children: which may connect, and what becomes of a channel when one end dies.

The broker keeps a duplicate of the server's end of each channel. So a server's successor gets the same channels with
everything that was not read from them yet. When a client dies, its channels are dropped.
"""

import os
from collections.abc import Container

from cofferdam_broker.process import ChildProcess, Key
from cofferdam_contracts.ipc.control import DownstreamChannel, UpstreamChannel
from cofferdam_contracts.roles import Role
from cofferdam_runtime.pairs import socket_pair


class Link:
    """A channel: its client, its server, the broker's duplicate of the server's end, and the process that holds it."""

    def __init__(self, client: ChildProcess, server: Key, descriptor: int) -> None:
        """Describe a channel whose server has not received it yet."""
        self.client, self.server, self.descriptor = client, server, descriptor
        self.holder: ChildProcess | None = None

    def record(self) -> DownstreamChannel:
        """Return the record that passes the end to the server's next process."""
        client, uid, adopted = self.client, self.client.principal or 0, self.holder is not None
        return DownstreamChannel(client.role, uid, client.number, client.serial, adopted, self.descriptor)


class Wiring:
    """All channels."""

    def __init__(self) -> None:
        """Start without any."""
        self._links: list[Link] = []

    def connect(self, client: ChildProcess, server: Key) -> None:
        """Create a channel and give the client its end; `announce` gives the server its own."""
        role, number = server
        if not client.role.may_ask(role) or (client.principal is None) != (client.role is not Role.FRONTEND):
            raise ValueError(f"{client.title} may not ask {role.name}")
        theirs, serving = socket_pair()
        client.send(UpstreamChannel(role, number, client.cuts[server].total, theirs.fileno()))
        theirs.close()
        self._links.append(Link(client, server, serving.detach()))

    def announce(self, process: ChildProcess) -> bool:
        """Give a server the channels that it lacks, as far as it accepts them; return whether it has all."""
        for link in self._links:
            if link.server == process.key and link.holder is not process:
                if not process.offer(link.record()):
                    return False
                link.holder = process
        return True

    def drop(self, client: ChildProcess, servers: Container[Key]) -> None:
        """Drop a client's channels to some servers."""
        gone = {link for link in self._links if link.client is client and link.server in servers}
        for link in gone:
            os.close(link.descriptor)
        self._links = [link for link in self._links if link not in gone]

    def servers_of(self, client: ChildProcess) -> frozenset[Key]:
        """Return the servers to which a client has channels."""
        return frozenset(link.server for link in self._links if link.client is client)
