"""Raw key agreement, against published vectors and with hostile peers."""

import pytest
from tests.providers.support import P256, RSA_1024, handle, refused
from tests.providers.vectors import number, records

from cofferdam_contracts.psa.algorithm import DerivationScheme, Hash, KeyAgreement, KeyDerivation, RawAgreement
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind
from cofferdam_contracts.status import Status
from cofferdam_providers.pyca.curves import CURVES, CurveParameters
from cofferdam_providers.pyca.keys import Handle, export_public
from cofferdam_providers.software.key_agreement import agree

ECDH = KeyAgreement(RawAgreement.ECDH)
EVERY = list(CURVES.values())
PAIR = handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.SECP_R1)
PUBLIC = export_public(PAIR)
MONTGOMERY = {255: "X25519", 448: "X448"}
P256_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1


def _pair(curve: CurveParameters, seed: int) -> Handle:
    return handle(KeyKind.ECC_KEY_PAIR, bytes((0, *range(seed, seed + curve.size - 1))), curve.family, curve.bits)


@pytest.mark.parametrize("bits", [255, 448])
def test_montgomery_curves_give_the_published_secrets(bits: int) -> None:
    """RFC 7748 section 5.2."""
    found = list(records(f"asymmetric/{MONTGOMERY[bits]}/rfc7748.txt", last="output_u"))
    assert len(found) >= 2
    for record in found:
        scalar, peer, secret = (bytes.fromhex(record[name]) for name in ("input_scalar", "input_u", "output_u"))
        assert agree(handle(KeyKind.ECC_KEY_PAIR, scalar, EccFamily.MONTGOMERY), ECDH, peer) == secret


def test_brainpool_curves_give_the_published_secrets() -> None:
    """RFC 7027."""
    found = list(records("asymmetric/ECDH/brainpool.txt", last="y_z"))
    assert len(found) == 3
    for record in found:
        size = len(record["x_z"]) // 2
        for own, other in (("a", "b"), ("b", "a")):
            key = handle(
                KeyKind.ECC_KEY_PAIR, number(record[f"d{own}"]).rjust(size, b"\0"), EccFamily.BRAINPOOL_P_R1, size * 8
            )
            peer = b"\4" + b"".join(number(record[f"{axis}_q{other}"]).rjust(size, b"\0") for axis in ("x", "y"))
            assert agree(key, ECDH, peer) == number(record["x_z"])


def test_nist_curves_give_the_published_secrets() -> None:
    """NIST CAVS 11.0, ECC CDH primitive ("ZZOnly")."""
    bits_of = {"EA": 192, "EB": 224, "EC": 256, "ED": 384, "EE": 521}
    path = "asymmetric/ECDH/KASValidityTest_ECCStaticUnified_NOKC_ZZOnly_init.fax"
    tried = set()
    for record in records(path, last="result"):
        bits = bits_of[record["section"].split(" - ")[0]]
        size = (bits + 7) // 8
        if record["result"][:1] != "P":
            continue
        scalar, x, y, secret = (int(record[name], 16).to_bytes(size) for name in ("dsiut", "qscavsx", "qscavsy", "z"))
        key = handle(KeyKind.ECC_KEY_PAIR, scalar, EccFamily.SECP_R1, bits)
        assert agree(key, ECDH, b"\4" + x + y) == secret
        tried.add(bits)
    assert tried == set(bits_of.values())


@pytest.mark.parametrize("curve", EVERY, ids=lambda curve: f"{curve.family.name}-{curve.bits}")
def test_both_sides_agree(curve: CurveParameters) -> None:
    own, other = _pair(curve, 1), _pair(curve, 40)
    secret = agree(own, ECDH, export_public(other))
    assert secret == agree(other, ECDH, export_public(own))
    assert len(secret) == curve.size


@pytest.mark.parametrize(
    "peer",
    [
        b"",
        b"\0",
        b"\4",
        PUBLIC[:-1],
        PUBLIC + b"\0",
        b"\2" + PUBLIC[1:33],
        b"\3" + PUBLIC[1:33],
        b"\6" + PUBLIC[1:],
        b"\7" + PUBLIC[1:],
        PUBLIC[1:],
        PUBLIC[:-1] + bytes((PUBLIC[-1] ^ 1,)),
        b"\4" + bytes(64),
        b"\4" + P256_PRIME.to_bytes(32, "big") * 2,
        bytes(65),
    ],
)
def test_a_peer_that_is_no_uncompressed_point_is_refused(peer: bytes) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        agree(PAIR, ECDH, peer)


def test_a_point_of_another_curve_is_refused() -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        agree(PAIR, ECDH, export_public(_pair(CURVES[EccFamily.SECP_K1, 256], 1)))


@pytest.mark.parametrize("bits", [255, 448])
def test_a_montgomery_peer_of_small_order_or_other_length_is_refused(bits: int) -> None:
    curve = CURVES[EccFamily.MONTGOMERY, bits]
    key = _pair(curve, 1)
    for peer in (bytes(curve.size), b"\1" + bytes(curve.size - 1), b"", bytes(curve.size - 1), bytes(curve.size + 1)):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            agree(key, ECDH, peer)


def test_the_unused_bit_of_x25519_is_ignored() -> None:
    curve = CURVES[EccFamily.MONTGOMERY, 255]
    key, peer = _pair(curve, 1), export_public(_pair(curve, 40))
    assert agree(key, ECDH, peer) == agree(key, ECDH, peer[:-1] + bytes((peer[-1] | 0x80,)))


@pytest.mark.parametrize(
    "algorithm",
    [
        KeyAgreement(RawAgreement.FFDH),
        KeyAgreement(RawAgreement.ECDH, KeyDerivation(DerivationScheme.HKDF, Hash.SHA_256)),
    ],
)
def test_other_agreements_are_not_supported(algorithm: KeyAgreement) -> None:
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        agree(PAIR, algorithm, PUBLIC)


@pytest.mark.parametrize(
    "key",
    [
        handle(KeyKind.ECC_PUBLIC_KEY, PUBLIC, EccFamily.SECP_R1),
        handle(KeyKind.ECC_PUBLIC_KEY, b"\x09" + bytes(31), EccFamily.MONTGOMERY),
        handle(KeyKind.RSA_KEY_PAIR, RSA_1024),
        handle(KeyKind.AES, bytes(16)),
    ],
)
def test_keys_without_a_scalar_are_refused(key: Handle) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        agree(key, ECDH, PUBLIC)
