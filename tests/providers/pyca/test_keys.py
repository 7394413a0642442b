"""Reading and writing keys in the formats of import and export."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.support import P256, RSA_1024, der_sequence, handle, refused, rsa_material

from cofferdam_contracts.psa.attributes import DhFamily, EccFamily, KeyKind, KeyType
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.curves import CURVES, CurveParameters
from cofferdam_providers.pyca.der import read_integers
from cofferdam_providers.pyca.keys import MAX_SECRET_BITS, RsaKey, export_public, read_key

INVALID = Status.PSA_ERROR_INVALID_ARGUMENT
UNSUPPORTED = Status.PSA_ERROR_NOT_SUPPORTED
RSA_PAIR = KeyType(KeyKind.RSA_KEY_PAIR)
RSA_PUBLIC = KeyType(KeyKind.RSA_PUBLIC_KEY)
P256_PAIR = KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1)
P256_PUBLIC = KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily.SECP_R1)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
POINT = export_public(handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.SECP_R1))
PUBLIC_1024 = export_public(handle(KeyKind.RSA_KEY_PAIR, RSA_1024))


@pytest.mark.parametrize("bits", [1024, 2048])
def test_rsa_keys_are_exported_as_they_were_imported(bits: int) -> None:
    material = RSA_1024 if bits == 1024 else rsa_material(bits)
    for announced in (0, bits):
        key = read_key(RSA_PAIR, announced, material, vouched=False)
        assert (key.bits, key.material) == (bits, material)
        public = export_public(key)
        assert read_integers(public) == read_integers(material)[1:3]
        other = read_key(RSA_PUBLIC, announced, public, vouched=False)
        assert (other.bits, other.material, export_public(other)) == (bits, public, public)


@pytest.mark.parametrize("curve", CURVES.values(), ids=lambda curve: f"{curve.family.name}-{curve.bits}")
def test_ecc_keys_are_exported_as_they_were_imported(curve: CurveParameters) -> None:
    # A Montgomery key with the forced bits set.
    scalar = bytes((0x08, *range(curve.size - 2), 0x40 if curve.bits == 255 else 0x80))
    if curve.group is not None:
        scalar = b"\0" + scalar[1:]
    key = read_key(KeyType(KeyKind.ECC_KEY_PAIR, curve.family), 0, scalar, vouched=False)
    assert (key.bits, key.material) == (curve.bits, scalar)
    public = export_public(key)
    assert len(public) == (curve.size if curve.group is None else 2 * curve.size + 1)
    for announced in (0, curve.bits):
        other = read_key(KeyType(KeyKind.ECC_PUBLIC_KEY, curve.family), announced, public, vouched=False)
        assert (other.bits, other.material, export_public(other)) == (curve.bits, public, public)


@pytest.mark.parametrize(("bits", "low", "high"), [(255, 0xF8, 0x7F), (448, 0xFC, 0xFF)])
def test_the_forced_bits_of_a_montgomery_key_are_set(bits: int, low: int, high: int) -> None:
    size = CURVES[EccFamily.MONTGOMERY, bits].size
    for filler, last in ((b"\xff", high), (b"\0", 0x40 if bits == 255 else 0x80)):
        key = handle(KeyKind.ECC_KEY_PAIR, filler * size, EccFamily.MONTGOMERY)
        assert key.material[0] == filler[0] & low
        assert key.material[-1] == last
        assert key.material[1:-1] == filler * (size - 2)


def test_the_unused_bit_of_a_public_x25519_key_is_masked() -> None:
    key = handle(KeyKind.ECC_PUBLIC_KEY, b"\x09" + bytes(30) + b"\x80", EccFamily.MONTGOMERY)
    assert key.material == export_public(key) == b"\x09" + bytes(31)


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        *((KeyKind.AES, length) for length in (16, 24, 32)),
        *((KeyKind.CAMELLIA, length) for length in (16, 24, 32)),
        (KeyKind.CHACHA20, 32),
        *((kind, length) for kind in (KeyKind.RAW_DATA, KeyKind.HMAC, KeyKind.DERIVE) for length in (1, 20, 8191)),
    ],
)
def test_secrets_are_their_bytes(kind: KeyKind, length: int) -> None:
    material = bytes(length)
    for bits in (0, length * 8):
        key = read_key(KeyType(kind), bits, material, vouched=False)
        assert (key.bits, key.material) == (length * 8, material)
        with refused(INVALID):
            export_public(key)


@pytest.mark.parametrize(
    ("kind", "length", "status"),
    [
        *((kind, length, INVALID) for kind in (KeyKind.AES, KeyKind.CAMELLIA) for length in (1, 15, 17, 33, 64)),
        *((KeyKind.CHACHA20, length, INVALID) for length in (16, 31, 33)),
        *((kind, MAX_SECRET_BITS // 8 + 1, UNSUPPORTED) for kind in (KeyKind.RAW_DATA, KeyKind.HMAC, KeyKind.DERIVE)),
        (KeyKind.DES, 24, UNSUPPORTED),
        (KeyKind.ARC4, 16, UNSUPPORTED),
    ],
)
def test_secrets_of_other_kinds_and_sizes_are_refused(kind: KeyKind, length: int, status: Status) -> None:
    with refused(status):
        read_key(KeyType(kind), 0, bytes(length), vouched=False)


@pytest.mark.parametrize("kind", [KeyKind.DH_KEY_PAIR, KeyKind.DH_PUBLIC_KEY])
def test_finite_field_keys_are_not_supported(kind: KeyKind) -> None:
    with refused(UNSUPPORTED):
        read_key(KeyType(kind, DhFamily.RFC7919), 2048, bytes(256), vouched=False)


@pytest.mark.parametrize("key_type", [RSA_PAIR, RSA_PUBLIC, P256_PAIR, P256_PUBLIC, KeyType(KeyKind.AES)])
def test_an_empty_key_is_refused(key_type: KeyType) -> None:
    with refused(INVALID):
        read_key(key_type, 0, b"", vouched=False)


@pytest.mark.parametrize(
    ("key_type", "bits", "data"),
    [
        (RSA_PAIR, 2048, RSA_1024),
        (RSA_PUBLIC, 2048, PUBLIC_1024),
        (P256_PAIR, 384, P256),
        (P256_PUBLIC, 384, POINT),
        (KeyType(KeyKind.AES), 128, bytes(32)),
        (KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.MONTGOMERY), 448, bytes(32)),
        (KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily.MONTGOMERY), 448, bytes(32)),
    ],
)
def test_another_size_than_announced_is_refused(key_type: KeyType, bits: int, data: bytes) -> None:
    with refused(INVALID):
        read_key(key_type, bits, data, vouched=False)


@pytest.mark.parametrize(
    "scalar",
    [
        bytes(32),
        P256_ORDER.to_bytes(32),
        (P256_ORDER + 1).to_bytes(32),
        b"\xff" * 32,
        P256[:-1],
        P256 + b"\0",
        b"\0" + P256,
    ],
    ids=["zero", "order", "above", "ones", "short", "long", "padded"],
)
def test_scalars_out_of_range_are_refused(scalar: bytes) -> None:
    with refused(INVALID):
        read_key(P256_PAIR, 256, scalar, vouched=False)


def test_the_largest_scalar_is_accepted() -> None:
    assert read_key(P256_PAIR, 256, (P256_ORDER - 1).to_bytes(32), vouched=False).bits == 256


@pytest.mark.parametrize(
    "point",
    [
        b"\x02" + POINT[1:33],
        b"\x03" + POINT[1:33],
        b"\x06" + POINT[1:],
        b"\x00",
        POINT[:-1],
        POINT + b"\0",
        POINT[:-1] + bytes((POINT[-1] ^ 1,)),
        b"\x04" + bytes(64),
    ],
)
def test_points_that_are_compressed_or_off_the_curve_are_refused(point: bytes) -> None:
    for bits in (0, 256):
        with refused(INVALID):
            read_key(P256_PUBLIC, bits, point, vouched=False)


def _changed(place: int, change: int) -> bytes:
    integers = list(read_integers(RSA_1024))
    integers[place] += change
    return der_sequence(*integers)


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("change", [2, 65536])
def test_an_inconsistent_rsa_key_is_refused(place: int, change: int) -> None:
    with refused(INVALID):
        read_key(RSA_PAIR, 0, _changed(place, change), vouched=False)


def test_an_rsa_key_with_swapped_primes_and_right_values_is_accepted() -> None:
    version, modulus, exponent, secret, p, q, dmp1, dmq1, _ = read_integers(RSA_1024)
    swapped = der_sequence(version, modulus, exponent, secret, q, p, dmq1, dmp1, rsa.rsa_crt_iqmp(q, p))
    assert read_key(RSA_PAIR, 0, swapped, vouched=False).material == swapped


@pytest.mark.parametrize(
    "data",
    [
        RSA_1024 + b"\0",
        RSA_1024[:-1],
        PUBLIC_1024,
        der_sequence(*read_integers(RSA_1024)[:8]),
        der_sequence(*read_integers(RSA_1024), 1),
        b"not DER at all",
        bytes(600),
    ],
    ids=["trailing", "short", "public", "eight", "ten", "text", "zeros"],
)
def test_what_is_no_rsa_private_key_is_refused(data: bytes) -> None:
    with refused(INVALID):
        read_key(RSA_PAIR, 0, data, vouched=False)


@pytest.mark.parametrize(
    "data",
    [
        PUBLIC_1024 + b"\0",
        PUBLIC_1024[:-1],
        RSA_1024,
        der_sequence(read_integers(PUBLIC_1024)[0]),
        der_sequence(read_integers(PUBLIC_1024)[0] - 1, 65537),
        *(der_sequence(read_integers(PUBLIC_1024)[0], exponent) for exponent in (0, 1, 2, 65536)),
        der_sequence(2**1023 + 1 - 2**1022, 65537),
        der_sequence(2**1535 + 1, 65537),
        der_sequence(0, 0),
    ],
)
def test_what_is_no_rsa_public_key_is_refused(data: bytes) -> None:
    with refused(INVALID):
        read_key(RSA_PUBLIC, 0, data, vouched=False)


def test_an_exponent_that_the_library_cannot_use_is_not_supported() -> None:
    with refused(UNSUPPORTED):
        read_key(RSA_PUBLIC, 0, der_sequence(read_integers(PUBLIC_1024)[0], 2**64 + 1), vouched=False)


def test_subject_public_key_info_is_refused() -> None:
    key = handle(KeyKind.RSA_KEY_PAIR, RSA_1024)
    assert isinstance(key, RsaKey)
    header = bytes.fromhex("30819f300d06092a864886f70d010101050003818d00")
    with refused(INVALID):
        read_key(RSA_PUBLIC, 0, header + PUBLIC_1024, vouched=False)


@given(
    key_type=st.sampled_from(
        [
            RSA_PAIR,
            RSA_PUBLIC,
            *(KeyType(kind, family) for kind in (KeyKind.ECC_KEY_PAIR, KeyKind.ECC_PUBLIC_KEY) for family in EccFamily),
            KeyType(KeyKind.AES),
            KeyType(KeyKind.CHACHA20),
        ]
    ),
    bits=st.sampled_from([0, 255, 256, 521, 1024]),
    data=st.binary(max_size=140),
)
def test_any_bytes_are_a_key_or_the_documented_error(key_type: KeyType, bits: int, data: bytes) -> None:
    try:
        key = read_key(key_type, bits, data, vouched=False)
    except ServiceError as error:
        assert error.status in {INVALID, UNSUPPORTED}
    else:
        assert bits in (0, key.bits)


@pytest.mark.parametrize(
    "key",
    [
        handle(KeyKind.AES, b"secret of sixteen"[:16]),
        handle(KeyKind.RSA_KEY_PAIR, RSA_1024),
        handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.SECP_R1),
        handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.MONTGOMERY),
    ],
)
def test_no_key_shows_itself(key: object) -> None:
    text = repr(key)
    assert "secret" not in text
    assert P256.hex() not in text
    assert repr(P256)[2:-1] not in text
    assert str(read_integers(RSA_1024)[3]) not in text
