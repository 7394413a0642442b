"""The operations that clients request, as values that are independent of any wire format.

A value of these types is complete but not yet authorised: the worker checks policies and the key itself.
The field order is the order on the channels between processes (`ipc.requests`).
"""

import enum
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias, get_args

from cofferdam_contracts.psa.algorithm import (
    Aead,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    Hash,
    KeyAgreement,
    Mac,
)
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import Opcode


@enum.unique
class CheckType(enum.IntEnum):
    """What CanDoCrypto asks about (can_do_crypto.CheckType)."""

    USE = 1
    GENERATE = 2
    IMPORT = 3
    DERIVE = 4


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for the wire protocol version."""

    opcode: ClassVar[Opcode] = Opcode.PING


@dataclass(frozen=True, slots=True)
class ListProviders:
    """List the configured providers."""

    opcode: ClassVar[Opcode] = Opcode.LIST_PROVIDERS


@dataclass(frozen=True, slots=True)
class ListOpcodes:
    """List the operations that a provider offers; `provider_id` is any u32."""

    opcode: ClassVar[Opcode] = Opcode.LIST_OPCODES
    provider_id: int


@dataclass(frozen=True, slots=True)
class ListAuthenticators:
    """List the active authenticators."""

    opcode: ClassVar[Opcode] = Opcode.LIST_AUTHENTICATORS


@dataclass(frozen=True, slots=True)
class ListKeys:
    """List the caller's keys of all providers."""

    opcode: ClassVar[Opcode] = Opcode.LIST_KEYS


@dataclass(frozen=True, slots=True)
class ListClients:
    """List the applications that have keys (administrators only)."""

    opcode: ClassVar[Opcode] = Opcode.LIST_CLIENTS


@dataclass(frozen=True, slots=True)
class DeleteClient:
    """Destroy all keys of an application (administrators only)."""

    opcode: ClassVar[Opcode] = Opcode.DELETE_CLIENT
    client: str


@dataclass(frozen=True, slots=True)
class GenerateKey:
    """Generate a key."""

    opcode: ClassVar[Opcode] = Opcode.PSA_GENERATE_KEY
    key_name: str
    attributes: KeyAttributes


@dataclass(frozen=True, slots=True)
class ImportKey:
    """Store a key that the client supplies."""

    opcode: ClassVar[Opcode] = Opcode.PSA_IMPORT_KEY
    key_name: str
    attributes: KeyAttributes
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DestroyKey:
    """Destroy a key."""

    opcode: ClassVar[Opcode] = Opcode.PSA_DESTROY_KEY
    key_name: str


@dataclass(frozen=True, slots=True)
class ExportPublicKey:
    """Return the public part of a key."""

    opcode: ClassVar[Opcode] = Opcode.PSA_EXPORT_PUBLIC_KEY
    key_name: str


@dataclass(frozen=True, slots=True)
class ExportKey:
    """Return a key with its secret part."""

    opcode: ClassVar[Opcode] = Opcode.PSA_EXPORT_KEY
    key_name: str


@dataclass(frozen=True, slots=True)
class SignHash:
    """Sign a digest."""

    opcode: ClassVar[Opcode] = Opcode.PSA_SIGN_HASH
    key_name: str
    alg: AsymmetricSignature
    hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifyHash:
    """Verify the signature of a digest."""

    opcode: ClassVar[Opcode] = Opcode.PSA_VERIFY_HASH
    key_name: str
    alg: AsymmetricSignature
    hash: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignMessage:
    """Hash and sign a message."""

    opcode: ClassVar[Opcode] = Opcode.PSA_SIGN_MESSAGE
    key_name: str
    alg: AsymmetricSignature
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifyMessage:
    """Verify the signature of a message."""

    opcode: ClassVar[Opcode] = Opcode.PSA_VERIFY_MESSAGE
    key_name: str
    alg: AsymmetricSignature
    message: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AsymmetricEncrypt:
    """Encrypt with a public key; `salt` is the OAEP label, empty for none."""

    opcode: ClassVar[Opcode] = Opcode.PSA_ASYMMETRIC_ENCRYPT
    key_name: str
    alg: AsymmetricEncryption
    plaintext: bytes = field(repr=False)
    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AsymmetricDecrypt:
    """Decrypt with a private key; `salt` is the OAEP label, empty for none."""

    opcode: ClassVar[Opcode] = Opcode.PSA_ASYMMETRIC_DECRYPT
    key_name: str
    alg: AsymmetricEncryption
    ciphertext: bytes = field(repr=False)
    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AeadEncrypt:
    """Encrypt and authenticate."""

    opcode: ClassVar[Opcode] = Opcode.PSA_AEAD_ENCRYPT
    key_name: str
    alg: Aead
    nonce: bytes = field(repr=False)
    additional_data: bytes = field(repr=False)
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AeadDecrypt:
    """Authenticate and decrypt."""

    opcode: ClassVar[Opcode] = Opcode.PSA_AEAD_DECRYPT
    key_name: str
    alg: Aead
    nonce: bytes = field(repr=False)
    additional_data: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CipherEncrypt:
    """Encrypt without authentication; the answer begins with the IV."""

    opcode: ClassVar[Opcode] = Opcode.PSA_CIPHER_ENCRYPT
    key_name: str
    alg: Cipher
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CipherDecrypt:
    """Decrypt what CipherEncrypt returned."""

    opcode: ClassVar[Opcode] = Opcode.PSA_CIPHER_DECRYPT
    key_name: str
    alg: Cipher
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MacCompute:
    """Compute the MAC of some input."""

    opcode: ClassVar[Opcode] = Opcode.PSA_MAC_COMPUTE
    key_name: str
    alg: Mac
    input: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MacVerify:
    """Compute the MAC of some input and compare."""

    opcode: ClassVar[Opcode] = Opcode.PSA_MAC_VERIFY
    key_name: str
    alg: Mac
    input: bytes = field(repr=False)
    mac: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RawKeyAgreement:
    """Agree on a secret with the holder of a public key; `alg` is always raw."""

    opcode: ClassVar[Opcode] = Opcode.PSA_RAW_KEY_AGREEMENT
    key_name: str
    alg: KeyAgreement
    peer_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GenerateRandom:
    """Return random bytes; `size` is any u64."""

    opcode: ClassVar[Opcode] = Opcode.PSA_GENERATE_RANDOM
    size: int


@dataclass(frozen=True, slots=True)
class HashCompute:
    """Hash some input."""

    opcode: ClassVar[Opcode] = Opcode.PSA_HASH_COMPUTE
    alg: Hash
    input: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HashCompare:
    """Hash some input and compare with a digest."""

    opcode: ClassVar[Opcode] = Opcode.PSA_HASH_COMPARE
    alg: Hash
    input: bytes = field(repr=False)
    hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CanDoCrypto:
    """Ask whether the provider could use, generate, import or derive such a key."""

    opcode: ClassVar[Opcode] = Opcode.CAN_DO_CRYPTO
    check_type: CheckType
    attributes: KeyAttributes


@dataclass(frozen=True, slots=True)
class AttestKey:
    """Attest a key by activating a credential; an empty attesting key name means the default key."""

    opcode: ClassVar[Opcode] = Opcode.ATTEST_KEY
    key_name: str
    attesting_key_name: str
    credential_blob: bytes = field(repr=False)
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PrepareKeyAttestation:
    """Return the data that a verifier needs to make a credential for a key."""

    opcode: ClassVar[Opcode] = Opcode.PREPARE_KEY_ATTESTATION
    key_name: str
    attesting_key_name: str


CoreOperation: TypeAlias = (
    Ping | ListProviders | ListOpcodes | ListAuthenticators | ListKeys | ListClients | DeleteClient
)
CryptoOperation: TypeAlias = (
    GenerateKey
    | ImportKey
    | DestroyKey
    | ExportPublicKey
    | ExportKey
    | SignHash
    | VerifyHash
    | SignMessage
    | VerifyMessage
    | AsymmetricEncrypt
    | AsymmetricDecrypt
    | AeadEncrypt
    | AeadDecrypt
    | CipherEncrypt
    | CipherDecrypt
    | MacCompute
    | MacVerify
    | RawKeyAgreement
    | GenerateRandom
    | HashCompute
    | HashCompare
    | CanDoCrypto
    | AttestKey
    | PrepareKeyAttestation
)
Operation: TypeAlias = CoreOperation | CryptoOperation

OPERATIONS: Final[dict[Opcode, type[Operation]]] = {operation.opcode: operation for operation in get_args(Operation)}
"""The type of every operation, complete over `Opcode`."""
