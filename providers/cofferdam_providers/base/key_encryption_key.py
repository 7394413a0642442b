"""The key-encryption key of a provider, which its worker reads while it still may.

It is 32 random bytes in a file that only the starting user (root, in production) can read: the worker reads it before
it becomes somebody else, so nobody else ever can. Rows are encrypted with it, or authenticated (`base.row_codes`), so
none is made while there are rows that another one was used for.
"""

import os
from dataclasses import dataclass, field
from typing import Final

from cofferdam_contracts.ipc.control import ToChild
from cofferdam_providers.base.secret_file import SecretFileError, read_secret
from cofferdam_runtime.entry import Start

KEK_LENGTH: Final = 32


class CredentialError(Exception):
    """Raised when a secret cannot be read or trusted; the text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class KeyEncryptionKey:
    """A key-encryption key, where it is, and whether it was made just now."""

    key: bytes = field(repr=False)
    path: str
    is_new: bool = False


def read_kek(path: str, start: Start, *, create: bool, seals: bool = True, adopt: bool = False) -> KeyEncryptionKey:
    """Return the key-encryption key of a provider; made when it is missing and nothing depends on it yet.

    Args:
        path: Its file.
        start: Where the broker says whether something does.
        create: Whether it may be made at all: a systemd credential is the administrator's.
        seals: Whether rows of the provider's own form are encrypted with it.
        adopt: Whether the rows are believed anew, so that those that are not encrypted outlive their key.

    Raises:
        CredentialError: It cannot be had, others can read it, or it is no key.
    """
    try:
        key = read_secret(path, KEK_LENGTH)
    except FileNotFoundError as error:
        if not create:
            raise CredentialError(f"{path} does not exist; put the key there") from error
        sealed, _ = start.receive(ToChild.SEALED)
        if (sealed.a and not (adopt and not seals)) or (sealed.b and seals):
            remedy = "" if seals else "; if it is lost, set kim.adopt_rows for one start"
            raise CredentialError(
                f"{path} does not exist, and the key store has rows that were made with that key; move it back, or "
                f"restore it from a backup{remedy}"
            ) from error
        return KeyEncryptionKey(_create(path), path, is_new=True)
    except SecretFileError as error:
        raise CredentialError(str(error)) from error
    if len(key) != KEK_LENGTH:
        raise CredentialError(f"{path} must hold exactly {KEK_LENGTH} bytes")
    return KeyEncryptionKey(key, path)


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
