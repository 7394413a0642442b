"""Which keys can be generated and imported."""

import pytest
from tests.providers.support import P256, RSA_1024, attributes, refused

from cofferdam_contracts.psa.algorithm import NoAlgorithm
from cofferdam_contracts.psa.attributes import (
    DH_KINDS,
    ECC_KINDS,
    PUBLIC_KINDS,
    DhFamily,
    EccFamily,
    KeyAttributes,
    KeyKind,
)
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.curves import CURVES, KNOWN_SIZES
from cofferdam_providers.pyca.der import read_integers
from cofferdam_providers.pyca.keys import MAX_SECRET_BITS, SECRET_SIZES, export_public, read_key
from cofferdam_providers.software.key_management import check_generate, check_import, generate, import_key

INVALID = Status.PSA_ERROR_INVALID_ARGUMENT
UNSUPPORTED = Status.PSA_ERROR_NOT_SUPPORTED
ECC_PAIRS = [attributes(KeyKind.ECC_KEY_PAIR, curve.bits, family=curve.family) for curve in CURVES.values()]
SECRETS = [
    attributes(kind, bits)
    for kind, sizes in SECRET_SIZES.items()
    for bits in sorted(sizes or {8, 16, 128, 1000, MAX_SECRET_BITS})
]


@pytest.mark.parametrize("wanted", [*ECC_PAIRS, *SECRETS], ids=lambda wanted: f"{wanted.type}-{wanted.bits}")
def test_every_kind_is_generated_anew_each_time_and_can_be_imported(wanted: KeyAttributes) -> None:
    first = generate(wanted)
    assert import_key(wanted, first).material == first
    assert wanted.bits == 8 or generate(wanted) != first


@pytest.mark.parametrize("bits", [1024, 2048])
def test_rsa_keys_are_generated_with_the_usual_exponent(bits: int) -> None:
    wanted = attributes(KeyKind.RSA_KEY_PAIR, bits)
    material = generate(wanted)
    key = import_key(wanted, material)
    assert (key.bits, key.material) == (bits, material)
    assert read_integers(material)[2] == 65537


@pytest.mark.parametrize("bits", [1024, 2048, 3072, 4096])
def test_all_rsa_sizes_are_allowed(bits: int) -> None:
    check_generate(attributes(KeyKind.RSA_KEY_PAIR, bits))
    check_import(attributes(KeyKind.RSA_KEY_PAIR, bits))
    check_import(attributes(KeyKind.RSA_PUBLIC_KEY, bits))


@pytest.mark.parametrize("bits", [1, 512, 1023, 1025, 1536, 2047, 8192, 1 << 40])
def test_other_rsa_sizes_are_invalid(bits: int) -> None:
    for kind in (KeyKind.RSA_KEY_PAIR, KeyKind.RSA_PUBLIC_KEY):
        with refused(INVALID):
            check_generate(attributes(kind, bits))
        with refused(INVALID):
            check_import(attributes(kind, bits))


@pytest.mark.parametrize("kind", KeyKind)
def test_a_key_is_not_generated_without_a_size(kind: KeyKind) -> None:
    family: EccFamily | DhFamily | None = None
    if kind in ECC_KINDS:
        family = EccFamily.SECP_R1
    elif kind in DH_KINDS:
        family = DhFamily.RFC7919
    with pytest.raises(ServiceError) as caught:
        check_generate(attributes(kind, 0, family=family))
    other = {KeyKind.DES, KeyKind.ARC4, KeyKind.DH_KEY_PAIR}
    assert caught.value.status is (UNSUPPORTED if kind in other else INVALID)


@pytest.mark.parametrize("kind", sorted(PUBLIC_KINDS))
def test_a_public_key_is_not_generated(kind: KeyKind) -> None:
    families: dict[KeyKind, EccFamily | DhFamily] = {
        KeyKind.ECC_PUBLIC_KEY: EccFamily.SECP_R1,
        KeyKind.DH_PUBLIC_KEY: DhFamily.RFC7919,
    }
    with refused(INVALID):
        generate(attributes(kind, 256, family=families.get(kind)))


@pytest.mark.parametrize(
    "wanted",
    [
        attributes(KeyKind.DES, 192),
        attributes(KeyKind.DES, 0),
        attributes(KeyKind.ARC4, 128),
        attributes(KeyKind.DH_KEY_PAIR, 2048, family=DhFamily.RFC7919),
        attributes(KeyKind.DH_KEY_PAIR, 0, family=DhFamily.RFC7919),
        attributes(KeyKind.RAW_DATA, MAX_SECRET_BITS + 8),
        *(
            attributes(KeyKind.ECC_KEY_PAIR, bits, family=family)
            for family, sizes in KNOWN_SIZES.items()
            for bits in sizes
            if (family, bits) not in CURVES
        ),
        *(attributes(KeyKind.ECC_KEY_PAIR, 0, family=family) for family in (EccFamily.FRP, EccFamily.SECT_K1)),
    ],
    ids=lambda wanted: f"{wanted.type}-{wanted.bits}",
)
def test_what_the_library_lacks_is_not_supported(wanted: KeyAttributes) -> None:
    if wanted.bits:
        with refused(UNSUPPORTED):
            check_generate(wanted)
    with refused(UNSUPPORTED):
        check_import(wanted)
    with refused(UNSUPPORTED):
        import_key(wanted, bytes(wanted.bits // 8 if wanted.bits > MAX_SECRET_BITS else 32))


@pytest.mark.parametrize(
    "wanted",
    [
        *(attributes(kind, bits) for kind in (KeyKind.AES, KeyKind.CAMELLIA) for bits in (8, 64, 129, 512)),
        *(attributes(KeyKind.CHACHA20, bits) for bits in (128, 257)),
        *(attributes(kind, bits) for kind in (KeyKind.RAW_DATA, KeyKind.HMAC, KeyKind.DERIVE) for bits in (1, 7, 129)),
        *(attributes(KeyKind.ECC_KEY_PAIR, bits, family=EccFamily.SECP_R1) for bits in (255, 284, 520)),
        attributes(KeyKind.ECC_KEY_PAIR, 256, family=EccFamily.MONTGOMERY),
    ],
    ids=lambda wanted: f"{wanted.type}-{wanted.bits}",
)
def test_sizes_that_nothing_has_are_invalid(wanted: KeyAttributes) -> None:
    with refused(INVALID):
        check_generate(wanted)
    with refused(INVALID):
        check_import(wanted)


@pytest.mark.parametrize(
    ("kind", "family", "data", "bits"),
    [
        (KeyKind.RSA_KEY_PAIR, None, RSA_1024, 1024),
        (KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1, P256, 256),
        (KeyKind.ECC_KEY_PAIR, EccFamily.MONTGOMERY, P256, 255),
        (KeyKind.HMAC, None, bytes(20), 160),
    ],
)
def test_an_import_without_a_size_takes_that_of_the_data(
    kind: KeyKind, family: EccFamily | None, data: bytes, bits: int
) -> None:
    assert import_key(attributes(kind, 0, family=family), data).bits == bits


def test_a_taken_over_rsa_key_is_checked() -> None:
    broken = bytearray(RSA_1024)
    broken[-1] ^= 2
    with refused(INVALID):
        import_key(attributes(KeyKind.RSA_KEY_PAIR, 1024), bytes(broken))


def test_a_public_key_of_a_generated_pair_can_be_imported() -> None:
    for wanted in ECC_PAIRS:
        pair = read_key(wanted.type, wanted.bits, generate(wanted), vouched=True)
        public = KeyAttributes(
            type(wanted.type)(KeyKind.ECC_PUBLIC_KEY, wanted.type.family), wanted.bits, wanted.usage, NoAlgorithm()
        )
        assert import_key(public, export_public(pair)).material == export_public(pair)
