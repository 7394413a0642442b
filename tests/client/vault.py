"""A simulated service with one key of each kind; pyca/cryptography computes the results."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cofferdam_client import Hash, ecc_signing_key, rsa_encryption_key, rsa_signing_key
from cofferdam_contracts import operations
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import AuthType, Opcode
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.bodies import AuthenticatorInfo, KeyInfo, ProviderInfo, Result

RSA: Final = rsa.generate_private_key(65537, 2048)
ECC: Final = ec.generate_private_key(ec.SECP256R1())
_AES: Final = AESGCM(bytes(32))
_HMAC_KEY: Final = bytes(32)
_PREHASHED: Final = Prehashed(hashes.SHA256())
_WIDTH: Final = 32
_NO_SIZE: Final = 2047
"""Bits that no key has."""


@dataclass(slots=True)
class Vault:
    """The service's memory."""

    keys: dict[str, KeyAttributes] = field(
        default_factory=lambda: {
            "rsa": rsa_signing_key(),
            "enc": rsa_encryption_key(),
            "oaep": rsa_encryption_key(oaep=Hash.SHA_256),
            "ecc": ecc_signing_key(),
        }
    )
    imported: dict[str, bytes] = field(default_factory=dict)
    authenticator: AuthType = AuthType.DIRECT
    clients: list[str] = field(default_factory=lambda: ["1000", "evil\x1b[2J"])

    def answers(self) -> dict[Opcode, Callable[[Any], Result]]:
        """Return what the service answers to each operation."""
        return {
            Opcode.PING: lambda _: (1, 0),
            Opcode.LIST_PROVIDERS: lambda _: [
                ProviderInfo("1c1139dc", "software\x07", "Arm", (0, 1, 0), 1),
                ProviderInfo("47049873", "core", "", (1, 4, 1), 0),
            ],
            Opcode.LIST_AUTHENTICATORS: lambda _: [AuthenticatorInfo("names", (0, 1, 0), self.authenticator)],
            Opcode.LIST_OPCODES: lambda operation: [1, 8, 9] if operation.provider_id == 0 else [2, 0x20, 99],
            Opcode.LIST_KEYS: lambda _: [KeyInfo(1, name, attributes) for name, attributes in self.keys.items()],
            Opcode.LIST_CLIENTS: lambda _: self.clients,
            Opcode.DELETE_CLIENT: self._delete_client,
            Opcode.PSA_GENERATE_KEY: self._generate,
            Opcode.PSA_IMPORT_KEY: self._import,
            Opcode.PSA_DESTROY_KEY: self._destroy,
            Opcode.PSA_EXPORT_PUBLIC_KEY: self._export,
            Opcode.PSA_SIGN_HASH: self._sign,
            Opcode.PSA_VERIFY_HASH: self._verify,
            Opcode.PSA_ASYMMETRIC_ENCRYPT: lambda o: (RSA.public_key().encrypt(o.plaintext, _padding(o)),),
            Opcode.PSA_ASYMMETRIC_DECRYPT: lambda o: (RSA.decrypt(o.ciphertext, _padding(o)),),
            Opcode.PSA_AEAD_ENCRYPT: lambda o: (_AES.encrypt(o.nonce, o.plaintext, o.additional_data),),
            Opcode.PSA_AEAD_DECRYPT: lambda o: (_AES.decrypt(o.nonce, o.ciphertext, o.additional_data),),
            Opcode.PSA_MAC_COMPUTE: lambda o: (hmac.digest(_HMAC_KEY, o.input, "sha256"),),
            Opcode.PSA_MAC_VERIFY: lambda _: (),
            Opcode.PSA_GENERATE_RANDOM: lambda o: (bytes(range(o.size)),),
        }

    def _delete_client(self, operation: operations.DeleteClient) -> Result:
        self.clients = [name for name in self.clients if name != operation.client]
        return ()

    def _generate(self, operation: operations.GenerateKey) -> Result:
        if operation.key_name in self.keys:
            raise ServiceError(Status.PSA_ERROR_ALREADY_EXISTS)
        if operation.attributes.bits == _NO_SIZE:
            raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT)
        self.keys[operation.key_name] = operation.attributes
        return ()

    def _import(self, operation: operations.ImportKey) -> Result:
        self.keys[operation.key_name] = operation.attributes
        self.imported[operation.key_name] = operation.data
        return ()

    def _destroy(self, operation: operations.DestroyKey) -> Result:
        if operation.key_name not in self.keys:
            raise ServiceError(Status.PSA_ERROR_DOES_NOT_EXIST)
        del self.keys[operation.key_name]
        return ()

    def _export(self, operation: operations.ExportPublicKey) -> Result:
        if operation.key_name == "ecc":
            return (ECC.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),)
        return (RSA.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1),)

    def _sign(self, operation: operations.SignHash) -> Result:
        if operation.key_name == "ecc":
            r, s = decode_dss_signature(ECC.sign(operation.hash, ec.ECDSA(_PREHASHED)))
            return (r.to_bytes(_WIDTH, "big") + s.to_bytes(_WIDTH, "big"),)
        return (RSA.sign(operation.hash, padding.PKCS1v15(), _PREHASHED),)

    def _verify(self, operation: operations.VerifyHash) -> Result:
        signature = operation.signature
        try:
            if operation.key_name == "ecc":
                r, s = int.from_bytes(signature[:_WIDTH], "big"), int.from_bytes(signature[_WIDTH:], "big")
                ECC.public_key().verify(encode_dss_signature(r, s), operation.hash, ec.ECDSA(_PREHASHED))
            else:
                RSA.public_key().verify(signature, operation.hash, padding.PKCS1v15(), _PREHASHED)
        except InvalidSignature as error:
            raise ServiceError(Status.PSA_ERROR_INVALID_SIGNATURE) from error
        return ()


def _padding(operation: operations.AsymmetricEncrypt | operations.AsymmetricDecrypt) -> padding.AsymmetricPadding:
    if operation.alg.hash is None:
        return padding.PKCS1v15()
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), operation.salt or None)
