"""Rules that involve several settings, or the machine. Each looks only at values that are allowed by themselves."""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

from cofferdam_config import tables
from cofferdam_config.host_facts import STATE_FOLDER, HostFacts
from cofferdam_config.kinds import MAX_SOCKET_PATH
from cofferdam_config.paths import shares_its_folder
from cofferdam_config.places import OWNER, OwnPath, Secret, name_of, own_paths, status_path, type_of, uri_of
from cofferdam_config.report import Report, quote
from cofferdam_config.schema import Document, Setting, SomeTable, Table
from cofferdam_config.source import Path
from cofferdam_config.tables import PKCS11, TPM, Authenticator, Isolation, KeyManager, Listener, Provider, Service
from cofferdam_config.token_uri import unpadded
from cofferdam_config.tokens import authenticators, files
from cofferdam_contracts.folders import SYSTEM_FOLDERS, holds, normal


class Case(NamedTuple):
    """A document that rules look at, what else they depend on, and the report for their findings."""

    document: Document
    facts: HostFacts
    report: Report

    def refuse(self, table: Table, setting: Setting[Any], found: str, allowed: str) -> None:
        """Refuse the value of a setting."""
        self.report.refuse(table.at(setting), found, allowed)

    def warn(self, table: Table, setting: Setting[Any], text: str) -> None:
        """Warn about the value of a setting."""
        self.report.warn(table.at(setting), text)


Rule: TypeAlias = Callable[[Case], None]


def apply_rules(rules: Iterable[Rule], document: Document, facts: HostFacts, report: Report) -> None:
    """Check a document against some rules."""
    case = Case(document, facts, report)
    for rule in rules:
        rule(case)


def gid_of(group: str | int, facts: HostFacts) -> int | None:
    """Return the number of a group, or None for an unknown group."""
    return group if isinstance(group, int) else facts.groups.get(group)


def all_of(table: type[SomeTable]) -> Callable[[Document], Iterable[SomeTable]]:
    """Return the selection of all tables of a kind."""
    return lambda document: document.all(table)


def of_type(kind: str) -> Callable[[Document], Iterable[Provider]]:
    """Return the selection of the providers of a type."""
    return lambda document: [each for each in document.all(Provider) if each.find(Provider.provider_type) == kind]


def for_each(select: Callable[[Document], Iterable[SomeTable]], check: Callable[[Case, SomeTable], None]) -> Rule:
    """Return the rule that checks every one of some tables."""

    def rule(case: Case) -> None:
        for table in select(case.document):
            check(case, table)

    return rule


def _once(
    select: Callable[[Document], Iterable[SomeTable]],
    setting: Setting[str],
    allowed: str,
    value_of: Callable[[SomeTable], str | None] | None = None,
) -> Rule:
    """Return the rule that no two tables have the same value of a setting."""

    def rule(case: Case) -> None:
        seen: set[str | None] = {None}
        for table in select(case.document):
            value = value_of(table) if value_of else table.find(setting)
            if value is not None and value in seen:
                case.refuse(table, setting, quote(value), allowed)
            seen.add(value)

    return rule


def _direct_is_trusted(case: Case, authenticator: Authenticator) -> None:
    if authenticator.find(Authenticator.auth_type) == "Direct":
        text = "clients choose their own names, so each can act as any other"
        case.warn(authenticator, Authenticator.auth_type, text)


def _admins_have_uids(case: Case, authenticator: Authenticator) -> None:
    if authenticator.find(Authenticator.auth_type) != "UnixPeerCredentials":
        return
    for admin in authenticator.inner(tables.Admin):
        name = admin.find(tables.Admin.name)
        if name is not None and not (name.isascii() and name.isdigit() and str(int(name)) == name):
            case.warn(admin, tables.Admin.name, f"{quote(name)} is not a decimal uid, so it is nobody's name")


def _key_manager_is_used(case: Case, manager: KeyManager) -> None:
    used = {provider.find(Provider.key_info_manager) for provider in case.document.all(Provider)}
    if manager.find(KeyManager.name) not in used and None not in used:
        case.warn(manager, KeyManager.name, "no provider uses this key manager, so it is not opened")


def _key_manager_exists(case: Case, provider: Provider) -> None:
    names = [manager.find(KeyManager.name) for manager in case.document.all(KeyManager)]
    name = provider.find(Provider.key_info_manager)
    if None not in names and name is not None and name not in names:
        allowed = " or ".join(quote(each) for each in names if each) or "the name of a [[key_manager]]"
        case.refuse(provider, Provider.key_info_manager, quote(name), allowed)


def _status_socket_is_short(case: Case) -> None:
    path = status_path(case.document)
    listener = case.document.one(Listener)
    if path is not None and len(path.encode()) > MAX_SOCKET_PATH:
        found = f"a folder in which the path of {tables.STATUS_SOCKET} has more than {MAX_SOCKET_PATH} bytes"
        allowed = "a shorter one, or any with service.status_path set"
        case.refuse(listener, Listener.socket_path, found, allowed)


def _level_can_be_reached(case: Case) -> None:
    isolation = case.document.one(Isolation)
    if isolation.find(Isolation.require) == "uid" and not case.facts.is_root:
        allowed = '"landlock", "seccomp", "none" (only a service started as root can give its processes uids)'
        case.refuse(isolation, Isolation.require, '"uid"', allowed)


def _kek_is_where_expected(case: Case, provider: Provider) -> None:
    """Warn of a file that is not used, and of one in an unusual place."""
    kind, setting = type_of(provider), Provider.key_encryption_key_file
    if kind and case.facts.state_folder != STATE_FOLDER and not provider.find(setting):
        file = kind.kek.file(provider, case.facts)
        case.warn(provider, setting, f"is {file}, as this user cannot write to {STATE_FOLDER}")
    if kind and kind.kek.credential in case.facts.credentials and provider.find(setting) is not None:
        case.warn(provider, setting, f"not used, as the credential {kind.kek.credential} takes its place")


def _token_is_named_once(case: Case, provider: Provider) -> None:
    """Refuse a URI that contradicts the settings besides it."""
    uri = uri_of(provider)
    serial, label = provider.find(Provider.serial_number), provider.find(Provider.token_label)
    for name, value, attribute, other, allowed in (
        ("serial_number", serial and unpadded(serial), "serial", uri.match.serial, "the same, or only one of them"),
        ("token_label", label and unpadded(label), "token", uri.match.label, "the same, or only one of them"),
        ("library_path", provider.find(Provider.library_path), "module-path", uri.module_path, "the same, or none"),
    ):
        if value is not None and other is not None and value != other:
            case.refuse(provider, Provider.token_uri, f"another {attribute} than {name}", allowed)


def _secrets_have_one_source(case: Case, provider: Provider) -> None:
    kind = type_of(provider)
    for secret in kind.secrets if kind else ():
        _has_one_source(case, provider, secret)


def _has_one_source(case: Case, provider: Provider, secret: Secret) -> None:
    """Refuse two sources of a secret; warn of one that is not used, and of a secret in the configuration itself."""
    plain, file = secret.settings
    given = secret.given(provider)
    *_, last = given or [plain]
    is_uri = last is Provider.token_uri
    if len({plain if setting is plain else value for setting, value in given.items()}) > 1:
        found = f"{'pin-source' if is_uri else f'a {secret.what}'} besides {next(iter(given)).name}"
        case.refuse(provider, last, found, f"one place for the {secret.what}")
    elif secret.credential in case.facts.credentials:
        for setting in given:
            unused = "its pin-source is not used" if setting is Provider.token_uri else "not used"
            case.warn(provider, setting, f"{unused}, as the credential {secret.credential} takes its place")
    elif provider.find(plain):
        better = f"{file.name} or the credential {secret.credential}"
        case.warn(provider, plain, f"{better} would keep the {secret.what} out of the configuration")


def _owner_has_a_password(case: Case, provider: Provider) -> None:
    plain, file = OWNER.settings
    given = OWNER.plain(provider, case.facts), OWNER.file(provider, case.facts)
    if given == (None, None) and not any(case.report.is_refused(provider.at(each)) for each in OWNER.settings):
        case.refuse(provider, plain, "nothing", f"a string, which may be empty; or {file.name}")


def _groups_exist(case: Case, provider: Provider) -> None:
    """Reject unknown groups and root's."""
    groups = provider.find(Provider.module_groups) or ()
    for index, group in enumerate(groups):
        path = (*provider.at(Provider.module_groups), index)
        gid = gid_of(group, case.facts)
        if gid is None:
            case.report.refuse(path, "an unknown group", "the name of a group, or its number")
        elif gid == 0:
            case.report.refuse(path, "the group of root", "another group")
    if groups and not case.facts.is_root:
        case.warn(provider, Provider.module_groups, "has no effect, as the service was not started as root")


def _readers_exist(case: Case) -> None:
    """Reject an unknown group of readers of the status."""
    service = case.document.one(Service)
    group = service.find(Service.status_group)
    if group is not None and gid_of(group, case.facts) is None:
        allowed = "the name of a group of this machine, or its number"
        case.refuse(service, Service.status_group, f"{quote(str(group))}, an unknown group", allowed)


def _parents_can_be_given_back(case: Case, provider: Provider) -> None:
    """Refuse keys for Parsec that it could not load."""
    if provider.find(Provider.application_parents) and case.document.one(tables.Kim).find(tables.Kim.give_back):
        allowed = "only one of them, as Parsec cannot load keys under another parent than its own"
        case.refuse(provider, Provider.application_parents, "true together with kim.give_back", allowed)


def _tcti_is_sound(case: Case, provider: Provider) -> None:
    """Warn of what others may overhear, and of a bus that cannot be reached."""
    tcti = provider.find(Provider.tcti)
    if tcti is not None and provider.find(Provider.bus_protection) is False and tcti.kind != "device":
        text = "passwords and keys are sent in the clear, and not directly to a device of this machine"
        case.warn(provider, Provider.bus_protection, text)
    if tcti is not None and tcti.bus_type == "session":
        case.warn(provider, Provider.tcti, "the worker belongs to no login session, so it cannot reach this bus")


def _module_stays_away(case: Case, provider: Provider) -> None:
    """Refuse to open folders of the whole machine, or files of the service, to a module."""
    file = case.report.file
    own = tuple(
        own_paths(case.document, case.facts, lambda path: shares_its_folder(path, case.document, case.facts, file))
    )
    written = (*own, *(OwnPath(what, normal(path)) for _, path, what in files(case.document, case.facts)))
    if file.startswith("/"):
        written += (OwnPath("the configuration", normal(file)),)
    for setting, closed in ((Provider.module_readable, own), (Provider.module_writable, written)):
        for index, path in enumerate(provider.find(setting) or ()):
            _check_path(case, normal(path), closed, (*provider.at(setting), index))
    state_folder = provider.find(Provider.state_folder)
    if state_folder is not None:
        # What it may hold besides is in the table of paths.
        _check_path(case, normal(state_folder), (), provider.at(Provider.state_folder))


def _check_path(case: Case, path: str, closed: tuple[OwnPath, ...], where: Path) -> None:
    if path in SYSTEM_FOLDERS:
        case.report.refuse(where, "a folder of the whole machine", "a file, or a folder further down")
        return
    for own in closed:
        if holds(path, own.path):
            case.report.refuse(where, f"a path that holds {own.what}", "one that does not")
            return
        if own.within and holds(own.path, path):
            case.report.refuse(where, f"a path within {own.what}", "one elsewhere")
            return


_ONE_OF_A_TYPE: Final = "one provider of each type (of several, Parsec serves only the last)"
RULES: Final[tuple[Rule, ...]] = (
    _once(authenticators, Authenticator.auth_type, "each authenticator once"),
    for_each(authenticators, _direct_is_trusted),
    for_each(authenticators, _admins_have_uids),
    _once(all_of(KeyManager), KeyManager.name, "each name once"),
    for_each(all_of(KeyManager), _key_manager_is_used),
    for_each(all_of(Provider), _key_manager_exists),
    _once(all_of(Provider), Provider.provider_type, _ONE_OF_A_TYPE),
    _once(all_of(Provider), Provider.name, "each name once", name_of),
    _readers_exist,
    _status_socket_is_short,
    _level_can_be_reached,
    for_each(all_of(Provider), _kek_is_where_expected),
    for_each(of_type(PKCS11), _token_is_named_once),
    for_each(all_of(Provider), _secrets_have_one_source),
    for_each(of_type(TPM), _owner_has_a_password),
    for_each(of_type(PKCS11), _groups_exist),
    for_each(of_type(TPM), _parents_can_be_given_back),
    for_each(of_type(TPM), _tcti_is_sound),
    for_each(of_type(PKCS11), _module_stays_away),
)
