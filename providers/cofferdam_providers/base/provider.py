"""The one interface between the worker and a backend.

The worker decodes requests, establishes the identity of the client, looks keys up, and checks usage flags, policy, key
type and the lengths that the protocol fixes. A backend receives only operations that passed these checks. It raises
`ServiceError` for whatever its device refuses; no other exception leaves a backend.

What a backend does is stated once: every backend manages keys (the abstract methods of `Provider`, called in two phases
by `base.keyring`), and `Provider.operations` has one row for everything else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Generic, NoReturn, Protocol, TypeAlias, TypeVar

from msgspec import Struct, field

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.ipc.control import Condition
from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.operations import CryptoOperation
from cofferdam_contracts.psa.algorithm import Algorithm
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import Opcode, ProviderDescription
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_runtime.log import Log

HandleT = TypeVar("HandleT")

KEY_MANAGEMENT: Final = frozenset(
    {Opcode.PSA_GENERATE_KEY, Opcode.PSA_IMPORT_KEY, Opcode.PSA_DESTROY_KEY, Opcode.CAN_DO_CRYPTO}
)
"""Operations of every backend, done by the methods of `Provider`."""
Results: TypeAlias = tuple[bytes, ...]
OperationHandler: TypeAlias = Callable[[Any, Any], bytes | Results | None]
"""Does one operation, given the open key (None for an operation without a key) and the operation. Returns the result,
several results, or None where success is the result."""

EXAMINE_S: Final = 5.0
"""Between two looks at the device while no request waits: each request shows whether it works."""
REFERENCE_FORM: Final = 1
"""`key_id_version` of a row that the reference service can use."""
OWN_FORM: Final = 2
"""`key_id_version` of a row that makes the reference service refuse to start, instead of dropping the row."""


class UnsettledError(ServiceError):
    """Raised when the device may hold parts of a key whose creation failed: the name stays reserved until settled."""


class DeviceLostError(UnsettledError):
    """Raised when the device's library has to be restarted before anything works: the worker answers and exits."""


class StoredKey(Opaque, Struct, frozen=True, kw_only=True):
    """A key as the key store keeps it: the backend's id, the form of the id, the attributes."""

    key_id: bytes
    version: int
    attributes: KeyAttributes


class Key(Opaque, Struct, Generic[HandleT], frozen=True, kw_only=True, eq=False):
    """A key ready for use: its attributes as stored, and what the backend needs to use it."""

    attributes: KeyAttributes
    handle: HandleT
    permitted: dict[Opcode, Algorithm] = field(default_factory=dict)
    """For each operation, the algorithm that the key's policy was last found to permit."""


class Rows(Protocol):
    """The part of the key store's client that a backend uses to store something other than keys."""

    def lookup(self, identity: KeyIdentity) -> StoredKey:
        """Return what is stored under a name.

        Raises:
            ServiceError: Nothing is stored there (`PSA_ERROR_DOES_NOT_EXIST`).
        """

    def reserve(self, identity: KeyIdentity, planned: StoredKey) -> None:
        """Reserve a name."""

    def activate(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Store something under a reserved name."""


class Provider(ABC, Generic[HandleT]):
    """A backend."""

    description: ClassVar[ProviderDescription]
    """What clients are told."""
    operations: Mapping[Opcode, OperationHandler]
    """All that the backend does besides `KEY_MANAGEMENT`; an operation without a row is not supported."""
    sealed_forms: ClassVar[frozenset[int]] = frozenset()
    """Forms of rows (`StoredKey.version`) that the provider encrypts, and so binds to identity and attributes itself;
    rows of other forms get an authentication code."""
    concurrent_generation: bool = False
    """Whether `generate_key` may run on a second thread while the first one serves other operations."""
    slow_generation: bool = False
    """Whether `generate_key` may block the loop's own thread for longer than the hang timeout; the broker is told so
    before."""
    on_processor: bool = False
    """Whether operations cost processor time of this process; otherwise they cost time of a device, measured on the
    wall clock."""
    foreign_code: bool = False
    """Whether third-party code runs in the process, whose memory and descriptors are therefore watched."""
    missing_remedy: str = ""
    """What brings keys back that `lacks` says are missing, for the log; empty if it is never said."""
    condition: Condition = Condition(up=True, retry_ms=0, device="", cause="")
    """What the status says of the provider; the worker tells the broker of each new value."""
    expires: float | None = None
    """When the worker has to make room for a successor, in seconds of the monotonic clock; None for never."""

    @property
    def opcodes(self) -> frozenset[Opcode]:
        """Return the operations that this backend does, listed to clients or not."""
        return KEY_MANAGEMENT | self.operations.keys()

    def perform(self, key: Key[HandleT] | None, operation: CryptoOperation) -> Results:
        """Do an operation other than `KEY_MANAGEMENT`; `key` is None for an operation without a key.

        Raises:
            ServiceError: The backend does not do it (`PSA_ERROR_NOT_SUPPORTED`), or the device refuses.
        """
        result = self.operations.get(operation.opcode, _unsupported)(key, operation)
        if isinstance(result, tuple):
            return result
        return () if result is None else (result,)

    def say_up(self, device: str = "") -> None:
        """Say to operators that the provider can be used, and the name of its device if that is new."""
        self.condition = Condition(up=True, retry_ms=0, device=device or self.condition.device, cause="")

    def say_down(self, cause: str, *, retry_s: float = 0.0) -> None:
        """Say to operators why the provider cannot be used, in the words of the log.

        Args:
            cause: What the log has; nothing of a client, and no secret.
            retry_s: When it is tried again, 0 if not before a reload.
        """
        self.condition = self.condition._replace(up=False, retry_ms=round(retry_s * 1000), cause=cause)

    def examine(self) -> None:
        """Look whether the device can still be used; called regularly while no request waits.

        Raises:
            DeviceLostError: It is lost.
        """

    def open(self) -> None:
        """Open the device: with the worker's own uid and file access, before system calls are filtered."""

    def attach(self, rows: Rows, busy: Callable[[bool], None]) -> None:
        """Take what exists only after confinement; called before the first request.

        Args:
            rows: The key store, for what the backend stores there besides keys.
            busy: Tells the broker that something takes longer than the hang timeout (True), and that it is over.
        """

    def object_of(self, stored: StoredKey) -> bytes:
        """Return what identifies the device's object, however a row names it; empty where rows may share an object."""
        return stored.key_id

    def unseal(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Raise `PSA_ERROR_CORRUPTION_DETECTED` unless a row of a sealed form opens with this provider's key."""
        _unsupported(identity, stored)

    def plan_key_id(self) -> bytes:
        """Return the id for a new key, when the device needs one chosen in advance; otherwise nothing."""
        return b""

    @abstractmethod
    def check_generate(self, attributes: KeyAttributes) -> None:
        """Reject attributes that can never be generated, before a name is reserved."""

    @abstractmethod
    def check_import(self, attributes: KeyAttributes, data: bytes) -> None:
        """Reject a key that can never be imported, before a name is reserved."""

    def is_slow(self, attributes: KeyAttributes) -> bool:
        """Tell whether generating such a key takes much longer than using one, so that the slow lane does it."""
        del attributes
        return True

    @abstractmethod
    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        """Generate a key."""

    @abstractmethod
    def import_key(self, identity: KeyIdentity, attributes: KeyAttributes, data: bytes, planned_id: bytes) -> StoredKey:
        """Import a key; the returned attributes have the actual size."""

    @abstractmethod
    def open_key(self, identity: KeyIdentity, stored: StoredKey) -> Key[HandleT]:
        """Make a stored key ready for use; the worker caches the result."""

    def close_key(self, key: Key[HandleT]) -> None:
        """Release what `open_key` allocated in the device; called when the cache drops a key."""

    def require_device(self) -> None:
        """Raise the error that every operation ends with while the device is unavailable, if it is."""

    def lacks(self, stored: StoredKey) -> bool:
        """Tell whether a stored key is known to be missing here, without asking a device; when in doubt, it is not."""
        del stored
        return False

    def destroy_key(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Destroy a key in the device; succeed when it is already gone."""

    @abstractmethod
    def check_use(self, attributes: KeyAttributes) -> None:
        """Raise, with any status, unless a key with these attributes could be used here (CanDoCrypto)."""

    def can_generate(self, attributes: KeyAttributes) -> None:
        """Raise, with any status, unless such a key could be generated here (CanDoCrypto)."""
        self.check_generate(attributes)

    def can_import(self, attributes: KeyAttributes) -> None:
        """Raise, with any status, unless such a key could be imported here (CanDoCrypto)."""
        self.check_import(attributes, b"")

    def go_on(self) -> bool:
        """Do a small part of deferred work while no request waits; return whether there was any."""
        return False

    def rehearse(self, log: Log) -> None:
        """Find out, once the device is open, what else an operator should know before a start."""

    def close(self) -> None:
        """Restore the device to the state in which it was found, when the worker exits in good order."""

    def warm_up(self) -> None:
        """Use every algorithm once, so that nothing is loaded after confinement; doubles as a self-test.

        Raises:
            RuntimeError: A result is wrong.
        """


def _unsupported(*_arguments: object) -> NoReturn:
    raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "the backend does not implement this operation")
