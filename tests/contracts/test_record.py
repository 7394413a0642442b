"""Records behave as the frozen dataclasses with slots that they stand in for."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import pytest

from cofferdam_contracts.record import field, fields_of, record, replace


@record
class Point:
    """A record; its twin below is a dataclass."""

    axes: ClassVar[int] = 2
    x: int
    y: int = 0
    label: str = field(default="", repr=False)
    notes: list[str] = field(default_factory=list, compare=False)

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclasses.dataclass(frozen=True, slots=True)
class Twin:
    axes: ClassVar[int] = 2
    x: int
    y: int = 0
    label: str = dataclasses.field(default="", repr=False)
    notes: list[str] = dataclasses.field(default_factory=list, compare=False)


@record
class Nothing:
    """Without fields."""


@record(kw_only=True)
class Named:
    optional: int = 1
    needed: int


@record(frozen=False, eq=False)
class Changing:
    value: int


def test_a_record_looks_like_its_twin() -> None:
    assert repr(Point(1, label="secret")) == repr(Twin(1, label="secret")).replace("Twin", "Point")
    assert repr(Nothing()) == "Nothing()"
    assert dataclasses.asdict(Point(1, 2)) == dataclasses.asdict(Twin(1, 2))
    for record_field, twin in zip(dataclasses.fields(Point), dataclasses.fields(Twin), strict=True):
        assert repr(record_field) == repr(twin).replace("kw_only=False", "kw_only=True")


def test_equality_is_that_of_the_type_and_the_fields() -> None:
    assert Point(1, notes=["a"]) == Point(1, 0, "", [])
    assert len({Point(1, 2), Point(1, y=2), Point(2, 1), Nothing(), Nothing()}) == 3
    assert Point(1) != Point(2)
    others: list[object] = [(1, 0, ""), Nothing()]
    assert Point(1) not in others
    assert Changing(1) != Changing(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda kind: kind(),
        lambda kind: kind(1, 2, "", [], 5),
        lambda kind: kind(1, x=1),
        lambda kind: kind(1, z=1),
        lambda kind: kind(y=1),
    ],
)
def test_wrong_arguments_are_refused_as_by_the_twin(make: Callable[[Callable[..., object]], object]) -> None:
    for kind in (Twin, Point):
        with pytest.raises(TypeError):
            make(kind)


def test_defaults_are_each_value_s_own() -> None:
    one, other = Point(1), Point(1)
    one.notes.append("a")
    assert (one.y, one.label, other.notes) == (0, "", [])
    assert Named(needed=2).optional == 1
    with pytest.raises(TypeError):
        Named(1, 2)  # type: ignore[call-arg]


def test_a_record_cannot_be_changed() -> None:
    point = Point(1)
    for name in ("x", "z"):
        with pytest.raises(AttributeError):
            setattr(point, name, 2)
    with pytest.raises(AttributeError):
        del point.x
    changing = Changing(1)
    changing.value = 2
    assert changing.value == 2
    with pytest.raises(AttributeError):
        changing.other = 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("copy", [replace, dataclasses.replace])
def test_copies_differ_in_what_is_said(copy: Callable[..., Point]) -> None:
    assert copy(Point(1, 2), y=3) == Point(1, 3)
    with pytest.raises(TypeError):
        copy(Point(1, 2), z=3)


def test_what_can_be_changed_is_no_key() -> None:
    @record(frozen=False)
    class Compared:
        value: int

    assert Compared(1) == Compared(1)
    assert Compared(1) != Compared(2)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Compared(1))


def test_the_rest_of_the_class_remains() -> None:
    assert Point(1, 2).sum == 3
    assert Point.axes == Point(1).axes == 2
    assert Point.__doc__ == "A record; its twin below is a dataclass."
    assert fields_of(Point) == {"x": int, "y": int, "label": str, "notes": list[str]}
    assert fields_of(int) == {}
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


@record
class Derived:
    """One field comes with the value, the other is derived from it."""

    given: int
    double: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "double", 2 * self.given)


def test_a_field_may_be_derived_from_others() -> None:
    assert (Derived(2).double, repr(Derived(2))) == (4, "Derived(given=2, double=4)")
    assert Derived(2) == dataclasses.replace(Derived(1), given=2)
    with pytest.raises(TypeError):
        Derived(1, 2)  # type: ignore[call-arg]
