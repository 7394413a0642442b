"""A codec: the bodies of one kind, from bytes to values and back."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from cofferdam_contracts.wire.protobuf import Message, Record, decode, encode

V = TypeVar("V")


class Codec(NamedTuple, Generic[V]):
    """One kind of body: the type of its message, and how a record becomes a value and back."""

    message: Message
    read: Callable[[Record], V]
    """Raises `ServiceError` when something is missing or unknown."""
    write: Callable[[Any], Record]

    def decode(self, body: bytes) -> V:
        """Return the value of a body.

        Raises:
            ServiceError: `DESERIALIZING_BODY_FAILED` if it is not protobuf, else whatever `read` raises.
        """
        return self.read(decode(self.message, body))

    def encode(self, value: V) -> bytes:
        """Return the body of a value, the same bytes as the reference.

        Raises:
            TypeError: The value is not of the body's type.
            ValueError: It has another number of fields, a number does not fit, or a string is not Unicode.
        """
        return encode(self.message, self.write(value))
