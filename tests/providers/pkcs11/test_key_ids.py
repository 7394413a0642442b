"""CKA_ID and the key store's id, in the two forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.support import attributes, refused

from cofferdam_contracts.psa.attributes import KeyKind
from cofferdam_contracts.status import Status
from cofferdam_providers.base.provider import OWN_FORM, REFERENCE_FORM, StoredKey
from cofferdam_providers.pkcs11.key_ids import REFERENCE_BYTES, cka_id, row_of

AES = attributes(KeyKind.AES, 128)


def stored(key_id: bytes, version: int) -> StoredKey:
    return StoredKey(key_id=key_id, version=version, attributes=AES)


@given(st.binary(min_size=1, max_size=64), st.booleans())
def test_both_forms_come_back(identifier: bytes, give_back: bool) -> None:
    key_id, version = row_of(identifier, give_back=give_back)
    assert cka_id(stored(key_id, version)) == identifier
    assert version == (REFERENCE_FORM if give_back and len(identifier) == REFERENCE_BYTES else OWN_FORM)


@given(st.integers(min_value=0, max_value=0xFFFFFFFF))
def test_the_reference_keeps_a_number_that_the_token_has_the_other_way_round(number: int) -> None:
    # docs/reference/parsec-behaviour.md, "CKA_ID": little-endian in the key store, big-endian in CKA_ID.
    assert cka_id(stored(number.to_bytes(4, "little"), REFERENCE_FORM)) == number.to_bytes(4, "big")
    assert row_of(number.to_bytes(4, "big"), give_back=True) == (number.to_bytes(4, "little"), REFERENCE_FORM)
    assert row_of(number.to_bytes(4, "big"), give_back=False) == (number.to_bytes(4, "big"), OWN_FORM)


@pytest.mark.parametrize(
    ("key_id", "version"),
    [
        (b"", OWN_FORM),
        (bytes(65), OWN_FORM),
        (b"", REFERENCE_FORM),
        (bytes(3), REFERENCE_FORM),
        (bytes(5), REFERENCE_FORM),
        (bytes(16), REFERENCE_FORM),
        (bytes(4), 0),
        (bytes(4), 3),
    ],
)
def test_other_rows_are_refused(key_id: bytes, version: int) -> None:
    with refused(Status.PSA_ERROR_DATA_CORRUPT):
        cka_id(stored(key_id, version))
