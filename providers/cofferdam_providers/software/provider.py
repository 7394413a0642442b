"""The software provider: the interface of `base.provider` on top of this package's modules."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeVar

from msgspec.structs import replace

from cofferdam_contracts import operations as ops
from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind
from cofferdam_contracts.registry import PROVIDERS, Opcode, ProviderId
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import OWN_FORM, REFERENCE_FORM, Key, OperationHandler, Provider, StoredKey
from cofferdam_providers.pyca import asym_encryption, asym_sign, hashes, keys
from cofferdam_providers.pyca.asym_sign import hashed
from cofferdam_providers.pyca.errors import not_supported, translated
from cofferdam_providers.pyca.wrapping import Wrapping
from cofferdam_providers.software import aead, cipher, key_agreement, key_management, mac
from cofferdam_providers.software.generate_random import random_bytes
from cofferdam_providers.software.its import find_its_key, has_its_key
from cofferdam_providers.software.self_test import run_self_test

_DESCRIPTION: Final = PROVIDERS[ProviderId.MBED_CRYPTO]
PURPOSE: Final = b"cofferdam software provider: key at rest, format 1"
"""Purpose of its key-encryption key."""
_NO_FILES: Final[Mapping[int, bytes]] = {}
SoftwareKey: TypeAlias = Key[keys.Handle]
OperationT = TypeVar("OperationT", bound=ops.CryptoOperation)


def _row(
    kind: type[OperationT], work: Callable[[SoftwareKey, OperationT], bytes | None]
) -> tuple[Opcode, OperationHandler]:
    return kind.opcode, translated(work)


OPERATIONS: Final[Mapping[Opcode, OperationHandler]] = dict(
    (
        _row(ops.ExportPublicKey, lambda k, _: keys.export_public(k.handle)),
        _row(ops.ExportKey, lambda k, _: k.handle.material),
        _row(ops.SignHash, lambda k, op: asym_sign.sign_hash(k.handle, op.alg, op.hash)),
        _row(ops.VerifyHash, lambda k, op: asym_sign.verify_hash(k.handle, op.alg, op.hash, op.signature)),
        _row(ops.SignMessage, lambda k, op: asym_sign.sign_hash(k.handle, op.alg, hashed(op))),
        _row(ops.VerifyMessage, lambda k, op: asym_sign.verify_hash(k.handle, op.alg, hashed(op), op.signature)),
        _row(ops.AsymmetricEncrypt, lambda k, op: asym_encryption.encrypt(k.handle, op.alg, op.plaintext, op.salt)),
        _row(ops.AsymmetricDecrypt, lambda k, op: asym_encryption.decrypt(k.handle, op.alg, op.ciphertext, op.salt)),
        _row(ops.AeadEncrypt, lambda k, op: aead.encrypt(k.handle, op.alg, op.nonce, op.additional_data, op.plaintext)),
        _row(
            ops.AeadDecrypt, lambda k, op: aead.decrypt(k.handle, op.alg, op.nonce, op.additional_data, op.ciphertext)
        ),
        _row(ops.CipherEncrypt, lambda k, op: cipher.encrypt(k.handle, op.alg.mode, op.plaintext)),
        _row(ops.CipherDecrypt, lambda k, op: cipher.decrypt(k.handle, op.alg.mode, op.ciphertext)),
        _row(ops.MacCompute, lambda k, op: mac.compute(k.handle, op.alg, op.input)),
        _row(ops.MacVerify, lambda k, op: mac.verify(k.handle, op.alg, op.input, op.mac)),
        _row(ops.RawKeyAgreement, lambda k, op: key_agreement.agree(k.handle, op.alg, op.peer_key)),
        _row(ops.GenerateRandom, lambda _, op: random_bytes(op.size)),
        _row(ops.HashCompute, lambda _, op: hashes.digest_of(op.alg, op.input)),
        _row(ops.HashCompare, lambda _, op: hashes.compare(op.alg, op.input, op.hash)),
    )
)
"""What the provider does besides key management. The key material is in this process: no device can be missing."""


class SoftwareProvider(Provider[keys.Handle]):
    """Keys in the memory of this process, encrypted in the key store.

    Generation shares nothing with the other operations, so it may run on a second thread.
    """

    description = _DESCRIPTION
    operations = OPERATIONS
    concurrent_generation = True
    sealed_forms = frozenset({OWN_FORM})
    on_processor = True
    missing_remedy = "provider.mbed_its_path has to name the folder with their .psa_its files"

    def __init__(self, kek: bytes, its: Mapping[int, bytes] = _NO_FILES) -> None:
        """Encrypt keys with a key-encryption key of 32 bytes; `its` has the reference's key files by their id.

        Raises:
            ValueError: The key-encryption key has another length.
        """
        self._wrapping = Wrapping(kek, _DESCRIPTION.uuid, PURPOSE)
        self._its = its

    def check_generate(self, attributes: KeyAttributes) -> None:
        """Reject attributes that can never be generated."""
        key_management.check_generate(attributes)

    def is_slow(self, attributes: KeyAttributes) -> bool:
        """Tell whether generation takes tens of milliseconds or more (RSA), rather than two at most (all others)."""
        return attributes.type.kind is KeyKind.RSA_KEY_PAIR

    def check_import(self, attributes: KeyAttributes, data: bytes) -> None:
        """Reject attributes that can never be imported; the data is checked once the name is known to be free."""
        del data
        key_management.check_import(attributes)

    @translated
    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        """Generate a key."""
        del planned_id
        return self._stored(identity, attributes, key_management.generate(attributes))

    @translated
    def import_key(self, identity: KeyIdentity, attributes: KeyAttributes, data: bytes, planned_id: bytes) -> StoredKey:
        """Import a key; the returned attributes have the actual size."""
        del planned_id
        handle = key_management.import_key(attributes, data)
        return self._stored(identity, replace(attributes, bits=handle.bits), handle.material)

    @translated
    def open_key(self, identity: KeyIdentity, stored: StoredKey) -> Key[keys.Handle]:
        """Decrypt a stored key, or find it among the reference's files; the attributes get the actual size."""
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

    def lacks(self, stored: StoredKey) -> bool:
        """Tell whether the reference made a key of which there is no file."""
        return stored.version == REFERENCE_FORM and not has_its_key(self._its, stored.key_id)

    def unseal(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Reject a row that was not sealed with this provider's key."""
        self._wrapping.open(identity, stored.attributes, stored.key_id)

    def check_use(self, attributes: KeyAttributes) -> None:
        """Reject a key whose policy permits nothing that can be done here."""
        key_management.check_use(attributes)

    def warm_up(self) -> None:
        """Use every algorithm once and compare with known answers."""
        run_self_test()

    def _stored(self, identity: KeyIdentity, attributes: KeyAttributes, material: bytes) -> StoredKey:
        sealed = self._wrapping.seal(identity, attributes, material)
        return StoredKey(key_id=sealed, version=OWN_FORM, attributes=attributes)
