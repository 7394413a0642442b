"""An open TPM: its session, the parents of keys, and recovery when it forgets them.

**What the TPM holds for us.** In its memory, lost whenever it is reset: one salted HMAC session (none if bus protection
is off), the storage root key (`root`), and in the remaining slots parents and keys (`objects`). In its non-volatile
memory nothing but the seeds of its hierarchies: primary keys are computed from seed and template, the same ones each
time. Everything else is in the key store (`blobs`).

**States.**

- *closed*, until `open` has started the TPM if nobody else does, flushed what a dead predecessor left in an unmanaged
  TPM, and made session and storage root key.
- *open*: commands run. A response that a handle or session is unknown, or that the TPM was not started (`FORGOTTEN`),
  leads to *forgotten*.
- *forgotten*: the TPM was reset, or its resource manager dropped something. `retry_after_reset` discards all that was
  known to be loaded, makes session and storage root key anew, and does the piece of work once more. If that succeeds
  the TPM is *open*, and nothing is lost but time. A second such response is an error for the client.
- *lost* (`DeviceLostError`): a response was late, malformed or had a wrong HMAC, the connection broke, recovery failed,
  or the storage root key is a different one, so the TPM was cleared or replaced. Nothing is opened again in place: the
  worker answers, ends, and its successor begins with *closed*.

So each piece of work is a function that can be done twice. It must not change anything outside the TPM's memory.

**Codes with two meanings.** A wrong-authorisation code may mean that another program's object has taken a handle since
a reset, or that the session's nonces are out of step after a response that was lost. `execute` finds out, and reports
these as forgotten objects, so that no authorisation value is blamed for them.
"""

import os
from collections.abc import Callable, Sequence
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from cofferdam_contracts.identity import Application
from cofferdam_contracts.status import Status
from cofferdam_providers.base.provider import DeviceLostError
from cofferdam_providers.tpm import capabilities, public
from cofferdam_providers.tpm.codes import FIRST_TRANSIENT, STARTUP_CLEAR, Algorithm, Command, Handle, SessionType
from cofferdam_providers.tpm.connection import Named, TpmConnection, TpmResponse, permanent
from cofferdam_providers.tpm.errors import FORGOTTEN, WRONG_AUTH, Code, MalformedAnswerError, TpmError
from cofferdam_providers.tpm.marshal import U16, U32, Reader, sized
from cofferdam_providers.tpm.objects import Slots, TpmObject
from cofferdam_providers.tpm.session import (
    NONCE_BYTES,
    Authorization,
    HmacSession,
    Password,
    PolicyAuthorization,
    encrypt_salt,
)

AUTH_BYTES: Final = 32
"""Length of authorisation values."""
_NULL: Final = permanent(Handle.NULL)
T = TypeVar("T")


class TpmDevice:
    """A TPM that commands can be sent to."""

    def __init__(
        self,
        connection: TpmConnection,
        *,
        owner_auth: bytes,
        endorsement_auth: bytes,
        protected: bool,
        busy: Callable[[bool], None],
    ) -> None:
        """Use this TPM; `open` opens it.

        Args:
            connection: To the TPM.
            owner_auth: Authorisation value of the owner hierarchy.
            endorsement_auth: Authorisation value of the endorsement hierarchy.
            protected: Whether commands are sent in a salted session; otherwise passwords authorise them.
            busy: Called before (True) and after (False) a primary key is made, which may take long.
        """
        self.connection = connection
        self.slots = Slots(connection, capabilities.LEAST_SLOTS)
        self.busy = busy
        self._owner_auth = owner_auth
        self._endorsement_auth = endorsement_auth
        self._protected = protected
        self._aes_bits = 0
        self._session: HmacSession | None = None
        self.root: Final = Primary(self, Handle.OWNER, owner_auth)
        """The storage root key."""
        self.endorsement: Final = Primary(self, Handle.ENDORSEMENT, endorsement_auth, public.endorsement_key())
        """The endorsement key; `endorsement_policy` authorises its use."""
        self.forgot = ""
        """What the TPM said when it had forgotten something; the reader resets it."""
        self._parents: WeakValueDictionary[bytes, Primary] = WeakValueDictionary()

    def open(self) -> None:
        """Start the TPM if nobody else does, and make session and storage root key.

        Raises:
            TpmError: The TPM refuses.
            DeviceLostError: It does not respond as a TPM does.
        """
        self._start_up()
        self._aes_bits = capabilities.aes_bits(self.connection)
        self.root.template = public.primary(self._aes_bits)
        self.slots = Slots(self.connection, capabilities.slots(self.connection))
        self._begin()

    def retry_after_reset(self, work: Callable[[], T]) -> T:
        """Do a piece of work; if the TPM has forgotten what it needs for that, recover and do it once more.

        Raises:
            TpmError: The TPM refuses.
            DeviceLostError: It does not respond as a TPM does, or recovery failed.
        """
        try:
            try:
                return work()
            except TpmError as error:
                if error.code not in FORGOTTEN:
                    raise
                self.forgot = error.detail.partition(";")[0]
            self._recover()
            return work()
        except MalformedAnswerError as error:
            raise DeviceLostError(Status.PSA_ERROR_COMMUNICATION_FAILURE, f"the TPM gave {error}") from error

    def execute_with(
        self, command: Command, used: TpmObject, parameters: bytes, *, authorized: bool = True, others: int = 0
    ) -> Reader:
        """Execute a command with an object in its slot, again after a reset; return the parameters of the response.

        Args:
            command: The command.
            used: The object in the command's first handle.
            parameters: In plain text.
            authorized: Whether the command needs the object's authorisation.
            others: How many further slots have to be free.

        Raises:
            TpmError: The TPM refuses.
        """

        def work() -> Reader:
            named = self.slots.ensure_loaded(used, free=others)
            authorizations = (self.authorize(used.auth),) if authorized else self.protect()
            return self.execute(command, named, parameters, authorizations).parameters

        reader = self.retry_after_reset(work)
        used.proved = used.proved or authorized
        return reader

    def execute(
        self, command: Command, objects: Sequence[Named], parameters: bytes, authorizations: Sequence[Authorization]
    ) -> TpmResponse:
        """Execute a command with objects that are loaded.

        Raises:
            TpmError: The TPM refuses. A forgotten object is distinguished from a wrong authorisation value.
        """
        try:
            return self.connection.execute(command, objects, parameters, authorizations)
        except TpmError as error:
            if error.code in WRONG_AUTH:
                if not all(self._is_there(one) for one in objects if one.handle >= FIRST_TRANSIENT):
                    # The handle is another program's object since the TPM was reset.
                    raise TpmError(command.name, Code.REFERENCE_H0) from error
                if self._protected and not self.works():
                    # The TPM has advanced the session's nonces for a response that never arrived.
                    raise TpmError(command.name, Code.REFERENCE_S0) from error
            raise

    def authorize(self, value: bytes) -> Authorization:
        """Return the authorisation of one command with an object that has this value."""
        if not self._protected:
            return Password(value)
        return self._live_session().authorize(value)

    def protect(self) -> tuple[Authorization, ...]:
        """Return the protection of a command that needs no authorisation."""
        return (self._live_session().authorize(),) if self._protected else ()

    def parent_of(self, application: Application) -> TpmObject:
        """Return the storage parent of one application.

        It is derived from the seed of the owner hierarchy and the application's name, so that each application has
        another, and always the same one.
        """
        template = public.application_parent(self._aes_bits, application)
        known = self._parents.get(template)
        if known is None:
            known = self._parents[template] = Primary(self, Handle.OWNER, self._owner_auth, template)
        return known

    def endorsement_policy(self) -> PolicyAuthorization:
        """Start a session that authorises one use of the endorsement key, as the policy of its template says.

        Raises:
            TpmError: The authorisation value of the endorsement hierarchy is wrong, or no session is left.
        """
        handle, _, _ = self._start_session(SessionType.POLICY)
        secret = permanent(Handle.ENDORSEMENT)
        parameters = sized(b"") * 3 + U32.pack(0)
        try:
            self.execute(
                Command.POLICY_SECRET, [secret, permanent(handle)], parameters, [self.authorize(self._endorsement_auth)]
            )
        except TpmError as error:
            self.flush(handle)
            raise _explained(error, Command.POLICY_SECRET, Handle.ENDORSEMENT) from error
        return PolicyAuthorization(handle)

    def works(self) -> bool:
        """Tell whether the TPM executes anything at all; in failure mode it does not."""
        try:
            self.connection.execute(Command.GET_RANDOM, (), U16.pack(1), self.protect())
        except TpmError:
            return False
        return True

    def flush(self, handle: int) -> None:
        """Flush an object or a session, if it is still there."""
        try:
            self.connection.execute(Command.FLUSH_CONTEXT, parameters=U32.pack(handle))
        except TpmError as error:
            # An unknown handle is already flushed.
            if error.code not in FORGOTTEN:
                raise

    def close(self) -> None:
        """Flush everything of ours from the TPM.

        Raises:
            ServiceError: The TPM no longer responds.
        """
        for handle in self.slots.handles():
            self.flush(handle)
        self.slots.forget()
        if self._session is not None:
            handle, self._session = self._session.handle, None
            self.flush(handle)

    def _start_up(self) -> None:
        """Do what firmware, kernel and resource manager do for a TPM, where there are none."""
        if self.connection.starts_up:
            try:
                self.connection.execute(Command.STARTUP, parameters=U16.pack(STARTUP_CLEAR))
            except TpmError as error:
                # The TPM was already started.
                if error.code != Code.INITIALIZE:
                    raise
        if not self.connection.is_managed:
            # There are few slots, and nobody else flushes what a dead predecessor left in them.
            for handle in capabilities.loaded(self.connection):
                self.flush(handle)

    def _recover(self) -> None:
        """Begin again with a TPM that forgot everything.

        Raises:
            DeviceLostError: That failed.
        """
        try:
            self._start_up()
            if self.connection.is_managed:
                # It may have dropped a single object, and keeps the others while this connection is open.
                self.close()
            self._begin()
        except TpmError as error:
            raise DeviceLostError(error.status, f"a TPM that was reset: {error.detail}") from error

    def _begin(self) -> None:
        """Make the storage root key, and the session that is salted with it."""
        self.slots.forget()
        self._session = None
        first = None
        if self._protected:
            # Nothing exists yet to salt the first session with. It hides the new authorisation value of the storage
            # root key only as far as that of the owner hierarchy is secret.
            first = self._session = self._hmac_session(_NULL, b"", b"")
        try:
            (root,) = self.slots.ensure_loaded(self.root)
            if first is not None:
                salt = os.urandom(NONCE_BYTES)
                self._session = self._hmac_session(root, encrypt_salt(public.modulus_of(self.root.area), salt), salt)
        finally:
            if first is not None:
                self.flush(first.handle)

    def _live_session(self) -> HmacSession:
        if self._session is None:
            raise TpmError("StartAuthSession", Code.REFERENCE_S0)
        return self._session

    def _hmac_session(self, key: Named, encrypted_salt: bytes, salt: bytes) -> HmacSession:
        handle, ours, theirs = self._start_session(SessionType.HMAC, key, encrypted_salt, self._aes_bits)
        return HmacSession(handle, ours, theirs, salt, self._aes_bits)

    def _start_session(
        self, kind: SessionType, key: Named = _NULL, encrypted_salt: bytes = b"", aes_bits: int = 0
    ) -> tuple[int, bytes, bytes]:
        """Start a session; return its handle, our nonce and that of the TPM."""
        nonce = os.urandom(NONCE_BYTES)
        cipher = capabilities.aes(aes_bits) if aes_bits else U16.pack(Algorithm.NULL)
        parameters = sized(nonce) + sized(encrypted_salt) + bytes((kind,)) + cipher + U16.pack(Algorithm.SHA256)
        answer = self.connection.execute(Command.START_AUTH_SESSION, [key, _NULL], parameters)
        return answer.handle, nonce, answer.parameters.sized()

    def _is_there(self, named: Named) -> bool:
        """Tell whether a handle still is the object that it was."""
        try:
            reader = self.connection.execute(Command.READ_PUBLIC, [named]).parameters
        except TpmError:
            return False
        reader.sized()
        return reader.sized() == named.name


class Primary(TpmObject):
    """A key that the TPM derives from the seed of a hierarchy and a template: the same one each time."""

    def __init__(self, device: TpmDevice, hierarchy: Handle, hierarchy_auth: bytes, template: bytes = b"") -> None:
        super().__init__(b"", b"")
        self.template = template
        self.area = b""
        """Its public area, once it was made."""
        self._device = device
        self._hierarchy = hierarchy
        self._hierarchy_auth = hierarchy_auth

    def load(self) -> int:
        """Make it. A parent gets a new authorisation value each time; the endorsement key has a policy instead."""
        device = self._device
        auth = os.urandom(AUTH_BYTES) if self._hierarchy is Handle.OWNER else b""
        parameters = sized(sized(auth) + sized(b"")) + sized(self.template) + sized(b"") + U32.pack(0)
        device.busy(True)  # noqa: FBT003  what the record says
        try:
            answer = device.execute(
                Command.CREATE_PRIMARY,
                [permanent(self._hierarchy)],
                parameters,
                [device.authorize(self._hierarchy_auth)],
            )
        except TpmError as error:
            raise _explained(error, Command.CREATE_PRIMARY, self._hierarchy) from error
        finally:
            device.busy(False)  # noqa: FBT003
        area = answer.parameters.sized()
        name = public.name_of(area)
        if self.name not in (b"", name):
            device.flush(answer.handle)
            raise DeviceLostError(Status.PSA_ERROR_HARDWARE_FAILURE, "the TPM was cleared, or is another one")
        self.auth, self.area, self.name = auth, area, name
        return answer.handle


def _explained(error: TpmError, command: Command, hierarchy: Handle) -> TpmError:
    """Add to an error what to do if the password of a hierarchy is wrong."""
    if error.code not in WRONG_AUTH:
        return error
    name = hierarchy.name.lower()
    return TpmError(
        command.name,
        error.whole,
        f"the password of the {name} hierarchy differs from {name}_hierarchy_auth, its file or its credential; "
        "or the TPM was cleared, which empties it, or is another one; correct it, then reload the "
        "service, or restart it if the password is a credential",
    )
