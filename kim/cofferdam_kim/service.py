"""The questions that the key store answers, and who may ask them.

`SCHEMAS` defines what may be asked and by whom, `_HANDLERS` how each question is answered. Whose keys a question is
about is decided here: a worker speaks for the provider of its channel, a frontend for the uid of its channel. Anything
else raises `ForbiddenMessageError`; the channel is then closed without an answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

from msgspec import Struct

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.ipc.control import DownstreamChannel
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.keystore import CODED_ROW, SCHEMAS, Asker, KimMessage
from cofferdam_contracts.ipc.limits import AROUND, MAX_ANSWER
from cofferdam_contracts.psa.encoding import EncodingError, decode_attributes
from cofferdam_contracts.registry import TOKEN_AUTHENTICATORS, AuthType
from cofferdam_contracts.roles import WORKERS, Role
from cofferdam_contracts.settings import AuthenticatorSettings, ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.catalogue import Steps
from cofferdam_kim.rows import KEY_ID_VERSIONS, KNOWN_AUTHENTICATORS, KeyRecord, full_name
from cofferdam_kim.store import MappingStore
from cofferdam_kim.stores import Stores


class WorkerPeer(Struct, frozen=True):
    """The worker of a provider."""

    asker: ClassVar[Asker] = Asker.WORKER
    provider: ProviderEntry


class FrontendPeer(Struct, frozen=True):
    """The frontend of a principal: the uid that the kernel says its clients have."""

    asker: ClassVar[Asker] = Asker.FRONTEND
    uid: int
    serial: int = 0
    """Of the frontend; the identity process knows its channel by it."""


Peer: TypeAlias = WorkerPeer | FrontendPeer
Answer: TypeAlias = tuple[Status, tuple[Any, ...]]
"""Status and fields of an answer; there are fields only on success."""
Entry = TypeVar("Entry", bound=tuple[Any, ...] | str)


class GradualAnswer(Struct, frozen=True):
    """An answer computed in steps, between which other questions are answered; their result is its one field."""

    steps: Steps[tuple[Any, ...]]


def nobody(_serial: int, _authenticator: int, _handle: str) -> Application:
    """Refuse every handle, where no identity process grants any."""
    raise ServiceError(Status.AUTHENTICATION_ERROR, "no identity was granted")


class KimService:
    """Answers questions from the stores."""

    def __init__(  # noqa: PLR0913  what a key store is asked with
        self,
        stores: Stores,
        providers: Sequence[ProviderEntry],
        authenticators: Sequence[AuthenticatorSettings],
        *,
        on_failure: Callable[[ServiceError], object] = lambda _error: None,
        on_change: Callable[[int, str], None] = lambda _authenticator, _application: None,
        granted: Callable[[int, int, str], Application] = nobody,
    ) -> None:
        """Serve these workers and authenticators.

        Args:
            stores: The mapping.
            providers: Whose workers may ask.
            authenticators: Those that are configured.
            on_failure: Called with an error of the store itself.
            on_change: Called with authenticator and name of an application that got or lost a key.
            granted: Returns the application that a handle stands for; it takes the serial of the frontend, the
                authenticator and the handle.
        """
        self._stores = stores
        self._providers = {provider.id: provider for provider in providers}
        self._admins = {settings.auth_type: frozenset(settings.admins) for settings in authenticators}
        self._on_failure = on_failure
        self._on_change = on_change
        self._granted = granted

    def peer(self, channel: DownstreamChannel) -> Peer:
        """Return the peer of a channel that the broker hands over.

        Raises:
            ValueError: The peer is of a role that asks no questions.
        """
        if channel.role == Role.FRONTEND:
            return FrontendPeer(channel.uid, channel.serial)
        if channel.role in WORKERS and (served := self._providers.get(Role(channel.role).row.provider)):
            return WorkerPeer(served)
        raise ValueError(f"a channel to role {channel.role}, number {channel.number}")

    def answer(self, peer: Peer, number: object, fields: tuple[Any, ...]) -> Answer | GradualAnswer:
        """Return the answer, or a gradual one to `go_on` with until it is complete.

        Raises:
            ForbiddenMessageError: The peer may not ask this question, or its fields are wrong.
        """
        row = self._TABLE.get(number) if isinstance(number, int) else None
        if row is None or SCHEMAS[row[0]].asker is not peer.asker:
            raise ForbiddenMessageError(f"question {number!r:.20} from a {peer.asker.name.lower()}")
        question, handler = row
        if not SCHEMAS[question].accepts(fields):
            raise ForbiddenMessageError(f"{question.name} with fields of the wrong number, type or size")
        try:
            found = handler(self, peer, *fields)
        except ServiceError as error:
            return self._refusal(error)
        if isinstance(found, GradualAnswer):
            return self.go_on(found) or found
        return Status.SUCCESS, found or ()

    def go_on(self, gradual: GradualAnswer) -> Answer | None:
        """Compute one step of an answer; return the answer after the last step."""
        try:
            next(gradual.steps)
        except StopIteration as end:
            return Status.SUCCESS, (end.value,)
        except ServiceError as error:
            return self._refusal(error)
        return None

    def _refusal(self, error: ServiceError) -> Answer:
        if error.status in _FAILURES:
            self._on_failure(error)
        return error.status, ()

    def _of(self, peer: WorkerPeer) -> MappingStore:
        """Return the store of a worker's provider."""
        return self._stores.of(peer.provider)

    def _lookup(self, peer: WorkerPeer, *name: Any) -> tuple[Any, ...]:  # noqa: ANN401  checked against the schema
        record = self._of(peer).lookup(peer.provider, _identity(*name))
        return record.key_id, record.version, record.attributes, record.code, record.number

    def _reserve(self, peer: WorkerPeer, *fields: Any) -> None:  # noqa: ANN401
        self._of(peer).reserve(peer.provider, _identity(*fields[:3]), _record(*fields[3:]))

    def _activate(self, peer: WorkerPeer, *fields: Any) -> None:  # noqa: ANN401
        self._of(peer).activate(peer.provider, _identity(*fields[:3]), _record(*fields[3:-1]), fields[-1])
        self._on_change(*fields[:2])

    def _cancel(self, peer: WorkerPeer, *name: Any) -> None:  # noqa: ANN401
        self._of(peer).cancel(peer.provider, _identity(*name))

    def _mark_deleting(self, peer: WorkerPeer, *fields: Any) -> None:  # noqa: ANN401
        self._of(peer).mark_deleting(peer.provider, _identity(*fields[:3]), *fields[3:])

    def _remove(self, peer: WorkerPeer, *name: Any) -> None:  # noqa: ANN401
        self._of(peer).remove(peer.provider, _identity(*name))
        self._on_change(*name[:2])

    def _pending(self, peer: WorkerPeer) -> tuple[Any, ...]:
        found = self._of(peer).pending(peer.provider)
        return (tuple(_cut((int(state), *_flat(identity, record), record.code) for state, identity, record in found)),)

    def _state(self, peer: WorkerPeer) -> tuple[Any, ...]:
        return self._of(peer).state(peer.provider)

    def _enrol(self, peer: WorkerPeer, check: bytes, anew: int, seal: bytes) -> None:
        self._of(peer).enrol(peer.provider, check, seal, anew=bool(anew))

    def _rows(self, peer: WorkerPeer, after: int) -> tuple[Any, ...]:
        found = self._of(peer).rows(peer.provider, after)
        return (tuple(_cut((number, *_flat(identity, record)) for number, identity, record in found)),)

    def _adopt(self, peer: WorkerPeer, coded: bytes, seal: bytes) -> None:
        if len(coded) % CODED_ROW.size:
            raise ForbiddenMessageError(f"{len(coded)} bytes of coded rows")
        self._of(peer).adopt(peer.provider, CODED_ROW.iter_unpack(coded), seal)

    def _client_keys(self, peer: WorkerPeer, authenticator: int, application: str) -> GradualAnswer:
        _check_authenticator(authenticator)
        return GradualAnswer(
            _fitting(self._of(peer).catalogue.client_keys(peer.provider, Application(authenticator, application)))
        )

    def _list_keys(self, peer: FrontendPeer, authenticator: int, application: str) -> GradualAnswer:
        return GradualAnswer(
            self._stores.catalogue.list_keys(self._principal(peer, authenticator, application), peer.uid)
        )

    def _list_clients(self, peer: FrontendPeer, authenticator: int, application: str) -> GradualAnswer:
        principal = self._principal(peer, authenticator, application)
        if principal.name not in self._admins[principal.authenticator]:
            raise ServiceError(Status.ADMIN_OPERATION, "not an administrator")
        # Each authenticator has its own name space and its own administrators.
        return GradualAnswer(self._stores.catalogue.list_clients(principal.authenticator))

    def _principal(self, peer: FrontendPeer, authenticator: int, application: str) -> Application:
        """Return the application that a frontend speaks for."""
        if authenticator in TOKEN_AUTHENTICATORS and authenticator in self._admins and application:
            return self._granted(peer.serial, authenticator, application)
        naming = _NAMING.get(authenticator)
        if authenticator not in self._admins or naming is None:
            raise ForbiddenMessageError(f"authenticator {authenticator} cannot vouch for this")
        return Application(authenticator, naming(peer, application))

    # The asker in the schema decides the type of the peer that a handler gets.
    _HANDLERS: ClassVar[Mapping[KimMessage, Callable[..., tuple[Any, ...] | GradualAnswer | None]]] = {
        KimMessage.LOOKUP: _lookup,
        KimMessage.RESERVE: _reserve,
        KimMessage.ACTIVATE: _activate,
        KimMessage.CANCEL: _cancel,
        KimMessage.MARK_DELETING: _mark_deleting,
        KimMessage.REMOVE: _remove,
        KimMessage.PENDING: _pending,
        KimMessage.CLIENT_KEYS: _client_keys,
        KimMessage.STATE: _state,
        KimMessage.ENROL: _enrol,
        KimMessage.ROWS: _rows,
        KimMessage.ADOPT: _adopt,
        KimMessage.LIST_KEYS: _list_keys,
        KimMessage.LIST_CLIENTS: _list_clients,
    }
    _TABLE: ClassVar = {int(question): (question, handler) for question, handler in _HANDLERS.items()}


def _uid_as_name(peer: FrontendPeer, application: str) -> str:
    if application:
        raise ForbiddenMessageError("a name where the channel's uid counts")
    return str(peer.uid)


def _claimed_name(_peer: FrontendPeer, application: str) -> str:
    if not application:
        raise ForbiddenMessageError("no name where the client claims one")
    return application


_NAMING: Final[Mapping[int, Callable[[FrontendPeer, str], str]]] = {
    AuthType.DIRECT: _claimed_name,
    AuthType.UNIX_PEER_CREDENTIALS: _uid_as_name,
}
"""How each authenticator without a token derives the application name from the channel and the field."""

_FAILURES: Final = frozenset({Status.KEY_INFO_MANAGER_ERROR, Status.PSA_ERROR_DATA_CORRUPT})
"""Statuses that report a fault of the store, not of the question."""


def _check_authenticator(authenticator: int) -> None:
    if authenticator not in KNOWN_AUTHENTICATORS:
        raise ForbiddenMessageError(f"authenticator {authenticator} does not exist")


def _identity(authenticator: int, application: str, key_name: str) -> KeyIdentity:
    _check_authenticator(authenticator)
    return KeyIdentity(authenticator, application, key_name)


def _record(key_id: bytes, version: int, attributes: bytes, code: bytes) -> KeyRecord:
    if version not in KEY_ID_VERSIONS:
        raise ForbiddenMessageError(f"key id version {version}")
    try:
        decode_attributes(attributes)
    except EncodingError as error:
        raise ForbiddenMessageError(f"attributes: {error}") from error
    return KeyRecord(key_id, version, attributes, code)


def _flat(identity: KeyIdentity, record: KeyRecord) -> tuple[Any, ...]:
    return (*full_name(identity), record.key_id, record.version, record.attributes)


def _size(entry: tuple[Any, ...] | str) -> int:
    values = entry if isinstance(entry, tuple) else (entry,)
    sizes = (
        len(value.encode()) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 0
        for value in values
    )
    return sum(sizes, AROUND * (len(values) + 1))


def _cut(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield as many entries as fit into an answer."""
    room = MAX_ANSWER - AROUND * 4
    for entry in entries:
        room -= _size(entry)
        if room < 0:
            return
        yield entry


def _fitting(names: Steps[list[str]]) -> Steps[tuple[str, ...]]:
    return tuple(_cut((yield from names)))
