"""The bodies of successful responses: for every operation its protobuf message, and how to convert its result.

The result of a crypto operation is the tuple of its byte fields: none, one, or three for PrepareKeyAttestation. A
worker answers with the same tuple, see `ipc.requests`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire import messages
from cofferdam_contracts.wire.algorithms import Conversion, chosen
from cofferdam_contracts.wire.attributes import attributes, attributes_record
from cofferdam_contracts.wire.codec import Codec
from cofferdam_contracts.wire.protobuf import Record


class ProviderInfo(NamedTuple):
    """One entry of ListProviders; the version is (major, minor, revision)."""

    uuid: str
    description: str
    vendor: str
    version: tuple[int, int, int]
    id: int


class AuthenticatorInfo(NamedTuple):
    """One entry of ListAuthenticators; the version is (major, minor, revision)."""

    description: str
    version: tuple[int, int, int]
    id: int


class KeyInfo(NamedTuple):
    """One entry of ListKeys."""

    provider_id: int
    name: str
    attributes: KeyAttributes


Result: TypeAlias = (
    tuple[int, int]
    | Sequence[ProviderInfo]
    | Sequence[int]
    | Sequence[AuthenticatorInfo]
    | Sequence[KeyInfo]
    | Sequence[str]
    | tuple[bytes, ...]
)
"""The result of an operation: Ping has a version; the listings their entries, opcodes as numbers and clients as names;
DeleteClient none, `()`; crypto operations their byte fields."""


def _provider(record: Record) -> ProviderInfo:
    uuid, description, vendor, major, minor, revision, number = record
    return ProviderInfo(uuid, description, vendor, (major, minor, revision), number)


def _authenticator(record: Record) -> AuthenticatorInfo:
    description, major, minor, revision, number = record
    return AuthenticatorInfo(description, (major, minor, revision), number)


def _key(record: Record) -> KeyInfo:
    provider_id, name, key_attributes = record
    return KeyInfo(provider_id, name, attributes(key_attributes))


def _attestation(record: Record) -> tuple[bytes, ...]:
    (output,) = record
    _mechanism, values = chosen(output, "an attestation")
    return tuple(values)


_SPECIAL: Final[dict[Opcode, Conversion]] = {
    Opcode.LIST_PROVIDERS: Conversion(
        lambda infos: [_provider(info) for info in infos],
        lambda infos: [(info.uuid, info.description, info.vendor, *info.version, info.id) for info in infos],
    ),
    Opcode.LIST_OPCODES: Conversion(list, tuple),
    Opcode.LIST_AUTHENTICATORS: Conversion(
        lambda infos: [_authenticator(info) for info in infos],
        lambda infos: [(info.description, *info.version, info.id) for info in infos],
    ),
    Opcode.LIST_KEYS: Conversion(
        lambda infos: [_key(info) for info in infos],
        lambda infos: [(info.provider_id, info.name, attributes_record(info.attributes)) for info in infos],
    ),
    Opcode.LIST_CLIENTS: Conversion(list, tuple),
    Opcode.ATTEST_KEY: Conversion(_attestation, lambda values: ((1, tuple(values)),)),
    Opcode.PREPARE_KEY_ATTESTATION: Conversion(_attestation, lambda values: ((1, tuple(values)),)),
}
"""The results that are not the tuple of the fields of their message."""

RESULTS: Final[dict[Opcode, Codec[Result]]] = {
    opcode: Codec(message, *_SPECIAL.get(opcode, Conversion(tuple, tuple)))
    for opcode, message in messages.RESULTS.items()
}
"""Every result, complete over `Opcode`."""
