"""The TPM provider: the interface of `base.provider` on top of this package's modules."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from cofferdam_contracts import operations as ops
from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import PROVIDERS, Opcode, ProviderId
from cofferdam_contracts.settings import TctiSettings, TpmSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.device_provider import DeviceProvider
from cofferdam_providers.base.provider import (
    EXAMINE_S,
    OWN_FORM,
    REFERENCE_FORM,
    DeviceLostError,
    Key,
    Results,
    Rows,
    StoredKey,
)
from cofferdam_providers.pyca import warm_up as in_software
from cofferdam_providers.pyca.asym_sign import hashed
from cofferdam_providers.pyca.wrapping import Wrapping
from cofferdam_providers.tpm import (
    asym_encryption,
    asym_sign,
    attestation,
    blobs,
    capability_discovery,
    generate_random,
    key_management,
    public,
    root_key,
)
from cofferdam_providers.tpm.connection import TpmConnection
from cofferdam_providers.tpm.credentials import Credentials
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.errors import Code, TpmError
from cofferdam_providers.tpm.keys import TpmKey
from cofferdam_providers.tpm.objects import TpmObject
from cofferdam_providers.tpm.transport import TransportError, open_transport
from cofferdam_runtime.log import Log, sentence

_DESCRIPTION: Final = PROVIDERS[ProviderId.TPM]
PURPOSE: Final = b"cofferdam TPM provider: key at rest, format 1"
"""Purpose of its key-encryption key."""
_COMPLAINT_S: Final = 60.0
"""Between two log lines about the same problem."""
_REFUSES: Final = "the TPM refuses to work"
_MOST_REFUSED: Final = 1024
T = TypeVar("T")
OperationT = TypeVar("OperationT", bound=ops.CryptoOperation)
Result: TypeAlias = bytes | Results | None


def _row(
    kind: type[OperationT], work: Callable[[TpmDevice, TpmKey, OperationT], Result]
) -> tuple[Opcode, Callable[["TpmProvider", Key[TpmKey], Any], Result]]:
    return kind.opcode, lambda provider, key, operation: provider.use_key(
        key, lambda device: work(device, key.handle, operation)
    )


OPERATIONS: Final[Mapping[Opcode, Callable[["TpmProvider", Any, Any], Result]]] = dict(
    (
        _row(ops.SignHash, lambda d, k, op: asym_sign.sign_hash(d, k, op.alg, op.hash)),
        _row(ops.VerifyHash, lambda d, k, op: asym_sign.verify_hash(d, k, op.alg, op.hash, op.signature)),
        _row(ops.SignMessage, lambda d, k, op: asym_sign.sign_hash(d, k, op.alg, hashed(op))),
        _row(ops.VerifyMessage, lambda d, k, op: asym_sign.verify_hash(d, k, op.alg, hashed(op), op.signature)),
        _row(ops.AsymmetricEncrypt, lambda d, k, op: asym_encryption.encrypt(d, k, op.alg, op.plaintext, op.salt)),
        _row(ops.AsymmetricDecrypt, lambda d, k, op: asym_encryption.decrypt(d, k, op.alg, op.ciphertext, op.salt)),
        _row(ops.AttestKey, attestation.attest),
        _row(ops.PrepareKeyAttestation, lambda d, k, _: attestation.prepare(d, k)),
        # The public part is in the key store.
        (Opcode.PSA_EXPORT_PUBLIC_KEY, lambda _provider, k, _: public.exported(k.handle.part, k.handle.size)),
        (Opcode.PSA_GENERATE_RANDOM, lambda provider, _, op: provider.random_bytes(op.size)),
    )
)
"""What the provider does besides key management: with a device `d`, a key `k` and an operation `op`, as far as the TPM
can (`capability_discovery`). Messages are hashed in this process."""


class TpmProvider(DeviceProvider[TpmKey, TpmDevice]):
    """Keys in a TPM."""

    description = _DESCRIPTION
    device_name = "the TPM"
    sealed_forms = frozenset({OWN_FORM})

    def __init__(self, settings: TpmSettings, credentials: Credentials, log: Log) -> None:
        super().__init__(log)
        self._settings = settings
        self._credentials = credentials
        self._wrapping = Wrapping(credentials.kek.key, _DESCRIPTION.uuid, PURPOSE)
        self.operations = {opcode: partial(work, self) for opcode, work in OPERATIONS.items()}
        self._capabilities = capability_discovery.TpmCapabilities()
        self._rows: Rows | None = None
        self._busy: Callable[[bool], None] | None = None
        """Set once the broker can be told: before the process is ready, no hang timeout applies."""
        self._complained: dict[int, float] = {}
        self._refusing: int | None = None
        """The code of the problem that the status shows."""
        self.say_down("the TPM has not been opened")
        self.condition = self.condition._replace(device=_name(settings.tcti))
        self._refused: dict[bytes, None] = {}
        """Names of keys whose authorisation value is wrong: another attempt would bring the TPM nearer to its
        lockout."""

    def open(self) -> None:
        """Connect to the TPM, make its storage root key, and find out what it can do."""
        try:
            connection = TpmConnection(open_transport(self._settings.tcti))
            device = TpmDevice(
                connection,
                owner_auth=self._credentials.owner_auth,
                endorsement_auth=self._credentials.endorsement_auth,
                protected=self._settings.bus_protection,
                busy=self._tell_busy,
            )
            device.open()
            self._capabilities = capability_discovery.discover(connection)
        except TransportError as error:
            self._wait(ServiceError(Status.PSA_ERROR_COMMUNICATION_FAILURE, str(error)))
        except DeviceLostError as error:
            remedy = "see that provider.tcti leads to a TPM, and that no other program keeps it"
            self._wait(ServiceError(error.status, f"{error.detail}; {remedy}"))
        except ServiceError as error:
            self._wait(error)
        else:
            self._opened = device
            level = self._log.warning if self._capabilities.is_nearly_locked else self._log.info
            level("the TPM is open", slots=device.slots.capacity, **self._capabilities.about)
            self._note_opened(self._capabilities)

    def examine(self) -> None:
        """Look whether the TPM answers, and whether it is locked.

        Raises:
            TpmError: It refuses.
            DeviceLostError: It does not answer.
        """
        if (device := self._opened) is not None:
            look = partial(capability_discovery.failures, device.connection)
            self._note_lockout(*self._reporting(lambda: device.retry_after_reset(look)))

    def attach(self, rows: Rows, busy: Callable[[bool], None]) -> None:
        """Compare the storage root key with that of the stored keys; if the key store is silent, ask again later."""
        self._rows = rows
        self._busy = busy
        with suppress(ServiceError):
            self._device()

    def check_generate(self, attributes: KeyAttributes) -> None:
        """Reject what can never be generated; the TPM is asked once the name is known to be free."""
        key_management.check_generate(attributes)
        self._device()
        self._capabilities.check_use(attributes)

    def check_import(self, attributes: KeyAttributes, data: bytes) -> None:
        """Reject what can never be imported."""
        del data
        key_management.check_import(attributes)
        self._device()

    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        """Generate a key in the TPM."""
        del planned_id
        device = self._device()
        which = blobs.APPLICATION_PARENT if self._settings.application_parents else blobs.ROOT_PARENT
        parent = self._parent(device, identity, which)
        return self._stored(
            identity, attributes, self._reporting(lambda: key_management.generate(device, parent, which, attributes))
        )

    def import_key(self, identity: KeyIdentity, attributes: KeyAttributes, data: bytes, planned_id: bytes) -> StoredKey:
        """Import a public key; the returned attributes have the actual size."""
        del planned_id
        device = self._device()
        check = self._capabilities.check_use
        blob, attributes = self._reporting(lambda: key_management.import_key(device, attributes, data, check))
        return self._stored(identity, attributes, blob)

    def object_of(self, stored: StoredKey) -> bytes:
        """Return the private blob; public keys have none, and may be in many rows."""
        try:
            return blobs.decode(stored.key_id).private
        except ServiceError:
            # The Name of the storage root key, or something unusable.
            return stored.key_id

    def unseal(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Reject a row that was not sealed with this provider's key."""
        self._wrapping.open(identity, stored.attributes, stored.key_id)

    def open_key(self, identity: KeyIdentity, stored: StoredKey) -> Key[TpmKey]:
        """Read a key from its row; it is loaded when it is used."""
        device = self._device()
        if stored.version == REFERENCE_FORM:
            blob = blobs.decode(stored.key_id)
        else:
            blob = blobs.decode_own(self._wrapping.open(identity, stored.attributes, stored.key_id))
        key = TpmKey(device, stored.attributes, blob, self._parent(device, identity, blob.parent))
        return Key(attributes=stored.attributes, handle=key)

    def close_key(self, key: Key[TpmKey]) -> None:
        """Flush a key from the TPM, if it is still there."""
        if self._opened is not None:
            with suppress(TpmError):
                self._opened.slots.drop(key.handle)

    def check_use(self, attributes: KeyAttributes) -> None:
        """Reject a key whose policy permits nothing that the TPM can do."""
        self._device()
        self._capabilities.check_use(attributes)

    def can_import(self, attributes: KeyAttributes) -> None:
        """Reject a key that the TPM cannot import."""
        super().can_import(attributes)
        self._capabilities.check_use(attributes)

    def rehearse(self, log: Log) -> None:
        """Try the endorsement hierarchy's authorisation value; a wrong one does not count towards the lockout."""
        if self._opened is None:
            return
        log.info("the TPM accepts the owner hierarchy's authorisation value")
        try:
            self._opened.flush(self._opened.endorsement_policy().handle)
        except ServiceError as error:
            log.warning("keys could not be attested with the endorsement hierarchy's value", cause=error.detail)

    def warm_up(self) -> None:
        """Use once each algorithm that runs here instead of in the TPM."""
        in_software.warm_up()

    def close(self) -> None:
        """Leave nothing in the TPM."""
        if self._opened is not None:
            try:
                self._opened.close()
            except ServiceError as error:
                self._log.warning("the TPM could not be left as it was found", cause=error.detail)

    def random_bytes(self, size: int) -> bytes:
        """Return random bytes of the TPM."""
        device = self._device()
        return self._reporting(lambda: generate_random.random_bytes(device, size))

    def use_key(self, key: Key[TpmKey], work: Callable[[TpmDevice], T]) -> T:
        """Do something with a key, unless its authorisation value is known to be wrong."""
        device = self._device()
        name = key.handle.name
        if name in self._refused:
            raise ServiceError(
                Status.PSA_ERROR_COMMUNICATION_FAILURE,
                "the TPM refused the key's authorisation value, it is not tried again",
            )
        try:
            return self._reporting(lambda: work(device))
        except TpmError as error:
            # A value that was accepted before is still right; then the command was changed on its way. For a value that
            # does not count towards the lockout, such as a hierarchy's, a TPM says BAD_AUTH.
            if error.code == Code.AUTH_FAIL and not key.handle.proved and len(self._refused) < _MOST_REFUSED:
                self._refused[name] = None
                self._log.error(
                    "the TPM refused the authorisation value of a stored key, which is not tried again",
                    cause=error.detail,
                )
            raise

    def _reporting(self, work: Callable[[], T]) -> T:
        """Do something with the TPM; log problems that an operator can solve, and resets."""
        try:
            result = work()
        except TpmError as error:
            self._complain(error)
            raise
        if self._refusing not in (None, Code.LOCKOUT):
            self._refusing = None
            self.say_up()
        if self._opened is not None and self._opened.forgot:
            self._log.warning("the TPM was reset; keys are loaded anew", cause=self._opened.forgot)
            self._opened.forgot = ""
        return result

    def _note_opened(self, found: capability_discovery.TpmCapabilities) -> None:
        vendor, firmware = found.about["vendor"], found.about["firmware"]
        self.say_up(f"TPM {vendor}, firmware {firmware}, {_name(self._settings.tcti)}")
        self._note_lockout(*found.failures)

    def _complain(self, error: TpmError) -> None:
        """Log a problem that an operator can solve, now and then, and have the status show it."""
        if not error.remedy:
            return
        now, why = time.monotonic(), sentence(_REFUSES, {"cause": error.detail})
        if now >= self._complained.get(error.code, 0.0):
            self._complained[error.code] = now + _COMPLAINT_S
            self._log.error("the TPM refuses to work", cause=error.detail)
        if error.code != self._refusing:
            self._refusing = error.code
            self.say_down(why, retry_s=EXAMINE_S)

    def _note_lockout(self, failed: int, most: int) -> None:
        """Say that the TPM is locked, or is no longer: other commands succeed in the meantime."""
        if 0 < most <= failed:
            self._complain(TpmError("GetCapability", Code.LOCKOUT))
        elif self._refusing == Code.LOCKOUT:
            self._refusing = None
            self.say_up()

    def _tell_busy(self, busy: bool) -> None:  # noqa: FBT001  what the record says
        if self._busy is not None:
            self._busy(busy)

    def _device(self) -> TpmDevice:
        device = super()._device()
        if self._rows is not None:
            # Checked when the worker starts, and again with each request until the key store has answered.
            try:
                root_key.check(self._rows, device.root.name)
            except root_key.RootKeyError as error:
                self._opened = None
                self._wait(error)
                raise
            self._rows = None
        return device

    def _report_unusable(self, **details: object) -> str:
        level = self._log.warning if self._settings.skip_if_no_tpm else self._log.error
        return level("the TPM cannot be used", **details)

    def _parent(self, device: TpmDevice, identity: KeyIdentity, which: int) -> TpmObject:
        if which == blobs.ROOT_PARENT:
            return device.root
        return device.parent_of(Application(identity.authenticator, identity.application))

    def _stored(self, identity: KeyIdentity, attributes: KeyAttributes, blob: blobs.Blob) -> StoredKey:
        if self._settings.give_back:
            return StoredKey(key_id=blobs.encode(blob), version=REFERENCE_FORM, attributes=attributes)
        sealed = self._wrapping.seal(identity, attributes, blobs.encode_own(blob))
        return StoredKey(key_id=sealed, version=OWN_FORM, attributes=attributes)


def _name(tcti: TctiSettings) -> str:
    """Return how the TPM is reached, as the configuration has it."""
    where = tcti.path or (tcti.host and f"{tcti.host}:{tcti.port}") or tcti.bus_name
    return f"{tcti.kind}:{where}" if where else tcti.kind
