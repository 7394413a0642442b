"""Why the key store does not start."""

import shlex
import sys


class StoreError(Exception):
    """Raised when the database cannot be used; names the file, what was found, what was expected and the remedy."""

    def __init__(self, where: str, *, found: str, expected: str, remedy: str) -> None:
        super().__init__(where, found, expected, remedy)
        self.where = where
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        """Return one line for the log."""
        return f"{self.where}: found {self.found}, expected {self.expected}; {self.remedy}"


def in_use(path: str) -> StoreError:
    """Return the error for a database that another process has open."""
    return StoreError(
        path,
        found="a database that another process has open",
        expected="no other user",
        remedy="stop the other service or program",
    )


class DamagedError(StoreError):
    """Raised when the database is corrupt; some of it may still be readable."""

    def __init__(self, where: str, found: str, remedy: str | None = None) -> None:
        # SQLite's own `.recover` is not in every build of its command line tool.
        mend = f"stop the service and run: {shlex.join([sys.executable, '-m', 'cofferdam_kim.mend', where])}"
        super().__init__(where, found=found, expected="an undamaged SQLite database", remedy=remedy or mend)
