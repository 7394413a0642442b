"""The objects on the token: from CKA_ID and class to handle.

Finding an object is linear in some modules (SoftHSM: 10 µs for each object on the token), so the token is listed once,
when it is opened. If that takes long, the rest is listed between requests, and keys are searched for until then. A
handle that the module no longer knows is searched for again, once.

Our own identifiers are 128 random bits. Those that the reference made are 32, and a token may hold objects of other
programs, so two objects of one class with the same identifier are rejected: it is unknown which one is meant.
"""

import secrets
import time
from typing import Final

from pkcs11 import Attribute, ObjectClass

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pkcs11.cryptoki import Cryptoki, CryptokiError, Template, number_of
from cofferdam_providers.pkcs11.errors import STALE, translated

KEY_CLASSES: Final = (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY, ObjectClass.PUBLIC_KEY)
"""The order in which the objects of a key are destroyed: those that could still be used go first."""
LISTING_S: Final = 2.0
"""Longest time that a start waits for the listing; the broker waits no longer than `limits.start_ms`."""
STEP_S: Final = 0.02
"""Time for one step of the rest, between requests."""
UNGUESSABLE: Final = 16
"""Length in bytes of an identifier that no other object has by chance."""
_TRIES: Final = 64
_CLASSES: Final = frozenset(map(int, KEY_CLASSES))

Handles = dict[ObjectClass, int]
_Rows = dict[bytes, list[tuple[ObjectClass, int]]]


class Objects:
    """The key objects of the token by identifier."""

    def __init__(self, cryptoki: Cryptoki) -> None:
        self._cryptoki = cryptoki
        self._known: _Rows = {}
        self._listed: _Rows = {}
        self._to_list: list[int] = []
        self.complete = False
        """Whether all objects that were on the token when it was opened are known."""

    def __len__(self) -> int:
        """Return how many identifiers are known."""
        return len(self._known)

    def __contains__(self, identifier: object) -> bool:
        """Tell whether an object with an identifier is known."""
        return identifier in self._known

    def list_all(self, patience_s: float = LISTING_S) -> None:
        """List the objects on the token, or begin to: `go_on` lists the rest.

        Raises:
            CryptokiError: The module fails.
        """
        self._to_list = self._cryptoki.find({Attribute.TOKEN: True})
        self._listed = {}
        self.go_on(patience_s)

    def go_on(self, patience_s: float = STEP_S) -> None:
        """List some more objects; errors as for `list_all`.

        An entry counts only once the listing is complete: further objects with the same identifier may follow.
        """
        until = time.monotonic() + patience_s
        while self._to_list and time.monotonic() < until:
            self._learn(self._to_list.pop(), self._listed)
        if not self._to_list and not self.complete:
            self._known = self._listed | self._known
            self._listed = {}
            self.complete = True

    def find(self, identifier: bytes) -> Handles:
        """Return the handles of the objects with an identifier; empty when there is none.

        Raises:
            ServiceError: There are several of one class, or the module fails.
        """
        rows = self._known.get(identifier, [])
        found = dict(rows)
        # Also when there were two of a class: somebody may have corrected that.
        return found if found and len(found) == len(rows) else self.find_again(identifier)

    def find_again(self, identifier: bytes) -> Handles:
        """Discard what is known of an identifier, ask the token, and return as `find` does."""
        self._known.pop(identifier, None)
        with translated():
            for handle in self._cryptoki.find({Attribute.ID: identifier}):
                self._learn(handle, self._known)
        rows = self._known.get(identifier, [])
        found = dict(rows)
        if len(found) < len(rows):
            raise ServiceError(
                Status.PSA_ERROR_CORRUPTION_DETECTED, "two objects of the token have the CKA_ID of this key"
            )
        return found

    def add(self, identifier: bytes, kind: ObjectClass, handle: int) -> None:
        """Remember an object that was just created."""
        self._known.setdefault(identifier, []).append((kind, handle))

    def destroy(self, handles: Handles) -> None:
        """Destroy these objects of a key."""
        for kind in KEY_CLASSES:
            if kind in handles:
                self._cryptoki.destroy(handles[kind])

    def forget(self, identifier: bytes) -> None:
        """Discard what is known of an identifier."""
        self._known.pop(identifier, None)
        self._listed.pop(identifier, None)

    def create(self, identifier: bytes, kind: ObjectClass, template: Template) -> int:
        """Create an object of a class with an identifier, and return its handle."""
        handle = self._cryptoki.create({Attribute.CLASS: kind, Attribute.ID: identifier, **template})
        self.add(identifier, kind, handle)
        return handle

    def new_identifier(self, size: int) -> bytes:
        """Return an identifier of `size` bytes that no object has."""
        for _ in range(_TRIES):
            identifier = secrets.token_bytes(size)
            if not any(identifier) or identifier in self._known:
                continue
            if self.complete or size >= UNGUESSABLE or not self.find_again(identifier):
                return identifier
        raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_STORAGE, f"no CKA_ID of {size} bytes is left on the token")

    def _learn(self, handle: int, rows: _Rows) -> None:
        try:
            found = self._cryptoki.attributes(handle, (Attribute.CLASS, Attribute.ID))
        except CryptokiError as error:
            if error.code in STALE:
                return  # destroyed since it was found
            raise
        if Attribute.CLASS not in found:
            return  # another program's object
        kind = number_of(found[Attribute.CLASS])
        if kind in _CLASSES and found.get(Attribute.ID):
            rows.setdefault(found[Attribute.ID], []).append((ObjectClass(kind), handle))
