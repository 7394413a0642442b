"""How each type of provider is served: one row per type that this build has."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cofferdam_config.check import Section
from cofferdam_config.tables import KEK_CREDENTIAL
from cofferdam_contracts.ipc.control import Role
from cofferdam_contracts.registry import ProviderId
from cofferdam_contracts.settings import SoftwareSettings, WorkerSettings

_KEK_FILE: Final = "cofferdam/software.kek"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What settings depend on besides the document."""

    credentials: Mapping[str, str]
    """The systemd credentials there are: the path of each by its name."""
    is_root: bool
    """Whether the service was started as root, so that its processes can have uids of their own."""
    state_folder: str
    """Where files are that the configuration does not place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """How one type of provider is served."""

    id: ProviderId
    role: Role
    settings: Callable[[Section, WorkerSettings, Surroundings], object]
    """Makes the settings of its worker."""


def _software(section: Section, worker: WorkerSettings, surroundings: Surroundings) -> SoftwareSettings:
    credential = surroundings.credentials.get(KEK_CREDENTIAL)
    configured = section.find("key_encryption_key_file", str)
    return SoftwareSettings(
        worker=worker,
        kek_file=credential or configured or posixpath.join(surroundings.state_folder, _KEK_FILE),
        kek_create=credential is None,
        mbed_its_path=section.find("mbed_its_path", str),
    )


BACKENDS: Final = {
    "MbedCrypto": Backend(id=ProviderId.MBED_CRYPTO, role=Role.SOFTWARE_WORKER, settings=_software),
}
"""By `provider_type`."""
