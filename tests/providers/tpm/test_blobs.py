"""Stored keys of the TPM, in the reference's form and in our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.support import refused

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.tpm.blobs import (
    APPLICATION_PARENT,
    ROOT_PARENT,
    Blob,
    decode,
    decode_name,
    decode_own,
    encode,
    encode_name,
    encode_own,
)
from cofferdam_providers.tpm.public import EccPart, RsaPart

CORRUPT = Status.PSA_ERROR_DATA_CORRUPT
ECC = Blob(part=EccPart(b"x" * 32, b"y" * 32), private=b"p" * 126, auth=b"a" * 32)
RSA = Blob(part=RsaPart(b"n" * 256), private=b"p" * 222, auth=b"a" * 32)
PUBLIC = Blob(part=EccPart(b"x" * 32, b"y" * 32))

contents = st.binary(max_size=300)
numbers = st.binary(min_size=1, max_size=300)
parts = st.builds(RsaPart, numbers) | st.builds(EccPart, numbers, numbers)
blobs = st.builds(Blob, part=parts, private=contents, auth=contents, parent=st.sampled_from([0, 1]))


@pytest.mark.parametrize(("blob", "size"), [(ECC, 282), (RSA, 562), (PUBLIC, 124)], ids=["pair", "rsa", "public"])
def test_rows_are_as_long_as_those_of_the_reference(blob: Blob, size: int) -> None:
    # docs/reference/parsec-behaviour.md, "Stored keys of the TPM": totals seen on live rows.
    assert len(encode(blob)) == size


def test_the_fields_are_where_the_reference_has_them() -> None:
    row = encode(Blob(part=EccPart(b"xx", b"yyy"), private=b"priv", auth=b"auth"))
    assert row == (
        bytes(24)
        + bytes.fromhex("0400000000000000")
        + b"auth"
        + bytes.fromhex("01000000")
        + bytes.fromhex("0200000000000000")
        + b"xx"
        + bytes.fromhex("0300000000000000")
        + b"yyy"
        + bytes.fromhex("0400000000000000")
        + b"priv"
    )


@given(blobs)
def test_what_was_written_is_read(blob: Blob) -> None:
    assert decode(encode(blob), blob.parent) == blob
    assert decode_own(encode_own(blob)) == blob


@given(blobs, st.data())
def test_a_row_that_is_cut_off_is_refused(blob: Blob, data: st.DataObject) -> None:
    row = encode(blob)
    with refused(CORRUPT):
        decode(row[: data.draw(st.integers(0, len(row) - 1))])


@given(st.binary(max_size=400))
def test_anything_else_is_read_or_refused(row: bytes) -> None:
    for read in (decode, decode_own, decode_name):
        try:
            read(row)
        except ServiceError as error:
            assert error.status is CORRUPT


def test_bytes_after_a_row_are_ignored_as_the_reference_does() -> None:
    assert decode(encode(ECC) + b"more") == ECC


@pytest.mark.parametrize("changed", [bytes(23) + b"\1", b"\1" + bytes(23)])
def test_a_saved_context_of_old_is_told_apart(changed: bytes) -> None:
    with refused(CORRUPT):
        decode(changed + encode(ECC)[24:])


def test_a_parent_that_is_unknown_is_refused() -> None:
    assert {decode_own(bytes((parent,)) + encode(ECC)).parent for parent in (0, 1)} == {ROOT_PARENT, APPLICATION_PARENT}
    with refused(CORRUPT):
        decode_own(b"\2" + encode(ECC))


def test_secrets_do_not_show() -> None:
    assert "aaa" not in repr(ECC)
    assert "ppp" not in repr(ECC)


def test_a_name_is_a_byte_vector_of_42_bytes() -> None:
    name = b"\0\x0b" + bytes(32)
    assert len(encode_name(name)) == 42
    assert decode_name(encode_name(name)) == name


@pytest.mark.parametrize("part", [RsaPart(b""), RsaPart(bytes(513)), EccPart(b"x", b""), EccPart(bytes(513), b"y")])
def test_a_public_part_that_no_key_has_is_refused(part: RsaPart | EccPart) -> None:
    with refused(CORRUPT):
        decode(encode(Blob(part=part)))
