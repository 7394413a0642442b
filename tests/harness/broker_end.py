"""The broker's end of a control socket, for what runs without a broker: what a process told is read there."""

import _socket
from typing import TypeVar

from cofferdam_contracts.ipc.control import Record
from cofferdam_runtime.control import Control
from cofferdam_runtime.entry import Reporter

T = TypeVar("T")


class BrokerEnd:
    """Reads what is told over its `reporter`."""

    def __init__(self) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._control, self._theirs = Control(ours), theirs
        self.reporter = Reporter(Control(theirs))
        self._told: list[Record] = []

    def told(self, kind: type[T]) -> list[T]:
        """Return the records of a kind that came so far, also after `close`."""
        while self._theirs.fileno() >= 0 and (record := self._control.receive()) is not None:
            self._told.append(record)
        return [record for record in self._told if isinstance(record, kind)]

    def close(self) -> None:
        self.told(object)
        self._control.socket.close()
        self._theirs.close()
