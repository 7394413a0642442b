"""Bodies of requests and responses: protobuf on the wire, values everywhere else.

Source: docs/reference/parsec-protocol.md, "Operations" and "Bodies".
"""

from cofferdam_contracts.operations import Operation
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire.requests import REQUESTS
from cofferdam_contracts.wire.results import RESULTS, AuthenticatorInfo, KeyInfo, ProviderInfo, Result

__all__ = [
    "AuthenticatorInfo",
    "KeyInfo",
    "ProviderInfo",
    "Result",
    "decode_operation",
    "decode_result",
    "encode_operation",
    "encode_result",
]


def decode_operation(opcode: Opcode, body: bytes) -> Operation:
    """Return the operation in the body of a request (checks 18 and 19 of "Order of checks").

    Raises:
        ServiceError: `DESERIALIZING_BODY_FAILED` if it is not protobuf, `INVALID_ENCODING` if something mandatory is
            missing or unknown, `PROVIDER_DOES_NOT_EXIST` if ListOpcodes asks about an impossible provider,
            `PSA_ERROR_INVALID_ARGUMENT` if DeleteClient names an impossible client.
    """
    return REQUESTS[opcode].decode(body)


def encode_operation(operation: Operation) -> bytes:
    """Return the body of the request for an operation.

    Raises:
        ValueError: A number does not fit, or a string is not Unicode.
    """
    return REQUESTS[operation.opcode].encode(operation)


def encode_result(opcode: Opcode, result: Result = ()) -> bytes:
    """Return the body of the response with the result of an operation.

    Raises:
        TypeError: The result is not of the operation's type.
        ValueError: It has another number of fields, a number does not fit, or a string is not Unicode.
    """
    return RESULTS[opcode].encode(result)


def decode_result(opcode: Opcode, body: bytes) -> Result:
    """Return the result in the body of a response.

    Raises:
        ServiceError: `DESERIALIZING_BODY_FAILED` or `INVALID_ENCODING`.
    """
    return RESULTS[opcode].decode(body)
