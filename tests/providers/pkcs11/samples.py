"""Keys and their attributes, for the tests of templates and mechanisms."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from tests.providers.support import attributes, der_sequence, rsa_material

from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    AsymmetricEncryption,
    AsymmetricSignature,
    EncryptionScheme,
    Hash,
    Mac,
    MacScheme,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, Usage
from cofferdam_contracts.status import Status
from cofferdam_providers.pyca.der import read_integers

ECDSA = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
PKCS1 = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256)
CRYPT = AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15)
GCM = Aead(AeadScheme.GCM)
HMAC = Mac(MacScheme.HMAC, Hash.SHA_256)
R1 = EccFamily.SECP_R1
SIGNING = Usage.SIGN_HASH | Usage.VERIFY_HASH
SEALING = Usage.ENCRYPT | Usage.DECRYPT
BAD, UNSUPPORTED = Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_NOT_SUPPORTED
NOT_PERMITTED = Status.PSA_ERROR_NOT_PERMITTED
DIGEST = bytes(range(32))
GROUPS: dict[int, ec.EllipticCurve] = {
    192: ec.SECP192R1(),
    224: ec.SECP224R1(),
    256: ec.SECP256R1(),
    384: ec.SECP384R1(),
    521: ec.SECP521R1(),
}
PAIRS = {bits: ec.generate_private_key(group) for bits, group in GROUPS.items()}
RSA_DER = rsa_material(2048)
RSA_NUMBERS = read_integers(RSA_DER)
RSA_PUBLIC = der_sequence(RSA_NUMBERS[1], RSA_NUMBERS[2])


def point(bits: int) -> bytes:
    return PAIRS[bits].public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def scalar(bits: int) -> bytes:
    return PAIRS[bits].private_numbers().private_value.to_bytes((bits + 7) // 8, "big")


def ecc(bits: int, usage: Usage = SIGNING, kind: KeyKind = KeyKind.ECC_KEY_PAIR) -> KeyAttributes:
    return attributes(kind, bits, ECDSA, R1, usage)


def ecc_public(bits: int, usage: Usage = Usage.VERIFY_HASH) -> KeyAttributes:
    return ecc(bits, usage, KeyKind.ECC_PUBLIC_KEY)


def rsa_pair(bits: int, usage: Usage = SIGNING) -> KeyAttributes:
    return attributes(KeyKind.RSA_KEY_PAIR, bits, PKCS1, usage=usage)


def rsa_public(bits: int, usage: Usage = Usage.VERIFY_HASH) -> KeyAttributes:
    return attributes(KeyKind.RSA_PUBLIC_KEY, bits, PKCS1, usage=usage)


def aes(bits: int, usage: Usage = SEALING) -> KeyAttributes:
    return attributes(KeyKind.AES, bits, GCM, usage=usage)


def hmac(bits: int, usage: Usage = SIGNING) -> KeyAttributes:
    return attributes(KeyKind.HMAC, bits, HMAC, usage=usage)
