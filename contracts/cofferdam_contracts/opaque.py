"""How values that hold secrets are shown: by their type alone, so that no log line or traceback can contain them."""


def opaque(value: object) -> str:
    """Return the name of a value's type, for the `__repr__` of a named tuple."""
    return f"<{type(value).__name__}>"


class Opaque:
    """Makes `repr` show a value by its type alone."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the name of the type."""
        return opaque(self)
