"""Mechanisms and their parameters."""

import ctypes

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from pkcs11 import MGF
from pkcs11 import Mechanism as Number

from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    HASH_LENGTH,
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    EncryptionScheme,
    Hash,
    HashAlgorithm,
    KeyAgreement,
    Mac,
    MacScheme,
    NoAlgorithm,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_providers.pkcs11 import cryptoki, mechanisms

RSA = generate_private_key(65537, 2048)
PYCA: dict[Hash, hashes.HashAlgorithm] = {
    Hash.MD5: hashes.MD5(),  # noqa: S303  what some old key signs with
    Hash.SHA_1: hashes.SHA1(),  # noqa: S303
    Hash.SHA_224: hashes.SHA224(),
    Hash.SHA_256: hashes.SHA256(),
    Hash.SHA_384: hashes.SHA384(),
    Hash.SHA_512: hashes.SHA512(),
    Hash.SHA_512_224: hashes.SHA512_224(),
    Hash.SHA_512_256: hashes.SHA512_256(),
    Hash.SHA3_224: hashes.SHA3_224(),
    Hash.SHA3_256: hashes.SHA3_256(),
    Hash.SHA3_384: hashes.SHA3_384(),
    Hash.SHA3_512: hashes.SHA3_512(),
}


def test_there_is_a_digest_info_for_every_hash() -> None:
    assert set(mechanisms.DIGEST_INFO) == set(Hash)
    for hash_alg, prefix in mechanisms.DIGEST_INFO.items():
        # The last length is that of the digest, the first that of all that follows (X.690 section 8.1.3.4).
        assert prefix[-1] == HASH_LENGTH[hash_alg]
        assert prefix[1] == len(prefix) - 2 + HASH_LENGTH[hash_alg]


@pytest.mark.parametrize("hash_alg", PYCA)
def test_a_digest_info_is_what_others_sign(hash_alg: Hash) -> None:
    digest = bytes(range(HASH_LENGTH[hash_alg]))
    try:
        signature = RSA.sign(digest, padding.PKCS1v15(), Prehashed(PYCA[hash_alg]))
    except UnsupportedAlgorithm:
        pytest.skip("not in this build of the library")
    signed = RSA.public_key().recover_data_from_signature(signature, padding.PKCS1v15(), None)
    assert signed == mechanisms.DIGEST_INFO[hash_alg] + digest


@pytest.mark.parametrize(
    ("hash_alg", "oid"),
    [
        (Hash.MD2, "06082a864886f70d0202"),
        (Hash.MD4, "06082a864886f70d0204"),
        (Hash.RIPEMD160, "06052b24030201"),
    ],
)
def test_a_digest_info_names_its_hash(hash_alg: Hash, oid: str) -> None:
    # RFC 8017 appendix C, and ISO/IEC 10118-3 for RIPEMD-160: hashes that the library no longer has.
    assert bytes.fromhex(oid) + b"\5\0\4" in mechanisms.DIGEST_INFO[hash_alg]


MECHANISMS: list[tuple[Algorithm, Number | None]] = [
    (AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256), Number.RSA_PKCS),
    (AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, ANY_HASH), Number.RSA_PKCS),
    (AsymmetricSignature(SignatureScheme.RSA_PKCS1V15_RAW), Number.RSA_PKCS),
    (AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_256), Number.RSA_PKCS_PSS),
    (AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256), Number.ECDSA),
    (AsymmetricSignature(SignatureScheme.ECDSA_ANY), Number.ECDSA),
    (AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.SHA_256), None),
    (AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15), Number.RSA_PKCS),
    (AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256), Number.RSA_PKCS_OAEP),
    (Aead(AeadScheme.GCM), Number.AES_GCM),
    (Aead(AeadScheme.GCM, 12), Number.AES_GCM),
    (Aead(AeadScheme.CCM), None),
    (Aead(AeadScheme.CHACHA20_POLY1305), None),
    (Cipher(CipherMode.CTR), Number.AES_CTR),
    (Cipher(CipherMode.CFB), Number.AES_CFB128),
    (Cipher(CipherMode.OFB), Number.AES_OFB),
    (Cipher(CipherMode.ECB_NO_PADDING), Number.AES_ECB),
    (Cipher(CipherMode.CBC_NO_PADDING), Number.AES_CBC),
    (Cipher(CipherMode.CBC_PKCS7), Number.AES_CBC_PAD),
    (Cipher(CipherMode.XTS), None),
    (Cipher(CipherMode.STREAM_CIPHER), None),
    (Mac(MacScheme.HMAC, Hash.SHA_256), Number.SHA256_HMAC),
    (Mac(MacScheme.HMAC, Hash.SHA_256, 8), Number.SHA256_HMAC),
    (Mac(MacScheme.HMAC, Hash.SHA3_512), Number.SHA3_512_HMAC),
    (Mac(MacScheme.HMAC, Hash.RIPEMD160), None),
    (Mac(MacScheme.CMAC), Number.AES_CMAC),
    (Mac(MacScheme.CBC_MAC), None),
    (KeyAgreement(RawAgreement.ECDH), None),
    (HashAlgorithm(Hash.SHA_256), None),
    (NoAlgorithm(), None),
]


@pytest.mark.parametrize(("algorithm", "number"), MECHANISMS, ids=str)
def test_a_policy_names_one_mechanism(algorithm: Algorithm, number: Number | None) -> None:
    assert mechanisms.mechanism_of(algorithm) == number


def test_mechanisms_without_parameters_point_nowhere() -> None:
    how = mechanisms.plain(Number.ECDSA)
    assert (how.mechanism, how.pParameter, how.ulParameterLen) == (Number.ECDSA, None, 0)


@pytest.mark.parametrize("hash_alg", mechanisms.PADDINGS)
def test_pss_and_oaep_use_one_hash_throughout(hash_alg: Hash) -> None:
    name = hash_alg.name.replace("SHA_1", "SHA1").replace("_", "")
    number, mgf = Number[name.replace("SHA1", "SHA_1")], MGF[name]
    how = mechanisms.pss(hash_alg, 17)
    pss = cryptoki.PssParameters.from_address(how.pParameter)
    assert (how.mechanism, how.ulParameterLen) == (Number.RSA_PKCS_PSS, ctypes.sizeof(pss))
    assert (pss.hashAlg, pss.mgf, pss.sLen) == (number, mgf, 17)
    for label in (b"", b"a\0label"):
        how = mechanisms.oaep(hash_alg, label)
        oaep = cryptoki.OaepParameters.from_address(how.pParameter)
        assert (how.mechanism, how.ulParameterLen) == (Number.RSA_PKCS_OAEP, ctypes.sizeof(oaep))
        assert (oaep.hashAlg, oaep.mgf, oaep.source, oaep.ulSourceDataLen) == (number, mgf, 1, len(label))
        assert oaep.pSourceData == (b"a" if label else None)  # what C's reading of it ends at


def test_gcm_says_the_same_length_in_bytes_and_in_bits() -> None:
    how = mechanisms.gcm(b"n" * 12, b"", 13)
    gcm = cryptoki.GcmParameters.from_address(how.pParameter)
    assert (how.mechanism, how.ulParameterLen) == (Number.AES_GCM, ctypes.sizeof(gcm))
    assert (gcm.pIv, gcm.ulIvLen, gcm.ulIvBits, gcm.pAAD, gcm.ulAADLen, gcm.ulTagBits) == (
        *(b"n" * 12, 12, 96),
        *(None, 0, 104),
    )


@pytest.mark.parametrize("mode", [CipherMode.CBC_NO_PADDING, CipherMode.CBC_PKCS7, CipherMode.CFB, CipherMode.OFB])
def test_an_iv_is_the_whole_parameter(mode: CipherMode) -> None:
    iv = bytes(range(16))
    how = mechanisms.cipher(mode, iv)
    assert (how.mechanism, ctypes.string_at(how.pParameter, how.ulParameterLen)) == (
        mechanisms.mechanism_of(Cipher(mode)),
        iv,
    )


def test_ctr_counts_in_the_whole_block_and_ecb_takes_nothing() -> None:
    iv = bytes(range(16))
    how = mechanisms.cipher(CipherMode.CTR, iv)
    ctr = cryptoki.CtrParameters.from_address(how.pParameter)
    assert (ctr.ulCounterBits, bytes(ctr.cb), how.ulParameterLen) == (128, iv, ctypes.sizeof(ctr))
    ecb = mechanisms.cipher(CipherMode.ECB_NO_PADDING, b"")
    assert (ecb.mechanism, ecb.pParameter, ecb.ulParameterLen) == (Number.AES_ECB, None, 0)
