"""The channels between children: who may talk to whom, and what is left of a channel when one end dies.

The broker keeps a duplicate of the server's end of each channel. So a server's successor finds the same channels with
everything that was not yet taken from them, and a client that dies takes its channels along.
"""

import os
from collections.abc import Container
from dataclasses import dataclass

from cofferdam_broker.process import Key, Process
from cofferdam_contracts.ipc.control import Record, ToChild, channel_flags
from cofferdam_contracts.roles import ROUTES
from cofferdam_runtime.pairs import socket_pair


@dataclass(slots=True, eq=False)
class Link:
    """A channel: its client, its server, the broker's duplicate of the server's end, and who has that end besides."""

    client: Process
    server: Key
    descriptor: int
    principal: int
    holder: Process | None = None

    def record(self) -> Record:
        """Return what the next server is told about its end."""
        flags = channel_flags(self.client.serial, adopted=self.holder is not None)
        return Record(ToChild.CHANNEL, self.client.role, self.principal, self.client.number, flags)


class Wiring:
    """All channels."""

    def __init__(self) -> None:
        """Start without any."""
        self._links: list[Link] = []

    def connect(self, client: Process, server: Key, principal: int) -> None:
        """Make a channel, of which the server is not told yet."""
        if server[0] not in ROUTES.get(client.role, ()):
            raise ValueError(f"no route from {client.title} to {server[0].name}")
        theirs, serving = socket_pair()
        client.send(Record(ToChild.CHANNEL, server[0], 0, server[1], client.cuts[server].total), theirs.fileno())
        theirs.close()
        self._links.append(Link(client, server, serving.detach(), principal))

    def announce(self, process: Process) -> bool:
        """Give a server the channels that it does not have, as far as it takes them; return whether it has all."""
        for link in self._links:
            if link.server == process.key and link.holder is not process:
                if not process.offer(link.record(), link.descriptor):
                    return False
                link.holder = process
        return True

    def drop(self, client: Process, servers: Container[Key]) -> None:
        """Drop the channels of a client to some servers."""
        gone = {link for link in self._links if link.client is client and link.server in servers}
        for link in gone:
            os.close(link.descriptor)
        self._links = [link for link in self._links if link not in gone]

    def servers_of(self, client: Process) -> frozenset[Key]:
        """Return the servers that a client has channels to."""
        return frozenset(link.server for link in self._links if link.client is client)

    def close(self) -> None:
        """Drop all channels."""
        for link in self._links:
            os.close(link.descriptor)
        self._links.clear()
