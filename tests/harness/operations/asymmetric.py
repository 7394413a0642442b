"""What operations with asymmetric keys have to do with any provider, see `general`."""

import hashlib
import os
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from tests.harness.answers import der_of, refused, rsa_public
from tests.harness.operations.general import CURVES, HASHES, P256, flipped, with_

from cofferdam_client import (
    RSA_PKCS1V15_ENCRYPTION,
    AsymmetricSignature,
    Client,
    Curve,
    Hash,
    KeyAttributes,
    SignatureScheme,
    Status,
    Usage,
    ecc_signing_key,
    ecdh_key,
    public_key_of,
    rsa_encryption_key,
    rsa_oaep,
    rsa_pkcs1v15,
    rsa_pss,
    rsa_signing_key,
)
from cofferdam_client import ecdsa as ecdsa_with


def ecdsa(client: Client, curve: Curve, hash_: Hash) -> None:
    """Sign with a curve."""
    attributes = ecc_signing_key(curve, hash_)
    client.generate_key("k", attributes)
    digest = os.urandom(HASHES[hash_].digest_size)
    signature = client.sign_hash("k", digest, ecdsa_with(hash_))
    public_key(client, "k", curve).verify(der_of(signature), digest, by(hash_))
    _only_this_verifies(client, attributes, digest, signature)


def public_key(client: Client, name: str, curve: Curve = Curve.P_256) -> ec.EllipticCurvePublicKey:
    """Return the public key of a key, for another implementation."""
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve], client.export_public_key(name))


def by(hash_: Hash) -> ec.ECDSA:
    """Return ECDSA as another implementation knows it, for what is hashed already."""
    return ec.ECDSA(Prehashed(HASHES[hash_]))


def rsa_signature(
    client: Client, bits: int, hash_: Hash, *, pss: bool, salt: "int | padding._Auto | None" = None
) -> None:
    """Sign with RSA; the salt has the length of the hash if none is given."""
    attributes, hashed = rsa_signing_key(bits, hash_, pss=pss), HASHES[hash_]
    client.generate_key("k", attributes)
    digest = os.urandom(hashed.digest_size)
    signature = client.sign_hash("k", digest, rsa_pss(hash_) if pss else rsa_pkcs1v15(hash_))
    scheme = padding.PSS(padding.MGF1(hashed), salt or hashed.digest_size) if pss else padding.PKCS1v15()
    rsa_public(client.export_public_key("k")).verify(signature, digest, scheme, Prehashed(hashed))
    _only_this_verifies(client, attributes, digest, signature)


def _only_this_verifies(client: Client, attributes: KeyAttributes, digest: bytes, signature: bytes) -> None:
    """Verify with the key pair "k" and with its public key, imported, and refuse other signatures."""
    algorithm: Any = attributes.algorithm
    client.import_key("public", public_key_of(attributes), client.export_public_key("k"))
    size = len(signature)
    for name in ("k", "public"):
        client.verify_hash(name, digest, signature, algorithm)
        for wrong in (bytes(size), b"\xff" * size, signature[:-1], b"", flipped(signature)):
            with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                client.verify_hash(name, digest, wrong, algorithm)


def deterministic_ecdsa(client: Client) -> None:
    """Sign the same twice, with the same result."""
    algorithm = AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.SHA_256)
    client.generate_key("k", with_(P256, algorithm=algorithm))
    digest = os.urandom(32)
    signature = client.sign_hash("k", digest, algorithm)
    assert signature == client.sign_hash("k", digest, algorithm)
    client.verify_hash("k", digest, signature, algorithm)


def raw_pkcs1v15_signature(client: Client) -> None:
    """Sign what is no hash."""
    algorithm = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15_RAW)
    client.generate_key("k", with_(rsa_signing_key(2048), algorithm=algorithm))
    signature = client.sign_hash("k", b"anything", algorithm)
    public = rsa_public(client.export_public_key("k"))
    assert public.recover_data_from_signature(signature, padding.PKCS1v15(), None) == b"anything"
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.sign_hash("k", bytes(246), algorithm)


def message(client: Client) -> None:
    """Sign a message, which the provider hashes."""
    client.generate_key("k", P256)
    signature = client.sign_message("k", b"a message", ecdsa_with())
    client.verify_hash("k", hashlib.sha256(b"a message").digest(), signature, ecdsa_with())
    client.verify_message("k", b"a message", signature, ecdsa_with())
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.verify_message("k", b"another", signature, ecdsa_with())


def pkcs1v15_encryption(client: Client, bits: int, *, tells_padding: bool = True) -> None:
    """Encrypt here and elsewhere; a token may not tell wrong padding from other mistakes."""
    client.generate_key("k", rsa_encryption_key(bits))
    public, size, ours = rsa_public(client.export_public_key("k")), bits // 8, b""
    for text in (b"t", b"secret", os.urandom(size - 11)):
        ours = client.asymmetric_encrypt("k", text, RSA_PKCS1V15_ENCRYPTION)
        for ciphertext in (ours, public.encrypt(text, padding.PKCS1v15())):
            assert client.asymmetric_decrypt("k", ciphertext, RSA_PKCS1V15_ENCRYPTION) == text
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.asymmetric_encrypt("k", bytes(size - 10), RSA_PKCS1V15_ENCRYPTION)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.asymmetric_decrypt("k", ours[:-1], RSA_PKCS1V15_ENCRYPTION)
    if tells_padding:
        for wrong in (bytes(size - 1) + b"\2", b"\1" + os.urandom(size - 1)):
            with refused(Status.PSA_ERROR_INVALID_PADDING):
                client.asymmetric_decrypt("k", wrong, RSA_PKCS1V15_ENCRYPTION)


def oaep(client: Client, hash_: Hash, label: bytes, *, others: tuple[bytes, ...]) -> None:
    """Encrypt here and elsewhere, with a label; what has one of the other labels is not opened."""
    client.generate_key("k", rsa_encryption_key(2048, oaep=hash_))
    scheme = padding.OAEP(padding.MGF1(HASHES[hash_]), HASHES[hash_], label or None)
    theirs = rsa_public(client.export_public_key("k")).encrypt(b"secret", scheme)
    ours = client.asymmetric_encrypt("k", b"secret", rsa_oaep(hash_), label)
    for ciphertext in (ours, theirs):
        assert client.asymmetric_decrypt("k", ciphertext, rsa_oaep(hash_), label) == b"secret"
        wrong = [(ciphertext, other) for other in others]
        for changed, other in (*wrong, (flipped(ciphertext), label), (b"\1" * 256, label)):
            with refused(Status.PSA_ERROR_INVALID_PADDING):
                client.asymmetric_decrypt("k", changed, rsa_oaep(hash_), other)


def oaep_without_label(client: Client, hash_: Hash, label: bytes) -> None:
    """Never encrypt without the label that was asked for, where it cannot be had."""
    client.generate_key("k", rsa_encryption_key(2048, oaep=hash_))
    theirs = client.asymmetric_encrypt("k", b"text", rsa_oaep(hash_))
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        client.asymmetric_encrypt("k", b"text", rsa_oaep(hash_), label)
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        client.asymmetric_decrypt("k", theirs, rsa_oaep(hash_), label)


def key_agreement(client: Client, curve: Curve) -> None:
    """Agree on a secret."""
    client.generate_key("k", ecdh_key(curve))
    theirs, secret = _agree(curve, client.export_public_key("k"))
    assert client.raw_key_agreement("k", theirs) == secret
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.raw_key_agreement("k", theirs[:-1])


def _agree(curve: Curve, ours: bytes) -> tuple[bytes, bytes]:
    """Return another key's public half, and the secret."""
    if curve is Curve.X25519:
        first = x25519.X25519PrivateKey.generate()
        secret = first.exchange(x25519.X25519PublicKey.from_public_bytes(ours))
        return first.public_key().public_bytes_raw(), secret
    if curve is Curve.X448:
        second = x448.X448PrivateKey.generate()
        secret = second.exchange(x448.X448PublicKey.from_public_bytes(ours))
        return second.public_key().public_bytes_raw(), secret
    third = ec.generate_private_key(CURVES[curve])
    secret = third.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve], ours))
    return point_of(third), secret


def point_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public key of a curve as the wire has it."""
    return private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def imported_curve_key(client: Client, curve: Curve) -> None:
    """Import a key of a curve and its public half; both are the same key."""
    private = ec.generate_private_key(CURVES[curve])
    size = (CURVES[curve].key_size + 7) // 8
    scalar, point = private.private_numbers().private_value.to_bytes(size), point_of(private)
    attributes = ecc_signing_key(curve, Hash.SHA_256)
    client.import_key("pair", attributes, scalar)
    client.import_key("public", public_key_of(attributes), point)
    exports = client.export_public_key("pair"), client.export_public_key("public"), client.export_key("public")
    assert set(exports) == {point}
    signature = client.sign_hash("pair", bytes(32), ecdsa_with())
    private.public_key().verify(der_of(signature), bytes(32), by(Hash.SHA_256))
    with pytest.raises(InvalidSignature):
        private.public_key().verify(encode_dss_signature(1, 1), bytes(32), by(Hash.SHA_256))
    client.verify_hash("public", bytes(32), signature, ecdsa_with())
    with refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.export_key("pair")
    with refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.sign_hash("public", bytes(32), ecdsa_with())
    for bad, data in ((attributes, bytes(size)), (public_key_of(attributes), flipped(point))):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            client.import_key("bad", bad, data)
    assert {key.name for key in client.list_keys()} == {"pair", "public"}


def imported_rsa_key(client: Client) -> None:
    """Import an RSA key and its public half, and export both."""
    private = rsa.generate_private_key(65537, 2048)
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    attributes, public = rsa_signing_key(2048), der_of_public(private)
    client.import_key("pair", with_(attributes, usage=attributes.usage | Usage.EXPORT), der)
    client.import_key("public", public_key_of(attributes), public)
    assert client.export_key("pair") == der
    assert client.export_public_key("pair") == client.export_public_key("public") == public
    client.verify_hash("public", bytes(32), client.sign_hash("pair", bytes(32), rsa_pkcs1v15()), rsa_pkcs1v15())
    for bad, data in ((attributes, der[:-1]), (rsa_signing_key(1024), der)):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            client.import_key("bad", bad, data)


def der_of_public(private: rsa.RSAPrivateKey) -> bytes:
    """Return the public key of RSA as the wire has it."""
    return private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)


def imported_public_keys(client: Client) -> None:
    """Import the public keys of others, with the size that they turn out to have, where private ones are not taken."""
    point = point_of(ec.generate_private_key(ec.SECP256R1()))
    client.import_key("ecc", public_key_of(P256), point)
    assert client.export_public_key("ecc") == point
    wanted = public_key_of(rsa_encryption_key(2048, oaep=Hash.SHA_256))
    unsized = KeyAttributes(wanted.type, 0, wanted.usage, wanted.algorithm)
    client.import_key("rsa", unsized, der_of_public(rsa.generate_private_key(65537, 2048)))
    assert {key.name: key.attributes.bits for key in client.list_keys()} == {"ecc": 256, "rsa": 2048}
    assert client.asymmetric_encrypt("rsa", b"text", rsa_oaep(Hash.SHA_256))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.import_key("bad", public_key_of(P256), point[:-1] + b"\0")
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        client.import_key("bad", wanted, der_of_public(rsa.generate_private_key(3, 2048)))


def announced_size(client: Client, announced: int) -> None:
    """Refuse a key of 2048 bits for which another size is announced, whatever the provider does with that size."""
    data = der_of_public(rsa.generate_private_key(65537, 2048))
    for algorithm in (rsa_signing_key(2048), rsa_encryption_key(2048)):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            client.import_key("k", with_(public_key_of(algorithm), bits=announced), data)
    # A padding that does not fit into the announced size, but into the real one.
    pss = public_key_of(rsa_signing_key(2048, Hash.SHA_512, pss=True))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.import_key("k", with_(pss, bits=announced), data)
    assert client.list_keys() == []


def private_use_of_a_public_key(client: Client) -> None:
    """Refuse what needs a private key to a public one, whatever its policy allows."""
    client.generate_key("k", P256)
    public = public_key_of(P256)
    client.import_key("public", with_(public, usage=P256.usage | Usage.SIGN_HASH), client.export_public_key("k"))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_NOT_PERMITTED):
        client.sign_hash("public", bytes(32), ecdsa_with())
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.prepare_key_attestation("public")


def many_keys(client: Client) -> None:
    """Use many more keys in turn than a TPM has slots."""
    points = {}
    for name in (f"k{index}" for index in range(8)):
        client.generate_key(name, P256)
        points[name] = public_key(client, name)
    for name in [*points] * 3:
        digest = os.urandom(32)
        signature = client.sign_hash(name, digest, ecdsa_with())
        points[name].verify(der_of(signature), digest, by(Hash.SHA_256))
