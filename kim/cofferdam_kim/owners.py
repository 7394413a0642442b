"""Which uids own keys, told to the broker: they are served before those that only hold a place."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.control import FromChild, Record
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.status import ServiceError
from cofferdam_kim.store import KeyStore

_AT_A_TIME: Final = 32
"""Records sent before others have their turn."""
_MOST_UID: Final = (1 << 32) - 1


class Owners:
    """What the broker knows of owners, and what it does not know yet."""

    def __init__(self, store: KeyStore, send: Callable[[Record], bool]) -> None:
        """Find the owners there are; `send` returns False while the broker takes nothing."""
        self._store = store
        self._send = send
        self._untold: dict[int, bool] = {}
        with suppress(ServiceError):  # the log has it; nobody has a place kept then
            names = store.names(AuthType.UNIX_PEER_CREDENTIALS)
            self._untold.update((uid, True) for name in names if (uid := _uid(name)) is not None)

    def changed(self, authenticator: int, name: str) -> None:
        """See whether an application owns keys now."""
        uid = _uid(name) if authenticator == AuthType.UNIX_PEER_CREDENTIALS else None
        if uid is not None:
            with suppress(ServiceError):
                self._untold[uid] = self._store.has_keys(Application(authenticator, name))

    def tell(self) -> bool:
        """Tell the broker some of what it does not know, as far as it takes it; return whether it would take more."""
        for uid, owns in list(self._untold.items())[:_AT_A_TIME]:
            if not self._send(Record(FromChild.OWNER, uid, owns)):
                return False
            del self._untold[uid]
        return bool(self._untold)


def _uid(name: object) -> int | None:
    """Return the uid that a name is the text of; no other text is one, nor is another type."""
    if type(name) is not str:
        return None
    return int(name) if name.isdecimal() and len(name) <= len(str(_MOST_UID)) and str(int(name)) == name else None
