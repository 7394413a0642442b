"""How each type of provider is served: one row per type that this build has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cofferdam_config.check import Document, Section
from cofferdam_config.keks import KEKS, kek_file
from cofferdam_config.pkcs11 import module_groups, pkcs11_settings
from cofferdam_config.surroundings import Surroundings
from cofferdam_config.tpm import tpm_groups, tpm_settings
from cofferdam_contracts.ipc.control import Role
from cofferdam_contracts.registry import ProviderId
from cofferdam_contracts.settings import SoftwareSettings, WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """How one type of provider is served."""

    id: ProviderId
    role: Role
    settings: Callable[[Section, WorkerSettings, Surroundings, Document], object]
    """Makes the settings of its worker."""
    groups: Callable[[Section, Surroundings], tuple[int, ...]]
    """Returns the supplementary groups of its worker."""


def _software(
    section: Section, worker: WorkerSettings, surroundings: Surroundings, _document: Document
) -> SoftwareSettings:
    return SoftwareSettings(
        worker=worker,
        kek_file=kek_file(section, surroundings),
        kek_create=KEKS["MbedCrypto"].credential not in surroundings.credentials,
        mbed_its_path=section.find("mbed_its_path", str),
    )


BACKENDS: Final = {
    "MbedCrypto": Backend(
        id=ProviderId.MBED_CRYPTO,
        role=Role.SOFTWARE_WORKER,
        settings=_software,
        groups=lambda _section, _surroundings: (),
    ),
    "Pkcs11": Backend(
        id=ProviderId.PKCS11,
        role=Role.PKCS11_WORKER,
        settings=pkcs11_settings,
        groups=module_groups,
    ),
    "Tpm": Backend(
        id=ProviderId.TPM,
        role=Role.TPM_WORKER,
        settings=tpm_settings,
        groups=tpm_groups,
    ),
}
"""By `provider_type`."""
