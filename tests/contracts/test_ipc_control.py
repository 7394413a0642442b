"""Control records: forty bytes of one kind each, and nothing else."""

from typing import Any, TypeAlias, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_contracts.ipc.control import _BY_NUMBER, _KINDS, SIZE, NewClient, Ready, Record, Stop, decode, encode

Kind: TypeAlias = Any
"""A class of records."""
KINDS: list[Kind] = [kind for _, kind, _ in _KINDS]
U64 = st.integers(0, (1 << 64) - 1)


@st.composite
def records(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(KINDS))
    hints = get_type_hints(kind)
    values: dict[str, Any] = {name: draw(st.booleans() if hint is bool else U64) for name, hint in hints.items()}
    if kind.__name__ == "DownstreamChannel":
        values["role"] %= 256
    made: Record = kind(**values)
    return made


@given(record=records())
def test_a_record_comes_back_as_it_was_sent(record: Record) -> None:
    datagram, descriptor = encode(record)
    found = decode(datagram, descriptor)
    assert (type(found), found) == (type(record), record)
    assert len(datagram) == SIZE == 40


@given(datagram=st.binary(min_size=SIZE, max_size=SIZE), descriptor=st.none() | st.just(5))
def test_a_datagram_is_one_record_or_refused(datagram: bytes, descriptor: int | None) -> None:
    try:
        record = decode(datagram, descriptor)
    except ValueError:
        return
    again, _ = encode(record)
    # A truth value has one form when it is sent, and 255 when it is read.
    assert decode(again, descriptor) == record


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE + 1])
def test_a_record_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="40 bytes"):
        decode(bytes(size), None)


@pytest.mark.parametrize("number", sorted(set(range(256)) - set(_BY_NUMBER)))
def test_a_record_of_an_unknown_kind_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"unknown kind {number}"):
        decode(bytes([number]).ljust(SIZE, b"\0"), None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_has_a_descriptor_if_its_kind_has_one(kind: Kind) -> None:
    names = [name for name in kind._fields if name != "descriptor"]
    has_descriptor = len(names) < len(kind._fields)
    datagram, _ = encode(kind(*[1] * len(kind._fields)))
    with pytest.raises(ValueError, match="without descriptor" if has_descriptor else "with descriptor"):
        decode(datagram, None if has_descriptor else 5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Ready])
def test_nothing_follows_the_fields(kind: Kind) -> None:
    datagram, descriptor = encode(kind(*[1] * len(kind._fields)))
    with pytest.raises(ValueError, match="more than its fields"):
        decode(datagram[:-1] + b"\1", descriptor)


def test_every_number_means_one_kind_and_every_kind_has_one_number() -> None:
    assert len(_BY_NUMBER) == len(_KINDS) == len(set(KINDS))
    assert encode(Stop())[0] != encode(NewClient(3))[0]
