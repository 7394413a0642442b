"""Records: immutable values with named fields, in classes that are cheap to define.

`@record` does what `@dataclass(frozen=True, slots=True)` does, and `replace`, `fields` and `asdict` of the standard
library accept its instances. Defining such a dataclass takes half a millisecond of processor time, and a process
imports a hundred of them; see docs/adr/0027-messages.md. Here only the constructor is generated for each class; the
other methods are shared by all records.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    NoReturn,
    TypeVar,
    cast,
    dataclass_transform,
    get_origin,
    overload,
)

T = TypeVar("T")
_UNSET: Final = object()
_CLASS_VARIABLE: Final[object] = ClassVar


class _Field:
    """The options of one field."""

    __slots__ = ("compare", "default", "factory", "init", "repr")

    def __init__(
        self,
        default: object = _UNSET,
        factory: Callable[[], object] | None = None,
        *,
        init: bool = True,
        repr: bool = True,  # noqa: A002  as in dataclasses
        compare: bool = True,
    ) -> None:
        self.default = default
        self.factory = factory
        self.init = init
        self.repr = repr
        self.compare = compare


def field(
    *,
    default: Any = _UNSET,  # noqa: ANN401  of the type of the field
    default_factory: Callable[[], Any] | None = None,
    init: bool = True,
    repr: bool = True,  # noqa: A002  as in dataclasses
    compare: bool = True,
) -> Any:  # noqa: ANN401
    """Describe a field, as `dataclasses.field` does; one that is secret or names a client gets `repr=False`."""
    return _Field(default, default_factory, init=init, repr=repr, compare=compare)


class _DataclassFields:
    """Builds what `dataclasses.fields`, `replace` and `asdict` look for on a class, on first use."""

    def __get__(self, _instance: object, owner: Any) -> Any:  # noqa: ANN401
        import dataclasses  # noqa: PLC0415  the caller has imported it; others need not

        described: list[tuple[str, Any, Any]] = []
        for name, given in owner._record.items():  # noqa: SLF001
            default = {} if given.default is _UNSET else {"default": given.default}
            factory = {} if given.factory is None else {"default_factory": given.factory}
            spec = dataclasses.field(init=given.init, repr=given.repr, compare=given.compare, **default, **factory)
            described.append((name, owner.__annotations__[name], spec))
        made: Any = dataclasses.make_dataclass(owner.__name__, described, kw_only=True)
        owner.__dataclass_fields__ = made.__dataclass_fields__
        return made.__dataclass_fields__


def _constructor(kind: Any, fields: dict[str, _Field], *, kw_only: bool) -> Any:  # noqa: ANN401
    """Return the `__init__` of a class with slots for these fields."""
    names: dict[str, Any] = {"_UNSET": _UNSET}
    parameters = ["self", "*"] if kw_only and fields else ["self"]
    lines = ["    pass"]
    for name, given in fields.items():
        if not given.init:
            continue
        value = name
        if given.factory is not None:
            names[f"_make_{name}"] = given.factory
            value = f"_make_{name}() if {name} is _UNSET else {name}"
        names[f"_default_{name}"] = given.default
        names[f"_set_{name}"] = getattr(kind, name).__set__
        optional = given.factory is not None or given.default is not _UNSET
        parameters.append(f"{name}=_default_{name}" if optional else name)
        lines.append(f"    _set_{name}(self, {value})")
    if hasattr(kind, "__post_init__"):
        lines.append("    self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines), names)  # noqa: S102  names from our own source
    return names["__init__"]


def _show(self: Any) -> str:  # noqa: ANN401
    shown = (f"{name}={getattr(self, name)!r}" for name, given in self._record.items() if given.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _equal(self: Any, other: Any) -> Any:  # noqa: ANN401
    return self._compared(self) == self._compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:  # noqa: ANN401
    return hash(self._compared(self))


def _refuse(self: object, name: str, *_value: object) -> NoReturn:
    raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")


def fields_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the annotated type of each field of a record, in order; no fields for any other type."""
    return {name: kind.__annotations__[name] for name in getattr(kind, "_record", ())}


if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414  its arguments are checked against the fields
else:

    def replace(value: object, /, **changes: object) -> object:
        """Return a copy of a record with other values in some fields, as `dataclasses.replace` does."""
        return type(value)(**{name: getattr(value, name) for name in value._record} | changes)  # noqa: SLF001


def _nothing(_value: object) -> tuple[()]:
    return ()


_FROZEN: Final = {"__setattr__": _refuse, "__delattr__": _refuse}


@overload
def record(kind: type[T], /) -> type[T]: ...
@overload
def record(*, kw_only: bool = False, frozen: bool = True, eq: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(
    kind: type[T] | None = None, /, *, kw_only: bool = False, frozen: bool = True, eq: bool = True
) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a record of a class with annotated fields; the parameters are those of `dataclass`."""
    if kind is None:
        return lambda kind: _make_record(kind, kw_only=kw_only, frozen=frozen, eq=eq)
    return _make_record(kind, kw_only=kw_only, frozen=frozen, eq=eq)


def _make_record(kind: type[T], *, kw_only: bool, frozen: bool, eq: bool) -> type[T]:
    body = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    fields: dict[str, _Field] = {}
    for name, annotation in kind.__annotations__.items():
        if get_origin(annotation) is not _CLASS_VARIABLE:
            given = body.pop(name, _UNSET)
            fields[name] = given if isinstance(given, _Field) else _Field(given)
    compared = [name for name, given in fields.items() if given.compare]
    shared: dict[str, object] = {
        "__slots__": tuple(fields),
        "__match_args__": () if kw_only else tuple(fields),
        "__repr__": _show,
        "__dataclass_fields__": _DataclassFields(),
        **({"__eq__": _equal, "__hash__": _hash if frozen else None} if eq else {}),
        **(_FROZEN if frozen else {}),
        "_record": fields,
        "_compared": attrgetter(*compared) if compared else staticmethod(_nothing),
    }
    made: Any = type.__new__(type(kind), kind.__name__, kind.__bases__, shared | body)
    made.__init__ = _constructor(made, fields, kw_only=kw_only)
    return cast("type[T]", made)
