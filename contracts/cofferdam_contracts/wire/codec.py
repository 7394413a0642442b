"""Turns protobuf bodies into values and back: fast in the usual case, as strict as the reference in every case.

Google's parser reads the body. If it has no unknown fields and is as long as its canonical encoding, the reference
would read the same values. Every other body is first made canonical by `strict`, which is slow and exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError, Message

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.strict import Schema, canonical, schema_of

# The other implementations accept other bodies, and are fifty times slower.
if api_implementation.Type() != "upb":
    raise RuntimeError(f"protobuf runs on {api_implementation.Type()}, not on upb")

V = TypeVar("V")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Codec(Generic[V]):
    """One kind of body: its message, and how a message without unknown fields becomes a value and back."""

    parse: Callable[[bytes], Any]
    schema: Schema
    read: Callable[[Any], V]
    """Raises `ServiceError` when something is missing or unknown."""
    write: Callable[[Any], Message]
    ambiguous: bool
    """Whether a body that is not canonical may be as long as the canonical one, so that only the slow way is exact."""

    def decode(self, body: bytes) -> V:
        """Return the value of a body.

        Raises:
            ServiceError: `DESERIALIZING_BODY_FAILED` if it is not protobuf, else whatever `read` raises.
        """
        if not self.ambiguous:
            try:
                message = self.parse(body)
                message.DiscardUnknownFields()
                if message.ByteSize() == len(body):
                    return self.read(message)
            except (DecodeError, ServiceError):
                # The exact way decides whether it is refused, and with which status.
                pass
        return self.read(self._parse_strictly(body))

    def encode(self, value: V) -> bytes:
        """Return the body of a value, the same bytes as the reference.

        Raises:
            TypeError: The value is not of the body's type.
            ValueError: It has another number of fields, a number does not fit, or a string is not Unicode.
        """
        return self.write(value).SerializeToString()

    def _parse_strictly(self, body: bytes) -> Any:  # noqa: ANN401  the message of this codec
        try:
            return self.parse(canonical(body, self.schema))
        except DecodeError as error:
            raise ServiceError(Status.DESERIALIZING_BODY_FAILED, "a body that is not protobuf") from error


def codec(message: type[M], read: Callable[[M], V], write: Callable[[Any], M], *, ambiguous: bool = False) -> Codec[V]:
    """Return the codec of the bodies that hold such a message."""
    return Codec(message.FromString, schema_of(message), read, write, ambiguous)
