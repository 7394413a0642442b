"""Checks before a backend touches a key, as tables; in this order: usage flag, policy, key type, values.

Source: docs/reference/parsec-protocol.md, "Rules of keyed operations" and "CanDoCrypto".
The attributes checked are those of the key store, never what a frontend claims.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cofferdam_contracts.operations import (
    AeadDecrypt,
    AeadEncrypt,
    AsymmetricDecrypt,
    AsymmetricEncrypt,
    CheckType,
    CipherDecrypt,
    CipherEncrypt,
    SignHash,
    VerifyHash,
)
from cofferdam_contracts.psa.algorithm import Algorithm, EncryptionScheme, Mac, NoAlgorithm
from cofferdam_contracts.psa.attributes import PUBLIC_KINDS, KeyAttributes, Usage
from cofferdam_contracts.psa.policy import digest_length_fits, is_compatible, is_permitted, mac_length_fits
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import Key, Provider

USAGE_NEEDED: Final[Mapping[Opcode, int]] = {
    Opcode.PSA_SIGN_HASH: int(Usage.SIGN_HASH),
    Opcode.PSA_VERIFY_HASH: int(Usage.VERIFY_HASH),
    Opcode.PSA_SIGN_MESSAGE: int(Usage.SIGN_MESSAGE | Usage.SIGN_HASH),
    Opcode.PSA_VERIFY_MESSAGE: int(Usage.VERIFY_MESSAGE | Usage.VERIFY_HASH),
    Opcode.PSA_ASYMMETRIC_ENCRYPT: int(Usage.ENCRYPT),
    Opcode.PSA_ASYMMETRIC_DECRYPT: int(Usage.DECRYPT),
    Opcode.PSA_AEAD_ENCRYPT: int(Usage.ENCRYPT),
    Opcode.PSA_AEAD_DECRYPT: int(Usage.DECRYPT),
    Opcode.PSA_CIPHER_ENCRYPT: int(Usage.ENCRYPT),
    Opcode.PSA_CIPHER_DECRYPT: int(Usage.DECRYPT),
    Opcode.PSA_MAC_COMPUTE: int(Usage.SIGN_MESSAGE | Usage.SIGN_HASH),
    Opcode.PSA_MAC_VERIFY: int(Usage.VERIFY_MESSAGE | Usage.VERIFY_HASH),
    Opcode.PSA_RAW_KEY_AGREEMENT: int(Usage.DERIVE),
}
"""Flags of which at least one must be set, for every operation with an algorithm."""

USABLE: Final = int(
    Usage.ENCRYPT
    | Usage.DECRYPT
    | Usage.SIGN_HASH
    | Usage.SIGN_MESSAGE
    | Usage.VERIFY_HASH
    | Usage.VERIFY_MESSAGE
    | Usage.DERIVE
)
"""Flags of which CanDoCrypto requires one. The reference omits `derive` and so denies that key agreement works."""


def _digest(operation: SignHash | VerifyHash) -> None:
    if not digest_length_fits(operation.alg, len(operation.hash)):
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"a digest of {len(operation.hash)} bytes")


def _text(operation: AsymmetricEncrypt | AsymmetricDecrypt) -> None:
    text = operation.plaintext if isinstance(operation, AsymmetricEncrypt) else operation.ciphertext
    if not text:
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, "an empty text")
    if operation.salt and operation.alg.scheme is EncryptionScheme.RSA_PKCS1V15:
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, "a salt with PKCS#1 v1.5 encryption")


def _aead(operation: AeadEncrypt | AeadDecrypt) -> None:
    text = operation.plaintext if isinstance(operation, AeadEncrypt) else operation.ciphertext
    if not text or not operation.nonce:
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, "an empty text or nonce")


def _cipher(operation: CipherEncrypt | CipherDecrypt) -> None:
    text = operation.plaintext if isinstance(operation, CipherEncrypt) else operation.ciphertext
    if not text:
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, "an empty text")


VALUES: Final[Mapping[Opcode, Callable[[Any], None]]] = {
    Opcode.PSA_SIGN_HASH: _digest,
    Opcode.PSA_VERIFY_HASH: _digest,
    Opcode.PSA_ASYMMETRIC_ENCRYPT: _text,
    Opcode.PSA_ASYMMETRIC_DECRYPT: _text,
    Opcode.PSA_AEAD_ENCRYPT: _aead,
    Opcode.PSA_AEAD_DECRYPT: _aead,
    Opcode.PSA_CIPHER_ENCRYPT: _cipher,
    Opcode.PSA_CIPHER_DECRYPT: _cipher,
}
"""Rules about the operation's own values that are independent of the backend."""


def check_use(key: Key[Any], opcode: Opcode, operation: Any) -> None:  # noqa: ANN401  any row of the table
    """Reject an operation that the key's attributes do not allow.

    Raises:
        ServiceError: With the status that the protocol assigns to the first rule broken.
    """
    # Decoders mostly return the same object for the same bytes, so a key that is used again is not checked again.
    if key.permitted.get(opcode) is not operation.alg:
        _check_policy(key.attributes, opcode, operation.alg)
        key.permitted[opcode] = operation.alg
    rule = VALUES.get(opcode)
    if rule is not None:
        rule(operation)


def _check_policy(attributes: KeyAttributes, opcode: Opcode, algorithm: Algorithm) -> None:
    if not attributes.usage.value & USAGE_NEEDED[opcode]:
        raise ServiceError(Status.PSA_ERROR_NOT_PERMITTED, "the key lacks the usage flag")
    if not is_permitted(attributes.algorithm, algorithm):
        raise ServiceError(Status.PSA_ERROR_NOT_PERMITTED, "the key's policy permits another algorithm")
    if not is_compatible(attributes.type, algorithm):
        raise ServiceError(Status.PSA_ERROR_NOT_PERMITTED, "the algorithm does not fit the key type")
    if isinstance(algorithm, Mac) and not mac_length_fits(attributes.type.kind, algorithm):
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"a MAC truncated to {algorithm.length} bytes")


def check_export(attributes: KeyAttributes) -> None:
    """Reject the export of a key whose policy forbids it; public keys can be exported without the flag."""
    if attributes.type.kind not in PUBLIC_KINDS and not attributes.usage & Usage.EXPORT:
        raise ServiceError(Status.PSA_ERROR_NOT_PERMITTED, "the key is not exportable")


def can_do_crypto(provider: Provider[Any], check: CheckType, attributes: KeyAttributes) -> None:
    """Answer CanDoCrypto: return for yes, raise `PSA_ERROR_NOT_SUPPORTED` for no, whatever the reason."""
    try:
        if check is CheckType.GENERATE:
            provider.can_generate(attributes)
        elif check is CheckType.IMPORT:
            provider.can_import(attributes)
        elif check is CheckType.DERIVE:
            raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "no provider derives keys")
        if check is CheckType.USE or not isinstance(attributes.algorithm, NoAlgorithm):
            _can_use(provider, attributes)
    except ServiceError as error:
        raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, error.detail) from error


def _can_use(provider: Provider[Any], attributes: KeyAttributes) -> None:
    if not attributes.usage.value & USABLE:
        raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "no usage flag that any operation requires")
    if not is_compatible(attributes.type, attributes.algorithm):
        raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "the algorithm does not fit the key type")
    provider.check_use(attributes)
