"""The software provider: the narrow interface of `base.provider` on top of this package's modules."""

from collections.abc import Callable, Mapping
from typing import Final

from cofferdam_contracts import operations
from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind
from cofferdam_contracts.record import replace
from cofferdam_contracts.registry import PROVIDERS, Opcode, ProviderId
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import OWN_FORM, REFERENCE_FORM, Key, Provider, StoredKey
from cofferdam_providers.pyca import asym_encryption, asym_sign, hashes, keys
from cofferdam_providers.pyca.errors import not_supported, translated
from cofferdam_providers.pyca.wrapping import Wrapping
from cofferdam_providers.software import aead, cipher, generate_random, key_agreement, key_management, mac
from cofferdam_providers.software.its import find_its_key
from cofferdam_providers.software.self_test import run_self_test

_DESCRIPTION: Final = PROVIDERS[ProviderId.MBED_CRYPTO]
PURPOSE: Final = b"cofferdam software provider: key at rest, format 1"
"""What its key-encryption key is used for."""
_NO_FILES: Final[Mapping[int, bytes]] = {}


class SoftwareProvider(Provider[keys.Handle]):
    """Keys in the memory of this process, encrypted in the key store.

    Generation shares nothing with the other operations, so it may run on a second thread.
    """

    description = _DESCRIPTION
    opcodes = _DESCRIPTION.opcodes | {
        Opcode.PSA_SIGN_MESSAGE,
        Opcode.PSA_VERIFY_MESSAGE,
        Opcode.PSA_CIPHER_ENCRYPT,
        Opcode.PSA_CIPHER_DECRYPT,
        Opcode.PSA_MAC_COMPUTE,
        Opcode.PSA_MAC_VERIFY,
    }
    concurrent_generation = True
    sealed_forms = frozenset({OWN_FORM})
    on_processor = True

    def __init__(self, kek: bytes, its: Mapping[int, bytes] = _NO_FILES) -> None:
        """Encrypt keys with a key-encryption key of 32 bytes; `its` has the reference's key files by their id.

        Raises:
            ValueError: The key-encryption key has another length.
        """
        self._wrapping = Wrapping(kek, _DESCRIPTION.uuid, PURPOSE)
        self._its = its

    def check_generate(self, attributes: KeyAttributes) -> None:
        """Refuse attributes that can never be generated."""
        key_management.check_generate(attributes)

    def is_slow(self, attributes: KeyAttributes) -> bool:
        """Tell whether making such a key takes tens of milliseconds and more (RSA), not two at most (all others)."""
        return attributes.type.kind is KeyKind.RSA_KEY_PAIR

    def check_import(self, attributes: KeyAttributes, data: bytes) -> None:
        """Refuse attributes that can never be imported; the data is looked at once the name is known to be free."""
        del data
        key_management.check_import(attributes)

    @translated
    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        """Make a key."""
        del planned_id
        return self._stored(identity, attributes, key_management.generate(attributes))

    @translated
    def import_key(self, identity: KeyIdentity, attributes: KeyAttributes, data: bytes, planned_id: bytes) -> StoredKey:
        """Take a key over; the returned attributes carry the true size."""
        del planned_id
        handle = key_management.take_over(attributes, data)
        return self._stored(identity, replace(attributes, bits=handle.bits), handle.material)

    @translated
    def open_key(self, identity: KeyIdentity, stored: StoredKey) -> Key[keys.Handle]:
        """Decrypt a stored key, or find it among the reference's files; the attributes get the true size."""
        attributes = stored.attributes
        if stored.version == OWN_FORM:
            material = self._wrapping.open(identity, attributes, stored.key_id)
        elif stored.version == REFERENCE_FORM:
            found = find_its_key(self._its, stored.key_id, attributes)
            attributes, material = replace(attributes, bits=found.bits), found.material
        else:
            raise not_supported(f"a stored key of form {stored.version}")
        try:
            handle = keys.read_key(attributes.type, attributes.bits, material, vouched=stored.version == OWN_FORM)
        except ServiceError as error:
            if error.status is Status.PSA_ERROR_NOT_SUPPORTED:
                raise
            raise ServiceError(Status.PSA_ERROR_DATA_CORRUPT, f"a stored key: {error.detail}") from error
        return Key(attributes=attributes, handle=handle)

    def unseal(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Refuse a row that was not sealed with this provider's key."""
        self._wrapping.open(identity, stored.attributes, stored.key_id)

    def destroy_key(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Do nothing: the key is gone with its row. A file that the reference left stays for its administrator."""

    @translated
    def export_public_key(self, key: Key[keys.Handle]) -> bytes:
        """Return the public part; symmetric keys have none."""
        return keys.export_public(key.handle)

    def export_key(self, key: Key[keys.Handle]) -> bytes:
        """Return the key in the format of import."""
        return key.handle.material

    @translated
    def sign_hash(self, key: Key[keys.Handle], operation: operations.SignHash) -> bytes:
        """Return the signature of a digest."""
        return asym_sign.sign_hash(key.handle, operation.alg, operation.hash)

    @translated
    def verify_hash(self, key: Key[keys.Handle], operation: operations.VerifyHash) -> None:
        """Refuse a signature that is not good."""
        asym_sign.verify_hash(key.handle, operation.alg, operation.hash, operation.signature)

    @translated
    def sign_message(self, key: Key[keys.Handle], operation: operations.SignMessage) -> bytes:
        """Return the signature of a message."""
        digest = asym_sign.digest_to_sign(operation.alg, operation.message)
        return asym_sign.sign_hash(key.handle, operation.alg, digest)

    @translated
    def verify_message(self, key: Key[keys.Handle], operation: operations.VerifyMessage) -> None:
        """Refuse a signature that is not good."""
        digest = asym_sign.digest_to_sign(operation.alg, operation.message)
        asym_sign.verify_hash(key.handle, operation.alg, digest, operation.signature)

    @translated
    def asymmetric_encrypt(self, key: Key[keys.Handle], operation: operations.AsymmetricEncrypt) -> bytes:
        """Return the ciphertext."""
        return asym_encryption.encrypt(key.handle, operation.alg, operation.plaintext, operation.salt)

    @translated
    def asymmetric_decrypt(self, key: Key[keys.Handle], operation: operations.AsymmetricDecrypt) -> bytes:
        """Return the plaintext."""
        return asym_encryption.decrypt(key.handle, operation.alg, operation.ciphertext, operation.salt)

    @translated
    def aead_encrypt(self, key: Key[keys.Handle], operation: operations.AeadEncrypt) -> bytes:
        """Return ciphertext and tag."""
        return aead.encrypt(key.handle, operation.alg, operation.nonce, operation.additional_data, operation.plaintext)

    @translated
    def aead_decrypt(self, key: Key[keys.Handle], operation: operations.AeadDecrypt) -> bytes:
        """Return the plaintext."""
        return aead.decrypt(key.handle, operation.alg, operation.nonce, operation.additional_data, operation.ciphertext)

    @translated
    def cipher_encrypt(self, key: Key[keys.Handle], operation: operations.CipherEncrypt) -> bytes:
        """Return IV and ciphertext."""
        return cipher.encrypt(key.handle, operation.alg.mode, operation.plaintext)

    @translated
    def cipher_decrypt(self, key: Key[keys.Handle], operation: operations.CipherDecrypt) -> bytes:
        """Return the plaintext."""
        return cipher.decrypt(key.handle, operation.alg.mode, operation.ciphertext)

    @translated
    def mac_compute(self, key: Key[keys.Handle], operation: operations.MacCompute) -> bytes:
        """Return the MAC."""
        return mac.compute(key.handle, operation.alg, operation.input)

    @translated
    def mac_verify(self, key: Key[keys.Handle], operation: operations.MacVerify) -> None:
        """Refuse a MAC that is not that of the input."""
        mac.verify(key.handle, operation.alg, operation.input, operation.mac)

    @translated
    def raw_key_agreement(self, key: Key[keys.Handle], operation: operations.RawKeyAgreement) -> bytes:
        """Return the shared secret."""
        return key_agreement.agree(key.handle, operation.alg, operation.peer_key)

    def generate_random(self, size: int) -> bytes:
        """Return random bytes of the kernel."""
        return generate_random.random_bytes(size)

    def hash_compute(self, operation: operations.HashCompute) -> bytes:
        """Return the digest."""
        return hashes.hash_compute(operation)

    def hash_compare(self, operation: operations.HashCompare) -> None:
        """Refuse a digest that is not that of the input."""
        hashes.hash_compare(operation)

    def check_use(self, attributes: KeyAttributes) -> None:
        """Refuse a key whose policy permits nothing that can be done here."""
        _as_unsupported(key_management.check_use, attributes)

    def can_generate(self, attributes: KeyAttributes) -> None:
        """Refuse a key that cannot be generated here, always as not supported."""
        _as_unsupported(key_management.check_generate, attributes)

    def can_import(self, attributes: KeyAttributes) -> None:
        """Refuse a key that cannot be imported here, always as not supported."""
        _as_unsupported(key_management.check_import, attributes)

    def warm_up(self) -> None:
        """Use every algorithm once and compare with known answers.

        Raises:
            RuntimeError: An answer is wrong.
        """
        run_self_test()

    def _stored(self, identity: KeyIdentity, attributes: KeyAttributes, material: bytes) -> StoredKey:
        sealed = self._wrapping.seal(identity, attributes, material)
        return StoredKey(key_id=sealed, version=OWN_FORM, attributes=attributes)


def _as_unsupported(check: Callable[[KeyAttributes], None], attributes: KeyAttributes) -> None:
    """CanDoCrypto knows one refusal."""
    try:
        check(attributes)
    except ServiceError as error:
        raise not_supported(error.detail) from error
