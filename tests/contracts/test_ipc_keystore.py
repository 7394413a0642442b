"""The table of questions to the key store: complete, bounded, and never in doubt about a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_contracts.ipc.fields import Field
from cofferdam_contracts.ipc.framing import Common, pack
from cofferdam_contracts.ipc.keystore import SCHEMAS, Asker, KimMessage, most_bytes

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.binary(max_size=6),
    lambda inner: st.tuples(inner) | st.lists(inner, max_size=3),
    max_leaves=4,
)


def test_every_message_has_its_schema() -> None:
    assert set(SCHEMAS) == set(KimMessage)


def test_numbers_of_questions_and_answers_are_distinct() -> None:
    numbers = [number + offset for number in KimMessage for offset in (0, 1)] + [int(number) for number in Common]
    assert len(set(numbers)) == len(numbers)


def largest(number: KimMessage) -> int:
    """Return the bytes of the largest question of a kind."""
    values = {int: lambda most: most, str: "x".__mul__, bytes: b"x".__mul__}
    fields = [values[field.type](field.most) for field in SCHEMAS[number].fields]
    return len(pack((int(number), (1 << 64) - 1, *fields)))


@pytest.mark.parametrize("asker", Asker)
def test_the_largest_question_fits_and_nothing_much_larger(asker: Asker) -> None:
    sizes = [largest(number) for number in KimMessage if SCHEMAS[number].asker is asker]
    assert max(sizes) <= most_bytes(asker) <= max(sizes) + 256


@pytest.mark.parametrize(
    ("field", "accepted", "refused"),
    [
        (Field(int, 5), [0, 5], [-1, 6, True, 1.0, "1", None]),
        (Field(str, 2), ["", "ab", "é"], ["abc", "éa", "\udcff", b"a", None]),
        (Field(bytes, 1), [b"", b"a"], [b"ab", "a", bytearray(b"a"), 1]),
    ],
)
def test_limits_are_exact(field: Field, accepted: list[object], refused: list[object]) -> None:
    assert [value for value in accepted if not field.accepts(value)] == []
    assert [value for value in refused if field.accepts(value)] == []


@given(number=st.sampled_from(KimMessage), values=st.lists(ANYTHING, max_size=7).map(tuple))
def test_accepted_values_have_the_types_of_the_question(number: KimMessage, values: tuple[object, ...]) -> None:
    if SCHEMAS[number].accepts(values):
        assert tuple(type(value) for value in values) == tuple(field.type for field in SCHEMAS[number].fields)
