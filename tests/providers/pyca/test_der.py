"""The strict DER reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.support import RSA_1024, der_element, der_sequence

from cofferdam_providers.pyca.der import MAX_DER, DerError, read_integers, write_integers


@given(st.lists(st.integers(min_value=0, max_value=1 << 1024), max_size=9))
def test_what_was_written_is_read(integers: list[int]) -> None:
    assert read_integers(der_sequence(*integers)) == tuple(integers)


@given(st.lists(st.integers(min_value=0, max_value=1 << 2048), max_size=9))
def test_what_is_written_here_is_what_anybody_writes(integers: list[int]) -> None:
    assert write_integers(*integers) == der_sequence(*integers)
    assert read_integers(write_integers(*integers)) == tuple(integers)


def test_a_key_is_written_as_it_was_read() -> None:
    assert write_integers(*read_integers(RSA_1024)) == RSA_1024


@given(st.binary(max_size=300))
def test_any_bytes_are_one_encoding_or_an_error(data: bytes) -> None:
    try:
        integers = read_integers(data)
    except DerError:
        return
    assert der_sequence(*integers) == data


@given(st.data())
def test_a_changed_key_is_another_one_or_an_error(data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(RSA_1024) - 1))
    value = data.draw(st.integers(min_value=0, max_value=255))
    changed = RSA_1024[:place] + bytes((value,)) + RSA_1024[place + 1 :]
    try:
        integers = read_integers(changed)
    except DerError:
        return
    assert der_sequence(*integers) == changed


def test_a_key_that_is_cut_off_is_an_error() -> None:
    for length in range(0, len(RSA_1024), 7):
        with pytest.raises(DerError):
            read_integers(RSA_1024[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x01",
        b"\x31\x00",
        b"\x30\x00\x00",
        b"\x30\x80\x00\x00",
        b"\x30\x81\x00",
        b"\x30\x81\x03\x02\x01\x01",
        b"\x30\x82\x00\x03\x02\x01\x01",
        b"\x30\x83\x00\x00\x03\x02\x01\x01",
        b"\x30\x82\x01",
        b"\x30\x02\x02\x00",
        b"\x30\x03\x02\x01\xff",
        b"\x30\x04\x02\x02\x00\x01",
        b"\x30\x03\x03\x01\x01",
        b"\x30\x03\x02\x02\x01",
        b"\x30\x03\x02\x01\x01\x00",
        b"\x30\x02\x02\x01\x01",
        der_element(0x30, bytes(MAX_DER)),
    ],
    ids=lambda data: data[:8].hex(),
)
def test_what_der_forbids_is_an_error(data: bytes) -> None:
    with pytest.raises(DerError):
        read_integers(data)
