"""The PKCS#11 provider: the narrow interface of `base.provider` on top of this package's modules.

Without its token the provider lives on and refuses everything at once, so that clients are not left waiting; after a
while it makes room for a successor, which starts the module afresh. Some modules do not notice a token that came back
before they are initialised again.
"""

import os
import time
from typing import Final

from pkcs11 import exceptions as library

from cofferdam_contracts import operations
from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.attributes import PUBLIC_KINDS, KeyAttributes, Usage
from cofferdam_contracts.record import replace
from cofferdam_contracts.registry import PROVIDERS, Opcode, ProviderId
from cofferdam_contracts.settings import Pkcs11Settings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import Key, Provider, StoredKey
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
from cofferdam_providers.pkcs11.device import Device
from cofferdam_providers.pkcs11.keys import TokenKey, main_class
from cofferdam_providers.pkcs11.objects import Objects
from cofferdam_providers.pkcs11.place import Place, obstacles
from cofferdam_providers.pkcs11.probe import offers_of, probe
from cofferdam_providers.pkcs11.token import OpenToken, UnavailableError, about, open_token, refusal
from cofferdam_providers.pyca import warm_up as in_software
from cofferdam_providers.pyca.asym_sign import digest_to_sign
from cofferdam_providers.pyca.errors import invalid_argument
from cofferdam_runtime.log import Log

_DESCRIPTION: Final = PROVIDERS[ProviderId.PKCS11]
RETRY_S: Final = 15.0
"""How long a worker without its token refuses before a successor tries again; four deaths a minute are not yet so many
that the broker makes the next one wait (`runtime.backoff`)."""


class Pkcs11Provider(Provider[TokenKey]):
    """Keys in a token. One thread touches the module: it is told that there is no other."""

    description = _DESCRIPTION
    opcodes = _DESCRIPTION.opcodes | {
        Opcode.PSA_EXPORT_KEY,
        Opcode.PSA_SIGN_MESSAGE,
        Opcode.PSA_VERIFY_MESSAGE,
        Opcode.PSA_AEAD_ENCRYPT,
        Opcode.PSA_AEAD_DECRYPT,
        Opcode.PSA_CIPHER_ENCRYPT,
        Opcode.PSA_CIPHER_DECRYPT,
        Opcode.PSA_MAC_COMPUTE,
        Opcode.PSA_MAC_VERIFY,
    }
    slow_generation = True
    foreign_code = True

    def __init__(self, settings: Pkcs11Settings, place: Place, pin: bytes | None, log: Log) -> None:
        """Prepare; `open` opens."""
        self._settings = settings
        self._place = place
        self._pin = pin
        self._log = log
        self._opened: Device | None = None
        self._refusal = ServiceError(Status.PSA_ERROR_HARDWARE_FAILURE, "the token has not been opened")

    def open(self) -> None:
        """Load the module, open the token, learn what it can do and what is on it.

        Raises:
            SetupError: The configuration cannot be right.
            PinError: The attempt to log in could not be remembered.
            QuirkError: The configuration names a quirk that there is not.
        """
        for variable in self._settings.environment:
            name, _, value = variable.partition("=")
            os.environ[name] = value
        for obstacle in obstacles(self._place):
            self._log.error("the worker cannot use a file of its module; change its owner or mode", **obstacle)
        try:
            opened = open_token(self._settings, self._pin, self._log)
            self._opened = self._learn(opened)
        except UnavailableError as error:
            self._wait(refusal(error), retry=error.retry)
        except (CryptokiError, ImplausibleAnswerError, library.PKCS11Error, UnicodeDecodeError) as error:
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
        """Refuse what can never be generated; the token is asked once the name is known to be free."""
        if attributes.type.kind in PUBLIC_KINDS:
            raise invalid_argument("a public key cannot be generated")
        self._check_export(attributes)

    def check_import(self, attributes: KeyAttributes, data: bytes) -> None:
        """Refuse what can never be imported; the rest as for `check_generate`."""
        self._check_export(attributes)
        if not data:
            raise invalid_argument("an empty key")

    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        """Make a key in the token."""
        del identity
        key_management.generate(self._device(), planned_id, attributes)
        return self._stored(planned_id, attributes)

    def import_key(self, identity: KeyIdentity, attributes: KeyAttributes, data: bytes, planned_id: bytes) -> StoredKey:
        """Put a key into the token; the returned attributes carry the true size."""
        del identity
        bits = key_management.take_over(self._device(), planned_id, attributes, data)
        return self._stored(planned_id, replace(attributes, bits=bits))

    def open_key(self, identity: KeyIdentity, stored: StoredKey) -> Key[TokenKey]:
        """Find a key's objects."""
        del identity
        handle = self._device().open_key(key_ids.cka_id(stored), stored.attributes)
        return Key(attributes=stored.attributes, handle=handle)

    def require_device(self) -> None:
        """Refuse while there is no token."""
        self._device()

    def destroy_key(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Destroy a key's objects, private before public."""
        del identity
        identifier = key_ids.cka_id(stored)
        if not self._device().destroy(identifier, main_class(stored.attributes)):
            # Its beginning tells which it was; who knows all of it can ask another program's session for the key.
            begins = identifier[:4].hex()
            self._log.warning("the token has nothing of a key that is to be destroyed", id_begins=begins)

    def export_public_key(self, key: Key[TokenKey]) -> bytes:
        """Return the public part."""
        if key.handle.kind not in PUBLIC_KINDS and not key.handle.size:
            raise invalid_argument("a symmetric key has no public part")
        return self._device().export_public(key.handle)

    def export_key(self, key: Key[TokenKey]) -> bytes:
        """Return the key in the format of import, if the token shows it."""
        return key_management.export(self._device(), key.handle)

    def sign_hash(self, key: Key[TokenKey], operation: operations.SignHash) -> bytes:
        """Return the signature of a digest."""
        return asym_sign.sign_hash(self._device(), key.handle, operation.alg, operation.hash)

    def verify_hash(self, key: Key[TokenKey], operation: operations.VerifyHash) -> None:
        """Refuse a signature that is not good."""
        asym_sign.verify_hash(self._device(), key.handle, operation.alg, operation.hash, operation.signature)

    def sign_message(self, key: Key[TokenKey], operation: operations.SignMessage) -> bytes:
        """Return the signature of a message, which is hashed here."""
        digest = digest_to_sign(operation.alg, operation.message)
        return asym_sign.sign_hash(self._device(), key.handle, operation.alg, digest)

    def verify_message(self, key: Key[TokenKey], operation: operations.VerifyMessage) -> None:
        """Refuse a signature that is not good."""
        digest = digest_to_sign(operation.alg, operation.message)
        asym_sign.verify_hash(self._device(), key.handle, operation.alg, digest, operation.signature)

    def asymmetric_encrypt(self, key: Key[TokenKey], operation: operations.AsymmetricEncrypt) -> bytes:
        """Return the ciphertext."""
        return asym_encryption.encrypt(self._device(), key.handle, operation.alg, operation.plaintext, operation.salt)

    def asymmetric_decrypt(self, key: Key[TokenKey], operation: operations.AsymmetricDecrypt) -> bytes:
        """Return the plaintext."""
        return asym_encryption.decrypt(self._device(), key.handle, operation.alg, operation.ciphertext, operation.salt)

    def aead_encrypt(self, key: Key[TokenKey], operation: operations.AeadEncrypt) -> bytes:
        """Return ciphertext and tag."""
        nonce, additional_data = operation.nonce, operation.additional_data
        return aead.encrypt(self._device(), key.handle, operation.alg, nonce, additional_data, operation.plaintext)

    def aead_decrypt(self, key: Key[TokenKey], operation: operations.AeadDecrypt) -> bytes:
        """Return the plaintext."""
        nonce, additional_data = operation.nonce, operation.additional_data
        return aead.decrypt(self._device(), key.handle, operation.alg, nonce, additional_data, operation.ciphertext)

    def cipher_encrypt(self, key: Key[TokenKey], operation: operations.CipherEncrypt) -> bytes:
        """Return IV and ciphertext."""
        return cipher.encrypt(self._device(), key.handle, operation.alg.mode, operation.plaintext)

    def cipher_decrypt(self, key: Key[TokenKey], operation: operations.CipherDecrypt) -> bytes:
        """Return the plaintext."""
        return cipher.decrypt(self._device(), key.handle, operation.alg.mode, operation.ciphertext)

    def mac_compute(self, key: Key[TokenKey], operation: operations.MacCompute) -> bytes:
        """Return the MAC."""
        return mac.compute(self._device(), key.handle, operation.alg, operation.input)

    def mac_verify(self, key: Key[TokenKey], operation: operations.MacVerify) -> None:
        """Refuse a MAC that is not that of the input."""
        mac.verify(self._device(), key.handle, operation.alg, operation.input, operation.mac)

    def generate_random(self, size: int) -> bytes:
        """Return random bytes of the token."""
        return generate_random.random_bytes(self._device(), size)

    def check_use(self, attributes: KeyAttributes) -> None:
        """Refuse a key whose policy permits nothing that the token can do."""
        self._device().capabilities.check_use(attributes)

    def can_generate(self, attributes: KeyAttributes) -> None:
        """Refuse a key that the token cannot make."""
        self.check_generate(attributes)
        self._device().capabilities.check_generate(attributes)

    def can_import(self, attributes: KeyAttributes) -> None:
        """Refuse a key that the token does not take."""
        self._check_export(attributes)
        self._device().capabilities.check_import(attributes)

    def warm_up(self) -> None:
        """Use what is done here in place of the token once.

        Raises:
            RuntimeError: An answer is wrong.
        """
        in_software.warm_up()

    def go_on(self) -> bool:
        """List a little more of a token with very many objects."""
        if self._opened is None or self._opened.objects.complete:
            return False
        self._opened.go_on()
        return True

    def _device(self) -> Device:
        if self._opened is None:
            # Another one each time: an error keeps what it passes, and this one would keep all requests.
            raise ServiceError(self._refusal.status, self._refusal.detail)
        return self._opened

    def _learn(self, opened: OpenToken) -> Device:
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
        return Device(opened.cryptoki, objects, capabilities, habits, self._log, pin=opened.pin)

    def _wait(self, refused: ServiceError, *, retry: bool) -> None:
        self._refusal = refused
        self._log.error(
            "the token cannot be used",
            cause=refused.detail,
            next_try=f"in {RETRY_S:.0f} s" if retry else "after the configuration has changed",
        )
        if retry:
            self.expires = time.monotonic() + RETRY_S

    def _check_export(self, attributes: KeyAttributes) -> None:
        if attributes.usage & Usage.EXPORT and not self._settings.allow_export:
            raise ServiceError(Status.PSA_ERROR_NOT_PERMITTED, "provider.allow_export is false")

    def _stored(self, identifier: bytes, attributes: KeyAttributes) -> StoredKey:
        key_id, version = key_ids.row_of(identifier, give_back=self._settings.give_back)
        return StoredKey(key_id=key_id, version=version, attributes=attributes)
