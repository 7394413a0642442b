"""Bodies: golden vectors, what is mandatory, the same bytes as the reference, and back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.golden import BODIES, FACTS, vector
from tests.contracts.protobuf import num, split, text
from tests.contracts.strategies import (
    KEY_TYPES,
    OPERATIONS_OF_ALL_KINDS,
    WIDENED_ATTRIBUTES,
    all_algorithms,
    attributes,
)

from cofferdam_contracts.operations import (
    AttestKey,
    CanDoCrypto,
    CheckType,
    CipherEncrypt,
    DestroyKey,
    GenerateKey,
    GenerateRandom,
    HashCompute,
    ListKeys,
    ListOpcodes,
    MacCompute,
    MacVerify,
    Operation,
    Ping,
    PrepareKeyAttestation,
    RawKeyAgreement,
    SignHash,
)
from cofferdam_contracts.psa.algorithm import (
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    EncryptionScheme,
    Hash,
    KeyAgreement,
    Mac,
    MacScheme,
    NoAlgorithm,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import DhFamily, EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.registry import AUTHENTICATORS, CORE_OPCODES, PROVIDERS, AuthType, Opcode, ProviderId
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.bodies import (
    AuthenticatorInfo,
    KeyInfo,
    ProviderInfo,
    Result,
    decode_operation,
    decode_result,
    encode_operation,
    encode_result,
)

SIGNING = Usage.SIGN_MESSAGE | Usage.VERIFY_MESSAGE | Usage.SIGN_HASH | Usage.VERIFY_HASH
CRYPTING = Usage.ENCRYPT | Usage.DECRYPT
P256 = KeyAttributes(
    KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1),
    256,
    SIGNING,
    AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256),
)
RSA = KeyType(KeyKind.RSA_KEY_PAIR)
TOOL_ATTRIBUTES = {
    "KeyAttributes of tool create-ecc-key": P256,
    "KeyAttributes of tool create-rsa-key": KeyAttributes(
        RSA, 2048, CRYPTING, AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15)
    ),
    "KeyAttributes of tool create-rsa-key --oaep": KeyAttributes(
        RSA, 2048, CRYPTING, AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256)
    ),
    "KeyAttributes of tool create-rsa-key --for-signing": KeyAttributes(
        RSA, 2048, SIGNING, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256)
    ),
}
MBED, CORE = PROVIDERS[ProviderId.MBED_CRYPTO], PROVIDERS[ProviderId.CORE]
UNIX = AUTHENTICATORS[AuthType.UNIX_PEER_CREDENTIALS]
PROVIDER_LIST = [
    ProviderInfo(MBED.uuid, MBED.description, MBED.vendor, (0, 1, 0), MBED.id),
    ProviderInfo(CORE.uuid, CORE.description, CORE.vendor, (1, 5, 0), CORE.id),
]


def status_of(opcode: Opcode, body: bytes) -> Status:
    with pytest.raises(ServiceError) as caught:
        decode_operation(opcode, body)
    return caught.value.status


# Golden vectors.


@pytest.mark.parametrize("what", TOOL_ATTRIBUTES)
def test_key_attributes_are_the_golden_ones(what: str) -> None:
    body = text(1, b"e") + text(2, BODIES[what])
    operation = GenerateKey("e", TOOL_ATTRIBUTES[what])
    assert decode_operation(Opcode.PSA_GENERATE_KEY, body) == operation
    assert encode_operation(operation) == body


@pytest.mark.parametrize(
    ("what", "operation"),
    [
        ("Ping request", Ping()),
        ("ListOpcodes request for provider 1", ListOpcodes(1)),
        ("ListOpcodes request for Core", ListOpcodes(0)),
        ("ListKeys request", ListKeys()),
        ("PsaGenerateRandom request", GenerateRandom(32)),
        ("PsaDestroyKey request", DestroyKey("e")),
        ("PsaGenerateKey request", GenerateKey("e", P256)),
    ],
)
def test_request_bodies_are_the_golden_ones(what: str, operation: Operation) -> None:
    data = vector(what)
    body = data[36 : 36 + int.from_bytes(data[22:26], "little")]
    assert decode_operation(operation.opcode, body) == operation
    assert encode_operation(operation) == body


@pytest.mark.parametrize(
    ("opcode", "result", "body"),
    [
        (Opcode.PING, (1, 0), vector("Ping response")[36:]),
        (Opcode.LIST_KEYS, [KeyInfo(1, "e", P256)], vector("ListKeys response")[36:]),
        (Opcode.LIST_PROVIDERS, PROVIDER_LIST, vector("body: ListProviders result")),
        (
            Opcode.LIST_AUTHENTICATORS,
            [AuthenticatorInfo(UNIX.description, (0, 1, 0), UNIX.id)],
            vector("body: ListAuthenticators result"),
        ),
        (Opcode.LIST_OPCODES, [1, 8, 9, 300], text(1, b"\x01\x08\x09\xac\x02")),
        (Opcode.LIST_OPCODES, [], b""),
        (Opcode.LIST_KEYS, [], b""),
        (Opcode.LIST_CLIENTS, ["1000", "", "ä"], text(1, b"1000") + text(1, b"") + text(1, "ä".encode())),
        (Opcode.DELETE_CLIENT, (), b""),
        (Opcode.PSA_GENERATE_KEY, (), b""),
        (Opcode.PSA_SIGN_HASH, (b"signature",), text(1, b"signature")),
        (Opcode.PSA_MAC_COMPUTE, (b"mac",), text(1, b"mac")),
        (Opcode.PSA_MAC_VERIFY, (), b""),
        (Opcode.PSA_GENERATE_RANDOM, (b"",), b""),
        (Opcode.ATTEST_KEY, (b"c",), text(1, text(1, text(1, b"c")))),
        (Opcode.ATTEST_KEY, (b"",), text(1, text(1, b""))),
        (
            Opcode.PREPARE_KEY_ATTESTATION,
            (b"n", b"p", b"a"),
            text(1, text(1, text(1, b"n") + text(2, b"p") + text(3, b"a"))),
        ),
    ],
)
def test_results_are_written_as_the_reference_does_and_read_back(opcode: Opcode, result: Result, body: bytes) -> None:
    assert encode_result(opcode, result) == body
    assert decode_result(opcode, body) == result


# Bodies by hand: one per operation whose fields are not simply in a row.


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (
            RawKeyAgreement("k", KeyAgreement(RawAgreement.ECDH), b"peer"),
            num(1, 2) + text(2, b"k") + text(3, b"peer"),
        ),
        (CipherEncrypt("k", Cipher(CipherMode.CTR), b"p"), text(1, b"k") + num(2, 2) + text(3, b"p")),
        (
            MacCompute("k", Mac(MacScheme.HMAC, Hash.SHA_256), b"i"),
            text(1, b"k") + text(2, text(1, text(1, num(1, 7)))) + text(3, b"i"),
        ),
        (
            MacCompute("k", Mac(MacScheme.CMAC), b""),
            text(1, b"k") + text(2, text(1, text(3, b""))),
        ),
        (
            MacVerify("k", Mac(MacScheme.HMAC, Hash.SHA_512, 8), b"i", b"m"),
            text(1, b"k") + text(2, text(2, text(1, text(1, num(1, 9))) + num(2, 8))) + text(3, b"i") + text(4, b"m"),
        ),
        (HashCompute(Hash.SHA_256, b"i"), num(1, 7) + text(2, b"i")),
        (
            AttestKey("k", "a", b"blob", b"s"),
            text(1, b"k") + text(2, text(1, text(1, b"blob") + text(2, b"s"))) + text(3, b"a"),
        ),
        (AttestKey("k", "", b"", b""), text(1, b"k") + text(2, text(1, b""))),
        (PrepareKeyAttestation("k", "a"), text(1, text(1, text(1, b"k") + text(2, b"a")))),
        (PrepareKeyAttestation("", ""), text(1, text(1, b""))),
        (CanDoCrypto(CheckType.DERIVE, P256), num(1, 4) + text(2, BODIES["KeyAttributes of tool create-ecc-key"])),
        (
            GenerateKey(
                "", KeyAttributes(KeyType(KeyKind.DH_KEY_PAIR, DhFamily.RFC7919), 0, Usage.NONE, NoAlgorithm())
            ),
            text(2, text(1, text(13, b"")) + text(3, text(1, b"") + text(2, text(1, b"")))),
        ),
    ],
)
def test_operations_are_written_as_the_reference_does_and_read_back(operation: Operation, body: bytes) -> None:
    assert encode_operation(operation) == body
    assert decode_operation(operation.opcode, body) == operation


def test_hash_flags_imply_message_flags() -> None:
    for given_flags, flags in ((num(8, 1), {6, 8}), (num(9, 1), {7, 9}), (num(6, 1), {6}), (b"", set[int]())):
        policy = text(3, text(1, given_flags) + text(2, text(1, b"")))
        operation = decode_operation(Opcode.PSA_GENERATE_KEY, text(2, text(1, text(4, b"")) + policy))
        assert isinstance(operation, GenerateKey)
        assert operation.attributes.usage == sum(1 << number - 1 for number in flags)


# What is mandatory.

KEY_TYPE = text(1, text(4, b""))
POLICY = text(3, text(1, b"") + text(2, text(1, b"")))


def algorithm(content: bytes) -> bytes:
    """Return the body of PsaGenerateKey whose policy algorithm has this content."""
    return text(2, KEY_TYPE + text(3, text(1, b"") + text(2, content)))


def key_type(content: bytes) -> bytes:
    return text(2, text(1, content) + POLICY)


KEYED_WITH_ALG = (
    Opcode.PSA_SIGN_HASH, Opcode.PSA_VERIFY_HASH, Opcode.PSA_SIGN_MESSAGE, Opcode.PSA_VERIFY_MESSAGE,
    Opcode.PSA_ASYMMETRIC_ENCRYPT, Opcode.PSA_ASYMMETRIC_DECRYPT, Opcode.PSA_AEAD_ENCRYPT, Opcode.PSA_AEAD_DECRYPT,
    Opcode.PSA_CIPHER_ENCRYPT, Opcode.PSA_CIPHER_DECRYPT, Opcode.PSA_MAC_COMPUTE, Opcode.PSA_MAC_VERIFY,
    Opcode.PSA_RAW_KEY_AGREEMENT, Opcode.PSA_HASH_COMPUTE, Opcode.PSA_HASH_COMPARE,
)  # fmt: skip
GENERATE = Opcode.PSA_GENERATE_KEY
SIGN = Opcode.PSA_SIGN_HASH
INCOMPLETE: dict[str, tuple[Opcode, bytes]] = {
    **{f"no algorithm: {opcode.name}": (opcode, b"") for opcode in KEYED_WITH_ALG},
    **{
        f"algorithm without variant: {opcode.name}": (opcode, text(2, b""))
        for opcode in KEYED_WITH_ALG
        if opcode.value in {4, 5, 10, 11, 17, 18, 22, 23, 24, 25}
    },
    "no attributes: generate": (GENERATE, text(1, b"k")),
    "no attributes: import": (Opcode.PSA_IMPORT_KEY, text(1, b"k") + text(3, b"data")),
    "no attributes: can do": (Opcode.CAN_DO_CRYPTO, num(1, 1)),
    "no check type": (Opcode.CAN_DO_CRYPTO, text(2, KEY_TYPE + POLICY)),
    "unknown check type": (Opcode.CAN_DO_CRYPTO, num(1, 5) + text(2, KEY_TYPE + POLICY)),
    "empty attributes": (GENERATE, text(2, b"")),
    "no key type": (GENERATE, text(2, POLICY)),
    "key type without variant": (GENERATE, key_type(b"")),
    "no policy": (GENERATE, text(2, KEY_TYPE)),
    "no usage flags": (GENERATE, text(2, KEY_TYPE + text(3, text(2, text(1, b""))))),
    "no policy algorithm": (GENERATE, text(2, KEY_TYPE + text(3, text(1, b"")))),
    "policy algorithm without variant": (GENERATE, algorithm(b"")),
    "no curve family": (GENERATE, key_type(text(11, b""))),
    "unknown curve family": (GENERATE, key_type(text(12, num(1, 10)))),
    "unknown group family": (GENERATE, key_type(text(14, num(1, 1)))),
    "hash 0": (GENERATE, algorithm(num(2, 0))),
    "unknown hash": (GENERATE, algorithm(num(2, 16))),
    "negative hash": (GENERATE, algorithm(num(2, (1 << 64) - 1))),
    "cipher 0": (GENERATE, algorithm(num(4, 0))),
    "unknown cipher": (GENERATE, algorithm(num(4, 9))),
    "MAC without variant": (GENERATE, algorithm(text(3, b""))),
    "full MAC without variant": (GENERATE, algorithm(text(3, text(1, b"")))),
    "HMAC without hash": (GENERATE, algorithm(text(3, text(1, text(1, b""))))),
    "truncated MAC without MAC": (GENERATE, algorithm(text(3, text(2, num(2, 8))))),
    "truncated MAC without variant": (GENERATE, algorithm(text(3, text(2, text(1, b""))))),
    "AEAD 0": (GENERATE, algorithm(text(5, num(1, 0)))),
    "unknown AEAD": (GENERATE, algorithm(text(5, num(1, 4)))),
    "shortened AEAD 0": (GENERATE, algorithm(text(5, text(2, num(2, 8))))),
    "OAEP without hash": (GENERATE, algorithm(text(7, text(2, b"")))),
    "encryption without variant": (GENERATE, algorithm(text(7, b""))),
    "agreement without variant": (GENERATE, algorithm(text(8, b""))),
    "agreement 0": (GENERATE, algorithm(text(8, num(1, 0)))),
    "unknown agreement": (GENERATE, algorithm(text(8, num(1, 3)))),
    "derived agreement without derivation": (GENERATE, algorithm(text(8, text(2, num(1, 2))))),
    "derived agreement without variant": (GENERATE, algorithm(text(8, text(2, num(1, 2) + text(2, b""))))),
    "derived agreement 0": (GENERATE, algorithm(text(8, text(2, text(2, text(1, num(1, 7))))))),
    "derivation without variant": (GENERATE, algorithm(text(9, b""))),
    "derivation without hash": (GENERATE, algorithm(text(9, text(1, b"")))),
    **{f"signature {n} without hash": (SIGN, text(2, text(n, b""))) for n in (1, 3, 4, 6)},
    **{f"signature {n} with hash without variant": (SIGN, text(2, text(n, text(1, b"")))) for n in (1, 3, 4, 6)},
    "signature with hash 0": (SIGN, text(2, text(4, text(1, num(2, 0))))),
    "signature with unknown hash": (SIGN, text(2, text(4, text(1, num(2, 16))))),
    "MAC compute without hash": (Opcode.PSA_MAC_COMPUTE, text(2, text(1, text(1, b"")))),
    "MAC verify truncated without MAC": (Opcode.PSA_MAC_VERIFY, text(2, text(2, num(2, 8)))),
    "raw key agreement 3": (Opcode.PSA_RAW_KEY_AGREEMENT, num(1, 3)),
    "hash compute with unknown hash": (Opcode.PSA_HASH_COMPUTE, num(1, 99)),
    "attestation without parameters": (Opcode.ATTEST_KEY, text(1, b"k")),
    "attestation without mechanism": (Opcode.ATTEST_KEY, text(2, b"")),
    "preparation without parameters": (Opcode.PREPARE_KEY_ATTESTATION, b""),
    "preparation without mechanism": (Opcode.PREPARE_KEY_ATTESTATION, text(1, b"")),
}


@pytest.mark.parametrize(("opcode", "body"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_what_is_mandatory_is_required(opcode: Opcode, body: bytes) -> None:
    assert status_of(opcode, body) is Status.INVALID_ENCODING


def test_schemes_without_hash_need_none() -> None:
    for number, scheme in ((2, SignatureScheme.RSA_PKCS1V15_RAW), (5, SignatureScheme.ECDSA_ANY)):
        operation = decode_operation(SIGN, text(2, text(number, b"")))
        assert operation == SignHash("", AsymmetricSignature(scheme), b"")


@pytest.mark.parametrize("provider", [6, 255, 256, (1 << 32) - 1])
def test_opcodes_of_an_impossible_provider(provider: int) -> None:
    assert status_of(Opcode.LIST_OPCODES, num(1, provider)) is Status.PROVIDER_DOES_NOT_EXIST


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (Opcode.LIST_KEYS, text(1, num(1, 1) + text(2, b"k"))),
        (Opcode.ATTEST_KEY, b""),
        (Opcode.ATTEST_KEY, text(1, b"")),
        (Opcode.PREPARE_KEY_ATTESTATION, text(1, b"")),
    ],
)
def test_a_client_refuses_an_incomplete_result(opcode: Opcode, body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        decode_result(opcode, body)
    assert caught.value.status is Status.INVALID_ENCODING


# There and back.


@given(OPERATIONS_OF_ALL_KINDS)
def test_every_operation_survives_the_wire(operation: Operation) -> None:
    assert decode_operation(operation.opcode, encode_operation(operation)) == operation


def test_every_algorithm_and_every_key_type_survives_the_wire() -> None:
    pairs = [*((key_type, NoAlgorithm()) for key_type in KEY_TYPES), *((RSA, value) for value in all_algorithms())]
    keys = [KeyInfo(1, "k", KeyAttributes(key_type, 8, Usage.NONE, value)) for key_type, value in pairs]
    assert decode_result(Opcode.LIST_KEYS, encode_result(Opcode.LIST_KEYS, keys)) == keys


@given(attributes())
def test_implied_flags_are_the_only_change_on_the_wire(original: KeyAttributes) -> None:
    (info,) = decode_result(Opcode.LIST_KEYS, encode_result(Opcode.LIST_KEYS, [KeyInfo(1, "k", original)]))
    widened = KeyAttributes(original.type, original.bits, original.usage.widened(), original.algorithm)
    assert info == KeyInfo(1, "k", widened)


TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
U32 = st.integers(0, (1 << 32) - 1)
VERSION = st.tuples(U32, U32, U32)
BYTE_FIELDS = {
    opcode: len(FACTS["messages"][f"{opcode.name.lower()}.Result"])
    for opcode in set(Opcode) - CORE_OPCODES | {Opcode.DELETE_CLIENT}
} | {Opcode.PREPARE_KEY_ATTESTATION: 3}
RESULTS: dict[Opcode, st.SearchStrategy[Any]] = {
    Opcode.PING: st.tuples(U32, U32),
    Opcode.LIST_PROVIDERS: st.lists(st.builds(ProviderInfo, TEXT, TEXT, TEXT, VERSION, U32), max_size=3),
    Opcode.LIST_OPCODES: st.lists(U32, max_size=5),
    Opcode.LIST_AUTHENTICATORS: st.lists(st.builds(AuthenticatorInfo, TEXT, VERSION, U32), max_size=3),
    Opcode.LIST_KEYS: st.lists(st.builds(KeyInfo, U32, TEXT, WIDENED_ATTRIBUTES), max_size=3),
    Opcode.LIST_CLIENTS: st.lists(TEXT, max_size=3),
    **{opcode: st.tuples(*[st.binary(max_size=40)] * count) for opcode, count in BYTE_FIELDS.items()},
}


@given(st.data())
@pytest.mark.parametrize("opcode", RESULTS)
def test_every_result_survives_the_wire(opcode: Opcode, data: st.DataObject) -> None:
    result = data.draw(RESULTS[opcode])
    assert decode_result(opcode, encode_result(opcode, result)) == result


@pytest.mark.parametrize("opcode", BYTE_FIELDS)
def test_a_result_with_another_number_of_fields_is_an_error(opcode: Opcode) -> None:
    for count in {0, 1, 2, 3, 4} - {BYTE_FIELDS[opcode]}:
        with pytest.raises(ValueError, match="values expected"):
            encode_result(opcode, (b"x",) * count)


@pytest.mark.parametrize(("opcode", "result"), [(SIGN, ("text",)), (SIGN, (1,)), (Opcode.LIST_OPCODES, ["1"])])
def test_a_result_of_another_type_is_an_error(opcode: Opcode, result: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError):
        encode_result(opcode, result)


def walk(message: str, body: bytes) -> None:
    """Check that a body has its fields in order and leaves out what the reference leaves out."""
    fields = {field["number"]: field for field in FACTS["messages"][message]}
    found = split(body)
    numbers = [number for number, _, _ in found]
    assert numbers == sorted(numbers)
    assert all(numbers.count(number) == 1 or fields[number].get("repeated") for number in numbers)
    for number, _, value in found:
        field = fields[number]
        if field["type"] in FACTS["messages"]:
            assert isinstance(value, bytes)
            walk(field["type"], value)
        else:
            assert value or field.get("oneof") or field.get("repeated")


@given(OPERATIONS_OF_ALL_KINDS)
def test_operations_leave_out_defaults_and_keep_the_order_of_fields(operation: Operation) -> None:
    walk(f"{operation.opcode.name.lower()}.Operation", encode_operation(operation))


@given(st.data())
@pytest.mark.parametrize("opcode", RESULTS)
def test_results_leave_out_defaults_and_keep_the_order_of_fields(opcode: Opcode, data: st.DataObject) -> None:
    body = encode_result(opcode, data.draw(RESULTS[opcode]))
    walk(f"{opcode.name.lower()}.Result", body)


def test_representations_of_operations_are_free_of_content() -> None:
    operation = decode_operation(SIGN, text(2, text(2, b"")) + text(3, b"secret"))
    assert "secret" not in repr(operation)
