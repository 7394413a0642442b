"""Keys and expectations that the tests of the software provider share."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.operations import CryptoOperation
from cofferdam_contracts.psa.algorithm import Algorithm, NoAlgorithm
from cofferdam_contracts.psa.attributes import DhFamily, EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import Key, Provider
from cofferdam_providers.pyca.keys import Handle, read_key
from cofferdam_providers.pyca.warm_up import RSA_KEY
from cofferdam_providers.software.provider import SoftwareProvider

KEK = bytes(range(32))
IDENTITY = KeyIdentity(3, "1000", "signing key")
NONE = NoAlgorithm()

RSA_1024 = RSA_KEY
P256 = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")


@contextlib.contextmanager
def refused(status: Status) -> Iterator[None]:
    """Expect a service error with this status."""
    with pytest.raises(ServiceError) as caught:
        yield
    assert caught.value.status is status


@functools.cache
def rsa_material(bits: int) -> bytes:
    """Return an RSA key pair, made once for each size."""
    private = rsa.generate_private_key(65537, bits)
    return private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def handle(kind: KeyKind, material: bytes, family: EccFamily | None = None, bits: int = 0) -> Handle:
    """Read a key as one that was checked before."""
    return read_key(KeyType(kind, family), bits, material, vouched=True)


def der_element(tag: int, content: bytes) -> bytes:
    """Write an element the way X.690 section 10.1 says."""
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def der_sequence(*integers: int) -> bytes:
    """Write a sequence of integers."""
    return der_element(
        0x30, b"".join(der_element(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in integers)
    )


def attributes(
    kind: KeyKind,
    bits: int,
    algorithm: Algorithm = NONE,
    family: EccFamily | DhFamily | None = None,
    usage: Usage = Usage.NONE,
) -> KeyAttributes:
    """Return attributes."""
    return KeyAttributes(KeyType(kind, family), bits, usage, algorithm)


def done(backend: Provider[Any], key: Key[Any] | None, operation: CryptoOperation) -> bytes:
    """Have a backend perform an operation; return its result, or nothing."""
    return b"".join(backend.perform(key, operation))


def provider() -> SoftwareProvider:
    """Return a provider."""
    return SoftwareProvider(KEK)
