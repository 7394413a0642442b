"""The reader of binary structures: it gives what was written, or the caller's error."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_contracts.byte_reader import ByteReader

ORDERS = st.sampled_from(["little", "big"])
SIZES = st.lists(st.sampled_from([1, 2, 4, 8]), max_size=6)
Order = Literal["little", "big"]


class BadInputError(Exception):
    """What a caller wants raised."""


def read_all(reader: ByteReader, sizes: list[int]) -> list[int]:
    methods = {1: reader.u8, 2: reader.u16, 4: reader.u32, 8: reader.u64}
    return [methods[size]() for size in sizes]


@given(SIZES, st.binary(max_size=64), ORDERS, st.integers(0, 4))
def test_any_bytes_give_their_numbers_or_the_error(sizes: list[int], data: bytes, order: Order, at: int) -> None:
    at = min(at, len(data))
    reader = ByteReader(data, BadInputError, order, at)
    needed = at + sum(sizes)
    if needed > len(data):
        with pytest.raises(BadInputError, match=f"cut off after {len(data)} bytes"):
            read_all(reader, sizes)
        return
    numbers = read_all(reader, sizes)
    assert (
        b"".join(number.to_bytes(size, order) for number, size in zip(numbers, sizes, strict=True)) == data[at:needed]
    )
    if needed < len(data):
        with pytest.raises(BadInputError, match=f"{len(data) - needed} bytes too long"):
            reader.end()
    assert reader.rest() == data[needed:]
    reader.end()


@given(st.lists(st.binary(max_size=20), max_size=5), st.sampled_from([1, 2, 4, 8]), ORDERS, st.integers(1, 5))
def test_buffers_after_their_lengths(contents: list[bytes], size: int, order: Order, missing: int) -> None:
    data = b"".join(len(content).to_bytes(size, order) + content for content in contents)
    reader = ByteReader(data, BadInputError, order)
    assert [reader.prefixed(size) for _ in contents] == contents
    reader.end()
    reader = ByteReader(data[:-missing], BadInputError, order)
    if contents:
        with pytest.raises(BadInputError):
            _ = [reader.prefixed(size) for _ in contents]
