"""Tells the broker which uids own keys: they keep their place before uids without keys."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.control import KeyOwner, Record
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.status import ServiceError
from cofferdam_kim.stores import Stores

_AT_A_TIME: Final = 32
"""Records sent before questions are answered again."""
_MOST_UID: Final = (1 << 32) - 1


class OwnerNotifier:
    """Keeps track of what the broker has not been told yet."""

    def __init__(self, stores: Stores, send: Callable[[Record], bool]) -> None:
        """Find the present owners; `send` returns False while the broker accepts no record."""
        self._stores = stores
        self._send = send
        self._untold: dict[int, bool] = {}
        with suppress(ServiceError):  # it is in the log; no uid keeps a place for its keys then
            names = stores.names(AuthType.UNIX_PEER_CREDENTIALS)
            self._untold.update((uid, True) for name in names if (uid := _uid(name)) is not None)

    def changed(self, authenticator: int, name: str) -> None:
        """Check whether an application owns keys now."""
        uid = _uid(name) if authenticator == AuthType.UNIX_PEER_CREDENTIALS else None
        if uid is not None:
            with suppress(ServiceError):
                self._untold[uid] = self._stores.has_keys(Application(authenticator, name))

    def tell(self) -> bool:
        """Send some of what the broker does not know, as far as it accepts it; return whether to call again at once."""
        for uid, owns in list(self._untold.items())[:_AT_A_TIME]:
            if not self._send(KeyOwner(uid, owns)):
                return False
            del self._untold[uid]
        return bool(self._untold)


def _uid(name: object) -> int | None:
    """Return the uid whose canonical text a name is; None for other text and other types."""
    if type(name) is not str:
        return None
    return int(name) if name.isdecimal() and len(name) <= len(str(_MOST_UID)) and str(int(name)) == name else None
