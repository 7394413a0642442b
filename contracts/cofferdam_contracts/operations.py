"""The operations that clients request, as values that are independent of any wire format.

A value of these types is complete but not yet authorised: the worker checks policies and the key itself.
The field order is the order on the channels between processes (`ipc.requests`).
"""

import enum
from typing import ClassVar, Final, TypeAlias, get_args

from msgspec import Struct

from cofferdam_contracts.opaque import Opaque
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


class Ping(Struct, frozen=True):
    """Ask for the wire protocol version."""

    opcode: ClassVar[Opcode] = Opcode.PING


class ListProviders(Struct, frozen=True):
    """List the configured providers."""

    opcode: ClassVar[Opcode] = Opcode.LIST_PROVIDERS


class ListOpcodes(Struct, frozen=True):
    """List the operations that a provider offers; `provider_id` is any u32."""

    opcode: ClassVar[Opcode] = Opcode.LIST_OPCODES
    provider_id: int


class ListAuthenticators(Struct, frozen=True):
    """List the active authenticators."""

    opcode: ClassVar[Opcode] = Opcode.LIST_AUTHENTICATORS


class ListKeys(Struct, frozen=True):
    """List the caller's keys of all providers."""

    opcode: ClassVar[Opcode] = Opcode.LIST_KEYS


class ListClients(Struct, frozen=True):
    """List the applications that have keys (administrators only)."""

    opcode: ClassVar[Opcode] = Opcode.LIST_CLIENTS


class DeleteClient(Struct, frozen=True):
    """Destroy all keys of an application (administrators only)."""

    opcode: ClassVar[Opcode] = Opcode.DELETE_CLIENT
    client: str


class GenerateKey(Struct, frozen=True):
    """Generate a key."""

    opcode: ClassVar[Opcode] = Opcode.PSA_GENERATE_KEY
    key_name: str
    attributes: KeyAttributes


class ImportKey(Opaque, Struct, frozen=True):
    """Store a key that the client supplies."""

    opcode: ClassVar[Opcode] = Opcode.PSA_IMPORT_KEY
    key_name: str
    attributes: KeyAttributes
    data: bytes


class DestroyKey(Struct, frozen=True):
    """Destroy a key."""

    opcode: ClassVar[Opcode] = Opcode.PSA_DESTROY_KEY
    key_name: str


class ExportPublicKey(Struct, frozen=True):
    """Return the public part of a key."""

    opcode: ClassVar[Opcode] = Opcode.PSA_EXPORT_PUBLIC_KEY
    key_name: str


class ExportKey(Struct, frozen=True):
    """Return a key with its secret part."""

    opcode: ClassVar[Opcode] = Opcode.PSA_EXPORT_KEY
    key_name: str


class SignHash(Opaque, Struct, frozen=True):
    """Sign a digest."""

    opcode: ClassVar[Opcode] = Opcode.PSA_SIGN_HASH
    key_name: str
    alg: AsymmetricSignature
    hash: bytes


class VerifyHash(Opaque, Struct, frozen=True):
    """Verify the signature of a digest."""

    opcode: ClassVar[Opcode] = Opcode.PSA_VERIFY_HASH
    key_name: str
    alg: AsymmetricSignature
    hash: bytes
    signature: bytes


class SignMessage(Opaque, Struct, frozen=True):
    """Hash and sign a message."""

    opcode: ClassVar[Opcode] = Opcode.PSA_SIGN_MESSAGE
    key_name: str
    alg: AsymmetricSignature
    message: bytes


class VerifyMessage(Opaque, Struct, frozen=True):
    """Verify the signature of a message."""

    opcode: ClassVar[Opcode] = Opcode.PSA_VERIFY_MESSAGE
    key_name: str
    alg: AsymmetricSignature
    message: bytes
    signature: bytes


class AsymmetricEncrypt(Opaque, Struct, frozen=True):
    """Encrypt with a public key; `salt` is the OAEP label, empty for none."""

    opcode: ClassVar[Opcode] = Opcode.PSA_ASYMMETRIC_ENCRYPT
    key_name: str
    alg: AsymmetricEncryption
    plaintext: bytes
    salt: bytes


class AsymmetricDecrypt(Opaque, Struct, frozen=True):
    """Decrypt with a private key; `salt` is the OAEP label, empty for none."""

    opcode: ClassVar[Opcode] = Opcode.PSA_ASYMMETRIC_DECRYPT
    key_name: str
    alg: AsymmetricEncryption
    ciphertext: bytes
    salt: bytes


class AeadEncrypt(Opaque, Struct, frozen=True):
    """Encrypt and authenticate."""

    opcode: ClassVar[Opcode] = Opcode.PSA_AEAD_ENCRYPT
    key_name: str
    alg: Aead
    nonce: bytes
    additional_data: bytes
    plaintext: bytes


class AeadDecrypt(Opaque, Struct, frozen=True):
    """Authenticate and decrypt."""

    opcode: ClassVar[Opcode] = Opcode.PSA_AEAD_DECRYPT
    key_name: str
    alg: Aead
    nonce: bytes
    additional_data: bytes
    ciphertext: bytes


class CipherEncrypt(Opaque, Struct, frozen=True):
    """Encrypt without authentication; the answer begins with the IV."""

    opcode: ClassVar[Opcode] = Opcode.PSA_CIPHER_ENCRYPT
    key_name: str
    alg: Cipher
    plaintext: bytes


class CipherDecrypt(Opaque, Struct, frozen=True):
    """Decrypt what CipherEncrypt returned."""

    opcode: ClassVar[Opcode] = Opcode.PSA_CIPHER_DECRYPT
    key_name: str
    alg: Cipher
    ciphertext: bytes


class MacCompute(Opaque, Struct, frozen=True):
    """Compute the MAC of some input."""

    opcode: ClassVar[Opcode] = Opcode.PSA_MAC_COMPUTE
    key_name: str
    alg: Mac
    input: bytes


class MacVerify(Opaque, Struct, frozen=True):
    """Compute the MAC of some input and compare."""

    opcode: ClassVar[Opcode] = Opcode.PSA_MAC_VERIFY
    key_name: str
    alg: Mac
    input: bytes
    mac: bytes


class RawKeyAgreement(Opaque, Struct, frozen=True):
    """Agree on a secret with the holder of a public key; `alg` is always raw."""

    opcode: ClassVar[Opcode] = Opcode.PSA_RAW_KEY_AGREEMENT
    key_name: str
    alg: KeyAgreement
    peer_key: bytes


class GenerateRandom(Struct, frozen=True):
    """Return random bytes; `size` is any u64."""

    opcode: ClassVar[Opcode] = Opcode.PSA_GENERATE_RANDOM
    size: int


class HashCompute(Opaque, Struct, frozen=True):
    """Hash some input."""

    opcode: ClassVar[Opcode] = Opcode.PSA_HASH_COMPUTE
    alg: Hash
    input: bytes


class HashCompare(Opaque, Struct, frozen=True):
    """Hash some input and compare with a digest."""

    opcode: ClassVar[Opcode] = Opcode.PSA_HASH_COMPARE
    alg: Hash
    input: bytes
    hash: bytes


class CanDoCrypto(Struct, frozen=True):
    """Ask whether the provider could use, generate, import or derive such a key."""

    opcode: ClassVar[Opcode] = Opcode.CAN_DO_CRYPTO
    check_type: CheckType
    attributes: KeyAttributes


class AttestKey(Opaque, Struct, frozen=True):
    """Attest a key by activating a credential; an empty attesting key name means the default key."""

    opcode: ClassVar[Opcode] = Opcode.ATTEST_KEY
    key_name: str
    attesting_key_name: str
    credential_blob: bytes
    secret: bytes


class PrepareKeyAttestation(Struct, frozen=True):
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
