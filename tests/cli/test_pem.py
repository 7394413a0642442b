"""Conversion of keys and signatures between PEM or DER and the encodings of the protocol."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_cli.commands import CURVES
from cofferdam_cli.pem import (
    _CURVES,
    KeyFormError,
    key_to_import,
    public_key_pem,
    signature_from_der,
    signature_to_der,
)
from cofferdam_client import EccFamily, KeyAttributes, KeyKind, KeyType, Usage, ecc_signing_key, ecdsa

WEIERSTRASS = sorted(_CURVES, key=lambda curve: (curve[0], curve[1]))


def _attributes(family: EccFamily, bits: int) -> KeyAttributes:
    return KeyAttributes(KeyType(KeyKind.ECC_PUBLIC_KEY, family), bits, Usage.VERIFY_HASH, ecdsa())


@pytest.mark.parametrize("curve", WEIERSTRASS, ids=lambda curve: f"{curve[0].name} {curve[1]}")
def test_a_key_of_every_curve_goes_in_and_comes_out(curve: tuple[EccFamily, int]) -> None:
    family, bits = curve
    key = ec.generate_private_key(_CURVES[curve]())
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    key_type, found_bits, scalar = key_to_import(private)
    assert (key_type, found_bits) == (KeyType(KeyKind.ECC_KEY_PAIR, family), bits)
    assert len(scalar) == (bits + 7) // 8
    assert int.from_bytes(scalar, "big") == key.private_numbers().private_value
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _, _, point = key_to_import(pem)
    assert public_key_pem(_attributes(family, bits), point, pkcs1=False) == pem


def test_every_curve_for_signing_that_has_a_name_has_a_pem() -> None:
    assert {curve.value for curve in CURVES.values()} <= set(_CURVES)


@pytest.mark.parametrize(
    ("attributes", "data"),
    [
        (ecc_signing_key(), b""),
        (ecc_signing_key(), b"\x04" + bytes(64)),
        (_attributes(EccFamily.SECP_R2, 160), bytes(41)),
        (_attributes(EccFamily.SECP_R1, 0), bytes(7)),
        (KeyAttributes(KeyType(KeyKind.RSA_KEY_PAIR), 2048, Usage.NONE, ecdsa()), b"no DER"),
        (KeyAttributes(KeyType(KeyKind.AES), 128, Usage.NONE, ecdsa()), b""),
    ],
)
def test_an_invalid_public_key_is_rejected(attributes: KeyAttributes, data: bytes) -> None:
    with pytest.raises(KeyFormError):
        public_key_pem(attributes, data, pkcs1=False)


def test_the_error_says_why_a_key_cannot_be_imported() -> None:
    ours = ec.generate_private_key(ec.SECP256R1())
    locked = ours.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(KeyFormError, match="encrypted"):
        key_to_import(locked)
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyFormError, match="only RSA and ECDSA keys"):
        key_to_import(other)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda data: b"-----BEGIN PRIVATE KEY-----" + data))
def test_any_file_is_a_key_or_an_error(data: bytes) -> None:
    with pytest.raises(KeyFormError):
        key_to_import(data)


def test_an_ecdsa_signature_verifies_in_der() -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    der = key.sign(b"text", ec.ECDSA(hashes.SHA256()))
    raw = signature_from_der(der, 521)
    assert len(raw) == 132
    assert signature_to_der(raw) == der


@given(st.binary(max_size=140))
def test_any_bytes_are_a_signature_or_an_error(data: bytes) -> None:
    try:
        raw = signature_from_der(data, 256)
    except KeyFormError:
        return
    assert signature_to_der(raw) == data


@pytest.mark.parametrize("signature", [b"", b"odd"])
def test_a_signature_without_two_halves_is_rejected(signature: bytes) -> None:
    with pytest.raises(KeyFormError):
        signature_to_der(signature)


def test_numbers_that_are_too_large_for_the_key_are_rejected() -> None:
    with pytest.raises(KeyFormError):
        signature_from_der(encode_dss_signature(1 << 256, 1), 256)
