"""The key-encryption key of a provider, which its worker reads while it still may.

It is 32 random bytes in a file that only the starting user (root, in production) can read: the worker reads it before
it becomes somebody else, so nobody else ever can.
"""

import os
from typing import Final

from cofferdam_providers.base.secret_file import SecretFileError, read_secret

KEK_LENGTH: Final = 32


class CredentialError(Exception):
    """Raised when a secret cannot be read or trusted; the text names the file and what to do."""


def read_kek(path: str, *, create: bool) -> tuple[bytes, bool]:
    """Return the key-encryption key, and whether it was made just now because it may be and was not there.

    Raises:
        CredentialError: It cannot be had, others can read it, or it is no key.
    """
    try:
        kek = read_secret(path, KEK_LENGTH)
    except FileNotFoundError as error:
        if not create:
            raise CredentialError(
                f"{path} does not exist; restore it from a backup, keys cannot be read without"
            ) from error
        return _create(path), True
    except SecretFileError as error:
        raise CredentialError(str(error)) from error
    if len(kek) != KEK_LENGTH:
        raise CredentialError(f"{path} must hold exactly {KEK_LENGTH} bytes")
    return kek, False


def _create(path: str) -> bytes:
    """Make the key, whole or not at all: under another name first, synced, then linked into place."""
    folder = os.path.dirname(path)
    temporary = f"{path}.{os.getpid()}"
    kek = os.urandom(KEK_LENGTH)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
        with os.fdopen(descriptor, "wb") as file:
            file.write(kek)
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(temporary, path)
        finally:
            os.unlink(temporary)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(descriptor)
        os.close(descriptor)
    except OSError as error:
        raise CredentialError(f"{path} cannot be made: {error.strerror}") from error
    return kek
