"""The reader of the configuration: sees one open file, says what every process is told, and ends."""

import fcntl
import glob
import grp
import os
import stat
from typing import Final

from cofferdam_config.errors import ConfigError
from cofferdam_config.plan import Plan, read
from cofferdam_config.subuids import ranges
from cofferdam_config.surroundings import Surroundings
from cofferdam_contracts.ipc.control import Failure, FromChild, Record, Role
from cofferdam_contracts.settings import LogSettings, dump
from cofferdam_runtime.entry import Start, begin, confine, give_up
from cofferdam_runtime.log import Log
from cofferdam_runtime.sandbox.policies import POLICIES

_MAX_FILE: Final = 1 << 20
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NAMING_GROUPS: Final = (b"module_groups", b"Tpm")
"""What of a configuration makes groups matter; the name services may be far away."""
_BROKER: Final = 0
"""Role number of the broker's own settings."""


def main() -> int:
    """Read the configuration and hand its parts to the broker."""
    start = begin("config")
    path, credentials_folder = start.arguments
    log = Log("config", LogSettings(level="info", timestamp=False))
    if not stat.S_ISREG(os.fstat(start.document).st_mode):
        log.error("the configuration is not a regular file", file=path)
        give_up(start.control, Failure.CONFIGURATION)
    with os.fdopen(start.document, "rb") as file:
        document = file.read(_MAX_FILE + 1)
    surroundings = Surroundings(
        credentials=_credentials(credentials_folder),
        groups=_groups() if any(word in document for word in _NAMING_GROUPS) else {},
        devices=_devices(),
        subuids=ranges(_table("/etc/subuid"), _table("/etc/passwd")),
        is_root=start.uid is not None,
    )
    confine(start, log, POLICIES[Role.CONFIG])
    if len(document) > _MAX_FILE:
        log.error("the configuration file is too large", file=path, limit_bytes=_MAX_FILE)
        give_up(start.control, Failure.CONFIGURATION)
    try:
        plan = read(document, path=path, surroundings=surroundings)
    except ConfigError as error:
        for problem in error.problems:
            log.error(problem)
        give_up(start.control, Failure.CONFIGURATION)
    for warning in plan.warnings:
        log.warning(warning)
    _hand_over(start, plan)
    os._exit(0)


def _credentials(folder: str) -> dict[str, str]:
    """Return the paths of the systemd credentials by name (systemd.exec(5), LoadCredential=)."""
    return {entry.name: entry.path for entry in os.scandir(folder)} if folder else {}


def _groups() -> dict[str, int]:
    """Return the gids of the machine's groups by name: the name services are out of reach later."""
    return {group.gr_name: group.gr_gid for group in grp.getgrall()}


def _devices() -> frozenset[str]:
    """Return the paths of the TPM devices there are."""
    return frozenset(glob.glob("/dev/tpm*"))


def _table(path: str) -> str:
    """Return a table of the machine's users, as far as it is there."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE).decode(errors="replace")
    except OSError:
        return ""


def _hand_over(start: Start, plan: Plan) -> None:
    documents = [(_BROKER, 0, dump(plan.broker))]
    documents += [(int(role), number, dump(settings)) for role, number, settings in plan.documents]
    for role, number, document in documents:
        descriptor = os.memfd_create("settings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(descriptor, document)
        # The broker hands it to several processes, none of which may change what the next one reads.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        start.control.send(Record(FromChild.PLAN, role, number), descriptor)
        os.close(descriptor)
