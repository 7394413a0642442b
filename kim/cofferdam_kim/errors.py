"""Why the key store does not start."""


class StoreError(Exception):
    """Raised when the database cannot be used; says where, what was found, what was expected and what helps."""

    def __init__(self, where: str, *, found: str, expected: str, remedy: str) -> None:
        super().__init__(where, found, expected, remedy)
        self.where = where
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.where}: found {self.found}, expected {self.expected}; {self.remedy}"
