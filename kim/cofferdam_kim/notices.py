"""What the key store tells the operator while it serves: a fault when it begins and ends, not at each use."""

from collections.abc import Callable
from typing import Final

from cofferdam_contracts.ipc.control import Condition, Record
from cofferdam_contracts.status import ServiceError
from cofferdam_kim.presence import Loss
from cofferdam_kim.stores import Stores
from cofferdam_runtime.log import Log

LOOK_S: Final = 1.0
"""Seconds between looks at the files."""
AGAIN_S: Final = 60.0
"""Seconds after which a failure that goes on is logged again."""
_MOST: Final = 64
"""Different failures that are remembered."""


class Notices:
    """Logs losses of files and failures of the store, and tells the broker whether keys can be made and destroyed."""

    def __init__(self, stores: Stores, log: Log, send: Callable[[Record], bool] = lambda _record: True) -> None:
        """Tell the broker at the first look; `send` returns False while it accepts no record."""
        self._stores = stores
        self._log = log
        self._send = send
        self._told: Condition | None = None
        self._loss: Loss | None = None
        self._failure = ""
        """Of the last change, empty if it succeeded."""
        self._due = 0.0
        self._logged: dict[str, float] = {}

    def look(self, now: float) -> float:
        """Look whether the files are in their places, if that is due; return the seconds until the next look."""
        if now >= self._due:
            self._due = now + LOOK_S
            self._compare(self._stores.loss())
            self._tell()
        return self._due - now

    def failed(self, error: ServiceError, now: float) -> None:
        """Log a failure of the store, the same one once a minute."""
        text = self._failure = str(error)
        if now < self._logged.get(text, now):
            return
        if len(self._logged) >= _MOST:
            self._logged.clear()
        self._logged[text] = now + AGAIN_S
        # If a file is lost, its own line comes first, as it has the remedy.
        self._compare(self._stores.loss())
        self._log.error("the key store failed", cause=error)

    def succeeded(self) -> None:
        """Note that a key was made or destroyed."""
        self._failure = ""

    def _tell(self) -> None:
        """Tell the broker what is news."""
        cause = self._cause()
        said = Condition(up=not cause, retry_ms=0, device=self._stores.paths, cause=cause)
        if said != self._told and self._send(said):
            self._told = said

    def _cause(self) -> str:
        """Return why no key can be made or destroyed, and what to do about it; empty if that is possible."""
        if self._loss is not None:
            return f"found {self._loss.found} at {self._loss.file}; {self._loss.remedy}"
        return self._stores.damaged() or self._failure

    def _compare(self, loss: Loss | None) -> None:
        if loss == self._loss:
            return
        self._loss = loss
        if loss is None:
            self._log.warning("the file of the key store is back; keys can be made and destroyed again")
            return
        # What is acknowledged is then in the file that is open, which is all that can be brought back.
        self._stores.flush()
        self._log.error(
            "a file of the key store is gone; no key can be made or destroyed",
            file=loss.file,
            found=loss.found,
            remedy=loss.remedy,
        )
