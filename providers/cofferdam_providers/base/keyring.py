"""Keys of a worker: found in the cache or in the key store, created and destroyed in two phases.

A crash at any point leaves neither an unreachable key nor a destroyed one that still works: a name is reserved before
the device creates the key and activated afterwards; a key is marked before the device destroys it and removed
afterwards. `reconcile` finishes or undoes what a predecessor left half-done.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final, Generic

from cofferdam_contracts.identity import MAX_KEY_NAME, Application, KeyIdentity
from cofferdam_contracts.ipc.keystore import ID_TAKEN, PendingState
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.kim_client import KimClient
from cofferdam_providers.base.provider import DeviceLostError, HandleT, Key, Provider, StoredKey, UnsettledError
from cofferdam_providers.base.ready import ReadyKeys
from cofferdam_runtime.log import Log

_TRIES: Final = 16
"""How many ids are planned for a key before the device counts as full."""

_MOST_REPORTED: Final = 1024
_MOST_NAMED: Final = 10
"""Of missing keys, names in one line of the log."""


def identity_of(application: Application, key_name: str) -> KeyIdentity:
    """Return the full name of a key."""
    return KeyIdentity(application.authenticator, application.name, key_name)


class Keyring(Generic[HandleT]):
    """The keys of one provider."""

    def __init__(self, provider: Provider[HandleT], store: KimClient, capacity: int, log: Log) -> None:
        """Keep at most `capacity` keys ready for use."""
        self._provider = provider
        self._store = store
        self._log = log
        self._ready = ReadyKeys(capacity, provider.close_key)
        self._making: set[KeyIdentity] = set()
        self._reported: set[KeyIdentity] = set()
        self.unresolved = True
        """Whether the key store may hold keys that are half-created or half-destroyed."""

    @property
    def waited_ns(self) -> int:
        """How long the worker was blocked by the key store, in nanoseconds."""
        return self._store.waited_ns

    def get(self, application: Application, key_name: str) -> Key[HandleT]:
        """Return a key ready for use.

        Raises:
            ServiceError: It does not exist (`PSA_ERROR_DOES_NOT_EXIST`), or cannot be opened.
        """
        owner = (application.authenticator, application.name)
        if key := self._ready.get(owner, key_name):
            return key
        identity = identity_of(application, key_name)
        with self._reporting(identity):
            key = self._provider.open_key(identity, self._store.lookup(identity))
        self._ready.add(owner, key_name, key)
        return key

    def begin(self, identity: KeyIdentity, attributes: KeyAttributes) -> bytes:
        """Reserve the name of a new key; return the planned id."""
        if identity in self._making:
            raise ServiceError(Status.PSA_ERROR_ALREADY_EXISTS, "a key of this name is being made")
        if len(identity.key_name.encode()) > MAX_KEY_NAME:
            raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"a name for a key of more than {MAX_KEY_NAME} bytes")
        planned_id = self._reserve(identity, attributes)
        self._making.add(identity)
        return planned_id

    def finish(self, identity: KeyIdentity, made: StoredKey) -> None:
        """Activate a key that the device created; when that fails, undo it."""
        try:
            self._store.activate(identity, made)
        except ServiceError as error:
            if error.status is Status.KEY_INFO_MANAGER_ERROR:
                # It may be active or only reserved: the key store knows, and `reconcile` asks it.
                self.unresolved = True
            else:
                self._undo(identity, made)
            raise
        finally:
            self._making.discard(identity)

    def abandon(self, identity: KeyIdentity, reason: BaseException | None = None) -> None:
        """Release a reserved name after the device created nothing; if that is uncertain, leave it to `reconcile`."""
        self._making.discard(identity)
        if isinstance(reason, UnsettledError):
            self.unresolved = True
            return
        try:
            self._store.cancel(identity)
        except ServiceError as error:
            self.unresolved = True
            self._log.warning("a reserved name could not be released yet", cause=error)

    def destroy(self, application: Application, key_name: str) -> None:
        """Destroy a key; raise `PSA_ERROR_DOES_NOT_EXIST` when there is none."""
        identity = identity_of(application, key_name)
        with self._reporting(identity):
            stored = self._store.lookup(identity)
            self._store.confirm(identity, stored)
        # Without its device the key would stay marked, and its name taken.
        self._provider.require_device()
        # First of all: a key that was asked to be destroyed must not be used again, whatever fails next.
        self._drop(identity)
        try:
            self._store.mark_deleting(identity, stored)
            self._provider.destroy_key(identity, stored)
            self._store.remove(identity)
        except ServiceError:
            self.unresolved = True
            raise

    def destroy_all(self, application: Application) -> Generator[None, None, bool]:
        """Destroy all keys of an application, one in each step, continuing after failures; tell whether it had any.

        Raises:
            ServiceError: `PSA_ERROR_GENERIC_ERROR` at the end, when some keys remain.
        """
        remaining: set[str] = set()
        had_any = False
        # The key store returns as many names as fit into an answer.
        while names := [name for name in self._store.keys_of(application) if name not in remaining]:
            had_any = True
            for key_name in names:
                try:
                    self.destroy(application, key_name)
                except ServiceError as error:
                    remaining.add(key_name)
                    self._log.error(
                        "a key of a deleted client was not destroyed",
                        cause=error,
                        **self._log.detail(client=application.name, key=key_name),
                    )
                yield
        if remaining:
            raise ServiceError(Status.PSA_ERROR_GENERIC_ERROR, f"{len(remaining)} keys of a deleted client remain")
        return had_any

    def reconcile(self) -> Iterator[None]:
        """Finish or undo what was begun and not finished, by this process or a predecessor, one key in each step.

        Raises:
            ServiceError: The key store does not answer, or the device's library has to be restarted.
        """
        self.unresolved = False
        seen: set[KeyIdentity] = set()
        # The key store returns as many rows as fit into an answer.
        while rows := [row for row in self._store.pending() if row[1] not in seen and row[1] not in self._making]:
            for state, identity, stored in rows:
                seen.add(identity)
                if not self._resolve(state, identity, stored):
                    self.unresolved = True
                yield

    def report_missing(self) -> Iterator[None]:
        """Tell the operator, once for all of them, of stored keys that the provider lacks, some rows in each step.

        Raises:
            ServiceError: The key store does not answer.
        """
        if not self._provider.missing_remedy:
            return
        count, some = 0, list[str]()
        for rows in self._store.rows():
            for _, identity, stored in rows:
                if self._provider.lacks(stored):
                    count += 1
                    if len(some) < _MOST_NAMED:
                        some.append(f"{identity.application}/{identity.key_name}")
            yield
        if count:
            self._log.notice(
                "keys are listed that the provider does not have",
                keys=count,
                remedy=self._provider.missing_remedy,
                **self._log.detail(names=", ".join(some)),
            )

    def _resolve(self, state: PendingState, identity: KeyIdentity, stored: StoredKey) -> bool:
        self._drop(identity)
        try:
            self._provider.destroy_key(identity, stored)
            if state is PendingState.RESERVED:
                self._store.cancel(identity)
            else:
                self._store.remove(identity)
        except DeviceLostError:
            self.unresolved = True
            raise
        except ServiceError as error:
            self._log.error("a half-made or half-destroyed key remains", state=state.name, cause=error)
            return False
        self._log.info(
            "a half-done change of a key was resolved", state=state.name, **self._log.detail(key=identity.key_name)
        )
        return True

    def _reserve(self, identity: KeyIdentity, attributes: KeyAttributes) -> bytes:
        """Reserve a name with an id that no key has, not even one whose object the device no longer shows."""
        for _ in range(_TRIES):
            planned = StoredKey(key_id=self._provider.plan_key_id(), version=2, attributes=attributes)
            try:
                self._store.reserve(identity, planned)
            except ServiceError as error:
                if error.status is not ID_TAKEN:
                    raise
            else:
                return planned.key_id
        raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_STORAGE, f"{_TRIES} planned ids belong to other keys")

    def _undo(self, identity: KeyIdentity, made: StoredKey) -> None:
        try:
            self._provider.destroy_key(identity, made)
            self._store.cancel(identity)
        except ServiceError as error:
            self.unresolved = True
            self._log.error("a key that could not be activated could not be destroyed yet", cause=error)

    @contextmanager
    def _reporting(self, identity: KeyIdentity) -> Iterator[None]:
        """Report a row that is not the one that was made for a key to the operator, once for each key."""
        try:
            yield
        except ServiceError as error:
            if error.status is Status.PSA_ERROR_CORRUPTION_DETECTED and identity not in self._reported:
                if len(self._reported) < _MOST_REPORTED:
                    self._reported.add(identity)
                details = self._log.detail(app=identity.application, key=identity.key_name)
                self._log.error("a stored key is refused; restore its row from a backup", cause=error.detail, **details)
            raise

    def _drop(self, identity: KeyIdentity) -> None:
        self._ready.drop((identity.authenticator, identity.application), identity.key_name)
