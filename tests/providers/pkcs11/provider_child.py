"""The process of the provider: the settings come as a line of JSON, then requests, which are handled as in a worker.

Below the handlers of a real worker is a key store that is a dictionary. Each line of JSON is answered with one. The
process ends without the module's own clean-up, which SoftHSM does not survive.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgpack
from pkcs11 import Attribute

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.ipc.keystore import PendingState
from cofferdam_contracts.ipc.requests import decode_request
from cofferdam_contracts.psa.encoding import decode_attributes
from cofferdam_contracts.settings import Pkcs11Settings, load
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.handlers import Context, Slow
from cofferdam_providers.base.keyring import Keyring
from cofferdam_providers.base.provider import DeviceLostError, StoredKey
from cofferdam_providers.base.service import Service
from cofferdam_providers.pkcs11.module_access import module_access, own
from cofferdam_providers.pkcs11.pin import PinError, read_pin
from cofferdam_providers.pkcs11.provider import Pkcs11Provider
from cofferdam_providers.pkcs11.quirks import QuirkError
from cofferdam_providers.pkcs11.token import SetupError
from cofferdam_runtime.log import Log

APPLICATION: Final = Application(3, "1000")
_FOREVER: Final = 1 << 62
_COPIED: Final = (
    *(Attribute.CLASS, Attribute.KEY_TYPE, Attribute.ID, Attribute.TOKEN, Attribute.PRIVATE, Attribute.SENSITIVE),
    *(
        Attribute.EXTRACTABLE,
        Attribute.SIGN,
        Attribute.VERIFY,
        Attribute.EC_PARAMS,
        Attribute.EC_POINT,
        Attribute.VALUE,
    ),
)
Answer = dict[str, Any]


class Rows:
    """A key store in memory; a half-created or half-destroyed row has a state."""

    def __init__(self) -> None:
        """Begin without keys."""
        self.rows: dict[KeyIdentity, StoredKey] = {}
        self.states: dict[KeyIdentity, PendingState] = {}

    def lookup(self, identity: KeyIdentity) -> StoredKey:
        """Return a row."""
        if identity not in self.rows or identity in self.states:
            raise ServiceError(Status.PSA_ERROR_DOES_NOT_EXIST)
        return self.rows[identity]

    def confirm(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Accept any row as sealed."""
        assert stored == self.rows[identity]

    def reserve(self, identity: KeyIdentity, planned: StoredKey) -> None:
        """Reserve a name."""
        if identity in self.rows:
            raise ServiceError(Status.PSA_ERROR_ALREADY_EXISTS)
        self.rows[identity], self.states[identity] = planned, PendingState.RESERVED

    def activate(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Make a key usable."""
        del self.states[identity]
        self.rows[identity] = stored

    def cancel(self, identity: KeyIdentity) -> None:
        """Release a name."""
        del self.rows[identity], self.states[identity]

    def mark_deleting(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Mark a key."""
        assert stored == self.rows[identity]
        self.states[identity] = PendingState.DELETING

    def remove(self, identity: KeyIdentity) -> None:
        """Remove a key."""
        self.cancel(identity)

    def pending(self) -> Iterator[tuple[PendingState, KeyIdentity, StoredKey]]:
        """Yield the half-done rows."""
        for identity, state in list(self.states.items()):
            yield state, identity, self.rows[identity]

    def keys_of(self, application: Application) -> tuple[str, ...]:
        """Return the names of all keys."""
        del application
        return tuple(identity.key_name for identity in self.rows)


class Child:
    """The provider, and the commands for it."""

    def __init__(self, settings: Pkcs11Settings) -> None:
        """Open the provider as its process does, without dropping privileges."""
        log = Log("child", settings.worker.log)
        pin = read_pin(settings.pin_file) if settings.pin_file else bytes.fromhex(settings.pin or "") or None
        own(settings.state_folder, None)
        self.provider = Pkcs11Provider(settings, module_access(settings), pin, log)
        self.provider.open()
        self.rows = Rows()
        self._log, self._settings = log, settings.worker
        self._serve(self.rows)

    def about(self) -> Answer:
        """Tell whether the token is open, and otherwise the error of every request."""
        opened = self.provider._opened
        return {
            "open": opened is not None,
            "retry": self.provider.expires is not None,
            "refusal": self.provider._refusal.detail,
            "labels": opened is not None and opened.capabilities.labels,
            "refused": sorted(map(str, opened.capabilities.refused)) if opened else [],
        }

    def use_key_store(self, folder: str) -> Answer:
        """Use the real key store instead of the dictionary."""
        from tests.providers.base.device import key_store  # noqa: PLC0415  only here are the tests on the path

        self._held = key_store(Path(folder))
        self._serve(self._held.__enter__())
        return {}

    def perform(self, message: str, application: str = APPLICATION.name) -> Answer:
        """Perform a client's request; the message is its msgpack form as frontends send it, in hex."""
        # Read in the same way as by the channel; what the channel refuses is tested elsewhere.
        request = decode_request(tuple(_message(message)))._replace(deadline=_FOREVER)
        try:
            outcome: Any = self.service.perform(Application(APPLICATION.authenticator, application), request)
            if isinstance(outcome, Slow):
                outcome = self.service.conclude(outcome, self.service.run(outcome, _FOREVER))
        except ServiceError as error:
            return {
                "status": error.status.value,
                "lost": isinstance(error, DeviceLostError),
                "detail": error.detail,
                "results": [],
            }
        return {"status": 0, "lost": False, "detail": "", "results": [result.hex() for result in outcome]}

    def row(self, name: str) -> Answer:
        """Return a key's row."""
        stored = self.rows.rows.get(_identity(name))
        if stored is None:
            return {"key_id": "", "version": 0, "bits": 0}
        return {"key_id": stored.key_id.hex(), "version": stored.version, "bits": stored.attributes.bits}

    def put_row(self, name: str, key_id: str, version: int, attributes: str) -> Answer:
        """Put a row into the key store that this process did not make."""
        self.rows.rows[_identity(name)] = StoredKey(
            key_id=bytes.fromhex(key_id), version=version, attributes=decode_attributes(bytes.fromhex(attributes))
        )
        return {}

    def reconcile(self) -> Answer:
        """Finish what is half-done; return whether something remains."""
        for _ in self.keyring.reconcile():
            pass
        return {"unresolved": self.keyring.unresolved, "rows": len(self.rows.rows)}

    def cool(self) -> Answer:
        """Drop the keys that are ready for use, as a worker does that has too many."""
        ready = self.keyring._ready
        for owner, keys in list(ready._keys.items()):
            for name in list(keys):
                ready.drop(owner, name)
        return {}

    def forget(self, patience_s: float) -> Answer:
        """Forget what is known of the token, and list it again for so long."""
        assert self.provider._opened is not None
        objects = self.provider._opened.objects
        objects._known.clear()
        objects.complete = False
        objects.list_all(patience_s)
        return {"known": len(objects), "complete": objects.complete}

    def go_on(self) -> Answer:
        """List as much of the token as a worker does at a time when nobody asks for anything."""
        assert self.provider._opened is not None
        before = self.provider.go_on()
        return {"more": before, "complete": self.provider._opened.objects.complete}

    def vanish(self, class_number: int) -> Answer:
        """Destroy the objects of a class behind the provider's back."""
        assert self.provider._opened is not None
        session = self.provider._opened.cryptoki
        found = session.find({Attribute.CLASS: class_number})
        for handle in found:
            session.destroy(handle)
        return {"count": len(found)}

    def copy(self, class_number: int, *, keep: bool = False, always_authenticate: bool = False) -> Answer:
        """Make the objects of a class anew behind the provider's back, with the same identifiers."""
        assert self.provider._opened is not None
        session = self.provider._opened.cryptoki
        found = session.find({Attribute.CLASS: class_number})
        for handle in found:
            parts = session.attributes(handle, _COPIED)
            session.create({**parts, **({Attribute.ALWAYS_AUTHENTICATE: True} if always_authenticate else {})})
            if not keep:
                session.destroy(handle)
        return {"count": len(found)}

    def swap(self, class_number: int) -> Answer:
        """Make the two objects of a class anew behind the provider's back, each with the identifier of the other."""
        assert self.provider._opened is not None
        session = self.provider._opened.cryptoki
        handles = session.find({Attribute.CLASS: class_number})
        one, other = (session.attributes(handle, _COPIED) for handle in handles)
        for handle in handles:
            session.destroy(handle)
        session.create({**one, Attribute.ID: other[Attribute.ID]})
        session.create({**other, Attribute.ID: one[Attribute.ID]})
        return {}

    def destroy_one(self, class_number: int) -> Answer:
        """Destroy one object of a class behind the provider's back."""
        assert self.provider._opened is not None
        session = self.provider._opened.cryptoki
        session.destroy(session.find({Attribute.CLASS: class_number})[-1])
        return {}

    def log_out(self, library: str) -> Answer:
        """Log out behind the provider's back."""
        assert self.provider._opened is not None
        return {"code": ctypes.CDLL(library).C_Logout(ctypes.c_ulong(self.provider._opened.cryptoki._session))}

    def _serve(self, store: Any) -> None:  # noqa: ANN401  the real key store, or what is like it
        self.keyring = Keyring(self.provider, store, self._settings.key_cache, self._log)
        context = Context(provider=self.provider, keyring=self.keyring, settings=self._settings, log=self._log)
        self.service = Service(context)

    def wait(self) -> Answer:
        """Return in how many seconds the process would make room for a successor."""
        assert self.provider.expires is not None
        return {"seconds": self.provider.expires - time.monotonic()}


def _identity(name: str) -> KeyIdentity:
    return KeyIdentity(APPLICATION.authenticator, APPLICATION.name, name)


def _message(text: str) -> list[Any]:
    message: list[Any] = msgpack.unpackb(bytes.fromhex(text), use_list=False)
    return message


def main() -> None:
    """Serve."""
    try:
        child = Child(load(Pkcs11Settings, sys.stdin.readline().encode()))
    except (SetupError, PinError, QuirkError) as error:
        _say({"failed": type(error).__name__, "text": str(error)})
        os._exit(0)
    _say(child.about())
    commands: dict[str, Callable[..., Answer]] = {
        method.__name__: method
        for method in (
            *(child.about, child.wait, child.perform, child.row, child.put_row, child.reconcile),
            *(
                child.cool,
                child.use_key_store,
                child.forget,
                child.go_on,
                child.vanish,
                child.destroy_one,
                child.swap,
                child.log_out,
                child.copy,
            ),
        )
    }
    for line in sys.stdin:
        word, arguments, named = json.loads(line)
        _say(commands[word](*arguments, **named))
    os._exit(0)


def _say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


main()
