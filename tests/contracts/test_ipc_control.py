"""Control records: five numbers in forty bytes, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_contracts.ipc.control import RECORD, FromChild, Record, ToChild, channel_flags, is_adopted, serial_of

U64 = st.integers(0, (1 << 64) - 1)


@given(kind=st.integers(0, 255), numbers=st.tuples(U64, U64, U64, U64))
def test_a_record_comes_back_as_it_was_sent(kind: int, numbers: tuple[int, int, int, int]) -> None:
    record = Record(kind, *numbers)
    assert Record.from_bytes(record.to_bytes()) == record
    assert len(record.to_bytes()) == RECORD.size == 40


@pytest.mark.parametrize("size", [0, 1, RECORD.size - 1, RECORD.size + 1])
def test_a_record_of_another_size_is_none(size: int) -> None:
    with pytest.raises(ValueError, match="40 bytes"):
        Record.from_bytes(bytes(size))


@pytest.mark.parametrize("adopted", [False, True])
@given(serial=st.integers(0, (1 << 63) - 1))
def test_the_flags_of_a_channel(serial: int, adopted: bool) -> None:
    record = Record(ToChild.CHANNEL, d=channel_flags(serial, adopted=adopted))
    assert (serial_of(record), is_adopted(record)) == (serial, adopted)


def test_no_number_means_two_things() -> None:
    assert len(set(map(int, ToChild))) == len(ToChild)
    assert len(set(map(int, FromChild))) == len(FromChild)
