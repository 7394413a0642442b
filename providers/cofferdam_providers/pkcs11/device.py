"""The open token as the operations see it: stale handles are found again, and errors say what happened.

A handle may become stale while the session lives (another program replaced the object, or the module renumbered its
objects): it is searched for once, and the call repeated. A lost session cannot be repaired in place, since modules do
not notice a token that came back before they are initialised again: `DeviceLostError` ends the worker. Many codes may
mean either a lost session or an odd request, so the session's state is asked for before one of them is believed; no
client can end the worker with a request.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

from pkcs11 import Attribute, ObjectClass

from cofferdam_contracts.psa.attributes import RSA_KINDS, KeyAttributes
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import DeviceLostError
from cofferdam_providers.pkcs11.capability_discovery import TokenCapabilities
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.cryptoki import (
    USER_STATES,
    Cryptoki,
    CryptokiError,
    ImplausibleAnswerError,
    Template,
)
from cofferdam_providers.pkcs11.errors import STALE, SUSPICIOUS, service_error
from cofferdam_providers.pkcs11.keys import TokenKey, key_of, main_class, public_data, read_public, wanted
from cofferdam_providers.pkcs11.objects import Objects
from cofferdam_providers.pkcs11.quirks import Quirks
from cofferdam_providers.pkcs11.templates import OPTIONAL, without
from cofferdam_providers.pyca.keys import Handle
from cofferdam_runtime.log import Log

P = ParamSpec("P")
R = TypeVar("R")
_PUBLIC_PARTS: Final = {
    True: (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT),
    False: (Attribute.EC_POINT,),
}
"""For RSA keys, and for others."""
_FUSSY: Final = frozenset(
    {
        *(Return.ATTRIBUTE_TYPE_INVALID, Return.ATTRIBUTE_VALUE_INVALID, Return.ATTRIBUTE_READ_ONLY),
        Return.TEMPLATE_INCONSISTENT,
    }
)
"""Codes for a template with an attribute that the token does not accept. Codes with other possible causes are not here:
they would remove the attribute from everybody's keys."""

Codes = Mapping[int, Status]


class TokenDevice:
    """A token with its objects."""

    def __init__(  # noqa: PLR0913  the parts of an open token
        self,
        cryptoki: Cryptoki,
        objects: Objects,
        capabilities: TokenCapabilities,
        quirks: Quirks,
        log: Log,
        *,
        pin: bytes | None,
    ) -> None:
        """Put the parts together; with a PIN, the session is logged in."""
        self.cryptoki = cryptoki
        self.objects = objects
        self.capabilities = capabilities
        self.quirks = quirks
        self.pin = pin
        self._log = log
        self._omitted: dict[frozenset[ObjectClass], frozenset[Attribute]] = {}

    def open_key(self, identifier: bytes, attributes: KeyAttributes) -> TokenKey:
        """Return a key by its identifier.

        Raises:
            ServiceError: There is no such object (`PSA_ERROR_DOES_NOT_EXIST`), or it is a different kind of key.
        """
        kind = main_class(attributes)
        handles = self._require(identifier, kind)
        reads = wanted(attributes.type.kind)
        with self._explaining():
            try:
                found = self.cryptoki.attributes(handles[kind], reads)
            except CryptokiError as error:
                if error.code not in STALE:
                    raise
                handles = self._require(identifier, kind, again=True)
                found = self.cryptoki.attributes(handles[kind], reads)
            return key_of(identifier, attributes, handles, found)

    def use(
        self, key: TokenKey, kind: ObjectClass, also: Codes | None, function: Callable[..., R], *arguments: object
    ) -> R:
        """Call a function of the module with the handle of one of the key's objects and further arguments.

        A stale handle is searched for again, once. `also` says what return codes mean in this operation, in addition to
        the table in `errors`.
        """
        handle = key.handles.get(kind)
        if handle is None:
            raise ServiceError(Status.PSA_ERROR_DOES_NOT_EXIST, f"the token has no {kind.name} object of this key")
        with self._explaining(also):
            try:
                return function(handle, *arguments)
            except CryptokiError as error:
                if error.code not in STALE:
                    raise
            self._find_again(key, kind)
            return function(key.handles[kind], *arguments)

    def go_on(self) -> None:
        """List some more of the objects on the token."""
        with self._explaining():
            self.objects.go_on()

    def pin_for(self, key: TokenKey) -> bytes | None:
        """Return the PIN for one use of a private key that requires a login for each; None for all other keys.

        Raises:
            ServiceError: There is no PIN (`PSA_ERROR_NOT_PERMITTED`). Called without one, the module would say that
                nobody is logged in, which is also its code for a lost session.
        """
        if not key.always_authenticate:
            return None
        if self.pin is None:
            raise ServiceError(
                Status.PSA_ERROR_NOT_PERMITTED, "the key requires the PIN for each use, and none is known"
            )
        return self.pin

    def explained(self, error: CryptokiError, also: Codes | None = None) -> ServiceError:
        """Return the error for a client; when the code may indicate a lost session, check the session."""
        if error.code == Return.USER_NOT_LOGGED_IN and self.pin is None:
            return ServiceError(Status.PSA_ERROR_COMMUNICATION_FAILURE, f"{error}, and no PIN is configured")
        if error.code in SUSPICIOUS and not self.is_well():
            return DeviceLostError(service_error(error).status, f"{error}, and the session is gone")
        return service_error(error, also)

    def destroy(self, identifier: bytes, main: ObjectClass) -> bool:
        """Destroy the objects of a key whose main object is of this class; return whether there were any.

        Raises:
            ServiceError: The token fails, or it cannot be determined whether the key is there.
        """
        with self._explaining():
            handles = self._all_of(identifier, main, again=False)
            try:
                self.objects.destroy(handles)
            except CryptokiError as error:
                if error.code not in STALE:
                    raise
                handles = self._all_of(identifier, main, again=True)
                self.objects.destroy(handles)
        self.objects.forget(identifier)
        return bool(handles)

    @staticmethod
    def unbelievable(detail: str) -> ServiceError:
        """Return the error for an impossible answer; the module that gave it is not used any more."""
        return DeviceLostError(Status.PSA_ERROR_COMMUNICATION_FAILURE, f"the module is not trusted: {detail}")

    def export_public(self, key: TokenKey) -> bytes:
        """Return the public part of a key pair or public key, in the format of export."""
        kind = ObjectClass.PUBLIC_KEY if ObjectClass.PUBLIC_KEY in key.handles else key.main
        found = self.use(key, kind, None, self.cryptoki.attributes, _PUBLIC_PARTS[key.kind in RSA_KINDS])
        return public_data(key.kind, key.bits, found)

    def public_of(self, key: TokenKey) -> Handle:
        """Return the public part in memory, for operations that are done here."""
        if key.public is None:
            key.public = read_public(key.kind, key.bits, self.export_public(key))
        return key.public

    def make(self, kinds: frozenset[ObjectClass], function: Callable[..., R], *templates: Template) -> R:
        """Create objects of these classes from templates.

        Optional attributes that the token does not accept with these classes are omitted from then on.

        Raises:
            CryptokiError: The module refuses for another reason.
        """
        omitted = self._omitted.get(kinds, self.quirks.omit)
        try:
            return function(*(without(template, omitted) for template in templates))
        except CryptokiError as error:
            less = omitted | OPTIONAL
            if error.code not in _FUSSY or less == omitted:
                raise
            made = function(*(without(template, less) for template in templates))
            self._omitted[kinds] = less
            names = " ".join(sorted(attribute.name for attribute in OPTIONAL))
            self._log.info("the token rejects templates with some attributes", attributes=names, cause=error)
            return made

    @contextmanager
    def _explaining(self, also: Codes | None = None) -> Iterator[None]:
        try:
            yield
        except CryptokiError as error:
            raise self.explained(error, also) from error
        except ImplausibleAnswerError as error:
            raise self.unbelievable(str(error)) from error

    def _all_of(self, identifier: bytes, main: ObjectClass, *, again: bool) -> dict[ObjectClass, int]:
        """Return the objects of a key to be destroyed; a token shows private ones only to a logged-in user."""
        handles = self.objects.find_again(identifier) if again else self.objects.find(identifier)
        if (
            main not in handles
            and main is not ObjectClass.PUBLIC_KEY
            and self.cryptoki.session().state not in USER_STATES
        ):
            raise (DeviceLostError if self.pin is not None else ServiceError)(
                Status.PSA_ERROR_COMMUNICATION_FAILURE,
                "nobody is logged in, so it cannot be determined whether the key is there",
            )
        return handles

    def is_well(self) -> bool:
        """Tell whether the session exists and somebody is logged in, as far as a PIN says so."""
        try:
            state = self.cryptoki.session().state
        except CryptokiError:
            return False
        return self.pin is None or state in USER_STATES

    def _find_again(self, key: TokenKey, kind: ObjectClass) -> None:
        """Give a key its new handles; the objects there must still be such a key."""
        handles = self._require(key.identifier, kind, again=True)
        handles = handles if key.main in handles else self._require(key.identifier, key.main)
        found = self.cryptoki.attributes(handles[key.main], wanted(key.kind))
        fresh = key_of(key.identifier, key.attributes, handles, found)
        key.handles, key.always_authenticate, key.public = fresh.handles, fresh.always_authenticate, None

    def _require(self, identifier: bytes, kind: ObjectClass, *, again: bool = False) -> dict[ObjectClass, int]:
        handles = self.objects.find_again(identifier) if again else self.objects.find(identifier)
        if kind not in handles:
            if not self.is_well():
                # A token that was logged out shows no private objects.
                raise DeviceLostError(Status.PSA_ERROR_COMMUNICATION_FAILURE, "the session is gone")
            raise ServiceError(Status.PSA_ERROR_DOES_NOT_EXIST, f"the token has no {kind.name} object of this key")
        return handles
