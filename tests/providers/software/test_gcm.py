"""GCM with nonces that the library rejects, compared with the library for nonces that it accepts."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.support import refused

from cofferdam_contracts.status import Status
from cofferdam_providers.software.gcm import AnyNonceGcm

KEY = bytes(range(16))


@given(nonce=st.binary(min_size=8, max_size=128), data=st.binary(max_size=70), text=st.binary(max_size=200))
def test_it_computes_what_the_library_computes(nonce: bytes, data: bytes, text: bytes) -> None:
    ciphertext, tag = AnyNonceGcm(KEY).encrypt(nonce, data, text)
    assert ciphertext + tag == AESGCM(KEY).encrypt(nonce, text, data)
    assert AnyNonceGcm(KEY).decrypt(nonce, data, ciphertext, tag) == text


@pytest.mark.parametrize("length", [8, 12, 15, 16, 17, 128])
def test_it_computes_what_the_library_computes_for_every_kind_of_nonce(length: int) -> None:
    nonce = bytes(range(length))
    ciphertext, tag = AnyNonceGcm(KEY).encrypt(nonce, b"data", b"text")
    assert ciphertext + tag == AESGCM(KEY).encrypt(nonce, b"text", b"data")


@given(nonce=st.one_of(st.binary(min_size=1, max_size=7), st.binary(min_size=129, max_size=400)))
def test_nonces_that_the_library_refuses_come_back(nonce: bytes) -> None:
    gcm = AnyNonceGcm(KEY)
    ciphertext, tag = gcm.encrypt(nonce, b"data", b"text")
    assert gcm.decrypt(nonce, b"data", ciphertext, tag) == b"text"
    assert gcm.decrypt(nonce, b"data", ciphertext, tag[:4]) == b"text"
    other = bytes((nonce[0] ^ 1,)) + nonce[1:]
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        gcm.decrypt(other, b"data", ciphertext, tag)


@pytest.mark.parametrize("blocks", [-1, 0, 1, 100])
def test_the_counter_runs_over_within_its_32_bits(blocks: int) -> None:
    """This nonce was searched for: its starting counter is so close to the end that a text overflows it."""
    nonce = (336475).to_bytes(16, "big")
    gcm = AnyNonceGcm(KEY)
    left = (1 << 32) - int.from_bytes(gcm._start(nonce)[12:], "big")
    assert left == 16128
    text = os.urandom((left - 1 + blocks) * 16 + 3)
    ciphertext, tag = gcm.encrypt(nonce, b"data", text)
    assert ciphertext + tag == AESGCM(KEY).encrypt(nonce, text, b"data")
    assert gcm.decrypt(nonce, b"data", ciphertext, tag) == text
