"""The PKCS#11 provider: the interface of `base.provider` on top of this package's modules."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from msgspec.structs import replace
from pkcs11 import exceptions as library

from cofferdam_contracts import operations as ops
from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.attributes import PUBLIC_KINDS, KeyAttributes, Usage
from cofferdam_contracts.registry import PROVIDERS, Opcode, ProviderId
from cofferdam_contracts.settings import Pkcs11Settings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.device_provider import DeviceProvider
from cofferdam_providers.base.provider import DeviceLostError, Key, StoredKey
from cofferdam_providers.pkcs11 import (
    aead,
    asym_encryption,
    asym_sign,
    cipher,
    generate_random,
    key_ids,
    key_management,
    mac,
    quirks,
)
from cofferdam_providers.pkcs11.cryptoki import CryptokiError, ImplausibleAnswerError
from cofferdam_providers.pkcs11.device import TokenDevice
from cofferdam_providers.pkcs11.keys import TokenKey, main_class
from cofferdam_providers.pkcs11.module_access import ModuleAccess, obstacles
from cofferdam_providers.pkcs11.objects import Objects
from cofferdam_providers.pkcs11.probe import offers_of, probe
from cofferdam_providers.pkcs11.token import (
    OpenToken,
    UnavailableError,
    about,
    is_there,
    name_of,
    open_token,
    refusal,
    said_by,
)
from cofferdam_providers.pyca import warm_up as in_software
from cofferdam_providers.pyca.asym_sign import hashed
from cofferdam_providers.pyca.errors import invalid_argument
from cofferdam_runtime.log import Log

_DESCRIPTION: Final = PROVIDERS[ProviderId.PKCS11]
OperationT = TypeVar("OperationT", bound=ops.CryptoOperation)
Work: TypeAlias = Callable[[TokenDevice, TokenKey, OperationT], bytes | None]


def _row(kind: type[OperationT], work: Work[OperationT]) -> tuple[Opcode, Work[Any]]:
    return kind.opcode, work


OPERATIONS: Final[Mapping[Opcode, Work[Any]]] = dict(
    (
        _row(ops.ExportPublicKey, lambda d, k, _: key_management.export_public(d, k)),
        _row(ops.ExportKey, lambda d, k, _: key_management.export(d, k)),
        _row(ops.SignHash, lambda d, k, op: asym_sign.sign_hash(d, k, op.alg, op.hash)),
        _row(ops.VerifyHash, lambda d, k, op: asym_sign.verify_hash(d, k, op.alg, op.hash, op.signature)),
        _row(ops.SignMessage, lambda d, k, op: asym_sign.sign_hash(d, k, op.alg, hashed(op))),
        _row(ops.VerifyMessage, lambda d, k, op: asym_sign.verify_hash(d, k, op.alg, hashed(op), op.signature)),
        _row(ops.AsymmetricEncrypt, lambda d, k, op: asym_encryption.encrypt(d, k, op.alg, op.plaintext, op.salt)),
        _row(ops.AsymmetricDecrypt, lambda d, k, op: asym_encryption.decrypt(d, k, op.alg, op.ciphertext, op.salt)),
        _row(ops.AeadEncrypt, lambda d, k, op: aead.encrypt(d, k, op.alg, op.nonce, op.additional_data, op.plaintext)),
        _row(ops.AeadDecrypt, lambda d, k, op: aead.decrypt(d, k, op.alg, op.nonce, op.additional_data, op.ciphertext)),
        _row(ops.CipherEncrypt, lambda d, k, op: cipher.encrypt(d, k, op.alg.mode, op.plaintext)),
        _row(ops.CipherDecrypt, lambda d, k, op: cipher.decrypt(d, k, op.alg.mode, op.ciphertext)),
        _row(ops.MacCompute, lambda d, k, op: mac.compute(d, k, op.alg, op.input)),
        _row(ops.MacVerify, lambda d, k, op: mac.verify(d, k, op.alg, op.input, op.mac)),
        _row(ops.GenerateRandom, lambda d, _, op: generate_random.random_bytes(d, op.size)),
    )
)
"""What the provider does besides key management: with a device `d`, a key `k` and an operation `op`, as far as the
token has the mechanism (`capability_discovery`). Messages are hashed here: a token needs no mechanisms that hash."""


class Pkcs11Provider(DeviceProvider[TokenKey, TokenDevice]):
    """Keys in a token. Only one thread calls the module, which is told so."""

    description = _DESCRIPTION
    device_name = "the token"
    foreign_code = True
    missing_remedy = "the token, or its files, are not those that the keys were made with"

    def __init__(
        self, settings: Pkcs11Settings, access: ModuleAccess, pin: bytes | None, log: Log, *, careful: bool = False
    ) -> None:
        """Use a module with these files; `careful` as in `open_token`."""
        super().__init__(log)
        self._careful = careful
        self._settings = settings
        self._access = access
        self._pin = pin
        self._token: OpenToken | None = None
        self._troubles: list[str] = []
        """Files that the module will miss, in sentences."""
        self.operations = {opcode: partial(self._use, work) for opcode, work in OPERATIONS.items()}

    def open(self) -> None:
        """Load the module, open the token, find out what it can do and what is on it.

        Raises:
            SetupError: The configuration cannot be right.
            PinError: The attempt to log in could not be recorded.
            QuirkError: The configuration names an unknown quirk.
        """
        for variable in self._settings.environment:
            name, _, value = variable.partition("=")
            os.environ[name] = value
        self._troubles = [*self._report_files()]
        try:
            self._token = opened = open_token(self._settings, self._pin, self._log, careful=self._careful)
            self._opened = self._learn(opened)
            self.say_up(name_of(opened))
        except UnavailableError as error:
            self._wait(refusal(error), retry=error.retry)
        except library.PKCS11Error as error:
            self._wait(ServiceError(Status.PSA_ERROR_COMMUNICATION_FAILURE, said_by(error)), retry=True)
        except (CryptokiError, ImplausibleAnswerError, UnicodeDecodeError) as error:
            self._wait(ServiceError(Status.PSA_ERROR_COMMUNICATION_FAILURE, f"{error}"), retry=True)

    def object_of(self, stored: StoredKey) -> bytes:
        """Return the CKA_ID, which rows of both forms may name."""
        try:
            return key_ids.cka_id(stored)
        except ServiceError:
            return stored.key_id

    def plan_key_id(self) -> bytes:
        """Return a CKA_ID that no object of the token has."""
        device = self._device()
        size = key_ids.REFERENCE_BYTES if self._settings.give_back else device.quirks.id_bytes
        return device.objects.new_identifier(size)

    def check_generate(self, attributes: KeyAttributes) -> None:
        """Reject what can never be generated; the token is asked once the name is known to be free."""
        if attributes.type.kind in PUBLIC_KINDS:
            raise invalid_argument("a public key cannot be generated")
        self._check_export(attributes)

    def check_import(self, attributes: KeyAttributes, data: bytes) -> None:
        """Reject what can never be imported; the rest as for `check_generate`."""
        self._check_export(attributes)
        if not data:
            raise invalid_argument("an empty key")

    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        """Generate a key in the token."""
        del identity
        key_management.generate(self._device(), planned_id, attributes)
        return self._stored(planned_id, attributes)

    def import_key(self, identity: KeyIdentity, attributes: KeyAttributes, data: bytes, planned_id: bytes) -> StoredKey:
        """Import a key into the token; the returned attributes have the actual size."""
        del identity
        bits = key_management.import_key(self._device(), planned_id, attributes, data)
        return self._stored(planned_id, replace(attributes, bits=bits))

    def open_key(self, identity: KeyIdentity, stored: StoredKey) -> Key[TokenKey]:
        """Find a key's objects."""
        del identity
        handle = self._device().open_key(key_ids.cka_id(stored), stored.attributes)
        return Key(attributes=stored.attributes, handle=handle)

    def lacks(self, stored: StoredKey) -> bool:
        """Tell whether a complete listing of the token has no object of a key."""
        if self._opened is None or not self._opened.objects.complete:
            return False
        return self.object_of(stored) not in self._opened.objects

    def destroy_key(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Destroy a key's objects, private before public."""
        del identity
        identifier = key_ids.cka_id(stored)
        if not self._device().destroy(identifier, main_class(stored.attributes)):
            # The beginning identifies the key; with all of it, another program could ask its session for the key.
            begins = identifier[:4].hex()
            self._log.warning("the token has nothing of a key that is to be destroyed", id_begins=begins)

    def check_use(self, attributes: KeyAttributes) -> None:
        """Reject a key whose policy permits nothing that the token can do."""
        self._device().capabilities.check_use(attributes)

    def can_generate(self, attributes: KeyAttributes) -> None:
        """Reject a key that the token cannot generate."""
        super().can_generate(attributes)
        self._device().capabilities.check_generate(attributes)

    def can_import(self, attributes: KeyAttributes) -> None:
        """Reject a key that the token cannot import."""
        self._check_export(attributes)
        self._device().capabilities.check_import(attributes)

    def rehearse(self, log: Log) -> None:
        """Say how the login went; whatever went wrong was said when the token was opened."""
        if self._opened is not None and self._pin is not None:
            log.info("the token took the PIN")

    def warm_up(self) -> None:
        """Use once each algorithm that runs here instead of in the token."""
        in_software.warm_up()

    def examine(self) -> None:
        """Look whether the token is still there and logged in.

        Raises:
            DeviceLostError: It is not.
        """
        if self._opened is None or self._token is None:
            return
        if not is_there(self._token):
            raise DeviceLostError(Status.PSA_ERROR_HARDWARE_FAILURE, "the token is not in its slot any more")
        if not self._opened.is_well():
            raise DeviceLostError(Status.PSA_ERROR_COMMUNICATION_FAILURE, "the session is gone")

    def go_on(self) -> bool:
        """List some more objects of a token with very many."""
        if self._opened is None or self._opened.objects.complete:
            return False
        self._opened.go_on()
        return True

    def _use(self, work: Work[Any], key: Key[TokenKey] | None, operation: ops.CryptoOperation) -> bytes | None:
        # The only operation without a key ignores this argument.
        return work(self._device(), key.handle if key else None, operation)  # type: ignore[arg-type]

    def _learn(self, opened: OpenToken) -> TokenDevice:
        token, settings = opened.token, self._settings
        library_path = os.path.realpath(settings.library_path)
        habits = quirks.quirks_for(library_path, token.manufacturer_id, token.model, settings.quirks)
        here = settings.software_public_operations or habits.public_in_software
        capabilities = probe(opened.cryptoki, offers_of(token.slot), public_in_software=here, log=self._log)
        objects = Objects(opened.cryptoki)
        objects.list_all()
        if not objects.complete:
            self._log.warning("listing the token takes long; until it is done, keys are searched for when used")
        self._log.info("the token is open", keys=len(objects), **about(opened))
        return TokenDevice(opened.cryptoki, objects, capabilities, habits, self._log, pin=opened.pin)

    def _report_files(self) -> Iterator[str]:
        """Log what the module will miss, and yield it in sentences."""
        for obstacle in obstacles(self._access):
            yield self._log.error("the worker cannot use a file of its module; change its owner or mode", **obstacle)
        for setting, path in self._access.missing:
            yield self._log.error(
                "a file or folder of the module is missing; make it, or correct what names it",
                file=path,
                named_by=setting,
            )

    def _report_unusable(self, **details: object) -> str:
        # Most modules do not say which file they miss.
        return "; ".join([*self._troubles, self._log.error("the token cannot be used", **details)])

    def _check_export(self, attributes: KeyAttributes) -> None:
        if attributes.usage & Usage.EXPORT and not self._settings.allow_export:
            raise ServiceError(Status.PSA_ERROR_NOT_PERMITTED, "provider.allow_export is false")

    def _stored(self, identifier: bytes, attributes: KeyAttributes) -> StoredKey:
        key_id, version = key_ids.row_of(identifier, give_back=self._settings.give_back)
        return StoredKey(key_id=key_id, version=version, attributes=attributes)
