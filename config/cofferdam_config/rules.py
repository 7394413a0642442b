"""Rules that involve several settings, or the machine. Each looks only at values that are allowed by themselves."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cofferdam_config import tables
from cofferdam_config.host_facts import HostFacts
from cofferdam_config.kinds import MAX_SOCKET_PATH
from cofferdam_config.places import OWNER, PIN, OwnPath, Secret, name_of, own_paths, status_path, type_of, uri_of
from cofferdam_config.report import Report, quote
from cofferdam_config.schema import Document, Setting, Table
from cofferdam_config.source import Path
from cofferdam_config.tables import PKCS11, TPM, Authenticator, KeyManager, Listener, Provider
from cofferdam_config.token_uri import unpadded
from cofferdam_contracts.folders import SYSTEM_FOLDERS, holds, normal


@dataclass(frozen=True, slots=True)
class Case:
    """A document that rules look at, with the facts, and the report that takes their verdicts."""

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


def apply_rules(document: Document, facts: HostFacts, report: Report) -> None:
    """Check a document against all rules."""
    case = Case(document, facts, report)
    for rule in RULES:
        rule(case)


def authenticators(document: Document) -> tuple[Authenticator, ...]:
    """Return the authenticators in order, that of Parsec first."""
    return (document.one(Authenticator), *document.all(tables.AdditionalAuthenticator))


def gid_of(group: str | int, facts: HostFacts) -> int | None:
    """Return the number of a group, or None for a name that no group has."""
    return group if isinstance(group, int) else facts.groups.get(group)


def _each(kind: str, check: Callable[[Case, Provider], None]) -> Rule:
    """Return the rule that checks every provider of a type."""

    def rule(case: Case) -> None:
        for provider in case.document.all(Provider):
            if provider.find(Provider.provider_type) == kind:
                check(case, provider)

    return rule


def _refuse_repeated(
    case: Case, setting: Setting[str], values: Iterable[tuple[Table, str | None]], allowed: str
) -> None:
    seen: set[str] = set()
    for table, value in values:
        if value is not None and value in seen:
            case.refuse(table, setting, quote(value), allowed)
        elif value is not None:
            seen.add(value)


def _authenticators_differ(case: Case) -> None:
    setting = Authenticator.auth_type
    values = [(table, table.find(setting)) for table in authenticators(case.document)]
    _refuse_repeated(case, setting, values, "each authenticator once")
    for table, value in values:
        if value == "Direct":
            case.warn(table, setting, "clients choose their own names, so each can act as any other")


def _admins_have_uids(case: Case) -> None:
    for authenticator in authenticators(case.document):
        if authenticator.find(Authenticator.auth_type) != "UnixPeerCredentials":
            continue
        for admin in authenticator.inner(tables.Admin):
            name = admin.find(tables.Admin.name)
            if name is not None and not (name.isascii() and name.isdigit() and str(int(name)) == name):
                case.warn(admin, tables.Admin.name, f"{quote(name)} is no uid in decimal, so it is nobody's name")


def _key_managers_differ(case: Case) -> None:
    values = ((table, table.find(KeyManager.name)) for table in case.document.all(KeyManager))
    _refuse_repeated(case, KeyManager.name, values, "each name once")


def _key_managers_are_used(case: Case) -> None:
    used = {provider.find(Provider.key_info_manager) for provider in case.document.all(Provider)}
    for manager in () if None in used else case.document.all(KeyManager):
        name = manager.find(KeyManager.name)
        if name is not None and name not in used:
            case.warn(manager, KeyManager.name, "no provider uses this key manager, so it is not opened")


def _providers_share_a_key_manager(case: Case) -> None:
    known = [manager.find(KeyManager.name) for manager in case.document.all(KeyManager)]
    names = [name for name in known if name is not None]
    if len(names) < len(known):
        return
    setting = Provider.key_info_manager
    given = [(provider, name) for provider in case.document.all(Provider) if (name := provider.find(setting))]
    first = next((name for _, name in given if name in names), None)
    for provider, name in given:
        if name not in names:
            case.refuse(
                provider, setting, quote(name), " or ".join(map(quote, names)) or "the name of a [[key_manager]]"
            )
        elif first is not None and name != first:
            case.refuse(provider, setting, quote(name), f"{quote(first)}, as all providers share one key manager")


def _providers_differ(case: Case) -> None:
    providers = case.document.all(Provider)
    types = ((provider, provider.find(Provider.provider_type)) for provider in providers)
    once = "one provider of each type (of several, Parsec serves only the last)"
    _refuse_repeated(case, Provider.provider_type, types, once)
    names = ((provider, name_of(provider)) for provider in providers)
    _refuse_repeated(case, Provider.name, names, "each name once")


def _sockets_differ(case: Case) -> None:
    path = status_path(case.document)
    listener = case.document.one(Listener)
    if path is not None and len(path.encode()) > MAX_SOCKET_PATH:
        case.refuse(
            listener,
            Listener.socket_path,
            f"a folder in which the path of {tables.STATUS_SOCKET} has more than {MAX_SOCKET_PATH} bytes",
            "a shorter one, or any with service.status_path set",
        )
    elif path is not None and path == listener.find(Listener.socket_path):
        service = case.document.one(tables.Service)
        case.refuse(service, tables.Service.status_path, quote(path), "another path than listener.socket_path")


def _level_can_be_reached(case: Case) -> None:
    isolation = case.document.one(tables.Isolation)
    if isolation.find(tables.Isolation.require) == "uid" and not case.facts.is_root:
        allowed = '"landlock", "seccomp", "none" (only a service started as root can give its processes uids)'
        case.refuse(isolation, tables.Isolation.require, '"uid"', allowed)


def _keks_differ(case: Case) -> None:
    """Refuse one key-encryption key for two providers: each worker could read what is the other's."""
    setting = Provider.key_encryption_key_file
    seen: dict[str, object] = {}
    for provider in case.document.all(Provider):
        kind = type_of(provider)
        if kind is None:
            continue
        if kind.kek.credential in case.facts.credentials and provider.find(setting) is not None:
            case.warn(provider, setting, f"not used, as the credential {kind.kek.credential} takes its place")
        if seen.setdefault(normal(kind.kek.file(provider, case.facts)), kind) is not kind:
            case.refuse(provider, setting, "the file of another provider", "one that no other provider has")


def _token_is_named_once(case: Case, provider: Provider) -> None:
    """Refuse a URI that contradicts the keys beside it."""
    uri = uri_of(provider)
    for setting, attribute, other in (
        (Provider.serial_number, "serial", uri.match.serial),
        (Provider.token_label, "token", uri.match.label),
    ):
        value = provider.find(setting)
        if value is not None and other is not None and unpadded(value) != other:
            found = f"another {attribute} than {setting.name}"
            case.refuse(provider, Provider.token_uri, found, "the same, or one of them")
    library = provider.find(Provider.library_path)
    if uri.module_path is not None and library is not None and uri.module_path != library:
        case.refuse(provider, Provider.token_uri, "another module-path than library_path", "the same, or none")


def _secret_has_one_source(case: Case, provider: Provider, secret: Secret) -> None:
    """Refuse two sources of a secret; warn of one that is not used, and of a secret in the configuration itself."""
    plain, file = secret.settings
    sources = [(setting, provider.find(setting)) for setting in secret.settings]
    if secret is PIN:
        sources.append((_URI_SOURCE, uri_of(provider).pin_file))
    given = [(setting, value) for setting, value in sources if value is not None]
    names = [setting for setting, _ in given]
    places = {plain if setting is plain else value for setting, value in given}
    if len(places) > 1:
        found = "pin-source" if names[-1] is _URI_SOURCE else f"a {secret.what}"
        case.refuse(provider, names[-1], f"{found} beside {names[0].name}", f"one place for the {secret.what}")
    elif secret.credential in case.facts.credentials:
        for setting in names:
            unused = "its pin-source is not used" if setting is _URI_SOURCE else "not used"
            case.warn(provider, setting, f"{unused}, as the credential {secret.credential} takes its place")
    elif provider.find(plain):
        better = f"{file.name} or the credential {secret.credential}"
        case.warn(provider, plain, f"{better} would keep the {secret.what} out of the configuration")


def _pin_has_one_source(case: Case, provider: Provider) -> None:
    _secret_has_one_source(case, provider, PIN)


def _groups_exist(case: Case, provider: Provider) -> None:
    """Reject unknown groups and root's."""
    groups = provider.find(Provider.module_groups) or ()
    for index, group in enumerate(groups):
        path = (*provider.at(Provider.module_groups), index)
        gid = gid_of(group, case.facts)
        if gid is None:
            case.report.refuse(path, "a name that no group has", "the name of a group, or its number")
        elif gid == 0:
            case.report.refuse(path, "the group of root", "another group")
    if groups and not case.facts.is_root:
        case.warn(provider, Provider.module_groups, "has no effect, as the service was not started as root")


def _passwords_have_one_source(case: Case, provider: Provider) -> None:
    """Check the sources of each hierarchy's password; the owner's has to be somewhere."""
    kind = type_of(provider)
    for secret in kind.secrets if kind else ():
        _secret_has_one_source(case, provider, secret)
    given = OWNER.plain(provider, case.facts), OWNER.file(provider, case.facts)
    if given == (None, None) and not any(case.report.is_refused(provider.at(each)) for each in OWNER.settings):
        plain, file = OWNER.settings
        case.refuse(provider, plain, "nothing", f"a string, which may be empty; or {file.name}")


def _parents_can_be_given_back(case: Case, provider: Provider) -> None:
    """Refuse keys for Parsec that it could not load."""
    if provider.find(Provider.application_parents) and case.document.one(tables.Kim).find(tables.Kim.give_back):
        allowed = "one of them, as Parsec cannot load keys that have another parent than its own"
        case.refuse(provider, Provider.application_parents, "true beside kim.give_back", allowed)


def _tcti_is_sound(case: Case, provider: Provider) -> None:
    """Warn of what others may overhear, and of a bus that cannot be reached."""
    tcti = provider.find(Provider.tcti)
    if tcti is None:
        return
    if provider.find(Provider.bus_protection) is False and tcti.kind != "device":
        text = "passwords and keys go to the TPM in the clear, through more than a device of this machine"
        case.warn(provider, Provider.bus_protection, text)
    if tcti.bus_type == "session":
        case.warn(provider, Provider.tcti, "the worker belongs to no session, so it will not find this bus")


def _modules_stay_away(case: Case) -> None:
    """Refuse to open folders of the whole machine, or files of the service, to a module."""
    own = tuple(own_paths(case.document, case.facts))
    file = case.report.file
    written = (*own, OwnPath("the configuration", normal(file))) if file.startswith("/") else own
    for provider in case.document.all(Provider):
        if provider.find(Provider.provider_type) != PKCS11:
            continue
        for setting, closed in ((Provider.module_readable, own), (Provider.module_writable, written)):
            for index, path in enumerate(provider.find(setting) or ()):
                _check_path(case, normal(path), closed, (*provider.at(setting), index))
        state_folder = provider.find(Provider.state_folder)
        if state_folder is not None:
            _check_path(case, normal(state_folder), written, provider.at(Provider.state_folder))


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


_URI_SOURCE: Final[Setting[Any]] = Provider.token_uri
"""Where a PIN may be named besides its two settings."""
RULES: Final[tuple[Rule, ...]] = (
    _authenticators_differ,
    _admins_have_uids,
    _key_managers_differ,
    _key_managers_are_used,
    _providers_share_a_key_manager,
    _providers_differ,
    _sockets_differ,
    _level_can_be_reached,
    _keks_differ,
    _each(PKCS11, _token_is_named_once),
    _each(PKCS11, _pin_has_one_source),
    _each(PKCS11, _groups_exist),
    _each(TPM, _passwords_have_one_source),
    _each(TPM, _parents_can_be_given_back),
    _each(TPM, _tcti_is_sound),
    _modules_stay_away,
)
