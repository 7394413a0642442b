"""Keys of the reference service's software provider, which the worker reads before it drops its privileges."""

import os
from typing import Final

from cofferdam_runtime.faults import explain
from cofferdam_runtime.files import LinkError, open_folder, real_path

_MAX_ITS_FILE: Final = 1 << 16
_ITS_SUFFIX: Final = ".psa_its"
_ITS_DIGITS: Final = 16
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ItsError(Exception):
    """Raised when the key files cannot be read; the text says what to do."""


def read_its_files(folder: str) -> dict[int, bytes]:
    """Return the reference provider's key files in a folder, by key id.

    Raises:
        ItsError: The folder cannot be read.
    """
    found: dict[int, bytes] = {}
    try:
        opened, _ = open_folder(real_path(folder))
        try:
            for entry in os.scandir(opened):
                stem, suffix = os.path.splitext(entry.name)
                if suffix == _ITS_SUFFIX and len(stem) == _ITS_DIGITS and entry.is_file(follow_symlinks=False):
                    descriptor = os.open(entry.name, _READ, dir_fd=opened)
                    with os.fdopen(descriptor, "rb") as file:
                        found[int(stem, 16)] = file.read(_MAX_ITS_FILE)
        finally:
            os.close(opened)
    except LinkError as error:
        raise ItsError(f"provider.mbed_its_path: {error}") from error
    except OSError as error:
        needed = "the folder with the key files of Parsec's Mbed provider"
        where = os.path.join(folder, error.filename) if isinstance(error.filename, str) else folder
        raise ItsError(explain(error, where, needed, "provider.mbed_its_path")) from error
    except ValueError as error:
        raise ItsError(f"{folder}: {error}; only Parsec's key files may have names of their form") from error
    return found
