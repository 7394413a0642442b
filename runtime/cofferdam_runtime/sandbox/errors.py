"""The error of confinement, and the names of its steps."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class SandboxError(Exception):
    """Raised when a process could not be confined as its policy says; it must exit without serving any client."""


@contextmanager
def step(what: str, needs: str) -> Iterator[None]:
    """Name the step of confinement that an OSError interrupts, and what it needs; also as a decorator.

    Raises:
        SandboxError: In place of the OSError.
    """
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "no errno")
        raise SandboxError(f"cannot {what}: {error.strerror or error} ({name}); this needs {needs}") from error
