"""Rules about authenticators that take tokens: what their settings, and the machine, have to do with each other."""

import posixpath
import re
import stat
from typing import Final

from cofferdam_config.host_rules import absent, flaw_of, is_safe
from cofferdam_config.paths import places
from cofferdam_config.report import key_path, quote
from cofferdam_config.rules import Case, Rule, for_each
from cofferdam_config.source import Path
from cofferdam_config.tables import (
    DIRECT,
    EDDSA,
    JWT,
    JWT_SVID,
    ON_DISK,
    Admin,
    Authenticator,
    Isolation,
    KeyManager,
    Provider,
)
from cofferdam_config.tokens import (
    AGENT,
    AUTHORITIES,
    CREDENTIAL,
    KEYS,
    REVOKED,
    agent_socket,
    discovery_flaw,
    files,
    key_file,
    of_auth_type,
    with_tokens,
)
from cofferdam_contracts.endpoints import TcpEndpoint, parse_endpoint
from cofferdam_contracts.folders import holds
from cofferdam_contracts.roles import Role
from cofferdam_runtime.files import Element, Found

_SOURCES: Final = (Authenticator.key_file, Authenticator.jwks_url, Authenticator.discovery)
_SPIFFE_ID: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*")
_MOST_FETCHERS: Final = 2
"""One for each authenticator that takes tokens, of which there is at most one of a type."""
_READ, _ENTER = 0o004, 0o001
"""What everybody may do with a file, and with a folder."""


def _keys_have_one_source(case: Case, table: Authenticator) -> None:
    given = [setting for setting in _SOURCES if table.find(setting)]
    names = [setting.name for setting in given]
    if CREDENTIAL in case.facts.credentials:
        if Authenticator.key_file in given:
            case.warn(table, Authenticator.key_file, f"not used, as the credential {CREDENTIAL} takes its place")
        names = [f"the credential {CREDENTIAL}", *(name for name in names if name != Authenticator.key_file.name)]
    if len(names) > 1:
        case.refuse(table, given[-1], f"{names[-1]} besides {names[0]}", "one source of keys")
    elif not names and not any(case.report.is_refused(table.at(setting)) for setting in _SOURCES):
        allowed = f"one of key_file, jwks_url, discovery = true and the credential {CREDENTIAL}"
        case.refuse(table, Authenticator.key_file, "nothing", allowed)


def _file_needs_no_server(case: Case, table: Authenticator) -> None:
    if key_file(table, case.facts) is not None and table.find(Authenticator.ca_file) is not None:
        case.warn(table, Authenticator.ca_file, "has no effect, as no server is asked for the keys")


def _issuer_can_be_asked(case: Case, table: Authenticator) -> None:
    issuer = table.find(Authenticator.issuer)
    if table.find(Authenticator.discovery) and issuer is not None and (flaw := discovery_flaw(issuer)):
        allowed = f"with discovery an https:// URL without query and fragment ({flaw})"
        case.refuse(table, Authenticator.issuer, quote(issuer), allowed)


def _audience_is_said(case: Case, table: Authenticator) -> None:
    where = table.at(Authenticator.audience)
    if table.find(Authenticator.audience) is None and not case.report.is_refused(where):
        case.report.refuse(where, "nothing", Authenticator.audience.kind.allowed)


def _algorithms_are_those_of_svids(case: Case, table: Authenticator) -> None:
    algorithms = table.find(Authenticator.algorithms) or ()
    if EDDSA in algorithms:
        where = (*table.at(Authenticator.algorithms), algorithms.index(EDDSA))
        case.report.refuse(where, quote(EDDSA), "an algorithm of JWT-SVIDs: RS, PS or ES with 256, 384 or 512")


def _trust_domains_are_named(case: Case, table: Authenticator) -> None:
    where = table.at(Authenticator.trust_domains)
    if table.find(Authenticator.trust_domains) == () and not case.report.is_refused(where):
        text = "none are named, so workloads of every trust domain that the agent federates with can be clients"
        case.report.warn(where, text)


def _admins_have_ids(case: Case, table: Authenticator) -> None:
    domains = table.find(Authenticator.trust_domains) or ()
    for admin in table.inner(Admin):
        name = admin.find(Admin.name)
        matched = _SPIFFE_ID.fullmatch(name) if name is not None else None
        if name is not None and matched is None:
            case.warn(admin, Admin.name, f"{quote(name)} is not a SPIFFE ID, so it is nobody's name")
        elif matched is not None and domains and matched[1] not in domains:
            case.warn(
                admin, Admin.name, f"{quote(name or '')} is not of one of the trust_domains, so it is nobody's name"
            )


def _network_has_no_say(case: Case, table: Authenticator) -> None:
    where, endpoint = table.at(Authenticator.workload_endpoint), table.find(Authenticator.workload_endpoint)
    parsed = parse_endpoint(endpoint) if endpoint is not None else None
    if isinstance(parsed, TcpEndpoint) and not parsed.is_loopback:
        text = (
            "is not on this machine and nothing protects the connection, so others on the network can give their keys"
        )
        case.report.warn(where, text)


def _agent_is_there(case: Case, table: Authenticator) -> None:
    """Warn of an agent that is not there yet, and of one in whose place others could answer."""
    where, path = table.at(Authenticator.workload_endpoint), agent_socket(table)
    if path is None or (found := case.facts.files.get(path)) is None:
        return
    if found.last is None:
        case.report.warn(where, f"nothing at {absent(path, found)} yet; tokens are refused until the agent is there")
    elif not stat.S_ISSOCK(found.last.mode):
        case.report.warn(where, f"something else at {path} than a socket; tokens are refused until the agent is there")
    flaw = flaw_of(_without_last(found), case.facts._replace(owners=case.facts.owners | _owner(found)))
    if flaw is not None:
        case.report.warn(where, f"others can take the agent's place: found {flaw[0]}; {flaw[1]}")


def _without_last(found: Found) -> Found:
    """Return what leads to a socket: who may connect to it says nothing."""
    return found._replace(elements=tuple(each for each in found.elements if each != found.last))


def _owner(found: Found) -> frozenset[int]:
    """Return the user of an agent: it may run as a user of its own, who then owns the folder as well."""
    return frozenset({found.last.uid}) if found.last else frozenset()


def _direct_is_beside_tokens(case: Case, table: Authenticator) -> None:
    if with_tokens(case.document):
        text = "a client needs no token, as it can use the service by a name that it chooses"
        case.warn(table, Authenticator.auth_type, text)


def _mapping_files_are_whose(case: Case) -> None:
    """Refuse to give keys to names that Parsec cannot have made them for: its mapping files have names alone."""
    first = case.document.one(Authenticator)
    used = {provider.find(Provider.key_info_manager) for provider in case.document.all(Provider)}
    for manager in case.document.all(KeyManager):
        is_used = manager.find(KeyManager.name) in used and manager.find(KeyManager.manager_type) == ON_DISK
        if is_used and first.find(Authenticator.auth_type) == JWT:
            allowed = (
                f'the authenticator that its keys belong to, and "{JWT}" in [[additional_authenticator]]; '
                "mapping files do not say whose they are"
            )
            case.refuse(first, Authenticator.auth_type, f'"{JWT}" with a key manager "{ON_DISK}"', allowed)
            return


def _files_are_safe(case: Case) -> None:
    """Refuse files that others can change; warn of one that the process behind tokens cannot read."""
    for where, path, what in files(case.document, case.facts):
        is_safe(case, where, path)
        _can_be_read(case, where, path, is_needed=what == KEYS)


def _authorities_are_safe(case: Case, table: Authenticator) -> None:
    path = table.find(Authenticator.ca_file)
    if path is not None:
        is_safe(case, table.at(Authenticator.ca_file), path)
        _can_be_read(case, table.at(Authenticator.ca_file), path, is_needed=key_file(table, case.facts) is None)


def _can_be_read(case: Case, where: Path, path: str, *, is_needed: bool) -> None:
    found = case.facts.files.get(path)
    if found is None:
        return
    if found.last is None and is_needed:
        case.report.warn(where, f"nothing at {absent(path, found)}; tokens are refused until it is there")
    elif found.last is not None and not stat.S_ISREG(found.last.mode):
        case.report.warn(where, f"something else at {path} than a file; it is not used")
    elif case.facts.is_root and (closed := _closed(found, _readers(case))) is not None:
        remedy = f"chmod o+{'x' if stat.S_ISDIR(closed.mode) else 'r'} {closed.path}"
        mode = f"{stat.S_IMODE(closed.mode):04o}"
        case.report.warn(where, f"{closed.path} has mode {mode}, so the process that needs it cannot read it; {remedy}")


def _readers(case: Case) -> range:
    """Return the uids of the processes behind tokens."""
    base = case.document.one(Isolation).find(Isolation.uid_base) or 0
    return range(base + Role.IDENTITY.row.uid_offset, base + Role.FETCHER.row.uid_offset + _MOST_FETCHERS)


def _closed(found: Found, uids: range) -> Element | None:
    """Return the first element that keeps others than its owner out."""
    for each in found.elements:
        needed = _ENTER if stat.S_ISDIR(each.mode) else _READ
        if each.uid not in uids and not each.mode & needed and not stat.S_ISLNK(each.mode):
            return each
    return None


def _folders_are_open(case: Case) -> None:
    """Refuse a file in a folder with what nobody else reads: the process that verifies tokens may read all of it."""
    known = tuple(places(case.document, case.facts, case.report.file))
    own = [place for place in known if place.what in {KEYS, REVOKED}]
    public = {KEYS, REVOKED, AUTHORITIES, AGENT}
    for place in own:
        folder = posixpath.dirname(place.path)
        for other in known:
            if other.what not in public and holds(folder, other.path) and not case.report.is_refused(place.where):
                named = f" ({key_path(other.where)})" if other.where else ""
                allowed = "a folder with nothing else of the service, as a process without secrets reads it"
                case.report.refuse(place.where, f"a file in a folder that holds {other.what}{named}", allowed)


TOKEN_RULES: Final[tuple[Rule, ...]] = (
    for_each(of_auth_type(JWT), _keys_have_one_source),
    for_each(of_auth_type(JWT), _file_needs_no_server),
    for_each(of_auth_type(JWT), _issuer_can_be_asked),
    for_each(of_auth_type(JWT), _audience_is_said),
    for_each(of_auth_type(JWT_SVID), _algorithms_are_those_of_svids),
    for_each(of_auth_type(JWT_SVID), _trust_domains_are_named),
    for_each(of_auth_type(JWT_SVID), _admins_have_ids),
    for_each(of_auth_type(JWT_SVID), _network_has_no_say),
    for_each(of_auth_type(JWT_SVID), _agent_is_there),
    for_each(of_auth_type(DIRECT), _direct_is_beside_tokens),
    _mapping_files_are_whose,
    _files_are_safe,
    for_each(of_auth_type(JWT), _authorities_are_safe),
    _folders_are_open,
)
