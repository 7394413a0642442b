"""Requests of a frontend to a provider worker, and their answers.

A request is `[opcode, request id, deadline, authenticator, application name, fields…]`, its answer
`[opcode | ANSWER, request id, status, results…]` with results only when the status is success. The deadline counts
microseconds of the monotonic clock, which all processes share. The application name is empty unless the
authenticator is Direct: for Unix peer credentials the name is the uid that the channel belongs to, which no field can
claim. `SCHEMAS` is the whole protocol; everything else is refused.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter, call
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import Struct

from cofferdam_contracts import operations
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.operations import CheckType, CryptoOperation, DeleteClient
from cofferdam_contracts.psa.algorithm import (
    Aead,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    Hash,
    KeyAgreement,
    Mac,
)
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.psa.encoding import (
    EncodingError,
    decode_algorithm,
    decode_attributes,
    encode_algorithm,
    encode_attributes,
)
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.status import Status

ANSWER: Final = 0x80
"""Bit that is added to the number of a request in its answer; opcodes are below it."""
_ENVELOPE: Final = 5
_ANSWER_HEADER: Final = 3
_STATUSES: Final = frozenset(map(int, Status))

WorkerOperation = CryptoOperation | DeleteClient


class ProviderRequest(NamedTuple):
    """A request as the worker sees it: well formed, not yet authorised."""

    id: int
    deadline: int
    authenticator: AuthType
    application: str
    operation: WorkerOperation


class Answer(NamedTuple):
    """An answer as the frontend sees it."""

    opcode: int
    id: int
    status: int
    results: tuple[bytes, ...]

    def __repr__(self) -> str:
        """Show sizes only: results are keys, plaintext and signatures."""
        return f"Answer({self.opcode}, {self.id}, {self.status}, {[len(result) for result in self.results]} bytes)"


Reader: TypeAlias = Callable[[Any], Any]
"""Checks a value of a message and converts it."""


def _plain(kind: type) -> Reader:
    def read(value: Any) -> Any:  # noqa: ANN401  a field of unknown type is what this checks
        if type(value) is not kind:
            raise ForbiddenMessageError(f"a {type(value).__name__} in place of a {kind.__name__}")
        return value

    return read


_BYTES: Final = _plain(bytes)
_STR: Final = _plain(str)


def _natural(value: Any) -> int:  # noqa: ANN401
    if type(value) is not int or value < 0:
        raise ForbiddenMessageError(f"{value!r:.20} in place of a number")
    return value


def _algorithm(kind: type[Algorithm]) -> Reader:
    def read(value: Any) -> Any:  # noqa: ANN401
        algorithm = decode_algorithm(_BYTES(value))
        if type(algorithm) is not kind:
            raise ForbiddenMessageError(f"{algorithm} in place of {kind.__name__}")
        return algorithm

    return read


def _member(kind: type[Hash] | type[CheckType]) -> Reader:
    return lambda value: kind(_natural(value))


# Looking a number up here is four times as fast as calling the enumeration.
_AUTH_TYPES: Final = {int(member): member for member in AuthType}

# For each annotated type of an operation's field: its writer (None: it is sent as it is) and its reader.
_CODECS: Final[Mapping[object, tuple[Callable[[Any], Any] | None, Reader]]] = {
    bytes: (None, _BYTES),
    str: (None, _STR),
    int: (None, _natural),
    Hash: (int, _member(Hash)),
    CheckType: (int, _member(CheckType)),
    KeyAttributes: (encode_attributes, lambda value: decode_attributes(_BYTES(value))),
    AsymmetricSignature: (encode_algorithm, _algorithm(AsymmetricSignature)),
    AsymmetricEncryption: (encode_algorithm, _algorithm(AsymmetricEncryption)),
    Aead: (encode_algorithm, _algorithm(Aead)),
    Cipher: (encode_algorithm, _algorithm(Cipher)),
    Mac: (encode_algorithm, _algorithm(Mac)),
    KeyAgreement: (encode_algorithm, _algorithm(KeyAgreement)),
}


class OperationSchema(Struct, frozen=True):
    """The writers and readers of one operation's fields, in order."""

    kind: type[WorkerOperation]
    values: Callable[[Any], tuple[Any, ...]]
    """Returns the fields of an operation."""
    writers: tuple[tuple[int, Callable[[Any], Any]], ...]
    """Position in the message and writer of each field that is not sent as it is."""
    readers: tuple[Reader, ...]


def _schema(kind: type[WorkerOperation]) -> OperationSchema:
    codecs = {name: _CODECS[kind.__annotations__[name]] for name in kind.__struct_fields__}
    writers = [(index, write) for index, (write, _) in enumerate(codecs.values(), _ENVELOPE) if write is not None]
    getter = attrgetter(*codecs)
    values = getter if len(codecs) > 1 else lambda operation: (getter(operation),)
    return OperationSchema(kind, values, tuple(writers), tuple(read for _, read in codecs.values()))


SCHEMAS: Final[Mapping[int, OperationSchema]] = {
    int(opcode): _schema(kind) for opcode, kind in operations.OPERATIONS.items() if issubclass(kind, WorkerOperation)
}
"""Every request that a worker accepts, by number."""


def encode_request(
    operation: WorkerOperation, request_id: int, deadline: int, authenticator: int, application: str
) -> list[object]:
    """Return the message of a request."""
    opcode = operation.opcode
    schema = SCHEMAS[opcode]
    message = [int(opcode), request_id, deadline, authenticator, application, *schema.values(operation)]
    for index, write in schema.writers:
        message[index] = write(message[index])
    return message


def decode_request(message: tuple[Any, ...]) -> ProviderRequest:
    """Read a request.

    Raises:
        ForbiddenMessageError: The message is not in `SCHEMAS`, or its fields are wrong.
    """
    schema = SCHEMAS.get(message[0])
    if schema is None or len(message) != _ENVELOPE + len(schema.readers):
        raise ForbiddenMessageError(f"message {message[0]} with {len(message)} elements")
    _, request_id, deadline, authenticator, application = message[:_ENVELOPE]
    if type(request_id) is not int or type(deadline) is not int or type(authenticator) is not int:
        raise ForbiddenMessageError("an envelope of the wrong types")
    auth_type = _AUTH_TYPES.get(authenticator)
    if auth_type is None or type(application) is not str:
        raise ForbiddenMessageError("an authenticator or an application that cannot be")
    try:
        operation = schema.kind(*map(call, schema.readers, message[_ENVELOPE:]))
    except (EncodingError, ValueError) as error:
        raise ForbiddenMessageError(f"message {message[0]}: {error}") from error
    return ProviderRequest(request_id, deadline, auth_type, application, operation)


def encode_answer(opcode: int, request_id: int, status: Status, results: tuple[bytes, ...] = ()) -> tuple[object, ...]:
    """Return the message of an answer."""
    return (opcode | ANSWER, request_id, int(status), *results)


def decode_answer(message: tuple[Any, ...]) -> Answer:
    """Read an answer.

    Raises:
        ForbiddenMessageError: The message is not an answer.
    """
    number, results = message[0] ^ ANSWER, message[_ANSWER_HEADER:]
    if number not in SCHEMAS or len(message) < _ANSWER_HEADER:
        raise ForbiddenMessageError(f"message {message[0]} in place of an answer")
    for value in results:
        if type(value) is not bytes:
            raise ForbiddenMessageError(f"a {type(value).__name__} in an answer")
    _, request_id, status = message[:_ANSWER_HEADER]
    if type(request_id) is not int or type(status) is not int or status not in _STATUSES:
        raise ForbiddenMessageError("an answer without id and status")
    return Answer(number, request_id, status, results)
