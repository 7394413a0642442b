"""The files that the worker and its module may access, and the worker's own folder; before privileges are dropped.

A module whose configuration file is known from the table of quirks gets that file, and the token's folder that is named
in it, without being configured. Whatever else it needs is listed in `module_readable` and `module_writable`.
"""

import errno
import os
import stat
from collections.abc import Container, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from cofferdam_contracts.folders import SYSTEM_FOLDERS, normal
from cofferdam_contracts.settings import Pkcs11Settings
from cofferdam_providers.pkcs11.pin import FILES
from cofferdam_providers.pkcs11.quirks import configuration_of, needs_of
from cofferdam_runtime.faults import explain, obstacle
from cofferdam_runtime.files import LinkError, open_folder, real_path

_FOLDER_MODE: Final = 0o700
_MOST_CONFIGURATION: Final = 1 << 16
_SOFTHSM: Final = "SOFTHSM2_CONF"
_DEFAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    _SOFTHSM: ("/etc/softhsm/softhsm2.conf", "/etc/softhsm2.conf"),
}
"""Where modules look if their variable is not set; the first existing file counts."""
_TOKENS_ARE_IN: Final = "directories.tokendir"
_ENVIRONMENT: Final = "provider.module_environment"


class ModuleAccessError(Exception):
    """Raised when the worker's folder cannot be created; the text names it and says what to do."""


class ModuleAccess(Struct, frozen=True, kw_only=True):
    """What the worker may open."""

    loading: tuple[str, ...]
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    needs: frozenset[str]
    origins: Mapping[str, str] = MappingProxyType({})
    """Where paths come from, and what to do if they cannot be used."""
    missing: tuple[tuple[str, str], ...] = ()
    """What names a file or folder that is not there, and its path."""


def module_access(settings: Pkcs11Settings) -> ModuleAccess:
    """Return the files of a module, from the configuration and from what is known about the module.

    Raises:
        ModuleAccessError: A link, or the module's configuration, leads to a folder that no module may access.
    """
    for path in (*settings.readable, *settings.writable):
        if _is_of_the_system(path):
            raise ModuleAccessError(
                f"{path} is a folder of the whole machine; name a file, or a folder further down, in "
                "provider.module_readable or module_writable"
            )
    library = os.path.realpath(settings.library_path)
    # A rehearsal may have no folder of its own.
    readable, writable = list(settings.readable), [*filter(None, [settings.state_folder]), *settings.writable]
    configuration = _configuration(settings, configuration_of(library))
    missing = [] if configuration is None or os.path.isfile(configuration) else [(_ENVIRONMENT, configuration)]
    if configuration is not None and not missing:
        readable.append(configuration)
        folders = list(_token_folders(configuration))
        writable.extend(filter(os.path.isdir, folders))
        missing.extend((f"{_TOKENS_ARE_IN} in {configuration}", each) for each in folders if not os.path.isdir(each))
    return ModuleAccess(
        loading=(os.path.dirname(library),),
        readable=tuple(dict.fromkeys(readable)),
        writable=tuple(dict.fromkeys(writable)),
        needs=needs_of(library) | frozenset(settings.needs),
        origins=_origins(settings, configuration, writable),
        missing=tuple(missing),
    )


def _origins(settings: Pkcs11Settings, configuration: str | None, writable: Iterable[str]) -> dict[str, str]:
    """Return for each path which setting named it."""
    remedy = "let the worker use it by owner, mode or provider.module_groups"
    origins = dict.fromkeys(writable, f"where {configuration} keeps tokens ({remedy})")
    origins |= dict.fromkeys(settings.writable, f"named in provider.module_writable ({remedy})")
    origins |= dict.fromkeys(settings.readable, f"named in provider.module_readable ({remedy})")
    origins[settings.state_folder] = "the worker's own folder (set provider.state_folder to another one)"
    if configuration in _DEFAULTS[_SOFTHSM] and configuration not in settings.readable:
        origins[configuration] = (
            f"where SoftHSM looks as provider.module_environment sets no {_SOFTHSM} ({remedy}, such as "
            f"module_groups of the file's group; or set module_environment to a file and tokens of the worker's own)"
        )
    elif configuration is not None:
        origins[configuration] = f"named in provider.module_environment ({remedy})"
    return origins


def own(folder: str, uid: int | None, predecessors: Container[int] = ()) -> None:
    """Create the worker's folder, and give it to its uid.

    Args:
        folder: The folder.
        uid: The worker's uid; None to keep that of the process.
        predecessors: Uids whose folder is accepted with whatever it has, see `inheritance`.

    Raises:
        ModuleAccessError: It cannot be created, is not a folder, or belongs to somebody else.
    """
    if _is_of_the_system(folder):
        raise ModuleAccessError(
            f"{folder} is a folder of the whole machine; set provider.state_folder to a folder of its own"
        )
    try:
        folder = real_path(folder)
        descriptor, _ = open_folder(folder, _FOLDER_MODE)
        try:
            owner = os.fstat(descriptor).st_uid
            if uid is not None and owner != uid and owner not in predecessors:
                names = os.listdir(descriptor)
                _refuse_foreign(folder, owner, names)
                for name in (*names, "."):
                    give(descriptor, name, uid)
            os.fchmod(descriptor, _FOLDER_MODE)
        finally:
            os.close(descriptor)
    except LinkError as error:
        raise ModuleAccessError(f"provider.state_folder: {error}") from error
    except OSError as error:
        raise ModuleAccessError(
            explain(error, folder, "a folder of the worker's own, or that one can be made", "provider.state_folder")
        ) from error


def give(folder: int, name: str, uid: int, owners: Container[int] | None = None) -> bool:
    """Give what has a name in an open folder to a uid, if it is one of these owners'; tell whether it was given.

    Raises:
        ModuleAccessError: It is a file with other names as well.
        OSError: The kernel refused.
    """
    # By descriptor: the name could lead to another file between two calls.
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        itself = f"/proc/self/fd/{descriptor}"
        state = os.fstat(descriptor)
        if owners is not None and state.st_uid not in owners:
            return False
        if not stat.S_ISDIR(state.st_mode) and state.st_nlink != 1:
            raise ModuleAccessError(
                f"{os.readlink(itself)} of uid {state.st_uid} has {state.st_nlink} names, needed one, as it may be "
                "somebody else's file; copy it, or remove its other names"
            )
        os.chown(itself, uid, uid)
        return True
    finally:
        os.close(descriptor)


def owned(folder: str, uid: int | None) -> str:
    """Return the folder of its own that the worker has already; empty if a start would have to make it."""
    try:
        state = os.stat(folder, follow_symlinks=False)
    except OSError:
        return ""
    return folder if stat.S_ISDIR(state.st_mode) and state.st_uid == (os.geteuid() if uid is None else uid) else ""


def obstacles(access: ModuleAccess) -> Iterator[dict[str, object]]:
    """Yield the paths that the process, with its present identity, cannot use as the module has to."""
    for path, mode in (
        *((path, os.R_OK) for path in access.readable),
        *((path, os.R_OK | os.W_OK) for path in access.writable),
    ):
        if os.access(path, mode):
            continue
        error = OSError(errno.EACCES, os.strerror(errno.EACCES))
        try:
            os.stat(path)
        except OSError as found:
            error = found
        remedy = access.origins.get(path, "")
        yield {"file": path, "uid": os.getuid(), "found": obstacle(error, path), "remedy": remedy}


def _refuse_foreign(folder: str, owner: int, names: list[str]) -> None:
    """Reject a folder with foreign content; a new one, or one that a worker with another uid left, is accepted."""
    if not names and owner != 0:
        raise ModuleAccessError(f"{folder} belongs to uid {owner}; set provider.state_folder to a folder of its own")
    for name in names:
        if name not in FILES:
            raise ModuleAccessError(
                f"{folder} is not empty, it has {name!r}; set provider.state_folder to a folder of its own"
            )


def _configuration(settings: Pkcs11Settings, variable: str) -> str | None:
    if not variable:
        return None
    given = dict(entry.partition("=")[::2] for entry in settings.environment)
    if variable in given:
        return given[variable]
    paths = _DEFAULTS.get(variable, ())
    return next((path for path in paths if os.path.isfile(path)), None)


def _token_folders(path: str) -> Iterator[str]:
    """Yield the folders that a configuration of SoftHSM names (softhsm2.conf(5)).

    Raises:
        ModuleAccessError: One of them is a system folder.
    """
    try:
        with open(path, errors="replace") as file:
            lines = file.read(_MOST_CONFIGURATION).splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        key, _, value = line.partition("#")[0].partition("=")
        if key.strip() == _TOKENS_ARE_IN and value.strip().startswith("/"):
            folder = normal(value.strip())
            if _is_of_the_system(folder):
                raise ModuleAccessError(
                    f"{path}:{number}: {_TOKENS_ARE_IN} is {folder}, a folder of the whole machine; "
                    "move the tokens to a folder of their own"
                )
            yield folder


def _is_of_the_system(folder: str) -> bool:
    return not SYSTEM_FOLDERS.isdisjoint({normal(folder), normal(os.path.realpath(folder))})
