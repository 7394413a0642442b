"""One operation of each kind, as a client sends it and as a server gets it."""

from typing import Any, Final

from cofferdam_contracts.operations import OPERATIONS, CheckType, ListOpcodes, Operation
from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    EncryptionScheme,
    Hash,
    KeyAgreement,
    Mac,
    MacScheme,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage

ECDSA: Final = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
ATTRIBUTES: Final = KeyAttributes(KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1), 256, Usage(0), ECDSA)
_VALUES: Final[dict[object, Any]] = {
    str: "name",
    bytes: b"bytes",
    int: 8,
    Hash: Hash.SHA_256,
    CheckType: CheckType.USE,
    KeyAttributes: ATTRIBUTES,
    AsymmetricSignature: ECDSA,
    AsymmetricEncryption: AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15),
    Aead: Aead(AeadScheme.GCM),
    Cipher: Cipher(CipherMode.CTR),
    Mac: Mac(MacScheme.HMAC, Hash.SHA_256),
    KeyAgreement: KeyAgreement(RawAgreement.ECDH),
}


def _sample(kind: type[Operation]) -> Operation:
    if kind is ListOpcodes:
        return ListOpcodes(1)
    return kind(**{name: _VALUES[kind.__annotations__[name]] for name in kind.__struct_fields__})


SAMPLES: Final = {opcode: _sample(kind) for opcode, kind in OPERATIONS.items()}
