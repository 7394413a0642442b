"""Keys of the reference service's software provider, which the worker reads before it drops its privileges."""

import os
from typing import Final

from cofferdam_providers.base.key_encryption_key import CredentialError
from cofferdam_runtime.files import LinkError, real_path

_MAX_ITS_FILE: Final = 1 << 16
_ITS_SUFFIX: Final = ".psa_its"
_ITS_DIGITS: Final = 16


def read_its_files(folder: str) -> dict[int, bytes]:
    """Return the reference provider's key files in a folder, by key id.

    Raises:
        CredentialError: The folder cannot be read.
    """
    found: dict[int, bytes] = {}
    try:
        for entry in os.scandir(real_path(folder)):
            stem, suffix = os.path.splitext(entry.name)
            if suffix != _ITS_SUFFIX or len(stem) != _ITS_DIGITS or not entry.is_file(follow_symlinks=False):
                continue
            with open(entry.path, "rb") as file:
                found[int(stem, 16)] = file.read(_MAX_ITS_FILE)
    except LinkError as error:
        raise CredentialError(f"provider.mbed_its_path: {error}") from error
    except (OSError, ValueError) as error:
        raise CredentialError(f"{folder}: {error}") from error
    return found
