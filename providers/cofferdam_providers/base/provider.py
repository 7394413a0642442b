"""The one interface between the worker and a backend.

The worker decodes requests, establishes identity, looks keys up, and checks usage flags, policy, key type and the
lengths that the protocol fixes. A backend gets only operations that passed, and raises `ServiceError` for whatever
its device refuses; no other exception leaves a backend.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, NoReturn, Protocol, TypeVar

from cofferdam_contracts import operations
from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.algorithm import Algorithm
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import Opcode, ProviderDescription
from cofferdam_contracts.status import ServiceError, Status

HandleT = TypeVar("HandleT")

REFERENCE_FORM: Final = 1
"""`key_id_version` of a row that the reference service can use."""
OWN_FORM: Final = 2
"""`key_id_version` of a row that the reference service refuses to start with, in place of dropping it."""


class UnsettledError(ServiceError):
    """Raised when the device may hold a part of a key that was not made: its name stays taken until that is settled."""


class DeviceLostError(UnsettledError):
    """Raised when nothing works any more until the device's library is started afresh: the worker answers and ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """What the key store keeps of a key: the backend's id, the form of the id, the attributes."""

    key_id: bytes = field(repr=False)
    version: int
    attributes: KeyAttributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Generic[HandleT]):
    """A key ready for use: its attributes as stored, and what the backend needs to use it."""

    attributes: KeyAttributes
    handle: HandleT = field(repr=False)
    permitted: dict[Opcode, Algorithm] = field(default_factory=dict, repr=False, compare=False)
    """For each operation, the algorithm that the key's policy was found to permit last."""


class Rows(Protocol):
    """The key store, as far as a backend keeps something in it besides keys."""

    def lookup(self, identity: KeyIdentity) -> StoredKey:
        """Return what is stored under a name; `PSA_ERROR_DOES_NOT_EXIST` when there is nothing."""

    def reserve(self, identity: KeyIdentity, planned: StoredKey) -> None:
        """Take a name."""

    def activate(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Store something under a name that is taken."""


class Provider(Generic[HandleT]):
    """A backend. Every operation that a backend does not override is not supported."""

    description: ProviderDescription
    """What clients are told."""
    opcodes: frozenset[Opcode]
    """Operations this backend implements, listed to clients or not."""
    sealed_forms: frozenset[int] = frozenset()
    """Forms of rows (`StoredKey.version`) that the provider encrypts, and so binds to identity and attributes itself;
    rows of other forms get an authentication code."""
    concurrent_generation: bool = False
    """Whether `generate_key` may run on a second thread while the first one serves other operations."""
    slow_generation: bool = False
    """Whether `generate_key` may keep the loop's own thread longer than a process may hang; the broker is told then."""
    on_processor: bool = False
    """Whether operations take processor time of this process; else they take time of a device, which passes outside."""
    foreign_code: bool = False
    """Whether code of others runs in the process, whose memory and descriptors are therefore watched."""
    expires: float | None = None
    """When the worker has to make room for a successor, in seconds of the monotonic clock; None for never."""

    busy: Callable[[bool], None] = staticmethod(lambda _busy: None)
    """Tells the broker that something takes longer than a process may hang, and that it is over."""

    def open(self) -> None:
        """Open the device: under the worker's own identity and held to its files, before system calls are filtered."""

    def attach(self, rows: Rows) -> None:
        """Take the key store, for what the backend keeps there besides keys; called before the first request."""

    def object_of(self, stored: StoredKey) -> bytes:
        """Return what tells the device's object from others, however a row names it; empty where rows may share one."""
        return stored.key_id

    def unseal(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Raise `PSA_ERROR_CORRUPTION_DETECTED` unless a row of a sealed form opens with this provider's key."""
        _unsupported(identity, stored)

    def plan_key_id(self) -> bytes:
        """Return the id that a new key will get, when the device needs one chosen beforehand; else nothing."""
        return b""

    def check_generate(self, attributes: KeyAttributes) -> None:
        """Refuse attributes that can never be generated, before a name is reserved."""
        _unsupported(attributes)

    def check_import(self, attributes: KeyAttributes, data: bytes) -> None:
        """Refuse a key that can never be imported, before a name is reserved."""
        _unsupported(attributes, data)

    def is_slow(self, attributes: KeyAttributes) -> bool:
        """Tell whether making such a key takes much longer than using one, so that it is done in the slow lane."""
        del attributes
        return True

    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        """Make a key."""
        _unsupported(identity, attributes, planned_id)

    def import_key(self, identity: KeyIdentity, attributes: KeyAttributes, data: bytes, planned_id: bytes) -> StoredKey:
        """Take a key over; the returned attributes carry the true size."""
        _unsupported(identity, attributes, data, planned_id)

    def open_key(self, identity: KeyIdentity, stored: StoredKey) -> Key[HandleT]:
        """Make a stored key ready for use; the worker keeps the result in its cache."""
        _unsupported(identity, stored)

    def close_key(self, key: Key[HandleT]) -> None:
        """Release what `open_key` took in the device; called when the cache drops a key."""

    def require_device(self) -> None:
        """Raise what every operation ends with while the device is away, if it is."""

    def destroy_key(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Destroy a key in the device; succeed when it is gone already."""

    def export_public_key(self, key: Key[HandleT]) -> bytes:
        """Return the public part."""
        _unsupported(key)

    def export_key(self, key: Key[HandleT]) -> bytes:
        """Return the key in the format of import."""
        _unsupported(key)

    def sign_hash(self, key: Key[HandleT], operation: operations.SignHash) -> bytes:
        """Return the signature of a digest."""
        _unsupported(key, operation)

    def verify_hash(self, key: Key[HandleT], operation: operations.VerifyHash) -> None:
        """Raise `PSA_ERROR_INVALID_SIGNATURE` unless the signature is good."""
        _unsupported(key, operation)

    def sign_message(self, key: Key[HandleT], operation: operations.SignMessage) -> bytes:
        """Return the signature of a message."""
        _unsupported(key, operation)

    def verify_message(self, key: Key[HandleT], operation: operations.VerifyMessage) -> None:
        """Raise `PSA_ERROR_INVALID_SIGNATURE` unless the signature is good."""
        _unsupported(key, operation)

    def asymmetric_encrypt(self, key: Key[HandleT], operation: operations.AsymmetricEncrypt) -> bytes:
        """Return the ciphertext."""
        _unsupported(key, operation)

    def asymmetric_decrypt(self, key: Key[HandleT], operation: operations.AsymmetricDecrypt) -> bytes:
        """Return the plaintext."""
        _unsupported(key, operation)

    def aead_encrypt(self, key: Key[HandleT], operation: operations.AeadEncrypt) -> bytes:
        """Return ciphertext and tag."""
        _unsupported(key, operation)

    def aead_decrypt(self, key: Key[HandleT], operation: operations.AeadDecrypt) -> bytes:
        """Return the plaintext."""
        _unsupported(key, operation)

    def cipher_encrypt(self, key: Key[HandleT], operation: operations.CipherEncrypt) -> bytes:
        """Return IV and ciphertext."""
        _unsupported(key, operation)

    def cipher_decrypt(self, key: Key[HandleT], operation: operations.CipherDecrypt) -> bytes:
        """Return the plaintext."""
        _unsupported(key, operation)

    def mac_compute(self, key: Key[HandleT], operation: operations.MacCompute) -> bytes:
        """Return the MAC, of the length that the algorithm says."""
        _unsupported(key, operation)

    def mac_verify(self, key: Key[HandleT], operation: operations.MacVerify) -> None:
        """Raise `PSA_ERROR_INVALID_SIGNATURE` unless the MAC is that of the input, compared in constant time."""
        _unsupported(key, operation)

    def raw_key_agreement(self, key: Key[HandleT], operation: operations.RawKeyAgreement) -> bytes:
        """Return the shared secret."""
        _unsupported(key, operation)

    def generate_random(self, size: int) -> bytes:
        """Return `size` random bytes; the worker has applied the size limit."""
        _unsupported(size)

    def hash_compute(self, operation: operations.HashCompute) -> bytes:
        """Return the digest."""
        _unsupported(operation)

    def hash_compare(self, operation: operations.HashCompare) -> None:
        """Raise `PSA_ERROR_INVALID_SIGNATURE` unless the digest is that of the input."""
        _unsupported(operation)

    def check_use(self, attributes: KeyAttributes) -> None:
        """Raise `PSA_ERROR_NOT_SUPPORTED` unless a key with these attributes could be used here (CanDoCrypto)."""
        _unsupported(attributes)

    def can_generate(self, attributes: KeyAttributes) -> None:
        """Raise `PSA_ERROR_NOT_SUPPORTED` unless such a key could be generated here (CanDoCrypto)."""
        _unsupported(attributes)

    def can_import(self, attributes: KeyAttributes) -> None:
        """Raise `PSA_ERROR_NOT_SUPPORTED` unless such a key could be imported here (CanDoCrypto)."""
        _unsupported(attributes)

    def attest_key(self, key: Key[HandleT], operation: operations.AttestKey) -> bytes:
        """Return the activated credential."""
        _unsupported(key, operation)

    def prepare_key_attestation(
        self, key: Key[HandleT], operation: operations.PrepareKeyAttestation
    ) -> tuple[bytes, bytes, bytes]:
        """Return name, public area and the attesting key's public part."""
        _unsupported(key, operation)

    def go_on(self) -> bool:
        """Do a little of what could wait, while nobody asks for anything; return whether there was something to do."""
        return False

    def close(self) -> None:
        """Leave the device as it was found, when the worker ends in good order."""

    def warm_up(self) -> None:
        """Touch every algorithm once, so that nothing is loaded after confinement; doubles as a self-test."""


def _unsupported(*_arguments: object) -> NoReturn:
    raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "the backend does not implement this operation")
