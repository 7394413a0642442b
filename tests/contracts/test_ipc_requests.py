"""Requests to workers and their answers: what goes in comes out, and what is in no schema is refused."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.strategies import operations_of

from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.framing import Assembler, pack
from cofferdam_contracts.ipc.requests import (
    ANSWER,
    SCHEMAS,
    Answer,
    ProviderRequest,
    WorkerOperation,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from cofferdam_contracts.operations import CanDoCrypto, DeleteClient, GenerateRandom, SignHash
from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    AsymmetricSignature,
    Hash,
    HashAlgorithm,
    SignatureScheme,
)
from cofferdam_contracts.psa.encoding import encode_algorithm
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.status import Status

OPERATIONS = st.one_of([operations_of(kind) for kind in get_args(WorkerOperation)])
U64 = st.integers(0, (1 << 64) - 1)
AUTH_TYPES = st.sampled_from(AuthType)
SIGN = SignHash("key", AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256), b"digest")
MESSAGE = tuple(encode_request(SIGN, 7, 99, 1, "app"))


def test_every_operation_of_a_worker_has_its_schema() -> None:
    assert {schema.kind for schema in SCHEMAS.values()} == set(get_args(WorkerOperation))
    assert all(0 < opcode < ANSWER for opcode in SCHEMAS)


@given(
    operation=OPERATIONS, request_id=U64, deadline=U64, auth=st.sampled_from(AuthType), application=st.text(max_size=9)
)
def test_a_request_arrives_as_it_was_sent(
    operation: WorkerOperation, request_id: int, deadline: int, auth: AuthType, application: str
) -> None:
    message = Assembler(1 << 20).feed(pack(encode_request(operation, request_id, deadline, auth, application)))
    assert message is not None
    assert decode_request(message) == ProviderRequest(request_id, deadline, auth, application, operation)


@given(opcode=st.sampled_from(sorted(SCHEMAS)), request_id=U64, results=st.lists(st.binary(max_size=5)).map(tuple))
def test_an_answer_arrives_as_it_was_sent(opcode: int, request_id: int, results: tuple[bytes, ...]) -> None:
    message = encode_answer(opcode, request_id, Status.SUCCESS, results)
    assert decode_answer(message) == Answer(opcode, request_id, Status.SUCCESS, results)


def test_an_answer_shows_no_result() -> None:
    assert repr(Answer(4, 1, 0, (b"secret", b""))) == "Answer(4, 1, 0, [6, 0] bytes)"


# `None` to numbers beyond what travels: whatever msgpack can bring.
WRONG: tuple[Any, ...] = (None, True, -1, 1.0, "text", b"bytes", (), ("a",), 1 << 70)


@pytest.mark.parametrize("at", range(len(MESSAGE)))
def test_a_request_with_a_value_of_another_type_is_refused(at: int) -> None:
    for value in WRONG:
        if type(value) is type(MESSAGE[at]):
            continue
        with pytest.raises(ForbiddenMessageError):
            decode_request((*MESSAGE[:at], value, *MESSAGE[at + 1 :]))


@pytest.mark.parametrize(
    "message",
    [
        (0xFF, *MESSAGE[1:]),
        (0, *MESSAGE[1:]),
        MESSAGE[:-1],
        (*MESSAGE, b""),
        MESSAGE[:1],
        (*MESSAGE[:3], 77, *MESSAGE[4:]),
        (*MESSAGE[:6], b"\xff", b"digest"),
        (*MESSAGE[:6], b"", b"digest"),
        (*encode_request(GenerateRandom(1), 7, 99, 1, "app")[:-1], -1),
        (*encode_request(DeleteClient("app"), 7, 99, 1, "app")[:-1], b"app"),
        (int(CanDoCrypto.opcode), 7, 99, 1, "app", 200, b""),
    ],
)
def test_a_request_that_is_in_no_schema_is_refused(message: tuple[Any, ...]) -> None:
    with pytest.raises(ForbiddenMessageError):
        decode_request(message)


def test_an_algorithm_of_another_kind_is_refused() -> None:
    """It would reach a handler that knows nothing of it."""
    for algorithm in (HashAlgorithm(Hash.SHA_256), Aead(AeadScheme.GCM)):
        with pytest.raises(ForbiddenMessageError, match="in place of AsymmetricSignature"):
            decode_request((*MESSAGE[:6], encode_algorithm(algorithm), MESSAGE[7]))


@pytest.mark.parametrize(
    "message",
    [(4,), (4 | ANSWER,), (4 | ANSWER, 1), (0xFF, 1, 0), (4, 1, 0), (4 | ANSWER, "1", 0), (4 | ANSWER, 1, None)]
    + [(4 | ANSWER, 1, 0, value) for value in ("text", None, 1, ())],
)
def test_what_is_no_answer_is_refused(message: tuple[Any, ...]) -> None:
    with pytest.raises(ForbiddenMessageError):
        decode_answer(message)
