"""Every operation through the socket, with results checked by another implementation (pyca/cryptography)."""

import hashlib
import hmac
import os
from collections.abc import Iterator
from itertools import product

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import cmac, hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from tests.harness.answers import der_of, refused, rsa_public
from tests.harness.service import Service

from cofferdam_client import (
    AES_CCM,
    AES_GCM,
    CHACHA20_POLY1305,
    CMAC,
    RSA_PKCS1V15_ENCRYPTION,
    AsymmetricSignature,
    CheckType,
    Cipher,
    CipherMode,
    Client,
    Curve,
    Direct,
    Hash,
    KeyAttributes,
    KeyKind,
    KeyType,
    Mac,
    MacScheme,
    SignatureScheme,
    Status,
    UnixPeerCredentials,
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
WEIERSTRASS = {
    Curve.P_256: ec.SECP256R1(),
    Curve.P_384: ec.SECP384R1(),
    Curve.P_521: ec.SECP521R1(),
    Curve.SECP256K1: ec.SECP256K1(),
    Curve.BRAINPOOL_P256R1: ec.BrainpoolP256R1(),
}


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.endpoint) as connected:
        yield connected
        for key in connected.list_keys():
            connected.destroy_key(key.name)


@pytest.mark.parametrize(("curve", "hash_"), [(curve, hash_) for curve, hash_ in product(WEIERSTRASS, HASHES)])
def test_ecdsa(client: Client, curve: Curve, hash_: Hash) -> None:
    client.generate_key("k", ecc_signing_key(curve, hash_))
    digest = os.urandom(HASHES[hash_].digest_size)
    signature = client.sign_hash("k", digest, ecdsa(hash_))
    point = ec.EllipticCurvePublicKey.from_encoded_point(WEIERSTRASS[curve], client.export_public_key("k"))
    point.verify(der_of(signature), digest, ec.ECDSA(Prehashed(HASHES[hash_])))
    client.verify_hash("k", digest, signature, ecdsa(hash_))
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.verify_hash("k", digest, bytes(len(signature)), ecdsa(hash_))


@pytest.mark.parametrize(("bits", "hash_"), [(1024, Hash.SHA_256), (2048, Hash.SHA_512), (3072, Hash.SHA_384)])
def test_rsa_signatures(client: Client, bits: int, hash_: Hash) -> None:
    digest, prehashed = os.urandom(HASHES[hash_].digest_size), Prehashed(HASHES[hash_])
    schemes = {
        "v1.5": (rsa_pkcs1v15(hash_), padding.PKCS1v15()),
        "pss": (rsa_pss(hash_), padding.PSS(padding.MGF1(HASHES[hash_]), HASHES[hash_].digest_size)),
    }
    for name, (algorithm, scheme) in schemes.items():
        client.generate_key(name, rsa_signing_key(bits, hash_, pss=name == "pss"))
        signature = client.sign_hash(name, digest, algorithm)
        rsa_public(client.export_public_key(name)).verify(signature, digest, scheme, prehashed)
        client.verify_hash(name, digest, signature, algorithm)
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.verify_hash(name, digest, signature[:-1], algorithm)


def test_deterministic_ecdsa(client: Client) -> None:
    algorithm = AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.SHA_256)
    base = ecc_signing_key(Curve.P_256, Hash.SHA_256)
    client.generate_key("k", KeyAttributes(base.type, base.bits, base.usage, algorithm))
    digest = os.urandom(32)
    assert client.sign_hash("k", digest, algorithm) == client.sign_hash("k", digest, algorithm)
    client.verify_hash("k", digest, client.sign_hash("k", digest, algorithm), algorithm)


def test_messages(client: Client) -> None:
    client.generate_key("k", ecc_signing_key(Curve.P_256, Hash.SHA_256))
    signature = client.sign_message("k", b"a message", ecdsa())
    client.verify_hash("k", hashlib.sha256(b"a message").digest(), signature, ecdsa())
    client.verify_message("k", b"a message", signature, ecdsa())
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.verify_message("k", b"another", signature, ecdsa())


def test_rsa_encryption(client: Client) -> None:
    client.generate_key("v1.5", rsa_encryption_key())
    public = rsa_public(client.export_public_key("v1.5"))
    assert (
        client.asymmetric_decrypt("v1.5", public.encrypt(b"secret", padding.PKCS1v15()), RSA_PKCS1V15_ENCRYPTION)
        == b"secret"
    )
    mine = client.asymmetric_encrypt("v1.5", b"secret", RSA_PKCS1V15_ENCRYPTION)
    assert client.asymmetric_decrypt("v1.5", mine, RSA_PKCS1V15_ENCRYPTION) == b"secret"
    with refused(Status.PSA_ERROR_INVALID_PADDING):
        client.asymmetric_decrypt("v1.5", b"\x01" + os.urandom(255), RSA_PKCS1V15_ENCRYPTION)
    client.generate_key("oaep", rsa_encryption_key(oaep=Hash.SHA_256))
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"label")
    theirs = rsa_public(client.export_public_key("oaep")).encrypt(b"secret", scheme)
    assert client.asymmetric_decrypt("oaep", theirs, rsa_oaep(), b"label") == b"secret"
    with refused(Status.PSA_ERROR_INVALID_PADDING):
        client.asymmetric_decrypt("oaep", theirs, rsa_oaep())


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_aead(client: Client, bits: int) -> None:
    client.generate_key("gcm", aes_gcm_key(bits, exportable=True))
    nonce, key = os.urandom(12), client.export_key("gcm")
    sealed = client.aead_encrypt("gcm", nonce, b"plain", AES_GCM, b"more")
    assert AESGCM(key).decrypt(nonce, sealed, b"more") == b"plain"
    assert client.aead_decrypt("gcm", nonce, sealed, AES_GCM, b"more") == b"plain"
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.aead_decrypt("gcm", nonce, sealed, AES_GCM, b"other")
    base = aes_gcm_key(bits)
    client.import_key("ccm", KeyAttributes(base.type, base.bits, base.usage, AES_CCM), key)
    assert AESCCM(key).decrypt(nonce, client.aead_encrypt("ccm", nonce, b"plain", AES_CCM), b"") == b"plain"


def test_chacha20_poly1305(client: Client) -> None:
    client.generate_key("k", chacha20_poly1305_key(exportable=True))
    nonce = os.urandom(12)
    sealed = client.aead_encrypt("k", nonce, b"plain", CHACHA20_POLY1305)
    assert ChaCha20Poly1305(client.export_key("k")).decrypt(nonce, sealed, b"") == b"plain"


@pytest.mark.parametrize("mode", [CipherMode.CBC_PKCS7, CipherMode.CTR, CipherMode.CFB, CipherMode.OFB])
def test_ciphers(client: Client, mode: CipherMode) -> None:
    base = aes_gcm_key()
    client.generate_key("k", KeyAttributes(base.type, base.bits, base.usage, Cipher(mode)))
    sealed = client.cipher_encrypt("k", b"sixteen bytes or more", Cipher(mode))
    assert client.cipher_decrypt("k", sealed, Cipher(mode)) == b"sixteen bytes or more"
    assert sealed != client.cipher_encrypt("k", b"sixteen bytes or more", Cipher(mode))


@pytest.mark.parametrize("hash_", HASHES)
def test_hmac(client: Client, hash_: Hash) -> None:
    client.generate_key("k", hmac_key(hash_, exportable=True))
    algorithm = hmac_with(hash_)
    mac = client.mac_compute("k", b"a message", algorithm)
    assert mac == hmac.digest(client.export_key("k"), b"a message", HASHES[hash_].name)
    client.mac_verify("k", b"a message", mac, algorithm)
    for message, wrong in ((b"another", mac), (b"a message", mac[:-1]), (b"a message", b"")):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.mac_verify("k", message, wrong, algorithm)
    with refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.mac_compute("k", b"a message", truncated(algorithm, len(mac)))


@pytest.mark.parametrize("length", [None, 4, 15, 16])
def test_cmac(client: Client, length: int | None) -> None:
    algorithm = CMAC if length is None else truncated(CMAC, length)
    base, key = aes_cmac_key(192), os.urandom(24)
    client.import_key("k", KeyAttributes(base.type, base.bits, base.usage, algorithm), key)
    other = cmac.CMAC(algorithms.AES(key))
    other.update(b"a message")
    mac = client.mac_compute("k", b"a message", algorithm)
    assert mac == other.finalize()[:length]
    client.mac_verify("k", b"a message", mac, algorithm)
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.mac_verify("k", b"a message", bytes(len(mac)), algorithm)


def test_macs_that_a_key_may_have_and_nobody_makes(client: Client) -> None:
    base = aes_cmac_key()
    statuses = {
        0: Status.PSA_ERROR_INVALID_ARGUMENT,
        3: Status.PSA_ERROR_NOT_SUPPORTED,
        17: Status.PSA_ERROR_INVALID_ARGUMENT,
    }
    for length, status in statuses.items():
        algorithm = truncated(CMAC, length)
        attributes = KeyAttributes(base.type, base.bits, base.usage, algorithm)
        assert not client.can_do_crypto(CheckType.USE, attributes)
        client.generate_key(str(length), attributes)
        with refused(status):
            client.mac_compute(str(length), b"a message", algorithm)
        with refused(status):
            client.mac_verify(str(length), b"a message", bytes(length), algorithm)
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        client.generate_key("k", KeyAttributes(base.type, base.bits, base.usage, Mac(MacScheme.CBC_MAC)))


def test_a_key_that_only_verifies_macs_computes_none(client: Client) -> None:
    base, key = hmac_key(), os.urandom(32)
    client.import_key("k", KeyAttributes(base.type, base.bits, Usage.VERIFY_MESSAGE, base.algorithm), key)
    client.mac_verify("k", b"a message", hmac.digest(key, b"a message", "sha256"), hmac_with())
    with refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.mac_compute("k", b"a message", hmac_with())


@pytest.mark.parametrize("curve", [Curve.P_256, Curve.P_384])
def test_ecdh(client: Client, curve: Curve) -> None:
    client.generate_key("k", ecdh_key(curve))
    peer = ec.generate_private_key(WEIERSTRASS[curve])
    ours = ec.EllipticCurvePublicKey.from_encoded_point(WEIERSTRASS[curve], client.export_public_key("k"))
    point = peer.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    assert client.raw_key_agreement("k", point) == peer.exchange(ec.ECDH(), ours)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.raw_key_agreement("k", point[:-1])


@pytest.mark.parametrize(("curve", "kind"), [(Curve.X25519, x25519), (Curve.X448, x448)])
def test_montgomery_agreement(client: Client, curve: Curve, kind: object) -> None:
    client.generate_key("k", ecdh_key(curve))
    if kind is x25519:
        peer = x25519.X25519PrivateKey.generate()
        secret = peer.exchange(x25519.X25519PublicKey.from_public_bytes(client.export_public_key("k")))
        assert client.raw_key_agreement("k", peer.public_key().public_bytes_raw()) == secret
    else:
        other = x448.X448PrivateKey.generate()
        secret = other.exchange(x448.X448PublicKey.from_public_bytes(client.export_public_key("k")))
        assert client.raw_key_agreement("k", other.public_key().public_bytes_raw()) == secret


def test_imported_keys_are_the_same_keys(client: Client) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    scalar = private.private_numbers().private_value.to_bytes(32)
    point = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    attributes = ecc_signing_key(Curve.P_256, Hash.SHA_256)
    client.import_key("pair", attributes, scalar)
    client.import_key("public", public_key_of(attributes), point)
    assert (
        client.export_public_key("pair") == client.export_public_key("public") == client.export_key("public") == point
    )
    signature = client.sign_hash("pair", bytes(32), ecdsa())
    client.verify_hash("public", bytes(32), signature, ecdsa())
    with refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.export_key("pair")
    with refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.sign_hash("public", bytes(32), ecdsa())
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.import_key("bad", attributes, bytes(32))
    assert {key.name for key in client.list_keys()} == {"pair", "public"}
    with pytest.raises(InvalidSignature):
        private.public_key().verify(encode_dss_signature(1, 1), bytes(32), ec.ECDSA(Prehashed(hashes.SHA256())))


@pytest.mark.parametrize("hash_", [Hash.MD5, Hash.RIPEMD160, Hash.SHA_1, Hash.SHA_256, Hash.SHA_512_256, Hash.SHA3_384])
def test_hashes(client: Client, hash_: Hash) -> None:
    names = {Hash.SHA_1: "sha1", Hash.SHA_512_256: "sha512_256", Hash.SHA_256: "sha256", Hash.SHA3_384: "sha3_384"}
    digest = hashlib.new(names.get(hash_, hash_.name.lower()), b"input").digest()
    assert client.hash_compute(b"input", hash_) == digest
    client.hash_compare(b"input", digest, hash_)
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.hash_compare(b"input", digest[:-1], hash_)


def test_random(client: Client) -> None:
    assert client.generate_random(0) == b""
    assert len(client.generate_random(1000)) == 1000
    assert client.generate_random(32) != client.generate_random(32)


def test_symmetric_material_of_any_kind(client: Client) -> None:
    for kind, bits in ((KeyKind.RAW_DATA, 800), (KeyKind.HMAC, 256), (KeyKind.DERIVE, 128), (KeyKind.CAMELLIA, 256)):
        base = aes_gcm_key(exportable=True)
        attributes = KeyAttributes(KeyType(kind), bits, Usage.EXPORT, base.algorithm)
        if kind is not KeyKind.CAMELLIA:
            client.generate_key(kind.name, attributes)
            assert len(client.export_key(kind.name)) * 8 == bits
        with refused(
            Status.PSA_ERROR_INVALID_ARGUMENT if kind is not KeyKind.CAMELLIA else Status.PSA_ERROR_DOES_NOT_EXIST
        ):
            client.export_public_key(kind.name)


def test_can_do_crypto_says_what_generate_does(client: Client) -> None:
    for attributes in (
        ecc_signing_key(Curve.P_384, Hash.SHA_384),
        rsa_signing_key(3072),
        aes_gcm_key(),
        ecdh_key(),
        hmac_key(),
    ):
        assert client.can_do_crypto(CheckType.GENERATE, attributes)
        assert client.can_do_crypto(CheckType.USE, attributes)
        assert not client.can_do_crypto(CheckType.DERIVE, attributes)
    assert not client.can_do_crypto(CheckType.GENERATE, rsa_signing_key(1000))


def test_a_deprecated_primitive_is_refused_unless_allowed(client: Client) -> None:
    with refused(Status.DEPRECATED_PRIMITIVE):
        client.generate_key("k", ecc_signing_key(Curve.P_256, Hash.SHA_1))
    with Service(tables={"core_settings": {"allow_deprecated": True}}) as service, Client(service.endpoint) as other:
        other.generate_key("k", ecc_signing_key(Curve.P_256, Hash.SHA_1))


def test_all_opcodes_are_listed_when_asked_for() -> None:
    with Service(tables={"provider": {"list_all_opcodes": True}}) as service, Client(service.endpoint) as client:
        listed = client.list_opcodes(1)
        assert {0x14, 0x15, 0x18, 0x19} <= listed
        # Clients on Parsec's Rust library cannot read a list with the numbers of MACs.
        assert not {0x16, 0x17} & listed


def test_authenticators_side_by_side_have_namespaces_of_their_own() -> None:
    with Service(authenticators=["UnixPeerCredentials", "Direct"], admins=["boss"]) as service:
        own = ecc_signing_key(Curve.P_256, Hash.SHA_256)
        with Client(service.endpoint, auth=UnixPeerCredentials()) as unix:
            unix.generate_key("k", own)
            with Client(service.endpoint, auth=Direct(str(os.getuid()))) as direct:
                assert direct.list_keys() == []
                direct.generate_key("k", own)
                direct.destroy_key("k")
            assert [key.name for key in unix.list_keys()] == ["k"]
            with refused(Status.ADMIN_OPERATION):
                unix.list_clients()
            with (
                Client(service.endpoint, auth=Direct("boss")) as boss,
                Client(service.endpoint, auth=Direct("app")) as app,
            ):
                app.generate_key("k", own)
                assert boss.list_clients() == ["app"], "the clients of the administrator's own authenticator"
                boss.delete_client("app")
                assert app.list_keys() == []
                boss.delete_client("nobody")
            assert [entry.id for entry in unix.list_authenticators()] == [3, 1]
