"""What settings depend on besides the document."""

import glob
import grp
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from cofferdam_config.files import Found, look
from cofferdam_config.source import MAX_DOCUMENT, ConfigError
from cofferdam_config.subuids import ranges, users
from cofferdam_config.tcti import DEVICE
from cofferdam_contracts.folders import normal
from cofferdam_contracts.settings import UidRange

STATE_FOLDER: Final = "/var/lib/parsec"
SOCKET_FOLDER: Final = "/run/parsec"
"""Folder of the sockets whose path the configuration does not set."""
DEFAULT_FILES: Final = tuple(
    f"{STATE_FOLDER}/{name}"
    for name in ("cofferdam/software.kek", "cofferdam/pkcs11.kek", "cofferdam/tpm.kek", "pkcs11")
)
"""Files and folders of providers whose path the configuration does not set."""
_MAX_TABLE: Final = 1 << 20
_USES_GROUPS: Final = (b"module_groups", b"status_group", b"Tpm")
"""What in a configuration makes groups matter; the name services may be far away."""
_PATHS: Final = re.compile(rb"""["'=:](/[^"'\\\n?&;]+)""")
"""What may be a path in a document that nobody has parsed yet: it starts a string, or the value of a parameter."""
_MAX_PATHS: Final = 1024
_ALL_UIDS: Final = ["0", "0", str((1 << 32) - 1)]
"""The map of uids outside of user namespaces (user_namespaces(7))."""


class HostFacts(NamedTuple):
    """What the machine has, and how the service was started."""

    credentials: Mapping[str, str]
    """Paths of the systemd credentials by name."""
    groups: Mapping[str, int]
    """Gids of the groups by name."""
    is_root: bool
    """Whether the service was started as root, so that its processes can have uids of their own."""
    credentials_problem: str = ""
    """Why their folder cannot be read."""
    devices: frozenset[str] = frozenset()
    """Paths of the TPM devices."""
    subuids: tuple[UidRange, ...] = ()
    """The ranges of uids that users have."""
    users: Mapping[int, str] = MappingProxyType({})
    """Names of the users by uid."""
    files: Mapping[str, Found] = MappingProxyType({})
    """What is at the paths that the document names; nothing is known of others."""
    variables: frozenset[str] = frozenset()
    """Names of the variables in the environment of the service."""
    owners: frozenset[int] = frozenset({0})
    """Who may own what the service trusts: root, and the user that starts the service."""
    state_folder: str = STATE_FOLDER
    """Folder of files whose path the configuration does not set."""
    known: frozenset[int] | None = None
    """What was said of the configuration in force (`notices`), None if there is none, as at the start."""


def read_file(descriptor: int, path: str) -> bytes:
    """Read an open configuration file, at most one byte more than a document may have, and close it.

    Raises:
        ConfigError: It is not a file, and stays open.
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ConfigError([f"{path}: found something that is not a regular file, allowed: a file"])
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_DOCUMENT + 1)


def gather(
    document: bytes, *, path: str, credentials_folder: str, is_root: bool, variables: frozenset[str] = frozenset()
) -> HostFacts:
    """Return the facts of this machine, which are out of reach once the process is confined."""
    needs_groups = any(word in document for word in _USES_GROUPS)
    subuid, passwd = _table("/etc/subuid"), _table("/etc/passwd")
    credentials, problem = _credentials(credentials_folder)
    return HostFacts(
        credentials=credentials,
        credentials_problem=problem,
        groups={group.gr_name: group.gr_gid for group in grp.getgrall()} if needs_groups else {},
        devices=frozenset(glob.glob("/dev/tpm*")),
        subuids=ranges(subuid, passwd),
        users=users(passwd),
        files={each: look(each) for each in _paths(document, path)},
        variables=variables,
        owners=frozenset({0, os.geteuid(), *_unmapped()}),
        is_root=is_root,
    )


def _credentials(folder: str) -> tuple[dict[str, str], str]:
    """Return the credentials by name, or why there are none; names are those of systemd.exec(5), LoadCredential=."""
    try:
        return {entry.name: entry.path for entry in os.scandir(folder)} if folder else {}, ""
    except OSError as error:
        return {}, f"CREDENTIALS_DIRECTORY={folder}, which cannot be read ({error.strerror})"


def _paths(document: bytes, path: str) -> Iterable[str]:
    """Return the path of the document, what may be paths in it and the folders around those, and the defaults."""
    named = list(dict.fromkeys(os.fsdecode(match) for match in _PATHS.findall(document)))[:_MAX_PATHS]
    around = (posixpath.dirname(normal(each)) for each in named)
    return {
        each
        for each in (path, DEVICE, SOCKET_FOLDER, *DEFAULT_FILES, *named, *around)
        if each.startswith("/") and "\0" not in each
    }


def _unmapped() -> set[int]:
    """Return the uid that stands for everybody who has none here: root of the machine may be among them."""
    if _table("/proc/self/uid_map").split() == _ALL_UIDS:
        return set()
    shown = _table("/proc/sys/kernel/overflowuid").strip()
    return {int(shown)} if shown.isdecimal() else set()


def _table(path: str) -> str:
    """Return a table of the machine's users; one that cannot be read is empty."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_TABLE).decode(errors="replace")
    except OSError:
        return ""
