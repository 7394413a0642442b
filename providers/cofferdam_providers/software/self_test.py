"""The self-test: every algorithm once, with published answers where the algorithm is deterministic.

It runs before the sandbox closes, so that whatever the libraries load late is loaded, and before the first client, so
that a library with wrong results serves nobody. RSA keys are not generated: that would take longer than everything
else.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    AsymmetricEncryption,
    AsymmetricSignature,
    EncryptionScheme,
    Hash,
    KeyAgreement,
    Mac,
    MacScheme,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.key_encryption_key import KEK_LENGTH
from cofferdam_providers.pyca import asym_encryption, asym_sign, keys
from cofferdam_providers.pyca.curves import CURVES, CurveParameters
from cofferdam_providers.pyca.hashes import AVAILABLE, digest_of
from cofferdam_providers.pyca.warm_up import RSA_KEY
from cofferdam_providers.pyca.wrapping import Wrapping
from cofferdam_providers.software import aead, cipher, key_agreement, key_management, known_answers, mac

_TEXT: Final = bytes(range(32))
_ECDH: Final = KeyAgreement(RawAgreement.ECDH)
_PKCS1V15_CRYPT: Final = AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15)


def run_self_test() -> None:
    """Use every algorithm once.

    Raises:
        RuntimeError: An answer is wrong, or an algorithm fails.
    """
    for test in _TESTS:
        try:
            test()
        except ServiceError as error:
            raise RuntimeError(f"the self-test of {test.__name__.strip('_')} failed: {error}") from error


def _expect(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise RuntimeError(f"the self-test of {what} gave a wrong answer")


def _expect_refusal(what: str, status: Status, call: Callable[[], object]) -> None:
    try:
        call()
    except ServiceError as error:
        _expect(what, error.status, status)
    else:
        raise RuntimeError(f"the self-test of {what} accepted what it must reject")


def _changed(data: bytes) -> bytes:
    return bytes((data[0] ^ 1,)) + data[1:]


def _read(kind: KeyKind, material: bytes, family: EccFamily | None = None) -> keys.Handle:
    return keys.read_key(KeyType(kind, family), 0, material, vouched=True)


def _generate(curve: CurveParameters) -> keys.Handle:
    key_type = KeyType(KeyKind.ECC_KEY_PAIR, curve.family)
    attributes = KeyAttributes(key_type, curve.bits, Usage.DERIVE, _ECDH)
    return keys.read_key(key_type, curve.bits, key_management.generate(attributes), vouched=True)


def _test_hashes() -> None:
    for hash_alg in AVAILABLE:
        _expect(hash_alg.name, digest_of(hash_alg, b"abc"), known_answers.DIGESTS_OF_ABC[hash_alg])


def _test_rsa_signatures() -> None:
    key = _read(KeyKind.RSA_KEY_PAIR, RSA_KEY)
    digest = known_answers.DIGESTS_OF_ABC[Hash.SHA_256]
    fixed = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256)
    signature = asym_sign.sign_hash(key, fixed, digest)
    _expect("RSA PKCS#1 v1.5", hashlib.sha256(signature).digest(), known_answers.RSA_SIGNATURE_DIGEST)
    for scheme, hash_alg in (
        (SignatureScheme.RSA_PKCS1V15, Hash.SHA_256),
        (SignatureScheme.RSA_PKCS1V15, Hash.RIPEMD160),
        (SignatureScheme.RSA_PKCS1V15_RAW, None),
        (SignatureScheme.RSA_PSS, Hash.SHA_256),
    ):
        signed = known_answers.DIGESTS_OF_ABC[hash_alg or Hash.SHA_256]
        _sign_and_verify(key, AsymmetricSignature(scheme, hash_alg), signed)


def _sign_and_verify(key: keys.Handle, algorithm: AsymmetricSignature, digest: bytes) -> None:
    signature = asym_sign.sign_hash(key, algorithm, digest)
    asym_sign.verify_hash(key, algorithm, digest, signature)
    _expect_refusal(
        algorithm.scheme.name,
        Status.PSA_ERROR_INVALID_SIGNATURE,
        lambda: asym_sign.verify_hash(key, algorithm, _changed(digest), signature),
    )


def _test_rsa_encryption() -> None:
    key = _read(KeyKind.RSA_KEY_PAIR, RSA_KEY)
    ciphertext = known_answers.RSA_CIPHERTEXT
    plaintext = asym_encryption.decrypt(key, _PKCS1V15_CRYPT, ciphertext, b"")
    _expect("RSA PKCS#1 v1.5 decryption", plaintext, known_answers.RSA_MESSAGE)
    # Also proves that this OpenSSL computes substitutes in the same way as `implicit_rejection`.
    _expect_refusal(
        "RSA PKCS#1 v1.5 padding",
        Status.PSA_ERROR_INVALID_PADDING,
        lambda: asym_encryption.decrypt(key, _PKCS1V15_CRYPT, _changed(ciphertext), b""),
    )
    oaep = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256)
    for algorithm, label in ((_PKCS1V15_CRYPT, b""), (oaep, b"label")):
        sealed = asym_encryption.encrypt(key, algorithm, _TEXT, label)
        _expect(algorithm.scheme.name, asym_encryption.decrypt(key, algorithm, sealed, label), _TEXT)


def _test_curves() -> None:
    sample = AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.SHA_256)
    key = _read(KeyKind.ECC_KEY_PAIR, known_answers.ECDSA_KEY, EccFamily.SECP_R1)
    digest = digest_of(Hash.SHA_256, known_answers.ECDSA_MESSAGE)
    _expect("deterministic ECDSA", asym_sign.sign_hash(key, sample, digest), known_answers.ECDSA_SIGNATURE)
    _sign_and_verify(key, AsymmetricSignature(SignatureScheme.ECDSA_ANY), digest[:-1])
    key = _read(KeyKind.ECC_KEY_PAIR, known_answers.ECDH_KEY, EccFamily.SECP_R1)
    _expect("ECDH", key_agreement.agree(key, _ECDH, known_answers.ECDH_PEER), known_answers.ECDH_SECRET)


def _test_generation() -> None:
    algorithm = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
    digest = known_answers.DIGESTS_OF_ABC[Hash.SHA_256]
    for curve in CURVES.values():
        key = _generate(curve)
        if curve.group is None:
            _expect(curve.family.name, len(key_agreement.agree(key, _ECDH, keys.export_public(key))), curve.size)
        else:
            asym_sign.verify_hash(key, algorithm, digest, asym_sign.sign_hash(key, algorithm, digest))


def _test_montgomery() -> None:
    for scalar, peer, secret in known_answers.MONTGOMERY.values():
        key = _read(KeyKind.ECC_KEY_PAIR, scalar, EccFamily.MONTGOMERY)
        _expect("Montgomery curves", key_agreement.agree(key, _ECDH, peer), secret)


def _test_aeads() -> None:
    for kind, scheme, tag, material, nonce, additional_data, plaintext, wanted in known_answers.AEADS:
        key, algorithm = _read(kind, material), Aead(scheme, tag)
        _expect(scheme.name, aead.encrypt(key, algorithm, nonce, additional_data, plaintext), wanted)
        _expect(scheme.name, aead.decrypt(key, algorithm, nonce, additional_data, wanted), plaintext)
    shortened = Aead(AeadScheme.GCM, 12)
    key = _read(KeyKind.AES, _TEXT)
    sealed = aead.encrypt(key, shortened, _TEXT[:12], b"", _TEXT)
    _expect("GCM with a shortened tag", aead.decrypt(key, shortened, _TEXT[:12], b"", sealed), _TEXT)


def _test_ciphers() -> None:
    for kind, mode, material, iv, plaintext, ciphertext in known_answers.CIPHERS:
        key = _read(kind, material)
        _expect(mode.name, cipher.encrypt_with_iv(key, mode, iv, plaintext), iv + ciphertext)
    for kind, mode in cipher.MAKERS:
        key = _read(kind, _TEXT)
        _expect(mode.name, cipher.decrypt(key, mode, cipher.encrypt(key, mode, _TEXT)), _TEXT)


def _test_macs() -> None:
    key, text = _read(KeyKind.HMAC, known_answers.HMAC_KEY), known_answers.HMAC_TEXT
    for hash_alg in AVAILABLE:
        _mac_and_verify(key, Mac(MacScheme.HMAC, hash_alg), text, known_answers.HMACS.get(hash_alg))
    for kind, material, text, wanted in known_answers.CMACS:
        _mac_and_verify(_read(kind, material), Mac(MacScheme.CMAC), text, wanted)


def _mac_and_verify(key: keys.Handle, algorithm: Mac, text: bytes, wanted: bytes | None) -> None:
    computed = mac.compute(key, algorithm, text)
    _expect(algorithm.scheme.name, computed, wanted or computed)
    mac.verify(key, algorithm, text, computed)
    _expect_refusal(
        algorithm.scheme.name,
        Status.PSA_ERROR_INVALID_SIGNATURE,
        lambda: mac.verify(key, algorithm, _changed(text), computed),
    )


def _test_wrapping() -> None:
    wrapping = Wrapping(bytes(KEK_LENGTH), "", b"")
    identity = KeyIdentity(0, "", "")
    attributes = KeyAttributes(KeyType(KeyKind.RAW_DATA), len(_TEXT) * 8, Usage.NONE, _ECDH)
    sealed = wrapping.seal(identity, attributes, _TEXT)
    _expect("wrapping", wrapping.open(identity, attributes, sealed), _TEXT)


_TESTS: Final = (
    _test_hashes,
    _test_rsa_signatures,
    _test_rsa_encryption,
    _test_curves,
    _test_generation,
    _test_montgomery,
    _test_aeads,
    _test_ciphers,
    _test_macs,
    _test_wrapping,
)
