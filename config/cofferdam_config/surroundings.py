"""What settings depend on besides the document."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cofferdam_contracts.settings import UidRange

STATE_FOLDER: Final = "/var/lib/parsec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the machine has, and how the service was started."""

    credentials: Mapping[str, str]
    """The systemd credentials there are: the path of each by its name."""
    groups: Mapping[str, int]
    """The groups there are: the gid of each by its name."""
    devices: frozenset[str] = frozenset()
    """The paths of the TPM devices there are."""
    subuids: tuple[UidRange, ...] = ()
    """The ranges of uids that users have."""
    is_root: bool
    """Whether the service was started as root, so that its processes can have uids of their own."""
    state_folder: str = STATE_FOLDER
    """Where files are that the configuration does not place."""
