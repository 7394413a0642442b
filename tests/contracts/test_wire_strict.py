"""The reference's strictness with bodies: every row of the table, and agreement with Google's library made strict."""

import sys
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.google import BODIES, RefusedError, google_decode, google_encode
from tests.contracts.protobuf import (
    BYTES,
    END_GROUP,
    FIXED32,
    FIXED64,
    START_GROUP,
    VARINT,
    group,
    key,
    nested_groups,
    num,
    text,
    varint,
)
from tests.contracts.strategies import records

from cofferdam_contracts.operations import (
    CanDoCrypto,
    CheckType,
    DestroyKey,
    GenerateRandom,
    HashCompute,
    ListOpcodes,
    Operation,
    Ping,
    SignHash,
)
from cofferdam_contracts.psa.algorithm import ANY_HASH, AsymmetricSignature, Hash, NoAlgorithm, SignatureScheme
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire import protobuf
from cofferdam_contracts.wire.bodies import decode_operation, decode_result
from cofferdam_contracts.wire.messages import OPERATIONS, RESULTS
from cofferdam_contracts.wire.protobuf import STRING, Message, Record, decode, encode, listing

MALFORMED = Status.DESERIALIZING_BODY_FAILED
INVALID = Status.INVALID_ENCODING
ECDSA_SHA_256 = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
SPECIFIC = num(2, 7)
ECDSA = text(4, text(1, SPECIFIC))
SIGN = text(1, b"k") + text(2, ECDSA) + text(3, b"h")
SIGNED = SignHash("k", ECDSA_SHA_256, b"h")
AES_ATTRIBUTES = text(1, text(4, b"")) + num(2, 128) + text(3, text(1, num(4, 1)) + text(2, text(1, b"")))
AES_POLICY = len(text(3, text(1, num(4, 1)) + text(2, text(1, b""))))
AES = KeyAttributes(KeyType(KeyKind.AES), 128, Usage.ENCRYPT, NoAlgorithm())


def outcome(opcode: Opcode, body: bytes) -> Operation | Status:
    try:
        return decode_operation(opcode, body)
    except ServiceError as error:
        return error.status


ACCEPTED: dict[str, tuple[bytes, Operation]] = {
    "empty body, no fields": (b"", Ping()),
    "empty body, all defaults": (b"", DestroyKey("")),
    "empty body, number 0": (b"", GenerateRandom(0)),
    "empty body, Core": (b"", ListOpcodes(0)),
    "unknown varint": (num(9, 300) + SIGN, SIGNED),
    "unknown fixed 32": (key(9, FIXED32) + b"\xff" * 4 + SIGN, SIGNED),
    "unknown fixed 64": (key(9, FIXED64) + b"\xff" * 8 + SIGN, SIGNED),
    "unknown bytes": (SIGN + text(9, b"\xff\xff"), SIGNED),
    "unknown empty group": (SIGN + group(9), SIGNED),
    "unknown group with all wire types": (
        group(9, num(1, 1) + key(2, FIXED64) + bytes(8) + text(3, b"x") + group(4) + key(5, FIXED32) + bytes(4)) + SIGN,
        SIGNED,
    ),
    "unknown field of an empty message": (num(1, 1) + text(2, b"\xff"), Ping()),
    "unknown field in a sub-message": (text(2, num(9, 1) + ECDSA) + text(1, b"k") + text(3, b"h"), SIGNED),
    "unknown field of the greatest number": (num((1 << 29) - 1, 1) + SIGN, SIGNED),
    "fields in any order": (text(3, b"h") + text(2, ECDSA) + text(1, b"k"), SIGNED),
    "uint32 of 33 bits": (num(1, (1 << 32) + 3), ListOpcodes(3)),
    "uint32 of 64 bits": (num(1, (1 << 63) + 2), ListOpcodes(2)),
    "enumeration of 33 bits": (num(1, (1 << 32) + 7), HashCompute(Hash.SHA_256, b"")),
    "varint of ten bytes": (key(1, VARINT) + varint(5, 10), GenerateRandom(5)),
    "the greatest varint": (key(1, VARINT) + b"\xff" * 9 + b"\x01", GenerateRandom((1 << 64) - 1)),
    "over-long key of ten bytes": (varint(1 << 3 | VARINT, 10) + b"\x05", GenerateRandom(5)),
    "over-long length of ten bytes": (key(1, BYTES) + varint(3, 10) + b"key", DestroyKey("key")),
    "over-long length of a sub-message": (
        text(1, b"k") + key(2, BYTES) + varint(len(ECDSA), 7) + ECDSA + text(3, b"h"),
        SIGNED,
    ),
    "scalar repeated": (num(1, 1) + num(1, 2), GenerateRandom(2)),
    "string repeated": (text(1, b"a") + text(1, b"b"), DestroyKey("b")),
    "scalar repeated, last one 0": (num(1, 1) + num(1, 0), GenerateRandom(0)),
    "sub-message repeated, oneof merged": (
        text(1, b"k") + text(2, text(4, b"")) + text(2, ECDSA) + text(3, b"h"),
        SIGNED,
    ),
    "attributes in two pieces": (
        num(1, 1) + text(2, AES_ATTRIBUTES[:4]) + text(2, AES_ATTRIBUTES[4:]),
        CanDoCrypto(CheckType.USE, AES),
    ),
    "oneof twice, last one wins": (
        text(2, text(1, text(1, SPECIFIC)) + ECDSA) + text(1, b"k") + text(3, b"h"),
        SIGNED,
    ),
    "oneof twice, same variant merged": (
        text(1, b"k") + text(2, text(4, text(1, SPECIFIC)) + text(4, b"")) + text(3, b"h"),
        SIGNED,
    ),
    "oneof of scalar and message, last one wins": (
        text(1, b"k") + text(2, text(4, text(1, text(1, b"") + SPECIFIC))) + text(3, b"h"),
        SIGNED,
    ),
    "oneof of scalar and message, other way round": (
        text(1, b"k") + text(2, text(4, text(1, SPECIFIC + text(1, b"")))) + text(3, b"h"),
        SignHash("k", AsymmetricSignature(SignatureScheme.ECDSA, ANY_HASH), b"h"),
    ),
    "bool 2": (
        num(1, 1) + text(2, AES_ATTRIBUTES.replace(num(4, 1), num(4, 2))),
        CanDoCrypto(CheckType.USE, AES),
    ),
    "bool of which only the highest bit is set": (
        num(1, 1) + text(2, AES_ATTRIBUTES[:-AES_POLICY] + text(3, text(1, num(4, 1 << 63)) + text(2, text(1, b"")))),
        CanDoCrypto(CheckType.USE, AES),
    ),
    "100 groups": (nested_groups(100), Ping()),
    "99 groups with a field in them": (nested_groups(99, num(1, 1)), Ping()),
    "99 groups in a sub-message": (text(1, b"k") + text(2, nested_groups(99) + ECDSA) + text(3, b"h"), SIGNED),
    "name with NUL and newline": (text(1, b"a\0\n"), DestroyKey("a\0\n")),
    "name outside the basic plane": (text(1, "\U0001f511".encode()), DestroyKey("\U0001f511")),
}

REFUSED: dict[str, tuple[Opcode, bytes]] = {
    "number as bytes": (Opcode.PSA_GENERATE_RANDOM, text(1, b"\x05")),
    "number as fixed 64": (Opcode.PSA_GENERATE_RANDOM, key(1, FIXED64) + bytes(8)),
    "number as fixed 32": (Opcode.PSA_GENERATE_RANDOM, key(1, FIXED32) + bytes(4)),
    "number as group": (Opcode.PSA_GENERATE_RANDOM, group(1)),
    "number as end of group": (Opcode.PSA_GENERATE_RANDOM, key(1, END_GROUP)),
    "string as varint": (Opcode.PSA_DESTROY_KEY, num(1, 1)),
    "string as group": (Opcode.PSA_DESTROY_KEY, group(1)),
    "bytes as varint": (Opcode.PSA_SIGN_HASH, SIGN + num(3, 1)),
    "sub-message as varint": (Opcode.PSA_SIGN_HASH, SIGN + num(2, 1)),
    "sub-message as group": (Opcode.PSA_SIGN_HASH, SIGN + group(2, ECDSA)),
    "enumeration as bytes": (Opcode.PSA_HASH_COMPUTE, num(1, 7) + text(1, b"\x07")),
    "wrong type one level down": (Opcode.PSA_SIGN_HASH, text(2, ECDSA + num(4, 1))),
    "wrong type two levels down": (Opcode.PSA_SIGN_HASH, text(2, ECDSA + text(4, num(1, 1)))),
    "wrong type three levels down": (Opcode.PSA_SIGN_HASH, text(2, text(4, text(1, SPECIFIC + text(2, b"\x07"))))),
    "wrong type in a variant that loses": (Opcode.PSA_SIGN_HASH, text(2, text(3, num(1, 7)) + ECDSA)),
    "wrong type and something missing": (Opcode.PSA_SIGN_HASH, num(1, 1)),
    "wrong type and an impossible provider": (Opcode.LIST_OPCODES, num(1, 6) + text(1, b"")),
    "wrong type beside a negative enumeration": (
        Opcode.PSA_HASH_COMPUTE,
        key(1, VARINT) + varint(0xFFFFFFFF) + num(2, 1) + text(9, b"x"),
    ),
    "field number 0": (Opcode.PING, num(0, 1)),
    "field number 0 of bytes": (Opcode.PING, text(0, b"")),
    "field number 0 in a group": (Opcode.PING, group(9, num(0, 1))),
    "key of 33 bits": (Opcode.PING, varint(1 << 32 | 1 << 3) + b"\x00"),
    "wire type 6": (Opcode.PING, b"\x0e\x00"),
    "wire type 7": (Opcode.PING, b"\x0f\x00"),
    "wire type 6 in a group": (Opcode.PING, group(9, b"\x0e\x00")),
    "key without value": (Opcode.PSA_GENERATE_RANDOM, b"\x08"),
    "key that does not end": (Opcode.PSA_GENERATE_RANDOM, b"\x88"),
    "varint that does not end": (Opcode.PSA_GENERATE_RANDOM, b"\x08\x80"),
    "varint of eleven bytes": (Opcode.PSA_GENERATE_RANDOM, b"\x08" + varint(5, 11)),
    "varint of 65 bits": (Opcode.PSA_GENERATE_RANDOM, b"\x08" + b"\xff" * 9 + b"\x02"),
    "varint of 70 bits": (Opcode.PSA_GENERATE_RANDOM, b"\x08" + b"\xff" * 9 + b"\x7f"),
    "unknown varint of 65 bits": (Opcode.PING, b"\x08" + b"\xff" * 9 + b"\x02"),
    "enumeration of 65 bits": (Opcode.PSA_HASH_COMPUTE, b"\x08" + b"\xff" * 9 + b"\x02"),
    "string cut short": (Opcode.PSA_DESTROY_KEY, b"\x0a\x02a"),
    "string without length": (Opcode.PSA_DESTROY_KEY, b"\x0a"),
    "string of 2**64 - 1 bytes": (Opcode.PSA_DESTROY_KEY, b"\x0a" + b"\xff" * 9 + b"\x01a"),
    "sub-message cut short": (Opcode.PSA_SIGN_HASH, text(2, ECDSA)[:-1]),
    "field longer than its sub-message": (Opcode.PSA_SIGN_HASH, key(2, BYTES) + b"\x03" + ECDSA),
    "unknown fixed 32 cut short": (Opcode.PING, key(9, FIXED32) + bytes(3)),
    "unknown fixed 64 cut short": (Opcode.PING, key(9, FIXED64) + bytes(7)),
    "unknown bytes cut short": (Opcode.PING, key(9, BYTES) + b"\x02a"),
    "group that does not end": (Opcode.PING, key(9, START_GROUP)),
    "group that ends as another": (Opcode.PING, key(9, START_GROUP) + key(8, END_GROUP)),
    "groups that end crosswise": (
        Opcode.PING,
        key(8, START_GROUP) + key(9, START_GROUP) + key(8, END_GROUP) + key(9, END_GROUP),
    ),
    "group that ends outside its sub-message": (
        Opcode.PSA_SIGN_HASH,
        text(2, ECDSA + key(9, START_GROUP)) + key(9, END_GROUP),
    ),
    "end of a group that did not begin": (Opcode.PING, key(9, END_GROUP)),
    "string that is not UTF-8": (Opcode.PSA_DESTROY_KEY, text(1, b"\xff")),
    "string with a surrogate": (Opcode.PSA_DESTROY_KEY, text(1, b"\xed\xa0\x80")),
    "string in over-long UTF-8": (Opcode.PSA_DESTROY_KEY, text(1, b"\xc0\xaf")),
    "bad string that a good one replaces": (Opcode.PSA_DESTROY_KEY, text(1, b"\xff") + text(1, b"good")),
    "101 groups": (Opcode.PING, nested_groups(101)),
    "100 groups with a field in them": (Opcode.PING, nested_groups(100, num(1, 1))),
    "100 groups in a sub-message": (Opcode.PSA_SIGN_HASH, text(2, ECDSA + nested_groups(100))),
    "10000 groups": (Opcode.PING, nested_groups(10000)),
}


@pytest.mark.parametrize(("body", "operation"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_the_reference_accepts_is_accepted(body: bytes, operation: Operation) -> None:
    assert outcome(operation.opcode, body) == operation


@pytest.mark.parametrize(("opcode", "body"), REFUSED.values(), ids=REFUSED)
def test_what_the_reference_cannot_parse_is_refused(opcode: Opcode, body: bytes) -> None:
    assert outcome(opcode, body) is MALFORMED


def test_a_negative_enumeration_is_no_member() -> None:
    grown = key(1, VARINT) + varint(0xFFFFFFFF)
    assert outcome(Opcode.PSA_HASH_COMPUTE, grown) is INVALID
    assert outcome(Opcode.PSA_HASH_COMPUTE, grown + key(2, FIXED32) + bytes(4)) is MALFORMED
    assert outcome(Opcode.PSA_HASH_COMPUTE, grown + num(9, 1 << 21)) is INVALID


@pytest.mark.parametrize(
    ("body", "opcodes"),
    [
        (b"", []),
        (text(1, b"\x01\x02\x03"), [1, 2, 3]),
        (num(1, 1) + num(1, 2), [1, 2]),
        (num(1, 1) + text(1, b"\x02\x03") + num(1, 4), [1, 2, 3, 4]),
        (text(1, b""), []),
        (text(1, varint(7, 10)), [7]),
        (text(1, varint(1 << 32 | 9)), [9]),
        (num(1, 1 << 32 | 9), [9]),
        (num(1, 9) + text(2, b"?"), [9]),
    ],
)
def test_numbers_in_a_list_may_be_packed_or_not(body: bytes, opcodes: list[int]) -> None:
    assert decode_result(Opcode.LIST_OPCODES, body) == opcodes


@pytest.mark.parametrize(
    "body",
    [
        text(1, b"\x80"),
        text(1, b"\xff" * 9 + b"\x02"),
        key(1, FIXED32) + bytes(4),
        num(1, 1) + key(1, FIXED64) + bytes(8),
    ],
)
def test_a_list_of_anything_but_numbers_is_refused(body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        decode_result(Opcode.LIST_OPCODES, body)
    assert caught.value.status is MALFORMED


STATUSES = {MALFORMED, INVALID, Status.PROVIDER_DOES_NOT_EXIST}


@given(st.sampled_from(Opcode), st.binary(max_size=60))
def test_any_body_is_an_operation_or_one_of_three_errors(opcode: Opcode, body: bytes) -> None:
    result = outcome(opcode, body)
    if isinstance(result, Status):
        assert result in STATUSES
        assert result is not Status.PROVIDER_DOES_NOT_EXIST or opcode is Opcode.LIST_OPCODES
    else:
        assert result.opcode == opcode


@given(st.sampled_from(Opcode), st.binary(max_size=60))
def test_any_result_body_is_a_result_or_one_of_two_errors(opcode: Opcode, body: bytes) -> None:
    try:
        decode_result(opcode, body)
    except ServiceError as error:
        assert error.status in {MALFORMED, INVALID}


FIELD = st.one_of(
    st.builds(num, st.integers(1, 12), st.integers(0, (1 << 64) - 1)),
    st.builds(num, st.integers(1, 4), st.integers(0, 16)),
    st.builds(text, st.integers(1, 12), st.binary(max_size=6)),
    st.builds(group, st.integers(1, 12), st.binary(max_size=2)),
    st.builds(lambda number: key(number, FIXED32) + bytes(4), st.integers(1, 12)),
    st.binary(max_size=3),
)
LIKELY_BODIES = st.recursive(
    st.lists(FIELD, max_size=4).map(b"".join),
    lambda inner: st.lists(FIELD | st.builds(text, st.integers(1, 10), inner), max_size=4).map(b"".join),
    max_leaves=6,
)


def both(name: str, message: Message, body: bytes) -> tuple[Record | None, Record | None]:
    """Return what our decoder and Google's make of a body; None is a refusal."""
    try:
        ours: Record | None = decode(message, body)
    except ServiceError as error:
        assert error.status is MALFORMED
        ours = None
    try:
        return ours, google_decode(name, message, body)
    except RefusedError:
        return ours, None


@given(st.sampled_from(BODIES), LIKELY_BODIES)
def test_any_fields_mean_the_same_to_google_made_strict(kind: tuple[str, Message], body: bytes) -> None:
    ours, theirs = both(*kind, body)
    assert ours == theirs


@given(st.sampled_from(BODIES), st.binary(max_size=60))
def test_any_bytes_mean_the_same_to_google_made_strict(kind: tuple[str, Message], body: bytes) -> None:
    ours, theirs = both(*kind, body)
    assert ours == theirs


RECORDS = {name: records(message) for name, message in BODIES}


@settings(max_examples=300)
@given(st.sampled_from(BODIES), st.data())
def test_a_record_is_written_as_google_does_and_read_back(kind: tuple[str, Message], data: st.DataObject) -> None:
    name, message = kind
    record = data.draw(RECORDS[name])
    body = encode(message, record)
    assert body == google_encode(name, message, record)
    assert both(name, message, body) == (record, record)


@settings(max_examples=300)
@given(st.sampled_from(BODIES), st.data())
def test_changed_bytes_mean_the_same_to_google_made_strict(kind: tuple[str, Message], data: st.DataObject) -> None:
    """Bytes replaced, put in or left out; and two bodies in a row, which are merged."""
    name, message = kind
    body = encode(message, data.draw(RECORDS[name])) + encode(message, data.draw(RECORDS[name]))
    place = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(place, min(len(body), place + 2)))
    changed = body[:place] + data.draw(st.binary(max_size=3)) + body[end:]
    for either in (body, changed):
        ours, theirs = both(name, message, either)
        assert ours == theirs


@pytest.mark.parametrize(
    ("opcode", "body"),
    [*((operation.opcode, body) for body, operation in ACCEPTED.values()), *REFUSED.values()],
    ids=[*ACCEPTED, *REFUSED],
)
def test_every_row_means_the_same_to_google_made_strict(opcode: Opcode, body: bytes) -> None:
    if body.count(key(999, START_GROUP)) < 1000:  # the measure recurses
        ours, theirs = both(*BODIES[2 * sorted(Opcode).index(opcode)], body)
        assert ours == theirs


def test_an_unfinished_field_is_not_finished_by_the_next_piece_of_its_message() -> None:
    """Merging must not mean joining: each piece is whole by itself."""
    for cut in range(1, len(ECDSA)):
        assert outcome(Opcode.PSA_SIGN_HASH, text(2, ECDSA[:cut]) + text(2, ECDSA[cut:])) is MALFORMED


def test_a_remembered_record_is_not_changed_by_what_is_merged_into_it() -> None:
    policy = text(3, text(1, num(4, 1)) + text(2, text(1, b"")))
    more = text(2, text(3, text(1, num(5, 1))))
    plain = num(1, 1) + text(2, AES_ATTRIBUTES[:-AES_POLICY] + policy)
    assert outcome(Opcode.CAN_DO_CRYPTO, plain) == CanDoCrypto(CheckType.USE, AES)
    both_flags = KeyAttributes(AES.type, AES.bits, Usage.ENCRYPT | Usage.DECRYPT, AES.algorithm)
    assert outcome(Opcode.CAN_DO_CRYPTO, plain + more) == CanDoCrypto(CheckType.USE, both_flags)
    assert outcome(Opcode.CAN_DO_CRYPTO, plain) == CanDoCrypto(CheckType.USE, AES)


def test_only_short_messages_of_numbers_are_remembered() -> None:
    """Nothing secret stays in the memory of the decoder, and no client fills that memory."""
    protobuf._remembered.cache_clear()
    secret = text(2, text(1, text(1, b"blob") + text(2, b"secret")))
    decode_operation(Opcode.ATTEST_KEY, secret)
    decode_operation(Opcode.PSA_SIGN_HASH, text(2, text(9, bytes(64)) + ECDSA))
    before = protobuf._remembered.cache_info()
    assert before.currsize <= 2  # the short messages in the long one
    for number in range(2000):
        decode_operation(Opcode.PSA_SIGN_HASH, text(2, num(9, number) + ECDSA))
    after = protobuf._remembered.cache_info()
    assert after.maxsize is not None
    assert after.currsize <= after.maxsize


def test_a_message_in_many_pieces_costs_as_much_as_its_pieces() -> None:
    """Work counted in calls: a piece is read once, however many came before it."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    costs: list[int] = []
    for pieces in (100, 1000):
        body = text(2, ECDSA) * pieces
        calls = 0
        sys.setprofile(count)
        try:
            decode(OPERATIONS[Opcode.PSA_SIGN_HASH], body)
        finally:
            sys.setprofile(None)
        costs.append(calls)
    assert costs[1] <= 10 * costs[0] + 20


def test_an_encoding_may_stand_for_its_record() -> None:
    message = OPERATIONS[Opcode.PSA_SIGN_HASH]
    assert (
        encode(message, ("k", ECDSA, b"h"))
        == encode(
            message,
            (
                "k",
                (
                    4,
                    ((2, 7),),
                ),
                b"h",
            ),
        )
        == SIGN
    )


def test_an_element_of_no_type_is_an_error() -> None:
    for opcode in (Opcode.LIST_CLIENTS, Opcode.LIST_KEYS, Opcode.LIST_OPCODES):
        with pytest.raises(TypeError):
            encode(RESULTS[opcode], (None,))


@pytest.mark.parametrize("record", [("k", None), ("k", None, b"h", b"?"), (), ("k", (4, ()), b"h")])
def test_a_record_has_a_value_for_each_field(record: Record) -> None:
    with pytest.raises(ValueError, match="values expected"):
        encode(OPERATIONS[Opcode.PSA_SIGN_HASH], record)


@pytest.mark.parametrize(
    ("opcode", "record", "error"),
    [
        (Opcode.PSA_DESTROY_KEY, (b"k",), TypeError),
        (Opcode.PSA_DESTROY_KEY, (None,), TypeError),
        (Opcode.PSA_DESTROY_KEY, ("\ud800",), ValueError),
        (Opcode.PSA_SIGN_HASH, ("k", None, "h"), TypeError),
        (Opcode.PSA_SIGN_HASH, ("k", None, ""), TypeError),
        (Opcode.PSA_SIGN_HASH, ("k", None, bytearray(b"h")), TypeError),
        (Opcode.PSA_SIGN_HASH, ("k", (4, None), b"h"), TypeError),
        (Opcode.LIST_OPCODES, ("1",), TypeError),
        (Opcode.LIST_OPCODES, (1.5,), TypeError),
        (Opcode.LIST_OPCODES, (-1,), ValueError),
        (Opcode.LIST_OPCODES, (1 << 32,), ValueError),
        (Opcode.PSA_GENERATE_RANDOM, (1 << 64,), ValueError),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_an_error(opcode: Opcode, record: Record, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(OPERATIONS[opcode], record)


@pytest.mark.parametrize("count", [0, 2])
def test_a_listing_has_one_field(count: int) -> None:
    with pytest.raises(ValueError, match="fields"):
        listing(**{f"f{number}": STRING for number in range(count)})


def test_a_message_has_only_fields_whose_keys_are_one_byte() -> None:
    with pytest.raises(ValueError, match="16 fields"):
        Message(**{f"f{number}": STRING for number in range(16)})
