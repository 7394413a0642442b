"""Warnings of a child about states that last: each is logged once, not again by every successor of the child."""

import binascii
from contextlib import suppress

from cofferdam_contracts.ipc.control import Said
from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.control import ControlError
from cofferdam_runtime.entry import Start
from cofferdam_runtime.log import Log


class ChildLog(Log):
    """The log of a child whose predecessors may have said the same; the broker remembers it (`said`)."""

    def __init__(self, component: str, settings: LogSettings, start: Start) -> None:
        """Log as `component`, and begin with what the predecessor warned of."""
        super().__init__(component, settings)
        self._control = start.control
        self._known = frozenset(int(digest) for digest in "".join(start.arguments[:1]).split(",") if digest)

    def notice(self, event: str, **values: object) -> None:
        """Log a warning, at debug level if the predecessor has logged it; the broker is told in either case."""
        words = repr((event, *((name, str(value)) for name, value in values.items())))
        digest = binascii.crc32(words.encode("utf-8", "backslashreplace"))
        with suppress(ControlError):  # the broker is gone, and this process ends soon
            self._control.send(Said(digest))
        (self.debug if digest in self._known else self.warning)(event, **values)
