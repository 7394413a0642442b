"""Helpers for the responses that end-to-end tests get: statuses, keys, signatures."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from cofferdam_client import ServiceStatusError, Status


def refused(*statuses: Status) -> "pytest.RaisesExc[ServiceStatusError]":
    """Expect one of these statuses."""
    return pytest.raises(ServiceStatusError, check=lambda error: error.status in statuses)


def rsa_public(data: bytes) -> rsa.RSAPublicKey:
    """Return an exported RSA key."""
    key = serialization.load_der_public_key(data)
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def der_of(signature: bytes) -> bytes:
    """Return an ECDSA signature, r and s of one length, in the form of X9.62."""
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
