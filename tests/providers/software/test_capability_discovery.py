"""What keys can be used for, and that CanDoCrypto tells the truth about it."""

import itertools

import pytest
from tests.providers.support import P256, attributes, handle, refused, rsa_material

from cofferdam_contracts import operations
from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    HASHED_SIGNATURES,
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    DerivationScheme,
    EncryptionScheme,
    Hash,
    HashAlgorithm,
    KeyAgreement,
    KeyDerivation,
    Mac,
    MacScheme,
    NoAlgorithm,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType
from cofferdam_contracts.psa.policy import is_compatible, mac_length_fits
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca import asym_encryption, asym_sign
from cofferdam_providers.pyca.keys import Handle, export_public
from cofferdam_providers.software import aead, cipher, key_agreement, mac
from cofferdam_providers.software.capability_discovery import check_policy, check_use

HKDF = KeyDerivation(DerivationScheme.HKDF, Hash.SHA_256)
UNSUPPORTED = Status.PSA_ERROR_NOT_SUPPORTED
MAC_LENGTHS = (None, *range(18), 32, 64, 65)
OPERABLE: list[Algorithm] = [
    *(AsymmetricSignature(scheme, hash_alg) for scheme, hash_alg in itertools.product(sorted(HASHED_SIGNATURES), Hash)),
    *(AsymmetricSignature(scheme) for scheme in SignatureScheme if scheme not in HASHED_SIGNATURES),
    AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15),
    *(AsymmetricEncryption(EncryptionScheme.RSA_OAEP, hash_alg) for hash_alg in Hash),
    *(Aead(scheme) for scheme in AeadScheme),
    *(Aead(scheme, tag) for scheme, tag in itertools.product(AeadScheme, range(19))),
    *(Cipher(mode) for mode in CipherMode),
    *(Mac(MacScheme.HMAC, hash_alg, length) for hash_alg, length in itertools.product(Hash, MAC_LENGTHS)),
    *(Mac(scheme, None, n) for scheme, n in itertools.product((MacScheme.CMAC, MacScheme.CBC_MAC), MAC_LENGTHS)),
    *(KeyAgreement(raw) for raw in RawAgreement),
]
"""Every algorithm that some operation of the protocol has."""
KEYS: list[tuple[KeyType, Handle]] = [
    (KeyType(KeyKind.RSA_KEY_PAIR), handle(KeyKind.RSA_KEY_PAIR, rsa_material(2048))),
    (KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1), handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.SECP_R1)),
    (KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.MONTGOMERY), handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.MONTGOMERY)),
    (KeyType(KeyKind.AES), handle(KeyKind.AES, bytes(range(16)))),
    (KeyType(KeyKind.AES), handle(KeyKind.AES, bytes(range(32)))),
    (KeyType(KeyKind.CAMELLIA), handle(KeyKind.CAMELLIA, bytes(range(32)))),
    (KeyType(KeyKind.CHACHA20), handle(KeyKind.CHACHA20, bytes(range(32)))),
    (KeyType(KeyKind.HMAC), handle(KeyKind.HMAC, bytes(range(32)))),
    (KeyType(KeyKind.DERIVE), handle(KeyKind.DERIVE, bytes(range(32)))),
    (KeyType(KeyKind.RAW_DATA), handle(KeyKind.RAW_DATA, bytes(range(32)))),
]


def _use(key: Handle, algorithm: Algorithm) -> None:
    """Use a key once with an algorithm."""
    match algorithm:
        case AsymmetricSignature():
            message = operations.SignMessage("", algorithm, b"message")
            length = 32 if algorithm.hash is None else len(asym_sign.hashed(message))
            asym_sign.verify_hash(key, algorithm, bytes(length), asym_sign.sign_hash(key, algorithm, bytes(length)))
        case AsymmetricEncryption():
            sealed = asym_encryption.encrypt(key, algorithm, b"text", b"")
            assert asym_encryption.decrypt(key, algorithm, sealed, b"") == b"text"
        case Aead():
            sealed = aead.encrypt(key, algorithm, bytes(12), b"", b"text")
            assert aead.decrypt(key, algorithm, bytes(12), b"", sealed) == b"text"
        case Cipher(mode):
            assert cipher.decrypt(key, mode, cipher.encrypt(key, mode, bytes(16))) == bytes(16)
        case Mac():
            mac.verify(key, algorithm, b"text", mac.compute(key, algorithm, b"text"))
        case KeyAgreement():
            assert key_agreement.agree(key, algorithm, export_public(key))
        case _:
            pytest.fail("not an operation")


@pytest.mark.parametrize(("key_type", "key"), KEYS, ids=[f"{key_type}-{key.bits}" for key_type, key in KEYS])
def test_the_answer_is_what_happens(key_type: KeyType, key: Handle) -> None:
    """The worker refuses what does not fit the type, and MACs of no length; of the rest, what is said to work works."""
    for algorithm in OPERABLE:
        if not is_compatible(key_type, algorithm):
            continue
        if isinstance(algorithm, Mac) and not mac_length_fits(key_type.kind, algorithm):
            continue
        wanted = KeyAttributes(key_type, key.bits, attributes(key_type.kind, 0).usage, algorithm)
        try:
            check_use(wanted)
        except ServiceError as error:
            assert error.status is UNSUPPORTED
            with pytest.raises(ServiceError):
                _use(key, algorithm)
        else:
            _use(key, algorithm)


@pytest.mark.parametrize(
    "wanted",
    [
        attributes(KeyKind.RSA_KEY_PAIR, 2048, AsymmetricSignature(SignatureScheme.RSA_PSS, ANY_HASH)),
        attributes(KeyKind.RSA_PUBLIC_KEY, 0, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, ANY_HASH)),
        attributes(
            KeyKind.ECC_PUBLIC_KEY, 384, AsymmetricSignature(SignatureScheme.ECDSA, ANY_HASH), EccFamily.SECP_R1
        ),
        attributes(KeyKind.AES, 0, Cipher(CipherMode.XTS)),
    ],
)
def test_wildcards_and_open_sizes_count_as_usable(wanted: KeyAttributes) -> None:
    check_use(wanted)
    check_policy(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        attributes(KeyKind.HMAC, 256, Mac(MacScheme.HMAC, Hash.SHA_256, 3)),
        attributes(KeyKind.HMAC, 256, Mac(MacScheme.HMAC, Hash.SHA_256, 33)),
        attributes(KeyKind.AES, 128, Mac(MacScheme.CMAC, None, 0)),
        attributes(KeyKind.RAW_DATA, 256, Mac(MacScheme.HMAC, Hash.SHA_256)),
        attributes(KeyKind.DERIVE, 256, HKDF),
        attributes(KeyKind.ECC_KEY_PAIR, 256, KeyAgreement(RawAgreement.ECDH, HKDF), EccFamily.SECP_R1),
        attributes(KeyKind.ECC_PUBLIC_KEY, 256, KeyAgreement(RawAgreement.ECDH), EccFamily.SECP_R1),
        attributes(KeyKind.RAW_DATA, 256),
        attributes(KeyKind.RAW_DATA, 256, HashAlgorithm(Hash.SHA_256)),
        attributes(KeyKind.AES, 256, Aead(AeadScheme.GCM, 3)),
        attributes(KeyKind.AES, 256, AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)),
        attributes(KeyKind.RSA_KEY_PAIR, 2048, Aead(AeadScheme.GCM)),
    ],
)
def test_keys_may_be_kept_that_cannot_be_used(wanted: KeyAttributes) -> None:
    check_policy(wanted)
    with refused(UNSUPPORTED):
        check_use(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        attributes(KeyKind.RSA_KEY_PAIR, 2048, AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA3_256)),
        attributes(KeyKind.RSA_KEY_PAIR, 2048, AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.MD2)),
        attributes(KeyKind.CAMELLIA, 256, Aead(AeadScheme.GCM)),
        attributes(KeyKind.CAMELLIA, 256, Cipher(CipherMode.CTR)),
        attributes(KeyKind.AES, 128, Cipher(CipherMode.XTS)),
        attributes(KeyKind.AES, 128, Mac(MacScheme.CBC_MAC)),
        attributes(KeyKind.HMAC, 256, Mac(MacScheme.HMAC, Hash.MD4)),
        attributes(
            KeyKind.ECC_KEY_PAIR,
            255,
            AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256),
            EccFamily.MONTGOMERY,
        ),
    ],
)
def test_a_policy_that_permits_only_what_fails_here_is_refused(wanted: KeyAttributes) -> None:
    with refused(UNSUPPORTED):
        check_policy(wanted)
    with refused(UNSUPPORTED):
        check_use(wanted)


def test_no_policy_at_all_is_allowed() -> None:
    for kind in (KeyKind.AES, KeyKind.RAW_DATA, KeyKind.RSA_KEY_PAIR):
        check_policy(attributes(kind, 128, NoAlgorithm()))
