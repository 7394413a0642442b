"""How each type of provider is served: one row per type that this build has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cofferdam_config.check import Document, Section
from cofferdam_config.pkcs11 import pkcs11_settings
from cofferdam_config.provider_table import KEK_CREDENTIAL
from cofferdam_config.reach import kek_file
from cofferdam_config.surroundings import Surroundings
from cofferdam_contracts.ipc.control import Role
from cofferdam_contracts.registry import Opcode, ProviderId
from cofferdam_contracts.settings import SoftwareSettings, WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """How one type of provider is served."""

    id: ProviderId
    role: Role
    settings: Callable[[Section, WorkerSettings, Surroundings, Document], object]
    """Makes the settings of its worker."""
    more_opcodes: frozenset[Opcode]
    """Operations that `list_all_opcodes` adds to those of the reference."""


def _software(
    section: Section, worker: WorkerSettings, surroundings: Surroundings, _document: Document
) -> SoftwareSettings:
    credential = surroundings.credentials.get(KEK_CREDENTIAL)
    return SoftwareSettings(
        worker=worker,
        kek_file=kek_file(section, surroundings),
        kek_create=credential is None,
        mbed_its_path=section.find("mbed_its_path", str),
    )


_MESSAGES_AND_CIPHERS: Final = frozenset(
    {Opcode.PSA_SIGN_MESSAGE, Opcode.PSA_VERIFY_MESSAGE, Opcode.PSA_CIPHER_ENCRYPT, Opcode.PSA_CIPHER_DECRYPT}
)

BACKENDS: Final = {
    "MbedCrypto": Backend(
        id=ProviderId.MBED_CRYPTO,
        role=Role.SOFTWARE_WORKER,
        settings=_software,
        more_opcodes=_MESSAGES_AND_CIPHERS,
    ),
    "Pkcs11": Backend(
        id=ProviderId.PKCS11,
        role=Role.PKCS11_WORKER,
        settings=pkcs11_settings,
        more_opcodes=_MESSAGES_AND_CIPHERS | {Opcode.PSA_AEAD_ENCRYPT, Opcode.PSA_AEAD_DECRYPT, Opcode.PSA_EXPORT_KEY},
    ),
}
"""By `provider_type`."""
