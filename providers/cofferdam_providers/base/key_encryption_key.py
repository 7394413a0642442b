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
from cofferdam_runtime.files import SHARED_MODE, LinkError, open_folder, real_path

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
    """Create the key in its folder, which is made if it is missing."""
    folder = os.path.dirname(path)
    try:
        # Others may pass through, as another process may need to; the key itself is private.
        descriptor, _ = open_folder(real_path(folder), SHARED_MODE)
        try:
            return _create_in(descriptor, os.path.basename(path))
        finally:
            os.close(descriptor)
    except LinkError as error:
        raise CredentialError(f"provider.key_encryption_key_file: {error}") from error
    except OSError as error:
        needed = f"a folder in which a new key-encryption key can be made, for {path}"
        raise CredentialError(explain(error, folder, needed, "provider.key_encryption_key_file")) from error


def _create_in(folder: int, name: str) -> bytes:
    """Create the key, whole or not at all: under a temporary name, synced, then linked into place."""
    kek, temporary = os.urandom(KEK_LENGTH), f"{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o400, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(kek)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        os.unlink(temporary, dir_fd=folder)
    os.fsync(folder)
    return kek
