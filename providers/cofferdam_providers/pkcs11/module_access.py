"""The files that the worker and its module may access, and the worker's own folder; before privileges are dropped.

A module whose configuration file is known from the table of quirks gets that file, and the token's folder that is named
in it, without being configured. Whatever else it needs is listed in `module_readable` and `module_writable`.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cofferdam_contracts.folders import SYSTEM_FOLDERS, normal
from cofferdam_contracts.settings import Pkcs11Settings
from cofferdam_providers.pkcs11.pin import FILES
from cofferdam_providers.pkcs11.quirks import configuration_of, needs_of
from cofferdam_runtime.faults import explain

_FOLDER_MODE: Final = 0o700
_PARENT_MODE: Final = 0o755
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleAccess:
    """What the worker may open."""

    loading: tuple[str, ...]
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    needs: frozenset[str]
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
        missing=tuple(missing),
    )


def own(folder: str, uid: int | None) -> None:
    """Create the worker's folder, and give it to its uid.

    Raises:
        ModuleAccessError: It cannot be created, is not a folder, or belongs to somebody else.
    """
    if _is_of_the_system(folder):
        raise ModuleAccessError(
            f"{folder} is a folder of the whole machine; set provider.state_folder to a folder of its own"
        )
    try:
        os.makedirs(os.path.dirname(folder), mode=_PARENT_MODE, exist_ok=True)
        try:
            os.mkdir(folder, _FOLDER_MODE)
        except FileExistsError:
            pass
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            owner = os.fstat(descriptor).st_uid
            if uid is not None and owner != uid:
                _refuse_foreign(folder, owner, os.listdir(descriptor))
                os.fchown(descriptor, uid, uid)
            os.fchmod(descriptor, _FOLDER_MODE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ModuleAccessError(
            explain(error, folder, "a folder of the worker's own, or that one can be made", "provider.state_folder")
        ) from error


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
        try:
            state = os.stat(path)
            yield {
                "file": path,
                "owner": f"{state.st_uid}:{state.st_gid}",
                "mode": f"{stat.S_IMODE(state.st_mode):04o}",
                "uid": os.getuid(),
            }
        except OSError as error:
            yield {"file": path, "cause": error.strerror, "uid": os.getuid()}


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
