"""The secrets that the TPM's worker reads before it drops its privileges: authorisation values and its KEK."""

from typing import Final

from msgspec import Struct

from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.settings import TpmSettings
from cofferdam_providers.base.key_encryption_key import CredentialError, KeyEncryptionKey, read_kek
from cofferdam_providers.base.secret_file import SecretFileError, read_secret
from cofferdam_runtime.entry import Start
from cofferdam_runtime.faults import explain

_MOST_AUTH: Final = 64
"""Bytes of an authorisation value: no TPM accepts one longer than its longest digest (TCG part 1, 19.4)."""


class Credentials(Opaque, Struct, frozen=True, kw_only=True):
    """The secrets of the TPM provider."""

    owner_auth: bytes
    endorsement_auth: bytes
    kek: KeyEncryptionKey


def read_credentials(settings: TpmSettings, start: Start) -> Credentials:
    """Read the secrets that the settings name.

    Raises:
        CredentialError: One cannot be read, or others could have read it; the text says what to do.
    """
    owner_auth = _auth(settings.owner_auth, settings.owner_auth_file)
    endorsement_auth = _auth(settings.endorsement_auth, settings.endorsement_auth_file)
    kek = read_kek(settings.kek_file, start, create=settings.kek_create)
    return Credentials(owner_auth=owner_auth, endorsement_auth=endorsement_auth, kek=kek)


def _auth(text: str | None, path: str | None) -> bytes:
    if path is None:
        return bytes.fromhex(text or "")
    try:
        # Editors end the last line; a value that ends with a line feed itself needs a second one.
        value = read_secret(path, _MOST_AUTH + 1).removesuffix(b"\n")
    except FileNotFoundError as error:
        needed = "a file with the authorisation value of the hierarchy"
        raise CredentialError(explain(error, path, needed, "the setting that names it")) from error
    except SecretFileError as error:
        raise CredentialError(str(error)) from error
    if len(value) > _MOST_AUTH:
        raise CredentialError(
            f"{path}: found more than {_MOST_AUTH} bytes, more than any authorisation value of a TPM has; "
            "put that of the hierarchy there"
        )
    return value
