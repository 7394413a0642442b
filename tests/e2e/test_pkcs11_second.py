"""The PKCS#11 provider on a module of another make (NSS), so that it is not shaped by one.

NSS does what SoftHSM does not (OAEP with any hash and with a label), refuses attributes that SoftHSM takes, and has
other return codes for the same mistakes.
"""

import os
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.harness.answers import der_of, refused, rsa_public
from tests.harness.pkcs11.service import TokenService
from tests.harness.pkcs11.token import objects

from cofferdam_client import (
    AES_GCM,
    RSA_PKCS1V15_ENCRYPTION,
    CheckType,
    Cipher,
    CipherMode,
    Client,
    Curve,
    Hash,
    KeyAttributes,
    Status,
    aes_gcm_key,
    ecc_signing_key,
    ecdsa,
    hmac_key,
    hmac_with,
    rsa_encryption_key,
    rsa_oaep,
    rsa_pkcs1v15,
    rsa_pss,
    rsa_signing_key,
)

CURVES = {Curve.P_256: ec.SECP256R1(), Curve.P_384: ec.SECP384R1(), Curve.P_521: ec.SECP521R1()}


@pytest.fixture(scope="module")
def running() -> Iterator[TokenService]:
    with TokenService(before="second") as service:
        yield service


@pytest.fixture
def client(running: TokenService) -> Iterator[Client]:
    with running.client() as connected:
        yield connected
        for key in connected.list_keys():
            connected.destroy_key(key.name)


@pytest.mark.parametrize("curve", CURVES)
def test_ecdsa(client: Client, curve: Curve) -> None:
    client.generate_key("k", ecc_signing_key(curve, Hash.SHA_512))
    digest = os.urandom(64)
    signature = client.sign_hash("k", digest, ecdsa(Hash.SHA_512))
    point = ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve], client.export_public_key("k"))
    point.verify(der_of(signature), digest, ec.ECDSA(Prehashed(hashes.SHA512())))
    client.verify_hash("k", digest, signature, ecdsa(Hash.SHA_512))
    for wrong in (bytes(len(signature)), signature[:-1], b""):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.verify_hash("k", digest, wrong, ecdsa(Hash.SHA_512))


@pytest.mark.parametrize("pss", [False, True])
def test_rsa_signatures(client: Client, *, pss: bool) -> None:
    client.generate_key("k", rsa_signing_key(2048, Hash.SHA_256, pss=pss))
    algorithm = rsa_pss() if pss else rsa_pkcs1v15()
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if pss else padding.PKCS1v15()
    digest = os.urandom(32)
    signature = client.sign_hash("k", digest, algorithm)
    rsa_public(client.export_public_key("k")).verify(signature, digest, scheme, Prehashed(hashes.SHA256()))
    client.verify_hash("k", digest, signature, algorithm)
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.verify_hash("k", digest, bytes(256), algorithm)


@pytest.mark.parametrize("label", [b"", b"label"])
def test_oaep_honours_the_label(client: Client, label: bytes) -> None:
    client.generate_key("k", rsa_encryption_key(oaep=Hash.SHA_256))
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label or None)
    theirs = rsa_public(client.export_public_key("k")).encrypt(b"secret", scheme)
    assert client.asymmetric_decrypt("k", theirs, rsa_oaep(), label) == b"secret"
    mine = client.asymmetric_encrypt("k", b"secret", rsa_oaep(), label)
    assert client.asymmetric_decrypt("k", mine, rsa_oaep(), label) == b"secret"
    for wrong in (b"another", b"" if label else b"label"):
        with refused(Status.PSA_ERROR_INVALID_PADDING):
            client.asymmetric_decrypt("k", theirs, rsa_oaep(), wrong)


def test_pkcs1v15_encryption(client: Client) -> None:
    client.generate_key("k", rsa_encryption_key())
    theirs = rsa_public(client.export_public_key("k")).encrypt(b"secret", padding.PKCS1v15())
    assert client.asymmetric_decrypt("k", theirs, RSA_PKCS1V15_ENCRYPTION) == b"secret"


def test_gcm_and_ciphers_and_macs(client: Client) -> None:
    client.generate_key("kept", aes_gcm_key(256, exportable=True))
    with refused(Status.PSA_ERROR_NOT_PERMITTED):  # NSS shows no secret key that is in its database
        client.export_key("kept")
    key, nonce = os.urandom(32), os.urandom(12)
    client.import_key("gcm", aes_gcm_key(256), key)
    sealed = client.aead_encrypt("gcm", nonce, b"plain", AES_GCM, b"more")
    assert AESGCM(key).decrypt(nonce, sealed, b"more") == b"plain"
    assert client.aead_decrypt("gcm", nonce, sealed, AES_GCM, b"more") == b"plain"
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.aead_decrypt("gcm", nonce, sealed, AES_GCM, b"other")
    for mode in (CipherMode.CBC_PKCS7, CipherMode.CTR):
        base = aes_gcm_key()
        client.generate_key(mode.name, KeyAttributes(base.type, base.bits, base.usage, Cipher(mode)))
        text = client.cipher_encrypt(mode.name, b"some text", Cipher(mode))
        assert client.cipher_decrypt(mode.name, text, Cipher(mode)) == b"some text"
    client.generate_key("hmac", hmac_key(Hash.SHA_256))
    mac = client.mac_compute("hmac", b"message", hmac_with(Hash.SHA_256))
    client.mac_verify("hmac", b"message", mac, hmac_with(Hash.SHA_256))
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.mac_verify("hmac", b"another", mac, hmac_with(Hash.SHA_256))


def test_a_megabyte_of_random_bytes(client: Client) -> None:
    """NSS gives 64 KiB at a time."""
    assert len(client.generate_random(1 << 20)) == 1 << 20


def test_imported_keys(client: Client) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    scalar = private.private_numbers().private_value.to_bytes(32)
    client.import_key("k", ecc_signing_key(Curve.P_256, Hash.SHA_256), scalar)
    signature = client.sign_hash("k", bytes(32), ecdsa())
    private.public_key().verify(der_of(signature), bytes(32), ec.ECDSA(Prehashed(hashes.SHA256())))
    client.import_key("aes", aes_gcm_key(128), bytes(16))
    assert client.aead_encrypt("aes", bytes(12), b"p", AES_GCM) == AESGCM(bytes(16)).encrypt(bytes(12), b"p", b"")


def test_the_curves_that_it_has_not_are_not_supported(client: Client) -> None:
    """Nobody lists curves, so CanDoCrypto goes by the sizes that the mechanism has."""
    attributes = ecc_signing_key(Curve.P_256, Hash.SHA_256)
    small = KeyAttributes(attributes.type, 192, attributes.usage, attributes.algorithm)
    assert not client.can_do_crypto(CheckType.GENERATE, small)
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        client.generate_key("k", small)


def test_keys_are_found_again_after_a_restart(client: Client, running: TokenService) -> None:
    client.generate_key("k", ecc_signing_key(Curve.P_256, Hash.SHA_256))
    signature = client.sign_hash("k", bytes(32), ecdsa())
    running.service.stop()
    running.service.start()
    client.verify_hash("k", bytes(32), signature, ecdsa())
    client.destroy_key("k")
    running.service.stop()
    assert objects(running.token) == []
    running.service.start()
