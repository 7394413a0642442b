"""What the wire decoder lets through, every process behind it accepts: no client's value is a process's crime."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.strategies import OPERATIONS_OF_ALL_KINDS, WIDENED_ATTRIBUTES
from tests.frontend.samples import SAMPLES

from cofferdam_contracts.identity import MAX_APPLICATION
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Assembler, pack, split
from cofferdam_contracts.ipc.keystore import SCHEMAS as STORE_SCHEMAS
from cofferdam_contracts.ipc.keystore import KimMessage
from cofferdam_contracts.ipc.limits import MAX_ATTRIBUTES, OVERHEAD, message_limit
from cofferdam_contracts.ipc.requests import (
    ANSWER,
    SCHEMAS,
    ProviderRequest,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from cofferdam_contracts.operations import DeleteClient, Operation
from cofferdam_contracts.psa.encoding import encode_attributes
from cofferdam_contracts.registry import AuthType, Opcode
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.bodies import decode_operation, encode_operation

NAME = "n" * MAX_APPLICATION
MOST = (1 << 64) - 1


def passed_on(opcode: Opcode, body: bytes, limit: int) -> ProviderRequest | None:
    """Let a body go the way of a request; return what the worker gets, None if the decoder refuses it."""
    try:
        operation = decode_operation(opcode, body)
    except ServiceError:
        return None
    if isinstance(operation, DeleteClient):
        assert STORE_SCHEMAS[KimMessage.CLIENT_KEYS].accepts((int(AuthType.DIRECT), operation.client))
    if opcode not in SCHEMAS:
        return None
    # mypy cannot know that SCHEMAS has what workers take.
    message = pack(encode_request(operation, MOST, MOST, AuthType.DIRECT, NAME))  # type: ignore[arg-type]
    assert len(message) <= limit
    assembler = Assembler(limit)
    (received,) = [whole for part in split(message) if (whole := assembler.feed(part)) is not None]
    request = decode_request(received)
    assert request == (MOST, MOST, AuthType.DIRECT, NAME, operation)
    return request


@given(operation=OPERATIONS_OF_ALL_KINDS)
def test_every_operation_is_taken_by_its_worker(operation: Operation) -> None:
    body = encode_operation(operation)
    request = passed_on(operation.opcode, body, message_limit(len(body), 0))
    assert (request is not None) == (operation.opcode in SCHEMAS)


@given(opcode=st.sampled_from(Opcode), body=st.binary(max_size=200), data=st.data())
def test_whatever_else_the_decoder_lets_through_as_well(opcode: Opcode, body: bytes, data: st.DataObject) -> None:
    """Any bytes, and right bodies with some bytes changed or added, which protobuf often accepts."""
    right = encode_operation(SAMPLES[opcode])
    at = data.draw(st.integers(0, len(right)))
    for changed in (body, right + body, right[:at] + body[:3] + right[at + 1 :]):
        passed_on(opcode, changed, message_limit(len(changed), 0))


@pytest.mark.parametrize("opcode", sorted(SCHEMAS))
@pytest.mark.parametrize("size", [0, 4096, 60_000, 1 << 20])
def test_every_size_of_every_field(opcode: int, size: int) -> None:
    """Each string and each byte field of a body as long as a body may be."""
    right = encode_operation(SAMPLES[Opcode(opcode)])
    for number in range(1, 7):
        length = bytearray()
        value = size
        while value > 0x7F:
            length.append(value & 0x7F | 0x80)
            value >>= 7
        length.append(value)
        body = right + bytes((number << 3 | 2,)) + bytes(length) + b"a" * size
        passed_on(Opcode(opcode), body, message_limit(len(body), 0))


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("", True),
        (NAME, True),
        (NAME + "n", False),
        ("é" * (MAX_APPLICATION // 2), True),
        ("é" * MAX_APPLICATION, False),
    ],
)
def test_a_client_that_cannot_be_is_not_deleted(name: str, taken: bool) -> None:
    body = encode_operation(DeleteClient(name))
    if taken:
        assert decode_operation(Opcode.DELETE_CLIENT, body) == DeleteClient(name)
        return
    with pytest.raises(ServiceError) as caught:
        decode_operation(Opcode.DELETE_CLIENT, body)
    assert caught.value.status is Status.PSA_ERROR_INVALID_ARGUMENT


@given(attributes=WIDENED_ATTRIBUTES)
def test_the_key_store_takes_all_attributes(attributes: object) -> None:
    encoded = encode_attributes(attributes)  # type: ignore[arg-type]
    assert len(encoded) <= MAX_ATTRIBUTES
    assert STORE_SCHEMAS[KimMessage.RESERVE].accepts((int(AuthType.DIRECT), NAME, "k", b"", 2, encoded, b""))


def test_names_and_the_envelope_fit_beside_the_largest_body() -> None:
    assert len(msgpack.packb([MOST, MOST, MOST, 255, NAME])) + 16 * 8 < OVERHEAD
    assert message_limit(10, 20) == message_limit(20, 10) == 20 + OVERHEAD


def test_a_body_of_no_text_is_refused_before_it_is_passed_on() -> None:
    surrogate = b"\x0a\x03\xed\xa0\x80"
    with pytest.raises(ServiceError) as caught:
        decode_operation(Opcode.DELETE_CLIENT, surrogate)
    assert caught.value.status is Status.DESERIALIZING_BODY_FAILED


@pytest.mark.parametrize("status", Status)
def test_answers_come_back_as_they_were_sent(status: Status) -> None:
    results = () if status else (b"x", b"")
    message = encode_answer(Opcode.PSA_SIGN_HASH, MOST, status, results)
    answer = decode_answer(tuple(message))
    assert answer == (Opcode.PSA_SIGN_HASH, MOST, status, results)
    assert "b'" not in repr(answer)


@pytest.mark.parametrize("status", [-1, 6553, 1 << 16, MOST, True, "0", None])
def test_a_status_that_no_response_can_carry_is_no_answer(status: object) -> None:
    with pytest.raises(ForbiddenMessageError):
        decode_answer((Opcode.PSA_SIGN_HASH | ANSWER, 1, status))


@given(
    message=st.tuples(
        st.sampled_from([int(opcode) for opcode in Opcode] + [0, -1, 255, MOST]),
        *[st.none() | st.booleans() | st.integers(-1, MOST) | st.text(max_size=3) | st.binary(max_size=12)] * 5,
    )
)
def test_any_message_is_a_request_or_forbidden(message: tuple[object, ...]) -> None:
    for end in range(1, len(message) + 1):
        try:
            decode_request(message[:end])
        except ForbiddenMessageError:
            continue


SIGN = encode_request(SAMPLES[Opcode.PSA_SIGN_HASH], 1, 2, int(AuthType.DIRECT), "app")  # type: ignore[arg-type]
WRONG: list[tuple[int, object]] = [
    *((position, value) for position in (1, 2, 3) for value in ("1", None, True, 1.5)),
    (3, 99),
    (3, 255),
    (4, b"app"),
    (5, b"name"),
    (5, None),
    (6, "text"),
    (6, b""),
    (6, bytes.fromhex("040000000000000001000000")),  # GCM
    (7, "text"),
]


@pytest.mark.parametrize(("position", "value"), WRONG)
def test_a_request_with_one_field_that_cannot_be_is_forbidden(position: int, value: object) -> None:
    assert decode_request(tuple(SIGN)).operation == SAMPLES[Opcode.PSA_SIGN_HASH]
    with pytest.raises(ForbiddenMessageError):
        decode_request((*SIGN[:position], value, *SIGN[position + 1 :]))


@pytest.mark.parametrize("size", [-1, "8", None, True])
def test_a_size_is_a_natural_number(size: object) -> None:
    with pytest.raises(ForbiddenMessageError):
        decode_request((int(Opcode.PSA_GENERATE_RANDOM), 1, 2, 0, "", size))


@pytest.mark.parametrize("message", [(Opcode.PING | ANSWER, 1, 0), (Opcode.PSA_SIGN_HASH | ANSWER, 1, 0, "text")])
def test_an_answer_of_another_kind_is_forbidden(message: tuple[object, ...]) -> None:
    with pytest.raises(ForbiddenMessageError):
        decode_answer(message)
