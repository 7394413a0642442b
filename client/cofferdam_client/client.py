"""The client: one method for each operation of the Parsec protocol."""

from types import TracebackType
from typing import Self, cast

from cofferdam_client.authentication import Auth, FirstUsable
from cofferdam_client.endpoint import socket_path
from cofferdam_client.errors import ServiceStatusError
from cofferdam_client.session import Session
from cofferdam_contracts.operations import (
    AeadDecrypt,
    AeadEncrypt,
    AsymmetricDecrypt,
    AsymmetricEncrypt,
    AttestKey,
    CanDoCrypto,
    CheckType,
    CipherDecrypt,
    CipherEncrypt,
    CryptoOperation,
    DeleteClient,
    DestroyKey,
    ExportKey,
    ExportPublicKey,
    GenerateKey,
    GenerateRandom,
    HashCompare,
    HashCompute,
    ImportKey,
    ListClients,
    ListKeys,
    ListOpcodes,
    MacCompute,
    MacVerify,
    Ping,
    PrepareKeyAttestation,
    RawKeyAgreement,
    SignHash,
    SignMessage,
    VerifyHash,
    VerifyMessage,
)
from cofferdam_contracts.psa.algorithm import (
    Aead,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    Hash,
    KeyAgreement,
    Mac,
    RawAgreement,
)
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import Opcode, ProviderId
from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.bodies import AuthenticatorInfo, KeyInfo, ProviderInfo

_ECDH = KeyAgreement(RawAgreement.ECDH)


class Client:
    """A client of a Parsec service, over one connection that is kept open where the service keeps it.

    Every method sends one request and waits for its response; all of them raise `ClientError`. A key belongs to who
    the client says it is (`auth`), in one provider. Nothing is sent before the first operation. A client is for one
    thread; a forked child makes its own.

    Where a kept connection turns out to be closed, a request is sent once more if the service cannot have carried it
    out, or if that would not matter. Generating, importing and destroying keys and deleting a client do matter: when
    they may have run, `ConnectionFailedError` says so in `may_have_run`, and `list_keys` tells.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        provider: int | None = None,
        auth: Auth | FirstUsable | None = None,
        timeout: float | None = 60.0,
    ) -> None:
        """Prepare a client.

        Args:
            endpoint: `unix:` and the path of the socket; None takes PARSEC_SERVICE_ENDPOINT from the environment, or
                else `unix:/run/parsec/parsec.sock`.
            provider: The provider of all crypto operations; None takes the first that the service lists.
            auth: Who the client is; None takes the first authenticator of the service that needs no name.
            timeout: Seconds that one request may take in all; None sets no limit.

        Raises:
            ConnectionFailedError: The endpoint is none.
            ValueError: The timeout is not positive.
        """
        self._session = Session(socket_path(endpoint), provider, FirstUsable() if auth is None else auth, timeout)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the client can still be used, and makes another one."""
        self._session.close()

    @property
    def provider(self) -> int:
        """Return the provider of crypto operations; asks the service if none was given."""
        return self._session.provider()

    # The service itself.

    def ping(self) -> tuple[int, int]:
        """Return the version of the wire protocol that the service speaks, (major, minor)."""
        return cast("tuple[int, int]", self._session.run(Ping()))

    def list_providers(self) -> list[ProviderInfo]:
        """Return the providers, the one that is taken by default first."""
        return self._session.providers()

    def list_authenticators(self) -> list[AuthenticatorInfo]:
        """Return the authenticators in the service's order."""
        return self._session.authenticators()

    def list_opcodes(self, provider: int | None = None) -> frozenset[int]:
        """Return the operations that a provider offers, by default this client's; numbers of `Opcode`, and others."""
        asked = self.provider if provider is None else provider
        return frozenset(cast("list[int]", self._session.run(ListOpcodes(asked))))

    def list_keys(self) -> list[KeyInfo]:
        """Return this client's keys in all providers."""
        return cast("list[KeyInfo]", self._session.run(ListKeys()))

    def key_attributes(self, key_name: str) -> KeyAttributes:
        """Return the attributes of a key of this client's provider.

        Raises:
            ServiceStatusError: With `PSA_ERROR_DOES_NOT_EXIST`, the service does not list the key.
        """
        for key in self.list_keys():
            if key.name == key_name and key.provider_id == self.provider:
                return key.attributes
        raise ServiceStatusError(Status.PSA_ERROR_DOES_NOT_EXIST, Opcode.LIST_KEYS)

    def list_clients(self) -> list[str]:
        """Return the names of all applications that have keys; for administrators."""
        return cast("list[str]", self._session.run(ListClients()))

    def delete_client(self, client: str) -> None:
        """Destroy all keys of an application; for administrators."""
        self._session.run(DeleteClient(client))

    # Keys.

    def generate_key(self, key_name: str, attributes: KeyAttributes) -> None:
        """Make a new key."""
        self._crypto(GenerateKey(key_name, attributes))

    def import_key(self, key_name: str, attributes: KeyAttributes, data: bytes) -> None:
        """Store a key; a size of 0 bits in the attributes stands for that of the data."""
        self._crypto(ImportKey(key_name, attributes, data))

    def destroy_key(self, key_name: str) -> None:
        """Destroy a key."""
        self._crypto(DestroyKey(key_name))

    def export_public_key(self, key_name: str) -> bytes:
        """Return a public key: RSA as PKCS#1 in DER, elliptic curves as the uncompressed point."""
        return self._crypto_bytes(ExportPublicKey(key_name))

    def export_key(self, key_name: str) -> bytes:
        """Return a key with its secret part, if its usage permits."""
        return self._crypto_bytes(ExportKey(key_name))

    # Signatures. A signature that does not fit is a ServiceStatusError with PSA_ERROR_INVALID_SIGNATURE.

    def sign_hash(self, key_name: str, digest: bytes, algorithm: AsymmetricSignature) -> bytes:
        """Sign a digest; an ECDSA signature is r followed by s."""
        return self._crypto_bytes(SignHash(key_name, algorithm, digest))

    def verify_hash(self, key_name: str, digest: bytes, signature: bytes, algorithm: AsymmetricSignature) -> None:
        """Verify the signature of a digest; return only if it fits."""
        self._crypto(VerifyHash(key_name, algorithm, digest, signature))

    def sign_message(self, key_name: str, message: bytes, algorithm: AsymmetricSignature) -> bytes:
        """Have a message hashed and signed."""
        return self._crypto_bytes(SignMessage(key_name, algorithm, message))

    def verify_message(self, key_name: str, message: bytes, signature: bytes, algorithm: AsymmetricSignature) -> None:
        """Verify the signature of a message; return only if it fits."""
        self._crypto(VerifyMessage(key_name, algorithm, message, signature))

    # Message authentication codes. One that does not fit is a ServiceStatusError with PSA_ERROR_INVALID_SIGNATURE. A
    # service that does not know these operations answers OPCODE_DOES_NOT_EXIST.

    def mac_compute(self, key_name: str, data: bytes, algorithm: Mac) -> bytes:
        """Return the MAC of some data."""
        return self._crypto_bytes(MacCompute(key_name, algorithm, data))

    def mac_verify(self, key_name: str, data: bytes, mac: bytes, algorithm: Mac) -> None:
        """Verify the MAC of some data; return only if it fits."""
        self._crypto(MacVerify(key_name, algorithm, data, mac))

    # Encryption.

    def asymmetric_encrypt(
        self, key_name: str, plaintext: bytes, algorithm: AsymmetricEncryption, label: bytes = b""
    ) -> bytes:
        """Encrypt with a public key; `label` is that of OAEP."""
        return self._crypto_bytes(AsymmetricEncrypt(key_name, algorithm, plaintext, label))

    def asymmetric_decrypt(
        self, key_name: str, ciphertext: bytes, algorithm: AsymmetricEncryption, label: bytes = b""
    ) -> bytes:
        """Decrypt with a private key; `label` is that of OAEP."""
        return self._crypto_bytes(AsymmetricDecrypt(key_name, algorithm, ciphertext, label))

    def aead_encrypt(
        self, key_name: str, nonce: bytes, plaintext: bytes, algorithm: Aead, additional_data: bytes = b""
    ) -> bytes:
        """Encrypt and authenticate; the tag follows the ciphertext. A nonce must never be used twice with a key."""
        return self._crypto_bytes(AeadEncrypt(key_name, algorithm, nonce, additional_data, plaintext))

    def aead_decrypt(
        self, key_name: str, nonce: bytes, ciphertext: bytes, algorithm: Aead, additional_data: bytes = b""
    ) -> bytes:
        """Authenticate and decrypt; a wrong tag is a status of PSA_ERROR_INVALID_SIGNATURE."""
        return self._crypto_bytes(AeadDecrypt(key_name, algorithm, nonce, additional_data, ciphertext))

    def cipher_encrypt(self, key_name: str, plaintext: bytes, algorithm: Cipher) -> bytes:
        """Encrypt without authentication; the IV precedes the ciphertext."""
        return self._crypto_bytes(CipherEncrypt(key_name, algorithm, plaintext))

    def cipher_decrypt(self, key_name: str, ciphertext: bytes, algorithm: Cipher) -> bytes:
        """Decrypt what `cipher_encrypt` returned."""
        return self._crypto_bytes(CipherDecrypt(key_name, algorithm, ciphertext))

    def raw_key_agreement(self, key_name: str, peer_key: bytes, algorithm: KeyAgreement = _ECDH) -> bytes:
        """Return the secret shared with the holder of a public key, which has the form of `export_public_key`."""
        return self._crypto_bytes(RawKeyAgreement(key_name, algorithm, peer_key))

    # Random numbers and hashes, which need no key.

    def generate_random(self, size: int) -> bytes:
        """Return so many random bytes."""
        return self._crypto_bytes(GenerateRandom(size))

    def hash_compute(self, data: bytes, algorithm: Hash) -> bytes:
        """Return the digest of some data."""
        return self._crypto_bytes(HashCompute(algorithm, data))

    def hash_compare(self, data: bytes, digest: bytes, algorithm: Hash) -> None:
        """Return only if the digest is that of the data, else the status is PSA_ERROR_INVALID_SIGNATURE."""
        self._crypto(HashCompare(algorithm, data, digest))

    # What a provider can do and prove.

    def can_do_crypto(self, check: CheckType, attributes: KeyAttributes) -> bool:
        """Tell whether the provider could use, generate or import such a key."""
        try:
            self._crypto(CanDoCrypto(check, attributes))
        except ServiceStatusError as error:
            if error.status == Status.PSA_ERROR_NOT_SUPPORTED and self._offers(Opcode.CAN_DO_CRYPTO):
                return False
            raise
        return True

    def attest_key(self, key_name: str, credential_blob: bytes, secret: bytes, attesting_key_name: str = "") -> bytes:
        """Return the credential that was made for a key, which proves that it is in the provider's TPM."""
        return self._crypto_bytes(AttestKey(key_name, attesting_key_name, credential_blob, secret))

    def prepare_key_attestation(self, key_name: str, attesting_key_name: str = "") -> tuple[bytes, bytes, bytes]:
        """Return what a verifier needs to make a credential: the key's name and public area, the attesting key."""
        name, public, attesting_key = self._crypto(PrepareKeyAttestation(key_name, attesting_key_name))
        return name, public, attesting_key

    def _offers(self, opcode: Opcode) -> bool:
        """Tell whether the provider has an operation at all; without it the answer to it says nothing about a key."""
        return opcode in self.list_opcodes()

    def _crypto(self, operation: CryptoOperation) -> tuple[bytes, ...]:
        if self.provider == ProviderId.CORE:
            raise ValueError("the core provider (0) does no cryptography")
        # The result of every crypto operation; the codec's type covers the listings as well.
        return cast("tuple[bytes, ...]", self._session.run(operation))

    def _crypto_bytes(self, operation: CryptoOperation) -> bytes:
        (value,) = self._crypto(operation)
        return value
