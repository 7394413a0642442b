"""What settings depend on besides the document."""

import glob
import grp
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cofferdam_config.subuids import ranges
from cofferdam_contracts.settings import UidRange

STATE_FOLDER: Final = "/var/lib/parsec"
_MAX_TABLE: Final = 1 << 20
_USES_GROUPS: Final = (b"module_groups", b"Tpm")
"""What in a configuration makes groups matter; the name services may be far away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the machine has, and how the service was started."""

    credentials: Mapping[str, str]
    """Paths of the systemd credentials by name."""
    groups: Mapping[str, int]
    """Gids of the groups by name."""
    devices: frozenset[str] = frozenset()
    """Paths of the TPM devices."""
    subuids: tuple[UidRange, ...] = ()
    """The ranges of uids that users have."""
    is_root: bool
    """Whether the service was started as root, so that its processes can have uids of their own."""
    state_folder: str = STATE_FOLDER
    """Folder of files whose path the configuration does not set."""


def gather(document: bytes, *, credentials_folder: str, is_root: bool) -> HostFacts:
    """Return the facts of this machine, which are out of reach once the process is confined."""
    # The names in the folder are those of systemd.exec(5), LoadCredential=.
    credentials = {entry.name: entry.path for entry in os.scandir(credentials_folder)} if credentials_folder else {}
    needs_groups = any(word in document for word in _USES_GROUPS)
    return HostFacts(
        credentials=credentials,
        groups={group.gr_name: group.gr_gid for group in grp.getgrall()} if needs_groups else {},
        devices=frozenset(glob.glob("/dev/tpm*")),
        subuids=ranges(_table("/etc/subuid"), _table("/etc/passwd")),
        is_root=is_root,
    )


def _table(path: str) -> str:
    """Return a table of the machine's users; one that cannot be read is empty."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_TABLE).decode(errors="replace")
    except OSError:
        return ""
