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

from cofferdam_config.source import MAX_DOCUMENT, ConfigError
from cofferdam_config.subuids import ranges, users
from cofferdam_config.tcti import DEVICE
from cofferdam_contracts.folders import absolute, normal
from cofferdam_contracts.settings import UidRange
from cofferdam_runtime.files import Found, look, trusted_owners

STATE_FOLDER: Final = "/var/lib/parsec"
SOCKET_FOLDER: Final = "/run/parsec"
"""Folder of the sockets whose path the configuration does not set."""
MAPPINGS_DATABASE: Final = "cofferdam.sqlite3"
"""Name of the database beside the mapping files of `OnDisk`, in the folder that `store_path` names."""
DEFAULT_FILES: Final = tuple(
    f"{STATE_FOLDER}/{name}"
    for name in (
        *("cofferdam/software.kek", "cofferdam/pkcs11.kek", "cofferdam/tpm.kek", "pkcs11"),
        *("kim-mappings/sqlite/sqlite-key-info-manager.sqlite3", f"mappings/{MAPPINGS_DATABASE}"),
        "identity/revocations.toml",
    )
)
"""Files and folders of the service whose path the configuration does not set."""
_ON_DISK: Final = b"OnDisk"
_MAX_TABLE: Final = 1 << 20
_USES_GROUPS: Final = (b"module_groups", b"status_group", b"Tpm")
"""What in a configuration makes groups matter; the name services may be far away."""
_PATHS: Final = re.compile(rb"""(?:["'=]|:(?://)?(?!//))(/[^"'\\\n?&;]+)""")
"""What may be a path in a document that nobody has parsed yet: it starts a string, or the value of a parameter, or
follows `unix:` or `unix://`; what follows `https:` is none."""
_RELATIVE: Final = re.compile(rb"""(?:_(?:path|file|folder)|revocations)["']?[ \t]*=[ \t]*["']([^/"'\\\n][^"'\\\n]*)""")
"""What may be a relative path. It is looked for after names of settings alone: a PIN must not become a file's name."""
_MAX_PATHS: Final = 1024


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
    """Those of `settings.MODULE_FILES` that are in the environment of the service."""
    owners: frozenset[int] = frozenset({0})
    """Who may own what the service trusts: root, and the user that starts the service."""
    folder: str = ""
    """The working directory of the service; empty if it has none."""
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
    folder = _working_directory()
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
        files={each: look(each) for each in _paths(document, path, folder)},
        variables=variables,
        folder=folder,
        state_folder=_state_folder(folder, is_root=is_root),
        owners=trusted_owners(),
        is_root=is_root,
    )


def _credentials(folder: str) -> tuple[dict[str, str], str]:
    """Return the credentials by name, or why there are none; names are those of systemd.exec(5), LoadCredential=."""
    try:
        return {entry.name: entry.path for entry in os.scandir(folder)} if folder else {}, ""
    except OSError as error:
        return {}, f"CREDENTIALS_DIRECTORY={folder}, which cannot be read ({error.strerror})"


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _state_folder(working: str, *, is_root: bool) -> str:
    """Return the folder of files whose path is not set: that of a normal user without an installation is this one."""
    if is_root or os.access(STATE_FOLDER, os.W_OK) or working in {"", "/"}:
        return STATE_FOLDER
    return working


def _paths(document: bytes, path: str, folder: str) -> Iterable[str]:
    """Return the path of the document, what may be paths in it and the folders around those, and the defaults."""
    named = [os.fsdecode(match) for match in _PATHS.findall(document)]
    if folder:
        named += [absolute(folder, os.fsdecode(match)) for match in _RELATIVE.findall(document)]
    named = list(dict.fromkeys(named))[:_MAX_PATHS]
    if _ON_DISK in document:
        named += [f"{each.rstrip('/')}/{MAPPINGS_DATABASE}" for each in named]
    around = (posixpath.dirname(normal(each)) for each in named)
    known = (path, DEVICE, SOCKET_FOLDER, STATE_FOLDER, *DEFAULT_FILES, *named, *around)
    return {each for each in known if each.startswith("/") and "\0" not in each}


def _table(path: str) -> str:
    """Return a table of the machine's users; one that cannot be read is empty."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_TABLE).decode(errors="replace")
    except OSError:
        return ""
