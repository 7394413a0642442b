"""Files with secrets: read whole, and only if nobody else could have read or written them."""

import os
import stat
from typing import Final

from cofferdam_runtime.faults import explain

_PRIVATE: Final = 0o077


class SecretFileError(Exception):
    """Raised when a file with a secret cannot be read or trusted; the text names the file and what to do."""


def read_secret(path: str, most: int) -> bytes:
    """Return the content of a file, at most one byte more than `most`, so that a longer file is noticed.

    Raises:
        FileNotFoundError: The file does not exist.
        SecretFileError: It cannot be read, is accessible to others, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SecretFileError(explain(error, path, "a file with a secret", "the setting that names it")) from error
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        raise SecretFileError(f"{path} is not a regular file; name a file with the secret")
    with os.fdopen(descriptor, "rb") as file:
        if state.st_mode & _PRIVATE or state.st_uid not in (0, os.geteuid()):
            raise SecretFileError(
                f"{path} has mode {stat.S_IMODE(state.st_mode):04o} and owner {state.st_uid}; "
                f"nobody but uid {os.geteuid()} may read it: chown {os.geteuid()} and chmod 0400"
            )
        return file.read(most + 1)
