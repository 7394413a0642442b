"""The binary form of attributes: that of the reference's key store, byte for byte, and nothing else is accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.golden import BODIES
from tests.contracts.protobuf import text
from tests.contracts.strategies import KEY_TYPES, U64, algorithms, all_algorithms, attributes

from cofferdam_contracts.operations import GenerateKey
from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    DerivationScheme,
    EncryptionScheme,
    Hash,
    HashAlgorithm,
    KeyAgreement,
    KeyDerivation,
    Mac,
    MacScheme,
    NoAlgorithm,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import DhFamily, EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.psa.encoding import (
    EncodingError,
    decode_algorithm,
    decode_attributes,
    encode_algorithm,
    encode_attributes,
)
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire.bodies import decode_operation


def u32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


# The attributes of parsec-tool's keys, which also travel in the golden vectors, as the key store of the reference has
# them: persistent, type, bits, ten flags, algorithm.
CRYPTING = bytes([0, 0, 0, 1, 1, 0, 0, 0, 0, 0])
SIGNING = bytes([0, 0, 0, 0, 0, 1, 1, 1, 1, 0])
STORED = {
    "KeyAttributes of tool create-ecc-key": u32(1, 10, 1) + u64(256) + SIGNING + u32(5, 3, 0, 6),
    "KeyAttributes of tool create-rsa-key": u32(1, 9) + u64(2048) + CRYPTING + u32(6, 0),
    "KeyAttributes of tool create-rsa-key --oaep": u32(1, 9) + u64(2048) + CRYPTING + u32(6, 1, 6),
    "KeyAttributes of tool create-rsa-key --for-signing": u32(1, 9) + u64(2048) + SIGNING + u32(5, 0, 0, 6),
}
P256 = STORED["KeyAttributes of tool create-ecc-key"]


@pytest.mark.parametrize("what", STORED)
def test_the_attributes_of_the_golden_vectors_are_stored_as_the_reference_does(what: str) -> None:
    operation = decode_operation(Opcode.PSA_GENERATE_KEY, text(2, BODIES[what]))
    assert isinstance(operation, GenerateKey)
    assert encode_attributes(operation.attributes) == STORED[what]
    assert decode_attributes(STORED[what]) == operation.attributes


def test_sizes_are_those_seen_in_stores_of_the_reference() -> None:
    no_algorithm = KeyAttributes(KeyType(KeyKind.RSA_KEY_PAIR), 2048, Usage.NONE, NoAlgorithm())
    assert len(encode_attributes(no_algorithm)) == 30
    assert len(STORED["KeyAttributes of tool create-rsa-key --for-signing"]) == 42
    assert len(P256) == 46


@pytest.mark.parametrize(
    ("algorithm", "encoded"),
    [
        (NoAlgorithm(), u32(0)),
        (HashAlgorithm(Hash.MD2), u32(1, 0)),
        (HashAlgorithm(Hash.SHA3_512), u32(1, 14)),
        (Mac(MacScheme.HMAC, Hash.SHA_256), u32(2, 0, 0, 6)),
        (Mac(MacScheme.CMAC), u32(2, 0, 2)),
        (Mac(MacScheme.HMAC, Hash.SHA_1, 10), u32(2, 1, 0, 4) + u64(10)),
        (Mac(MacScheme.CBC_MAC, None, 8), u32(2, 1, 1) + u64(8)),
        (Cipher(CipherMode.STREAM_CIPHER), u32(3, 0)),
        (Cipher(CipherMode.CBC_PKCS7), u32(3, 7)),
        (Aead(AeadScheme.GCM), u32(4, 0, 1)),
        (Aead(AeadScheme.CHACHA20_POLY1305, 12), u32(4, 1, 2) + u64(12)),
        (AsymmetricSignature(SignatureScheme.RSA_PKCS1V15_RAW), u32(5, 1)),
        (AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_512), u32(5, 2, 0, 8)),
        (AsymmetricSignature(SignatureScheme.ECDSA, ANY_HASH), u32(5, 3, 1)),
        (AsymmetricSignature(SignatureScheme.ECDSA_ANY), u32(5, 4)),
        (AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.SHA_384), u32(5, 5, 0, 7)),
        (AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15), u32(6, 0)),
        (AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_1), u32(6, 1, 4)),
        (KeyAgreement(RawAgreement.ECDH), u32(7, 0, 1)),
        (
            KeyAgreement(RawAgreement.FFDH, KeyDerivation(DerivationScheme.TLS12_PRF, Hash.SHA_256)),
            u32(7, 1, 0, 1, 6),
        ),
        (KeyDerivation(DerivationScheme.TLS12_PSK_TO_MS, Hash.SHA_384), u32(8, 2, 7)),
    ],
)
def test_algorithms_have_the_variant_numbers_of_the_reference(algorithm: Algorithm, encoded: bytes) -> None:
    assert encode_algorithm(algorithm) == encoded
    assert decode_algorithm(encoded) == algorithm


@pytest.mark.parametrize(
    ("key_type", "encoded"),
    [
        (KeyType(KeyKind.RAW_DATA), u32(0)),
        (KeyType(KeyKind.CHACHA20), u32(7)),
        (KeyType(KeyKind.RSA_PUBLIC_KEY), u32(8)),
        (KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_K1), u32(10, 0)),
        (KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily.MONTGOMERY), u32(11, 8)),
        (KeyType(KeyKind.DH_KEY_PAIR, DhFamily.RFC7919), u32(12, 0)),
        (KeyType(KeyKind.DH_PUBLIC_KEY, DhFamily.RFC7919), u32(13, 0)),
    ],
)
def test_key_types_have_the_variant_numbers_of_the_reference(key_type: KeyType, encoded: bytes) -> None:
    stored = u32(1) + encoded + u64(7) + bytes(10) + u32(0)
    assert encode_attributes(KeyAttributes(key_type, 7, Usage.NONE, NoAlgorithm())) == stored
    assert decode_attributes(stored) == KeyAttributes(key_type, 7, Usage.NONE, NoAlgorithm())


def test_every_algorithm_survives() -> None:
    encodings = [encode_algorithm(algorithm) for algorithm in all_algorithms()]
    assert [decode_algorithm(encoded) for encoded in encodings] == all_algorithms()
    assert len(set(encodings)) == len(encodings)


@pytest.mark.parametrize("flag", [flag for flag in Usage if flag])
def test_each_flag_has_its_byte(flag: Usage) -> None:
    stored = encode_attributes(KeyAttributes(KeyType(KeyKind.AES), 0, flag, NoAlgorithm()))
    assert stored[16:26] == bytes(flag == 1 << bit for bit in range(10))


@given(attributes(U64))
def test_all_attributes_survive(value: KeyAttributes) -> None:
    assert decode_attributes(encode_attributes(value)) == value


@given(algorithms(U64), st.data())
def test_an_algorithm_cut_short_or_with_more_behind_is_an_error(algorithm: Algorithm, data: st.DataObject) -> None:
    encoded = encode_algorithm(algorithm)
    for wrong in (encoded[: data.draw(st.integers(0, len(encoded) - 1))], encoded + data.draw(st.binary(min_size=1))):
        with pytest.raises(EncodingError):
            decode_algorithm(wrong)


@given(attributes(U64), st.data())
def test_attributes_cut_short_or_with_more_behind_are_an_error(value: KeyAttributes, data: st.DataObject) -> None:
    encoded = encode_attributes(value)
    for wrong in (encoded[: data.draw(st.integers(0, len(encoded) - 1))], encoded + data.draw(st.binary(min_size=1))):
        with pytest.raises(EncodingError):
            decode_attributes(wrong)


@pytest.mark.parametrize("lifetime", [u32(0), u32(1), u32(2, 77)])
def test_every_lifetime_is_read(lifetime: bytes) -> None:
    assert decode_attributes(lifetime + P256[4:]) == decode_attributes(P256)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        u32(3) + P256[4:],
        u32(1, 14) + P256[8:],
        u32(1, 10, 9) + P256[12:],
        u32(1, 12, 1) + u64(1) + SIGNING + u32(0),
        P256[:20] + b"\x02" + P256[21:],
        P256[:20] + b"\xff" + P256[21:],
        P256[:30] + u32(9),
        P256[:30] + u32(5, 6),
        P256[:30] + u32(5, 3, 2),
        P256[:30] + u32(5, 3, 0, 15),
        P256[:30] + u32(2, 2),
        P256[:30] + u32(3, 8),
        P256[:30] + u32(4, 0, 3),
        P256[:30] + u32(6, 2),
        P256[:30] + u32(7, 0, 2),
        P256[:30] + u32(8, 3, 0),
        P256[:30] + u32(0xFFFFFFFF),
        bytes(257),
        bytes(1 << 20),
    ],
)
def test_unknown_variants_and_flags_are_an_error(encoded: bytes) -> None:
    with pytest.raises(EncodingError):
        decode_attributes(encoded)


# Numbers of four bytes that are mostly small, so that a good part of the input gets past the first variant.
LIKELY = st.lists(st.integers(0, 16).map(u32) | st.binary(max_size=8), max_size=12).map(b"".join)


@given(LIKELY)
def test_any_bytes_are_an_algorithm_or_an_error(data: bytes) -> None:
    try:
        algorithm = decode_algorithm(data)
    except EncodingError:
        return
    assert encode_algorithm(algorithm) == data


@given(st.sampled_from(KEY_TYPES), LIKELY)
def test_any_bytes_are_attributes_or_an_error(key_type: KeyType, data: bytes) -> None:
    begin = encode_attributes(KeyAttributes(key_type, 0, Usage.NONE, NoAlgorithm()))[:-4]
    for candidate in (data, begin + data):
        try:
            value = decode_attributes(candidate)
        except EncodingError:
            continue
        if candidate[:4] == u32(1):
            assert encode_attributes(value) == candidate
