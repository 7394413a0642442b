"""Control records: forty bytes of one kind each, or 512 where there is text, and nothing else."""

from typing import Any, TypeAlias, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_contracts.ipc.control import (
    _BY_NUMBER,
    _KINDS,
    LONG_SIZE,
    SIZE,
    Condition,
    NewClient,
    Ready,
    Record,
    Refusal,
    Stop,
    bounded,
    decode,
    encode,
)

Kind: TypeAlias = Any
"""A class of records."""
KINDS: list[Kind] = [kind for _, kind, _ in _KINDS]
U64 = st.integers(0, (1 << 64) - 1)
TEXTS = {Condition: {"device": 100, "cause": 400}, Refusal: {"text": 500}}
"""Most bytes of each text."""
LONG = {number for number, form in _BY_NUMBER.items() if form.kind in TEXTS}


@st.composite
def records(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(KINDS))
    hints = get_type_hints(kind)
    values: dict[str, Any] = {name: draw(st.booleans() if hint is bool else U64) for name, hint in hints.items()}
    values |= {name: bounded(draw(st.text()), most) for name, most in TEXTS.get(kind, {}).items()}
    if kind.__name__ == "DownstreamChannel":
        values["role"] %= 256
    made: Record = kind(**values)
    return made


@given(record=records())
def test_a_record_comes_back_as_it_was_sent(record: Record) -> None:
    datagram, descriptor = encode(record)
    found = decode(datagram, descriptor)
    assert (type(found), found) == (type(record), record)
    assert len(datagram) == (512 if type(record) in TEXTS else 40)


ANY_LONG = st.tuples(st.sampled_from(sorted(LONG)), st.binary(min_size=20, max_size=LONG_SIZE - 1)).map(
    lambda parts: (bytes([parts[0]]) + parts[1]).ljust(LONG_SIZE, b"\0")
)


@given(datagram=st.binary(min_size=SIZE, max_size=SIZE) | ANY_LONG, descriptor=st.none() | st.just(5))
def test_a_datagram_is_one_record_or_refused(datagram: bytes, descriptor: int | None) -> None:
    try:
        record = decode(datagram, descriptor)
    except ValueError:
        return
    again, _ = encode(record)
    # A truth value has one form when it is sent, and 255 when it is read.
    assert decode(again, descriptor) == record


@pytest.mark.parametrize("number", sorted(_BY_NUMBER))
def test_a_record_of_another_size_is_refused(number: int) -> None:
    right = LONG_SIZE if number in LONG else SIZE
    for size in {1, SIZE - 1, SIZE, SIZE + 1, LONG_SIZE - 1, LONG_SIZE, LONG_SIZE + 1} - {right}:
        with pytest.raises(ValueError, match=f"has {right} bytes, not {size}"):
            decode(bytes([number]).ljust(size, b"\0"), None)


def test_an_empty_datagram_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        decode(b"", None)


@given(text=st.text(), most=st.integers(3, 500))
def test_a_text_is_cut_to_its_size_and_prints(text: str, most: int) -> None:
    cut = bounded(text * 20, most)
    assert len(cut.encode()) <= most
    assert cut.isprintable()
    assert bounded(cut, most) == cut


@pytest.mark.parametrize("wrong", [b"a\nb", b"\x1b[31m", b"a\0b", b"\xff", b"\xc3", "\u2028".encode()])
@pytest.mark.parametrize(("kind", "place"), [(Condition, 2), (Condition, 3), (Refusal, 0)])
def test_a_text_that_does_not_print_is_refused(kind: Kind, place: int, wrong: bytes) -> None:
    form = next(form for form in _BY_NUMBER.values() if form.kind is kind)
    fields: list[Any] = [True, 1, b"", b""] if kind is Condition else [b""]
    fields[place] = wrong
    with pytest.raises(ValueError, match=r"print|utf-8"):
        decode(form.layout.pack(form.number, *fields), None)


@pytest.mark.parametrize("number", sorted(set(range(256)) - set(_BY_NUMBER)))
def test_a_record_of_an_unknown_kind_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"unknown kind {number}"):
        decode(bytes([number]).ljust(SIZE, b"\0"), None)


def any_of(kind: Kind) -> Record:
    """Return a record of a kind."""
    made: Record = kind(*["1" if name in TEXTS.get(kind, {}) else 1 for name in kind._fields])
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_has_a_descriptor_if_its_kind_has_one(kind: Kind) -> None:
    names = [name for name in kind._fields if name != "descriptor"]
    has_descriptor = len(names) < len(kind._fields)
    datagram, _ = encode(any_of(kind))
    with pytest.raises(ValueError, match="without descriptor" if has_descriptor else "with descriptor"):
        decode(datagram, None if has_descriptor else 5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Ready])
def test_nothing_follows_the_fields(kind: Kind) -> None:
    datagram, descriptor = encode(any_of(kind))
    with pytest.raises(ValueError, match="more than its fields"):
        decode(datagram[:-1] + b"\1", descriptor)


def test_every_number_means_one_kind_and_every_kind_has_one_number() -> None:
    assert len(_BY_NUMBER) == len(_KINDS) == len(set(KINDS))
    assert encode(Stop())[0] != encode(NewClient(3))[0]
