"""Where the key-encryption keys are: one for each type of provider."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cofferdam_config.check import Document, Section
from cofferdam_config.errors import Report
from cofferdam_config.provider_table import (
    KEK_CREDENTIAL,
    KEK_FILE,
    PKCS11_KEK_CREDENTIAL,
    PKCS11_KEK_FILE,
    PROVIDER,
    TPM_KEK_CREDENTIAL,
    TPM_KEK_FILE,
)
from cofferdam_config.surroundings import Surroundings
from cofferdam_contracts.folders import normal

_KEY: Final = "key_encryption_key_file"


@dataclass(frozen=True, slots=True)
class Kek:
    """The places of one."""

    credential: str
    """The systemd credential that goes before every file."""
    file: str
    """The file by default, in the state folder."""


KEKS: Final = {
    "MbedCrypto": Kek(KEK_CREDENTIAL, KEK_FILE),
    "Pkcs11": Kek(PKCS11_KEK_CREDENTIAL, PKCS11_KEK_FILE),
    "Tpm": Kek(TPM_KEK_CREDENTIAL, TPM_KEK_FILE),
}
"""By `provider_type`."""


def kek_file(section: Section, surroundings: Surroundings) -> str:
    """Return the file of a provider's key-encryption key."""
    kek = KEKS[section.text("provider_type")]
    return (
        surroundings.credentials.get(kek.credential)
        or section.find(_KEY, str)
        or posixpath.join(surroundings.state_folder, kek.file)
    )


def kek_sections(document: Document) -> Iterator[Section]:
    """Return the providers that have such a key."""
    return (section for section in document.all(PROVIDER) if section.find("provider_type", str) in KEKS)


def credential_goes_first(document: Document, report: Report, surroundings: Surroundings) -> None:
    """Say which file is not used."""
    for section in kek_sections(document):
        credential = KEKS[section.text("provider_type")].credential
        if credential in surroundings.credentials and section.find(_KEY, str) is not None:
            report.warn((*section.path, _KEY), f"not used, as the credential {credential} takes its place")


def keks_differ(document: Document, report: Report, surroundings: Surroundings) -> None:
    """Refuse one key for two providers: each worker could read what is the other's."""
    seen: dict[str, str] = {}
    for section in kek_sections(document):
        kind = section.text("provider_type")
        if seen.setdefault(normal(kek_file(section, surroundings)), kind) != kind:
            report.refuse((*section.path, _KEY), "the file of another provider", "one that no other provider has")
