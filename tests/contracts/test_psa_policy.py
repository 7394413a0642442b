"""The tables about policies, key types and deprecated primitives, cell by cell."""

import pytest
from msgspec.structs import replace
from tests.contracts.strategies import AGREEMENTS, CIPHERS, DERIVATIONS, ENCRYPTIONS, SIGNATURES, all_algorithms

from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    DEFAULT_TAG_LENGTH,
    HASH_LENGTH,
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    EncryptionScheme,
    Hash,
    HashAlgorithm,
    Mac,
    MacScheme,
    NoAlgorithm,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import DhFamily, EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.psa.policy import (
    digest_length_fits,
    full_mac_length,
    has_room,
    hashes_of,
    is_compatible,
    is_deprecated,
    is_permitted,
    mac_length_fits,
    pss_salt_length,
)

LENGTHS = (None, 8, DEFAULT_TAG_LENGTH)
ALGORITHMS = all_algorithms(LENGTHS)


def allowed_by(policy: Algorithm) -> set[Algorithm]:
    """Return what a policy algorithm permits (docs/reference/parsec-protocol.md, "Policy")."""
    match policy:
        case NoAlgorithm():
            return set()
        case AsymmetricSignature(scheme, hash_alg) if hash_alg is ANY_HASH:
            return {AsymmetricSignature(scheme, specific) for specific in Hash}
        case _:
            return {policy}


def test_every_policy_permits_what_the_table_says_and_nothing_else() -> None:
    for policy in ALGORITHMS:
        assert {operation for operation in ALGORITHMS if is_permitted(policy, operation)} == allowed_by(policy), policy


def test_a_tag_of_the_default_length_is_not_the_default_tag() -> None:
    assert not is_permitted(Aead(AeadScheme.GCM), Aead(AeadScheme.GCM, DEFAULT_TAG_LENGTH))
    assert not is_permitted(Aead(AeadScheme.GCM, DEFAULT_TAG_LENGTH), Aead(AeadScheme.GCM))


HMACS = {Mac(MacScheme.HMAC, h, length) for h in Hash for length in LENGTHS}
BLOCK_MACS = {Mac(scheme, None, length) for scheme in (MacScheme.CBC_MAC, MacScheme.CMAC) for length in LENGTHS}
STREAM = {Cipher(CipherMode.STREAM_CIPHER)}
BLOCK_MODES = set(CIPHERS) - STREAM
BLOCK_AEADS = {Aead(scheme, length) for scheme in (AeadScheme.CCM, AeadScheme.GCM) for length in LENGTHS}
CHACHA_AEADS = {Aead(AeadScheme.CHACHA20_POLY1305, length) for length in LENGTHS}
RSA = {value for value in SIGNATURES if value.scheme.name.startswith("RSA")} | set(ENCRYPTIONS)
ECC = {value for value in SIGNATURES if "ECDSA" in value.scheme.name} | {
    value for value in AGREEMENTS if value.raw is RawAgreement.ECDH
}
DH = {value for value in AGREEMENTS if value.raw is RawAgreement.FFDH}

COMPATIBLE: dict[KeyKind, set[Algorithm]] = {
    KeyKind.RAW_DATA: set(),
    KeyKind.HMAC: {*HMACS},
    KeyKind.DERIVE: {*DERIVATIONS},
    KeyKind.AES: {*BLOCK_MACS, *BLOCK_MODES, *BLOCK_AEADS},
    KeyKind.CAMELLIA: {*BLOCK_MACS, *BLOCK_MODES, *BLOCK_AEADS},
    KeyKind.DES: {*BLOCK_MACS, *BLOCK_MODES},
    KeyKind.ARC4: {*STREAM},
    KeyKind.CHACHA20: {*STREAM, *CHACHA_AEADS},
    KeyKind.RSA_KEY_PAIR: {*RSA},
    KeyKind.RSA_PUBLIC_KEY: {*RSA},
    KeyKind.ECC_KEY_PAIR: {*ECC},
    KeyKind.ECC_PUBLIC_KEY: {*ECC},
    KeyKind.DH_KEY_PAIR: {*DH},
    KeyKind.DH_PUBLIC_KEY: {*DH},
}


def family_of(kind: KeyKind) -> EccFamily | DhFamily | None:
    if kind.name.startswith("ECC_"):
        return EccFamily.SECP_R1
    return DhFamily.RFC7919 if kind.name.startswith("DH_") else None


@pytest.mark.parametrize("kind", KeyKind)
def test_a_key_type_goes_with_the_algorithms_of_the_table_and_no_others(kind: KeyKind) -> None:
    key_type = KeyType(kind, family_of(kind))
    assert {algorithm for algorithm in ALGORITHMS if is_compatible(key_type, algorithm)} == COMPATIBLE[kind]


def test_the_digest_lengths_are_those_of_the_table() -> None:
    assert {hash_alg.name: length for hash_alg, length in HASH_LENGTH.items()} == {
        "MD2": 16, "MD4": 16, "MD5": 16, "RIPEMD160": 20, "SHA_1": 20, "SHA_224": 28, "SHA_256": 32, "SHA_384": 48,
        "SHA_512": 64, "SHA_512_224": 28, "SHA_512_256": 32, "SHA3_224": 28, "SHA3_256": 32, "SHA3_384": 48,
        "SHA3_512": 64,
    }  # fmt: skip


@pytest.mark.parametrize("algorithm", SIGNATURES, ids=str)
def test_a_digest_has_the_length_of_its_hash_and_any_where_there_is_none(algorithm: AsymmetricSignature) -> None:
    fitting = {length for length in range(70) if digest_length_fits(algorithm, length)}
    assert fitting == ({HASH_LENGTH[algorithm.hash]} if isinstance(algorithm.hash, Hash) else set(range(70)))


@pytest.mark.parametrize(
    ("kind", "whole"),
    [
        *((KeyKind.HMAC, Mac(MacScheme.HMAC, hash_alg)) for hash_alg in Hash),
        *((kind, Mac(scheme)) for kind in (KeyKind.AES, KeyKind.DES) for scheme in (MacScheme.CMAC, MacScheme.CBC_MAC)),
    ],
)
def test_a_mac_can_be_truncated_to_some_of_its_bytes(kind: KeyKind, whole: Mac) -> None:
    full = 8 if kind is KeyKind.DES else 16 if whole.hash is None else HASH_LENGTH[whole.hash]
    assert full_mac_length(kind, whole) == full
    assert mac_length_fits(kind, whole)
    assert [length for length in range(70) if mac_length_fits(kind, replace(whole, length=length))] == [
        *range(1, full + 1)
    ]


OAEP_512 = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_512)
SALTS = [
    # PSA Crypto API 1.1, PSA_ALG_RSA_PSS: the digest's length, or the longest that fits.
    *((bits, hash_alg, HASH_LENGTH[hash_alg]) for bits in (2048, 3072, 4096) for hash_alg in Hash),
    (1024, Hash.SHA_384, 48),
    (1024, Hash.SHA_512, 62),
    (1024, Hash.SHA3_512, 62),
    # RFC 8017 section 9.1.1: emBits is one less than the modulus has.
    (1025, Hash.SHA_512, 62),
    (1026, Hash.SHA_512, 63),
    (1033, Hash.SHA_512, 63),
    (1034, Hash.SHA_512, 64),
    (528, Hash.SHA_512, 0),
    (521, Hash.SHA_512, -1),
]


@pytest.mark.parametrize(("bits", "hash_alg", "length"), SALTS)
def test_a_salt_is_as_long_as_the_digest_or_as_fits(bits: int, hash_alg: Hash, length: int) -> None:
    assert pss_salt_length(bits, hash_alg) == length


@pytest.mark.parametrize(
    ("bits", "algorithm", "room"),
    [
        (1024, OAEP_512, False),
        (1032, OAEP_512, False),
        (1048, OAEP_512, True),
        (0, OAEP_512, True),
        (2048, OAEP_512, True),
        (1024, AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_384), True),
        (1024, AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15), True),
        (512, AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_512), False),
        (0, AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_512), True),
        (512, AsymmetricSignature(SignatureScheme.RSA_PSS, ANY_HASH), True),
    ],
)
def test_a_key_has_room_for_the_padding_of_its_algorithm(bits: int, algorithm: Algorithm, room: bool) -> None:
    assert has_room(attributes(KeyType(KeyKind.RSA_KEY_PAIR), bits, algorithm)) is room


def attributes(key_type: KeyType, bits: int = 256, algorithm: Algorithm | None = None) -> KeyAttributes:
    return KeyAttributes(key_type, bits, Usage.NONE, algorithm or NoAlgorithm())


def test_an_algorithm_is_deprecated_when_it_names_a_deprecated_hash_anywhere() -> None:
    for algorithm in ALGORITHMS:
        named = {hash_alg for hash_alg in Hash if f"<Hash.{hash_alg.name}: " in repr(algorithm)}
        assert hashes_of(algorithm) == named
        deprecated = named & {Hash.MD2, Hash.MD4, Hash.MD5, Hash.SHA_1}
        assert is_deprecated(attributes(KeyType(KeyKind.RAW_DATA), algorithm=algorithm)) == bool(deprecated)


def test_the_hash_wildcard_and_current_hashes_are_not_deprecated() -> None:
    assert not is_deprecated(
        attributes(KeyType(KeyKind.RSA_KEY_PAIR), algorithm=AsymmetricSignature(SignatureScheme.RSA_PSS, ANY_HASH))
    )
    assert not is_deprecated(attributes(KeyType(KeyKind.RAW_DATA), algorithm=HashAlgorithm(Hash.RIPEMD160)))


@pytest.mark.parametrize("kind", KeyKind)
def test_key_types_that_are_deprecated_whatever_they_are_for(kind: KeyKind) -> None:
    assert is_deprecated(attributes(KeyType(kind, family_of(kind)))) == (kind in {KeyKind.DES, KeyKind.ARC4})


@pytest.mark.parametrize("kind", [KeyKind.ECC_KEY_PAIR, KeyKind.ECC_PUBLIC_KEY])
@pytest.mark.parametrize("family", EccFamily)
def test_curves_that_are_deprecated(kind: KeyKind, family: EccFamily) -> None:
    sizes = {160, 163, 192, 224, 233, 239, 255, 256, 283, 384, 409, 448, 521, 571}
    expected = {
        EccFamily.SECP_R2: sizes,
        EccFamily.SECT_R2: sizes,
        EccFamily.BRAINPOOL_P_R1: {160},
        EccFamily.SECT_R1: {163},
        EccFamily.SECT_K1: {163},
    }.get(family, set())
    assert {bits for bits in sizes if is_deprecated(attributes(KeyType(kind, family), bits))} == expected


def test_hash_flags_imply_message_flags_and_nothing_else() -> None:
    for number in range(1 << 10):
        usage = Usage(number)
        added = (Usage.SIGN_MESSAGE if usage & Usage.SIGN_HASH else Usage.NONE) | (
            Usage.VERIFY_MESSAGE if usage & Usage.VERIFY_HASH else Usage.NONE
        )
        assert usage.widened() == usage | added
