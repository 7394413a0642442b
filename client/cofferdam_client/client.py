"""The client, with one method for each operation of the Parsec protocol."""

from contextlib import suppress
from types import TracebackType
from typing import Self, cast

from cofferdam_client.authentication import Auth, FirstUsable
from cofferdam_client.endpoint import socket_path
from cofferdam_client.errors import ClientError, KeyExistsError, ServiceStatusError
from cofferdam_client.session import Session
from cofferdam_contracts import operations
from cofferdam_contracts.identity import MAX_KEY_NAME
from cofferdam_contracts.operations import CheckType, CryptoOperation
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
    """A client of a Parsec service, over one connection that stays open as long as the service keeps it.

    Every method sends one request and waits for its response; every method may raise `ClientError`. A key belongs to
    the identity of the client (`auth`), in one provider. Nothing is sent before the first operation. A client is not
    thread-safe, and a forked child needs its own.

    When a kept connection turns out to be closed, the client repeats the request if the service cannot have carried it
    out, or if running it twice has no effect. Generating, importing and destroying keys and deleting a client do have
    one: if they may have run, `ConnectionFailedError.may_have_run` is true, and `list_keys` shows the outcome.
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
            auth: The identity of the client; None takes the first authenticator of the service that needs no name.
            timeout: Seconds that one request may take in total; None sets no limit.

        Raises:
            ConnectionFailedError: The endpoint is malformed.
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
        """Close the connection. The client can still be used, and then opens a new one."""
        self._session.close()

    @property
    def provider(self) -> int:
        """Return the provider of crypto operations; this asks the service if none was given."""
        return self._session.provider()

    # The service itself.

    def ping(self) -> tuple[int, int]:
        """Return the version of the wire protocol that the service speaks, (major, minor)."""
        return cast("tuple[int, int]", self._session.run(operations.Ping()))

    def list_providers(self) -> list[ProviderInfo]:
        """Return the providers, the default one first."""
        return self._session.providers()

    def list_authenticators(self) -> list[AuthenticatorInfo]:
        """Return the authenticators in the service's order."""
        return self._session.authenticators()

    def list_opcodes(self, provider: int | None = None) -> frozenset[int]:
        """Return the operations that a provider offers, by default this client's: numbers, known (`Opcode`) or not."""
        asked = self.provider if provider is None else provider
        return frozenset(cast("list[int]", self._session.run(operations.ListOpcodes(asked))))

    def list_keys(self) -> list[KeyInfo]:
        """Return this client's keys in all providers."""
        return cast("list[KeyInfo]", self._session.run(operations.ListKeys()))

    def key_attributes(self, key_name: str) -> KeyAttributes:
        """Return the attributes of a key of this client's provider.

        Raises:
            ServiceStatusError: With `PSA_ERROR_DOES_NOT_EXIST`: the service does not list the key.
        """
        for key in self.list_keys():
            if key.name == key_name and key.provider_id == self.provider:
                return key.attributes
        raise ServiceStatusError(Status.PSA_ERROR_DOES_NOT_EXIST, Opcode.LIST_KEYS)

    def provider_of(self, key_name: str) -> int | None:
        """Return the provider that has this client's key of a name, None if the service lists no such key."""
        return next((key.provider_id for key in self.list_keys() if key.name == key_name), None)

    def list_clients(self) -> list[str]:
        """Return the names of all applications that have keys; for administrators."""
        return cast("list[str]", self._session.run(operations.ListClients()))

    def delete_client(self, client: str) -> None:
        """Destroy all keys of an application; for administrators."""
        self._session.run(operations.DeleteClient(client))

    # Keys.

    def generate_key(self, key_name: str, attributes: KeyAttributes) -> None:
        """Generate a key.

        Raises:
            ValueError: No new key may have this name.
            KeyExistsError: There is a key of this name, in this or another provider.
        """
        _check_new_name(key_name)
        self._make(operations.GenerateKey(key_name, attributes))

    def import_key(self, key_name: str, attributes: KeyAttributes, data: bytes) -> None:
        """Import a key; if the attributes have a size of 0 bits, the data decides. Errors as of `generate_key`."""
        _check_new_name(key_name)
        self._make(operations.ImportKey(key_name, attributes, data))

    def destroy_key(self, key_name: str) -> None:
        """Destroy a key."""
        self._crypto(operations.DestroyKey(key_name))

    def export_public_key(self, key_name: str) -> bytes:
        """Return a public key: RSA as PKCS#1 in DER, an elliptic-curve key as the uncompressed point."""
        return self._crypto_bytes(operations.ExportPublicKey(key_name))

    def export_key(self, key_name: str) -> bytes:
        """Return a key with its secret part, if its usage flags permit it."""
        return self._crypto_bytes(operations.ExportKey(key_name))

    # Signatures. An invalid signature is a ServiceStatusError with PSA_ERROR_INVALID_SIGNATURE.

    def sign_hash(self, key_name: str, digest: bytes, algorithm: AsymmetricSignature) -> bytes:
        """Sign a digest; an ECDSA signature is r followed by s."""
        return self._crypto_bytes(operations.SignHash(key_name, algorithm, digest))

    def verify_hash(self, key_name: str, digest: bytes, signature: bytes, algorithm: AsymmetricSignature) -> None:
        """Verify the signature of a digest; return only if it is valid."""
        self._crypto(operations.VerifyHash(key_name, algorithm, digest, signature))

    def sign_message(self, key_name: str, message: bytes, algorithm: AsymmetricSignature) -> bytes:
        """Hash and sign a message."""
        return self._crypto_bytes(operations.SignMessage(key_name, algorithm, message))

    def verify_message(self, key_name: str, message: bytes, signature: bytes, algorithm: AsymmetricSignature) -> None:
        """Verify the signature of a message; return only if it is valid."""
        self._crypto(operations.VerifyMessage(key_name, algorithm, message, signature))

    # Message authentication codes. An invalid one is a ServiceStatusError with PSA_ERROR_INVALID_SIGNATURE. A service
    # without these operations answers OPCODE_DOES_NOT_EXIST.

    def mac_compute(self, key_name: str, data: bytes, algorithm: Mac) -> bytes:
        """Return the MAC of the data."""
        return self._crypto_bytes(operations.MacCompute(key_name, algorithm, data))

    def mac_verify(self, key_name: str, data: bytes, mac: bytes, algorithm: Mac) -> None:
        """Verify the MAC of the data; return only if it is valid."""
        self._crypto(operations.MacVerify(key_name, algorithm, data, mac))

    # Encryption.

    def asymmetric_encrypt(
        self, key_name: str, plaintext: bytes, algorithm: AsymmetricEncryption, label: bytes = b""
    ) -> bytes:
        """Encrypt with a public key; `label` is the OAEP label."""
        return self._crypto_bytes(operations.AsymmetricEncrypt(key_name, algorithm, plaintext, label))

    def asymmetric_decrypt(
        self, key_name: str, ciphertext: bytes, algorithm: AsymmetricEncryption, label: bytes = b""
    ) -> bytes:
        """Decrypt with a private key; `label` is the OAEP label."""
        return self._crypto_bytes(operations.AsymmetricDecrypt(key_name, algorithm, ciphertext, label))

    def aead_encrypt(
        self, key_name: str, nonce: bytes, plaintext: bytes, algorithm: Aead, additional_data: bytes = b""
    ) -> bytes:
        """Encrypt and authenticate; the tag follows the ciphertext. Never use a nonce twice with the same key."""
        return self._crypto_bytes(operations.AeadEncrypt(key_name, algorithm, nonce, additional_data, plaintext))

    def aead_decrypt(
        self, key_name: str, nonce: bytes, ciphertext: bytes, algorithm: Aead, additional_data: bytes = b""
    ) -> bytes:
        """Authenticate and decrypt; a wrong tag is a ServiceStatusError with PSA_ERROR_INVALID_SIGNATURE."""
        return self._crypto_bytes(operations.AeadDecrypt(key_name, algorithm, nonce, additional_data, ciphertext))

    def cipher_encrypt(self, key_name: str, plaintext: bytes, algorithm: Cipher) -> bytes:
        """Encrypt without authentication; the IV precedes the ciphertext."""
        return self._crypto_bytes(operations.CipherEncrypt(key_name, algorithm, plaintext))

    def cipher_decrypt(self, key_name: str, ciphertext: bytes, algorithm: Cipher) -> bytes:
        """Decrypt the result of `cipher_encrypt`."""
        return self._crypto_bytes(operations.CipherDecrypt(key_name, algorithm, ciphertext))

    def raw_key_agreement(self, key_name: str, peer_key: bytes, algorithm: KeyAgreement = _ECDH) -> bytes:
        """Return the secret shared with the owner of a public key, encoded as `export_public_key` returns it."""
        return self._crypto_bytes(operations.RawKeyAgreement(key_name, algorithm, peer_key))

    # Random numbers and hashes need no key.

    def generate_random(self, size: int) -> bytes:
        """Return `size` random bytes."""
        return self._crypto_bytes(operations.GenerateRandom(size))

    def hash_compute(self, data: bytes, algorithm: Hash) -> bytes:
        """Return the digest of the data."""
        return self._crypto_bytes(operations.HashCompute(algorithm, data))

    def hash_compare(self, data: bytes, digest: bytes, algorithm: Hash) -> None:
        """Return only if the digest is that of the data; otherwise the status is PSA_ERROR_INVALID_SIGNATURE."""
        self._crypto(operations.HashCompare(algorithm, data, digest))

    # Capabilities and attestation.

    def can_do_crypto(self, check: CheckType, attributes: KeyAttributes) -> bool:
        """Tell whether the provider can use, generate or import such a key."""
        try:
            self._crypto(operations.CanDoCrypto(check, attributes))
        except ServiceStatusError as error:
            if error.status == Status.PSA_ERROR_NOT_SUPPORTED and self._offers(Opcode.CAN_DO_CRYPTO):
                return False
            raise
        return True

    def attest_key(self, key_name: str, credential_blob: bytes, secret: bytes, attesting_key_name: str = "") -> bytes:
        """Return the recovered credential of a key, which proves that the key is in the provider's TPM."""
        return self._crypto_bytes(operations.AttestKey(key_name, attesting_key_name, credential_blob, secret))

    def prepare_key_attestation(self, key_name: str, attesting_key_name: str = "") -> tuple[bytes, bytes, bytes]:
        """Return the name and the public area of a key and the attesting key, for a verifier to make a credential."""
        name, public, attesting_key = self._crypto(operations.PrepareKeyAttestation(key_name, attesting_key_name))
        return name, public, attesting_key

    def _offers(self, opcode: Opcode) -> bool:
        """Tell whether the provider has an operation; if not, NOT_SUPPORTED is about the operation, not about a key."""
        return opcode in self.list_opcodes()

    def _make(self, operation: operations.GenerateKey | operations.ImportKey) -> None:
        try:
            self._crypto(operation)
        except ServiceStatusError as error:
            if error.status != Status.PSA_ERROR_ALREADY_EXISTS:
                raise
            provider = None
            with suppress(ClientError):
                provider = self.provider_of(operation.key_name)
            raise KeyExistsError(error.opcode, provider) from error

    def _crypto(self, operation: CryptoOperation) -> tuple[bytes, ...]:
        if self.provider == ProviderId.CORE:
            raise ValueError("the core provider (0) has no crypto operations")
        # Every crypto operation returns bytes; the type of the codec covers the listings as well.
        return cast("tuple[bytes, ...]", self._session.run(operation))

    def _crypto_bytes(self, operation: CryptoOperation) -> bytes:
        (value,) = self._crypto(operation)
        return value


def _check_new_name(key_name: str) -> None:
    """Reject a name that command lines and C programs cannot handle, although a service may take it."""
    if not key_name:
        raise ValueError("a key name is not empty")
    if "\0" in key_name:
        raise ValueError("a key name has no zero bytes")
    if len(key_name.encode()) > MAX_KEY_NAME:
        raise ValueError(f"a key name has at most {MAX_KEY_NAME} bytes")
