"""Templates, byte for byte, and public areas that are rebuilt."""

import pytest
from tests.providers.support import NONE, attributes, refused

from cofferdam_contracts.identity import Application
from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    EncryptionScheme,
    Hash,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind
from cofferdam_contracts.status import Status
from cofferdam_providers.tpm import public
from cofferdam_providers.tpm.public import EccPart, RsaPart

DETERMINISTIC = AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.SHA_256)
PAIR, RSA = KeyKind.ECC_KEY_PAIR, KeyKind.RSA_KEY_PAIR


def ecdsa(hash_: object = Hash.SHA_256) -> AsymmetricSignature:
    return AsymmetricSignature(SignatureScheme.ECDSA, hash_)  # type: ignore[arg-type]


def ecc(bits: int = 256, algorithm: Algorithm | None = None, family: EccFamily = EccFamily.SECP_R1) -> KeyAttributes:
    return attributes(PAIR, bits, algorithm or ecdsa(), family)


def rsa(algorithm: Algorithm, bits: int = 2048) -> KeyAttributes:
    return attributes(RSA, bits, algorithm)


@pytest.mark.parametrize(
    ("area", "template"),
    [
        # type, nameAlg, attributes, no policy, AES-256-CFB, no scheme, 2048 bits, exponent 0, no unique
        (public.primary(256), "0001 000b 00030072 0000 0006 0100 0043 0010 0800 00000000 0000"),
        (public.primary(128), "0001 000b 00030072 0000 0006 0080 0043 0010 0800 00000000 0000"),
        # no symmetric algorithm, ECDSA with SHA-256, P-256, no KDF, no point
        (public.key(ecc()), "0023 000b 00040072 0000 0010 0018 000b 0003 0010 0000 0000"),
        (
            public.key(rsa(AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_384))),
            "0001 000b 00040072 0000 0010 0014 000c 0800 00000000 0000",
        ),
        (
            public.key(rsa(AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_512), 1024)),
            "0001 000b 00040072 0000 0010 0016 000d 0400 00000000 0000",
        ),
        (
            public.key(rsa(AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256))),
            "0001 000b 00060072 0000 0010 0010 0800 00000000 0000",
        ),
    ],
    ids=["aes256", "aes128", "ecc", "pkcs1v15", "pss", "oaep"],
)
def test_templates_are_those_of_the_reference(area: bytes, template: str) -> None:
    assert area.hex() == bytes.fromhex(template).hex()


def test_the_endorsement_key_has_the_default_template() -> None:
    # TCG, EK Credential Profile 2.5, B.3.3: template L-1.
    policy = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
    expected = "0001 000b 000300b2 0020" + policy + "0006 0080 0043 0010 0800 00000000 0100" + "00" * 256
    assert public.endorsement_key().hex() == bytes.fromhex(expected).hex()


def test_each_application_has_a_parent_of_its_own() -> None:
    applications = [Application(1, "a"), Application(1, "b"), Application(3, "a"), Application(1, "")]
    assert len({public.application_parent(256, application) for application in applications}) == len(applications)


@pytest.mark.parametrize("bits", public.CURVES)
def test_a_public_area_is_rebuilt_from_its_part(bits: int) -> None:
    size = (bits + 7) // 8
    part = EccPart(b"\1" * size, b"\2" * size)
    area = public.key(ecc(bits), part)
    assert public.part_of(area) == part
    assert public.exported(part, size) == b"\4" + part.x + part.y
    assert public.name_of(area)[:2] == b"\0\x0b"


def test_coordinates_that_lost_their_zeros_get_them_back() -> None:
    assert public.exported(EccPart(b"\1", b"\2\3"), 4) == bytes.fromhex("04 00000001 00000203")


def test_an_rsa_key_is_exported_as_pkcs1() -> None:
    assert public.exported(RsaPart(b"\x81" + bytes(127)), 128).hex().startswith("3081890281810081")


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        (ecc(256, ecdsa(Hash.SHA_224)), Status.PSA_ERROR_NOT_SUPPORTED),
        (ecc(256, ecdsa(ANY_HASH)), Status.PSA_ERROR_NOT_SUPPORTED),
        (
            ecc(256, DETERMINISTIC),
            Status.PSA_ERROR_NOT_SUPPORTED,
        ),
        (ecc(255), Status.PSA_ERROR_NOT_SUPPORTED),
        (ecc(256, None, EccFamily.BRAINPOOL_P_R1), Status.PSA_ERROR_NOT_SUPPORTED),
        (rsa(AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_224)), Status.PSA_ERROR_NOT_SUPPORTED),
        (rsa(AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15), 0), Status.PSA_ERROR_NOT_SUPPORTED),
        (attributes(KeyKind.AES, 128, NONE), Status.PSA_ERROR_NOT_SUPPORTED),
    ],
    ids=str,
)
def test_what_a_tpm_has_no_template_for_is_refused(wanted: KeyAttributes, status: Status) -> None:
    with refused(status):
        public.key(wanted)


@pytest.mark.parametrize("part", [RsaPart(b"n" * 32), EccPart(b"x" * 129, b"y" * 32)])
def test_a_part_that_does_not_fit_the_key_is_refused(part: RsaPart | EccPart) -> None:
    with refused(Status.PSA_ERROR_DATA_CORRUPT):
        public.key(ecc(), part)
