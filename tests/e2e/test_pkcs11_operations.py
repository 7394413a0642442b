"""Every operation of the PKCS#11 provider through the socket, with results checked by pyca/cryptography.

The token is SoftHSM's; `test_pkcs11_second.py` has the other one.
"""

import hashlib
import hmac
import os
from collections.abc import Iterator
from itertools import product

import pytest
from cryptography.hazmat.primitives import cmac, hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers import Cipher as PycaCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.harness.answers import der_of, refused, rsa_public
from tests.harness.pkcs11.service import TokenService
from tests.harness.pkcs11.token import objects

from cofferdam_client import (
    AES_CCM,
    AES_GCM,
    CMAC,
    RSA_PKCS1V15_ENCRYPTION,
    AsymmetricSignature,
    CheckType,
    Cipher,
    CipherMode,
    Client,
    Curve,
    Hash,
    KeyAttributes,
    KeyKind,
    KeyType,
    SignatureScheme,
    Status,
    Usage,
    aes_cmac_key,
    aes_gcm_key,
    chacha20_poly1305_key,
    ecc_signing_key,
    ecdh_key,
    ecdsa,
    hmac_key,
    hmac_with,
    public_key_of,
    rsa_encryption_key,
    rsa_oaep,
    rsa_pkcs1v15,
    rsa_pss,
    rsa_signing_key,
    truncated,
)

HASHES = {
    Hash.SHA_224: hashes.SHA224(),
    Hash.SHA_256: hashes.SHA256(),
    Hash.SHA_384: hashes.SHA384(),
    Hash.SHA_512: hashes.SHA512(),
}
PKCS1V15_HASHES = {**HASHES, Hash.SHA_512_256: hashes.SHA512_256(), Hash.SHA3_256: hashes.SHA3_256()}
CURVES = {
    Curve.P_256: ec.SECP256R1(),
    Curve.P_384: ec.SECP384R1(),
    Curve.P_521: ec.SECP521R1(),
}


@pytest.fixture(scope="module")
def running() -> Iterator[TokenService]:
    with TokenService() as service:
        yield service


@pytest.fixture
def client(running: TokenService) -> Iterator[Client]:
    with running.client() as connected:
        yield connected
        for key in connected.list_keys():
            connected.destroy_key(key.name)


def with_algorithm(base: KeyAttributes, algorithm: object) -> KeyAttributes:
    return KeyAttributes(base.type, base.bits, base.usage, algorithm)  # type: ignore[arg-type]


@pytest.mark.parametrize(("curve", "hash_"), list(product(CURVES, HASHES)))
def test_ecdsa(client: Client, curve: Curve, hash_: Hash) -> None:
    client.generate_key("k", ecc_signing_key(curve, hash_))
    digest = os.urandom(HASHES[hash_].digest_size)
    signature = client.sign_hash("k", digest, ecdsa(hash_))
    point = ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve], client.export_public_key("k"))
    point.verify(der_of(signature), digest, ec.ECDSA(Prehashed(HASHES[hash_])))
    client.verify_hash("k", digest, signature, ecdsa(hash_))
    for wrong in (bytes(len(signature)), signature[:-1], b"", signature[:-1] + bytes((signature[-1] ^ 1,))):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.verify_hash("k", digest, wrong, ecdsa(hash_))


@pytest.mark.parametrize("hash_", PKCS1V15_HASHES)
def test_rsa_pkcs1v15_signatures(client: Client, hash_: Hash) -> None:
    client.generate_key("k", rsa_signing_key(2048, hash_))
    digest = os.urandom(PKCS1V15_HASHES[hash_].digest_size)
    signature = client.sign_hash("k", digest, rsa_pkcs1v15(hash_))
    public = rsa_public(client.export_public_key("k"))
    public.verify(signature, digest, padding.PKCS1v15(), Prehashed(PKCS1V15_HASHES[hash_]))
    client.verify_hash("k", digest, signature, rsa_pkcs1v15(hash_))
    for wrong in (signature[:-1], bytes(256)):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.verify_hash("k", digest, wrong, rsa_pkcs1v15(hash_))


@pytest.mark.parametrize(("bits", "hash_"), [(1024, Hash.SHA_256), (2048, Hash.SHA_512), (3072, Hash.SHA_384)])
def test_rsa_pss(client: Client, bits: int, hash_: Hash) -> None:
    client.generate_key("k", rsa_signing_key(bits, hash_, pss=True))
    digest = os.urandom(HASHES[hash_].digest_size)
    signature = client.sign_hash("k", digest, rsa_pss(hash_))
    scheme = padding.PSS(padding.MGF1(HASHES[hash_]), HASHES[hash_].digest_size)
    rsa_public(client.export_public_key("k")).verify(signature, digest, scheme, Prehashed(HASHES[hash_]))
    client.verify_hash("k", digest, signature, rsa_pss(hash_))
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.verify_hash("k", digest, bytes(bits // 8), rsa_pss(hash_))


def test_raw_pkcs1v15_signatures(client: Client) -> None:
    algorithm = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15_RAW)
    client.generate_key("k", with_algorithm(rsa_signing_key(2048), algorithm))
    signature = client.sign_hash("k", b"anything", algorithm)
    public = rsa_public(client.export_public_key("k"))
    assert public.recover_data_from_signature(signature, padding.PKCS1v15(), None) == b"anything"
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.sign_hash("k", bytes(246), algorithm)


def test_messages(client: Client) -> None:
    client.generate_key("k", ecc_signing_key(Curve.P_256, Hash.SHA_256))
    signature = client.sign_message("k", b"a message", ecdsa())
    client.verify_hash("k", hashlib.sha256(b"a message").digest(), signature, ecdsa())
    client.verify_message("k", b"a message", signature, ecdsa())
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.verify_message("k", b"another", signature, ecdsa())


def test_pkcs1v15_encryption(client: Client) -> None:
    client.generate_key("k", rsa_encryption_key())
    public = rsa_public(client.export_public_key("k"))
    theirs = public.encrypt(b"secret", padding.PKCS1v15())
    assert client.asymmetric_decrypt("k", theirs, RSA_PKCS1V15_ENCRYPTION) == b"secret"
    mine = client.asymmetric_encrypt("k", b"secret", RSA_PKCS1V15_ENCRYPTION)
    assert client.asymmetric_decrypt("k", mine, RSA_PKCS1V15_ENCRYPTION) == b"secret"
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.asymmetric_decrypt("k", theirs[:-1], RSA_PKCS1V15_ENCRYPTION)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.asymmetric_encrypt("k", bytes(246), RSA_PKCS1V15_ENCRYPTION)


def test_oaep_as_far_as_the_token_has_it() -> None:
    """SoftHSM has OAEP with SHA-1 and no label, and a key with SHA-1 is a deprecated one."""
    with TokenService(tables={"core_settings": {"allow_deprecated": True}}) as service, service.client() as client:
        algorithm = rsa_oaep(Hash.SHA_1)
        client.generate_key("k", rsa_encryption_key(oaep=Hash.SHA_1))
        scheme = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303
        theirs = rsa_public(client.export_public_key("k")).encrypt(b"secret", scheme)
        assert client.asymmetric_decrypt("k", theirs, algorithm) == b"secret"
        assert client.asymmetric_decrypt("k", client.asymmetric_encrypt("k", b"text", algorithm), algorithm) == b"text"
        for wrong in (b"\1" * 256, theirs[:-1] + bytes((theirs[-1] ^ 1,))):
            with refused(Status.PSA_ERROR_INVALID_PADDING):
                client.asymmetric_decrypt("k", wrong, algorithm)
        # Never silently without the label that was asked for.
        with refused(Status.PSA_ERROR_NOT_SUPPORTED):
            client.asymmetric_encrypt("k", b"text", algorithm, b"label")
        with refused(Status.PSA_ERROR_NOT_SUPPORTED):
            client.asymmetric_decrypt("k", theirs, algorithm, b"label")
        with refused(Status.PSA_ERROR_NOT_SUPPORTED):
            client.generate_key("other", rsa_encryption_key(oaep=Hash.SHA_256))


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_gcm(client: Client, bits: int) -> None:
    client.generate_key("k", aes_gcm_key(bits, exportable=True))
    key, nonce = client.export_key("k"), os.urandom(12)
    sealed = client.aead_encrypt("k", nonce, b"plain", AES_GCM, b"more")
    assert AESGCM(key).decrypt(nonce, sealed, b"more") == b"plain"
    assert client.aead_decrypt("k", nonce, AESGCM(key).encrypt(nonce, b"theirs", b""), AES_GCM) == b"theirs"
    for data, additional in ((sealed, b"other"), (sealed[:-1] + bytes((sealed[-1] ^ 1,)), b"more")):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.aead_decrypt("k", nonce, data, AES_GCM, additional)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.aead_decrypt("k", nonce, sealed[:15], AES_GCM)
    large = os.urandom(200_000)
    assert client.aead_decrypt("k", nonce, client.aead_encrypt("k", nonce, large, AES_GCM), AES_GCM) == large


@pytest.mark.parametrize("mode", [CipherMode.CTR, CipherMode.CBC_PKCS7, CipherMode.CBC_NO_PADDING])
def test_ciphers(client: Client, mode: CipherMode) -> None:
    base, algorithm = aes_gcm_key(exportable=True), Cipher(mode)
    client.generate_key("k", with_algorithm(base, algorithm))
    key, text = client.export_key("k"), b"sixteen bytes, twice as much now"
    sealed = client.cipher_encrypt("k", text, algorithm)
    assert client.cipher_decrypt("k", sealed, algorithm) == text
    assert sealed != client.cipher_encrypt("k", text, algorithm)
    theirs = modes.CTR(sealed[:16]) if mode is CipherMode.CTR else modes.CBC(sealed[:16])
    decryptor = PycaCipher(algorithms.AES(key), theirs).decryptor()
    assert (decryptor.update(sealed[16:]) + decryptor.finalize())[: len(text)] == text
    if mode is CipherMode.CBC_PKCS7:
        with refused(Status.PSA_ERROR_INVALID_PADDING):
            client.cipher_decrypt("k", sealed[:-1] + bytes((sealed[-1] ^ 1,)), algorithm)
    if mode is not CipherMode.CTR:
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            client.cipher_decrypt("k", sealed[:-1], algorithm)


def test_ecb(client: Client) -> None:
    algorithm = Cipher(CipherMode.ECB_NO_PADDING)
    client.generate_key("k", with_algorithm(aes_gcm_key(), algorithm))
    sealed = client.cipher_encrypt("k", bytes(16), algorithm)
    assert len(sealed) == 16
    assert client.cipher_decrypt("k", sealed, algorithm) == bytes(16)


@pytest.mark.parametrize("hash_", HASHES)
def test_hmac(client: Client, hash_: Hash) -> None:
    name = hash_.name.replace("_", "").lower()
    key = os.urandom(HASHES[hash_].digest_size)
    for length in (None, 16):
        algorithm = hmac_with(hash_) if length is None else truncated(hmac_with(hash_), length)
        base = hmac_key(hash_, bits=len(key) * 8)
        client.import_key("k", with_algorithm(base, algorithm), key)
        made = client.mac_compute("k", b"message", algorithm)
        assert made == hmac.digest(key, b"message", name)[:length]
        client.mac_verify("k", b"message", made, algorithm)
        for wrong in (bytes(len(made)), made[:-1], b""):
            with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                client.mac_verify("k", b"message", wrong, algorithm)
        client.destroy_key("k")
    client.generate_key("made", hmac_key(hash_))
    client.mac_verify("made", b"m", client.mac_compute("made", b"m", hmac_with(hash_)), hmac_with(hash_))


def test_cmac(client: Client) -> None:
    key = os.urandom(32)
    client.import_key("k", aes_cmac_key(256), key)
    theirs = cmac.CMAC(algorithms.AES(key))
    theirs.update(b"message")
    assert client.mac_compute("k", b"message", CMAC) == theirs.finalize()


@pytest.mark.parametrize("curve", CURVES)
def test_imported_curve_keys(client: Client, curve: Curve) -> None:
    private = ec.generate_private_key(CURVES[curve])
    size = (CURVES[curve].key_size + 7) // 8
    scalar = private.private_numbers().private_value.to_bytes(size)
    point = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    attributes = ecc_signing_key(curve, Hash.SHA_256)
    client.import_key("pair", attributes, scalar)
    client.import_key("public", public_key_of(attributes), point)
    assert client.export_public_key("pair") == client.export_public_key("public") == point
    signature = client.sign_hash("pair", bytes(32), ecdsa())
    private.public_key().verify(der_of(signature), bytes(32), ec.ECDSA(Prehashed(hashes.SHA256())))
    client.verify_hash("public", bytes(32), signature, ecdsa())
    with refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.sign_hash("public", bytes(32), ecdsa())
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.import_key("bad", public_key_of(attributes), point[:-1] + bytes((point[-1] ^ 1,)))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.import_key("bad", attributes, bytes(size))


def test_imported_rsa_keys(client: Client) -> None:
    private = rsa.generate_private_key(65537, 2048)
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    attributes = rsa_signing_key(2048)
    client.import_key("pair", with_usage(attributes, attributes.usage | Usage.EXPORT), der)
    client.import_key("public", public_key_of(attributes), public)
    assert client.export_key("pair") == der
    assert client.export_public_key("pair") == client.export_public_key("public") == public
    client.verify_hash("public", bytes(32), client.sign_hash("pair", bytes(32), rsa_pkcs1v15()), rsa_pkcs1v15())
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.import_key("bad", attributes, der[:-1])
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.import_key("bad", rsa_signing_key(1024), der)


def with_usage(base: KeyAttributes, usage: Usage) -> KeyAttributes:
    return KeyAttributes(base.type, base.bits, usage, base.algorithm)


def test_what_may_not_be_exported_is_not(client: Client) -> None:
    for name, attributes in (("aes", aes_gcm_key()), ("ecc", ecc_signing_key(Curve.P_256, Hash.SHA_256))):
        client.generate_key(name, attributes)
        with refused(Status.PSA_ERROR_NOT_PERMITTED):
            client.export_key(name)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.export_public_key("aes")


def test_random(client: Client) -> None:
    assert client.generate_random(0) == b""
    assert len(client.generate_random(100_000)) == 100_000
    assert client.generate_random(32) != client.generate_random(32)
    with refused(Status.RESPONSE_TOO_LARGE):
        client.generate_random((1 << 20) + 1)


def test_can_do_crypto_says_what_generate_does(client: Client) -> None:
    can = [
        *(ecc_signing_key(curve, Hash.SHA_256) for curve in CURVES),
        *(rsa_signing_key(2048, hash_, pss=pss) for hash_, pss in product(HASHES, (False, True))),
        *(rsa_encryption_key(), aes_gcm_key(128), aes_gcm_key(256), hmac_key(Hash.SHA_256), aes_cmac_key(128)),
    ]
    cannot = [
        *(rsa_encryption_key(oaep=Hash.SHA_256), chacha20_poly1305_key(), ecdh_key(Curve.P_256)),
        *(ecc_signing_key(Curve.SECP256K1, Hash.SHA_256), ecc_signing_key(Curve.BRAINPOOL_P256R1, Hash.SHA_256)),
        *(with_algorithm(aes_gcm_key(), AES_CCM), with_algorithm(aes_gcm_key(), Cipher(CipherMode.OFB))),
        KeyAttributes(KeyType(KeyKind.RAW_DATA), 256, Usage.EXPORT, hmac_with(Hash.SHA_256)),
    ]
    for attributes in can:
        assert client.can_do_crypto(CheckType.GENERATE, attributes), attributes
        assert client.can_do_crypto(CheckType.USE, attributes), attributes
        client.generate_key("k", attributes)
        client.destroy_key("k")
    for attributes in cannot:
        assert not client.can_do_crypto(CheckType.GENERATE, attributes), attributes
        with refused(Status.PSA_ERROR_NOT_SUPPORTED):
            client.generate_key("k", attributes)


def test_the_order_of_checks_is_the_reference_s(client: Client) -> None:
    attributes = ecc_signing_key(Curve.P_256, Hash.SHA_256)
    client.generate_key("k", attributes)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.generate_key("k", public_key_of(attributes))
    with refused(Status.PSA_ERROR_ALREADY_EXISTS):
        client.generate_key("k", chacha20_poly1305_key())
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.import_key("k", public_key_of(attributes), b"")
    with refused(Status.PSA_ERROR_ALREADY_EXISTS):
        client.import_key("k", public_key_of(attributes), b"nonsense")
    with refused(Status.PSA_ERROR_DOES_NOT_EXIST):
        client.sign_hash("absent", bytes(32), ecdsa())


def test_what_parsec_lists_is_listed_and_the_rest_when_asked_for(client: Client) -> None:
    assert client.list_opcodes(2) == {2, 3, 4, 5, 6, 7, 10, 11, 13, 32}
    with TokenService(values={"list_all_opcodes": True}) as service, service.client() as other:
        assert other.list_opcodes(2) == {2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 17, 18, 20, 21, 24, 25, 32}


def test_hashing_is_not_the_token_s_business(client: Client) -> None:
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        client.hash_compute(b"input", Hash.SHA_256)


def test_a_key_is_two_objects_with_an_identifier_nobody_guesses(client: Client, running: TokenService) -> None:
    client.generate_key("k", ecc_signing_key(Curve.P_256, Hash.SHA_256))
    private, public = objects(running.token)
    assert (private.object_class, public.object_class) == ("PRIVATE_KEY", "PUBLIC_KEY")
    assert private.id == public.id
    assert len(bytes.fromhex(private.id)) == 16
    assert private.label == public.label == ""
    client.destroy_key("k")
    assert objects(running.token) == []


def test_without_permission_nothing_exportable_is_made() -> None:
    with TokenService(values={"allow_export": False}) as service, service.client() as client:
        for attributes in (aes_gcm_key(exportable=True), chacha20_poly1305_key(exportable=True)):
            with refused(Status.PSA_ERROR_NOT_PERMITTED):
                client.generate_key("k", attributes)
            assert not client.can_do_crypto(CheckType.GENERATE, attributes)
        client.generate_key("k", aes_gcm_key())


def test_public_operations_in_software() -> None:
    """With the label of OAEP, which SoftHSM cannot do, and without a call of the module."""
    tables = {"core_settings": {"allow_deprecated": True}}
    with (
        TokenService(before="shim", values={"software_public_operations": True}, tables=tables) as service,
        service.client() as client,
    ):
        client.generate_key("ecc", ecc_signing_key(Curve.P_384, Hash.SHA_256))
        signature = client.sign_hash("ecc", bytes(32), ecdsa())
        client.generate_key("rsa", rsa_encryption_key())
        client.verify_hash("ecc", bytes(32), signature, ecdsa())
        client.asymmetric_encrypt("rsa", b"text", RSA_PKCS1V15_ENCRYPTION)
        before = len(service.shim.calls())
        client.verify_hash("ecc", bytes(32), signature, ecdsa())
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.verify_hash("ecc", bytes(32), bytes(96), ecdsa())
        mine = client.asymmetric_encrypt("rsa", b"text", RSA_PKCS1V15_ENCRYPTION)
        assert len(service.shim.calls()) == before
        assert client.asymmetric_decrypt("rsa", mine, RSA_PKCS1V15_ENCRYPTION) == b"text"
