"""Rules about what is on the machine: who owns files, who can change them, what is missing, who has which uid.

What others can change is refused. What is missing only keeps the provider down that needs it. Nothing is said of a path
that the facts do not have.
"""

import posixpath
import stat
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from cofferdam_config.host_facts import HostFacts
from cofferdam_config.notices import is_served_by, keeps
from cofferdam_config.paths import DATABASE, Place, places, secret_files
from cofferdam_config.places import database_of, type_of
from cofferdam_config.report import key_path
from cofferdam_config.rules import Case, Rule, all_of, for_each, of_type
from cofferdam_config.schema import Setting, Table
from cofferdam_config.source import Path
from cofferdam_config.tables import PKCS11, TPM, UID_BLOCK, Isolation, KeyManager, Listener, Provider, Service
from cofferdam_contracts.folders import normal
from cofferdam_contracts.roles import READER_UID, RELAY_UID
from cofferdam_runtime.files import Found, changeable, way_to_links

_OTHERS: Final = 0o077
"""What a secret must not permit."""


class Sort(NamedTuple):
    """What something at a path can be."""

    what: str
    test: Callable[[int], bool]
    """Tells by the mode whether it is that."""


_FILE: Final = Sort("a file", stat.S_ISREG)
_FOLDER: Final = Sort("a folder", stat.S_ISDIR)
_EITHER: Final = Sort("a file or folder", lambda _mode: True)
_DEVICE: Final = Sort("a device", stat.S_ISCHR)
_SOCKET: Final = Sort("a socket", stat.S_ISSOCK)
_NEEDED: Final[tuple[tuple[Setting[Any], Sort], ...]] = (
    (Provider.library_path, _FILE),
    (Provider.mbed_its_path, _FOLDER),
    (Provider.module_readable, _EITHER),
    (Provider.module_writable, _EITHER),
)
"""Settings with paths that have to exist before the provider starts."""


def _who(uid: int, facts: HostFacts) -> str:
    """Return a user in words."""
    name = "root" if uid == 0 else facts.users.get(uid)
    return f"{name} (uid {uid})" if name else f"uid {uid}"


def flaw_of(found: Found, facts: HostFacts) -> tuple[str, str] | None:
    """Return how somebody else could change what is at a path, and the remedy; None if nobody can."""
    element = changeable(found, facts.owners)
    if element is None:
        return None
    if element.uid not in facts.owners:
        return f"{element.path}, which belongs to {_who(element.uid, facts)}", f"chown root {element.path}"
    mode = f"{stat.S_IMODE(element.mode):04o}"
    return f"{element.path} with mode {mode}, so that others can change it", f"chmod go-w {element.path}"


def is_safe(case: Case, where: Path, path: str) -> None:
    """Refuse a path that others can change, as sshd does (sshd_config(5), StrictModes)."""
    found = case.facts.files.get(path)
    flaw = flaw_of(found, case.facts) if found else None
    if flaw is not None:
        case.report.refuse(where, flaw[0], f"what nobody but root and the service's user can change; {flaw[1]}")


def _configuration_is_safe(case: Case) -> None:
    is_safe(case, (), case.report.file)


def _module_is_safe(case: Case, provider: Provider) -> None:
    path = provider.find(Provider.library_path)
    if path is not None:
        is_safe(case, provider.at(Provider.library_path), path)


def _credentials_are_there(case: Case) -> None:
    if case.facts.credentials_problem:
        allowed = "the folder that systemd makes for LoadCredential=, or no CREDENTIALS_DIRECTORY"
        case.report.refuse((), case.facts.credentials_problem, allowed)


def _uids_are_free(case: Case) -> None:
    """Refuse uids of other users: they could do to our processes what these could do themselves."""
    isolation = case.document.one(Isolation)
    base = isolation.find(Isolation.uid_base)
    if base is None or not case.facts.is_root:
        return
    taken = next(_taken(range(base, base + UID_BLOCK), case.facts), None)
    if taken is not None:
        allowed = f"the first of {UID_BLOCK} uids that nobody has in /etc/passwd and /etc/subuid"
        case.refuse(isolation, Isolation.uid_base, f"{base}, while {taken}", allowed)
    for what, uid in (("relay of the log", RELAY_UID), ("reader of the configuration", READER_UID)):
        for found in _taken(range(uid, uid + 1), case.facts):
            case.warn(isolation, Isolation.uid_base, f"the {what} always has uid {uid}, while {found}")


def _taken(uids: range, facts: HostFacts) -> Iterator[str]:
    """Describe each user that has some of these uids."""
    for uid in sorted(facts.users.keys() & set(uids)):
        yield f"{facts.users[uid]} has uid {uid}"
    for each in facts.subuids:
        if each.first < uids.stop and uids.start < each.first + each.size:
            yield f"{_who(each.owner, facts)} has the uids {each.first} to {each.first + each.size - 1}"


def _paths_are_apart(case: Case) -> None:
    """Refuse one file for two purposes, and anything in a folder that belongs to one process."""
    seen: list[Place] = []
    for place in places(case.document, case.facts, case.report.file):
        for other in seen:
            clash = place.clash(other)
            if clash is not None and not case.report.is_refused(place.where):
                found, allowed = clash
                named = f" ({key_path(other.where)})" if other.where else ""
                case.report.refuse(place.where, f"{found} {other.what}{named}", allowed)
                break
        else:
            seen.append(place)


def _links_are_safe(case: Case) -> None:
    """Refuse links that the key store, and record those that a worker, would not follow (`real_path`)."""
    for place in places(case.document, case.facts, case.report.file):
        found = case.facts.files.get(posixpath.dirname(normal(place.named)) if place.what == DATABASE else place.named)
        flaw = flaw_of(way_to_links(found), case.facts) if found and place.follows else None
        if flaw is None:
            continue
        allowed = f"links that nobody but root and the service's user can change; {flaw[1]}"
        if place.where[0] == KeyManager.table_name:
            case.report.refuse(place.where, f"a link that others can change: {flaw[0]}", allowed)
        else:
            _lack(case, place.where, f"a link that others can change: {flaw[0]}", allowed)


def _is_there(case: Case, where: Path, path: str, sort: Sort) -> None:
    """Record that something is missing."""
    found = case.facts.files.get(path)
    if found is None:
        return
    if found.last is None:
        _lack(case, where, f"nothing at {absent(path, found)}", sort.what)
    elif not sort.test(found.last.mode):
        _lack(case, where, f"something else at {path}", sort.what)


def absent(path: str, found: Found) -> str:
    """Return a path with the reason why nothing is found at it."""
    return f"{path} ({found.reason})" if found.missing == path else f"{path} ({found.missing}: {found.reason})"


def _lack(case: Case, where: Path, found: str, needed: str) -> None:
    case.report.lack(where, f"found {found}, needed by the provider: {needed}")


def _paths_exist(case: Case, provider: Provider) -> None:
    for setting, sort in _NEEDED:
        value = provider.find(setting)
        if isinstance(value, str):
            _is_there(case, provider.at(setting), value, sort)
        for index, path in enumerate(value if isinstance(value, tuple) else ()):
            _is_there(case, (*provider.at(setting), index), path, sort)


def _variables_name_files(case: Case, provider: Provider) -> None:
    """Warn of a path that a module is told and that does not exist; what the module needs it for is unknown."""
    for index, variable in enumerate(provider.find(Provider.module_environment) or ()):
        name, _, path = variable.partition("=")
        found = case.facts.files.get(path)
        if found is not None and found.last is None:
            text = f"{name} names {absent(path, found)}"
            case.report.warn((*provider.at(Provider.module_environment), index), text)


def _environment_is_not_inherited(case: Case, provider: Provider) -> None:
    given = {variable.partition("=")[0] for variable in provider.find(Provider.module_environment) or ()}
    for name in sorted(case.facts.variables - given):
        text = f"{name} in the environment of the service is ignored: no module gets it; set it in module_environment"
        case.warn(provider, Provider.library_path, text)


def _tpm_is_there(case: Case, provider: Provider) -> None:
    tcti = provider.find(Provider.tcti)
    if tcti is not None and tcti.path is not None and not provider.find(Provider.skip_if_no_tpm):
        sort = _DEVICE if tcti.kind == "device" else _SOCKET
        _is_there(case, provider.at(Provider.tcti), tcti.path, sort)


def _secrets_are_private(case: Case, provider: Provider) -> None:
    """Record secrets that their worker would refuse, or that others can replace."""
    for where, path, _ in secret_files(provider, case.facts):
        _is_there(case, where, path, _FILE)
        _is_private(case, where, path)
    kek = provider.find(Provider.key_encryption_key_file)
    if kek is not None:
        _is_private(case, provider.at(Provider.key_encryption_key_file), kek)


def _key_stays(case: Case, provider: Provider) -> None:
    """Record that the key-encryption key of a provider is missing which the configuration in force has, too.

    It is made with the first start only. Whether keys depend on it, the key store knows; a provider that is served has
    it, so at a reload another one would be made, or its worker would refuse to start.
    """
    kind = type_of(provider)
    if kind is None or kind.kek.credential in case.facts.credentials or not is_served_by(case.facts.known, provider):
        return
    path = kind.kek.file(provider, case.facts)
    found = case.facts.files.get(path)
    if found is not None and (found.last is None or not stat.S_ISREG(found.last.mode)):
        what = f"nothing at {absent(path, found)}" if found.last is None else f"something else at {path}"
        _lack(case, provider.at(Provider.key_encryption_key_file), what, "the key that its keys were made with")


def _store_stays(case: Case) -> None:
    """Refuse to reload while the database that is open is not at its path: closing it would end all keys in it."""
    for manager in case.document.all(KeyManager):
        setting, path = database_of(manager) or (None, "")
        found = case.facts.files.get(path)
        if setting and found and found.last is None and keeps(path) in (case.facts.known or ()):
            allowed = "the database that is open, and that a reload would close; bring it back, as the log says"
            case.refuse(manager, setting, f"nothing at {absent(path, found)}", allowed)


def _state_folder_can_be_used(case: Case, provider: Provider) -> None:
    """Record what keeps a worker from making, or entering, its folder."""
    path = provider.find(Provider.state_folder) or posixpath.join(case.facts.state_folder, "pkcs11")
    found, above = case.facts.files.get(path), case.facts.files.get(posixpath.dirname(normal(path)))
    where = provider.at(Provider.state_folder)
    if found is not None and any(stat.S_ISLNK(each.mode) and each.path == normal(path) for each in found.elements):
        _lack(case, where, f"a symbolic link at {path}", "a folder of its own")
    elif found is not None and found.last is not None and not stat.S_ISDIR(found.last.mode):
        _lack(case, where, f"something else at {path}", "a folder of its own")
    elif above is not None and above.last is not None and not stat.S_ISDIR(above.last.mode):
        _lack(case, where, f"something else at {above.last.path}", "a folder in which it makes its own")


def _is_private(case: Case, where: Path, path: str) -> None:
    found = case.facts.files.get(path)
    if found is None:
        return
    flaw, last = flaw_of(found, case.facts), found.last
    if flaw is not None:
        _lack(case, where, flaw[0], f"what only root and the service's user can change; {flaw[1]}")
    elif any(stat.S_ISLNK(each.mode) and each.path == normal(path) for each in found.elements):
        _lack(case, where, f"a symbolic link at {path}", "the file itself")
    elif last is not None and stat.S_ISREG(last.mode) and last.mode & _OTHERS:
        mode = f"{stat.S_IMODE(last.mode):04o}"
        _lack(case, where, f"{path} with mode {mode}", f"a file that nobody else may read; chmod 0400 {path}")


def _shut(found: Found | None, facts: HostFacts) -> str:
    """Return the folder at a path, or next above it, in which the user that starts the service can make nothing."""
    if found is None or facts.is_root:
        return ""
    folder = found.last or found.elements[-1]
    # Which groups the user has is unknown.
    bits = (0o300,) if folder.uid in facts.owners - {0} else (0o030, 0o003)
    if stat.S_ISLNK(folder.mode) or any(folder.mode & each == each for each in bits):
        return ""
    return f"{folder.path} with mode {stat.S_IMODE(folder.mode):04o} and owner {_who(folder.uid, facts)}"


def _store_can_be_made(case: Case) -> None:
    """Warn of a key store in whose folder this user can make nothing."""
    for manager in case.document.all(KeyManager):
        setting, path = database_of(manager) or (None, "")
        shut = _shut(case.facts.files.get(posixpath.dirname(normal(path))), case.facts) if setting else ""
        if setting and shut:
            case.warn(manager, setting, f"this user can make nothing in {shut}; name a folder of this user")


def _socket_has_a_folder(case: Case, table: Table, setting: Setting[str]) -> None:
    """Warn of a folder that is not there yet, or in which others could replace the socket."""
    path = table.find(setting)
    found = case.facts.files.get(posixpath.dirname(normal(path))) if path else None
    if found is None:
        return
    flaw = flaw_of(found, case.facts)
    if flaw is not None:
        case.warn(table, setting, f"others can replace the socket: found {flaw[0]}; {flaw[1]}")
    elif found.last is None:
        text = f"there is no folder {found.missing} yet; the unit's RuntimeDirectory= makes it, or you have to"
        case.warn(table, setting, text)
    elif shut := _shut(found, case.facts):
        case.warn(table, setting, f"this user can make no socket in {shut}; name a folder of this user")


def _sockets_have_folders(case: Case) -> None:
    _socket_has_a_folder(case, case.document.one(Listener), Listener.socket_path)
    _socket_has_a_folder(case, case.document.one(Service), Service.status_path)


HOST_RULES: Final[tuple[Rule, ...]] = (
    _configuration_is_safe,
    _credentials_are_there,
    _uids_are_free,
    _paths_are_apart,
    _links_are_safe,
    for_each(of_type(PKCS11), _module_is_safe),
    for_each(all_of(Provider), _paths_exist),
    for_each(of_type(PKCS11), _variables_name_files),
    for_each(of_type(PKCS11), _environment_is_not_inherited),
    for_each(of_type(TPM), _tpm_is_there),
    for_each(all_of(Provider), _secrets_are_private),
    for_each(all_of(Provider), _key_stays),
    _store_stays,
    for_each(of_type(PKCS11), _state_folder_can_be_used),
    _sockets_have_folders,
    _store_can_be_made,
)
