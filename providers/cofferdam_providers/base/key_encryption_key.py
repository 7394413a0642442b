"""The key-encryption key of a provider, which its worker reads before it drops its privileges.

It is 32 random bytes in a file that only the starting user (root, in production) can read; no process can read it after
confinement. Rows are encrypted or authenticated with it (`base.row_codes`), so no new key is created while there are
rows that depend on another one.
"""

import os
from typing import Final

from msgspec import Struct

from cofferdam_contracts.ipc.control import Sealed
from cofferdam_contracts.opaque import Opaque
from cofferdam_providers.base.secret_file import SecretFileError, read_secret
from cofferdam_runtime.entry import Start
from cofferdam_runtime.faults import explain
from cofferdam_runtime.files import make_folders

KEK_LENGTH: Final = 32


class CredentialError(Exception):
    """Raised when a secret cannot be read or trusted; the text names the file and what to do."""


class KeyEncryptionKey(Opaque, Struct, frozen=True):
    """A key-encryption key, its file, and whether it was created just now."""

    key: bytes
    path: str
    is_new: bool = False
    change: str = "reload"
    """What makes another one known: a reload, or a restart if it is a systemd credential."""


def read_kek(path: str, start: Start, *, create: bool, seals: bool = True, adopt: bool = False) -> KeyEncryptionKey:
    """Return the key-encryption key of a provider; create it if it is missing and nothing depends on it yet.

    Args:
        path: Its file.
        start: For the broker's word on whether something depends on it.
        create: Whether it may be created at all: a systemd credential is the administrator's to create.
        seals: Whether rows of the provider's own form are encrypted with it.
        adopt: Whether all rows are trusted anew, so that rows that are not encrypted survive the loss of their key.

    Raises:
        CredentialError: It is missing, unreadable, readable by others, or not a key.
    """
    try:
        key = read_secret(path, KEK_LENGTH)
    except FileNotFoundError as error:
        if not create:
            raise CredentialError(f"{path} does not exist; put the key there, then restart the service") from error
        sealed = start.receive(Sealed)
        if (sealed.has_check and not (adopt and not seals)) or (sealed.has_rows and seals):
            remedy = "" if seals else "; if it is lost, set kim.adopt_rows for one start"
            raise CredentialError(
                f"{path} does not exist, and the key store has rows that were made with that key; move it back, or "
                f"restore it from a backup, then reload the service{remedy}"
            ) from error
        return KeyEncryptionKey(os.urandom(KEK_LENGTH) if start.is_rehearsal else _create(path), path, is_new=True)
    except SecretFileError as error:
        raise CredentialError(str(error)) from error
    if len(key) != KEK_LENGTH:
        found = f"{len(key)} bytes" if len(key) < KEK_LENGTH else f"more than {KEK_LENGTH} bytes"
        raise CredentialError(f"{path}: found {found}, needed the key of exactly {KEK_LENGTH} bytes; restore it")
    return KeyEncryptionKey(key, path, change="reload" if create else "restart")


def _create(path: str) -> bytes:
    """Create the key, whole or not at all: under a temporary name, synced, then linked into place."""
    folder = os.path.dirname(path)
    temporary = f"{path}.{os.getpid()}"
    kek = os.urandom(KEK_LENGTH)
    try:
        # Others may pass through, as another process may need to; the key itself is private.
        make_folders(folder)
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
        needed = f"a folder in which a new key-encryption key can be made, for {path}"
        raise CredentialError(explain(error, folder, needed, "provider.key_encryption_key_file")) from error
    return kek
