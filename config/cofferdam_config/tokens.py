"""The authenticators that take tokens: where their keys come from, and what the processes behind them are told."""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cofferdam_config.host_facts import HostFacts
from cofferdam_config.schema import Document
from cofferdam_config.source import Path
from cofferdam_config.tables import AUDIENCE, JWT, JWT_SVID, AdditionalAuthenticator, Authenticator, Identity
from cofferdam_contracts.endpoints import EndpointError, UnixEndpoint, parse_endpoint, parse_url
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import LogSettings
from cofferdam_contracts.token_settings import FetcherSettings, IdentitySettings, TokenSettings

AUTH_TYPES: Final[Mapping[str, AuthType]] = {
    "Direct": AuthType.DIRECT,
    "UnixPeerCredentials": AuthType.UNIX_PEER_CREDENTIALS,
    JWT_SVID: AuthType.JWT_SVID,
    JWT: AuthType.JWT,
}
"""Numbers of the authenticators by `auth_type`."""
CREDENTIAL: Final = "cofferdam.jwt.keys"
"""The systemd credential that takes the place of `key_file`."""
REVOCATIONS: Final = "identity/revocations.toml"
"""The file in the state folder."""
KEYS: Final = "the keys of an issuer"
AUTHORITIES: Final = "the certificates of authorities"
AGENT: Final = "the socket of an agent"
REVOKED: Final = "the file of revocations"


def authenticators(document: Document) -> tuple[Authenticator, ...]:
    """Return the authenticators in order, that of Parsec first."""
    return (document.one(Authenticator), *document.all(AdditionalAuthenticator))


def of_auth_type(*kinds: str) -> Callable[[Document], tuple[Authenticator, ...]]:
    """Return the selection of the authenticators of some types."""
    return lambda document: tuple(
        each for each in authenticators(document) if each.find(Authenticator.auth_type) in kinds
    )


with_tokens: Final = of_auth_type(JWT_SVID, JWT)
"""The selection of the authenticators that take tokens."""


def key_file(table: Authenticator, facts: HostFacts) -> str | None:
    """Return the file of an issuer's keys; None if they are fetched, or nothing says where they are."""
    if table.find(Authenticator.auth_type) != JWT:
        return None
    return facts.credentials.get(CREDENTIAL) or table.find(Authenticator.key_file)


def revocations(document: Document, facts: HostFacts) -> str:
    """Return the file of what is revoked."""
    return document.one(Identity).find(Identity.revocations) or posixpath.join(facts.state_folder, REVOCATIONS)


def agent_socket(table: Authenticator) -> str | None:
    """Return the path of the agent's socket; None if the agent is reached in another way, or not at all."""
    endpoint = table.find(Authenticator.workload_endpoint) if table.find(Authenticator.auth_type) == JWT_SVID else None
    parsed = parse_endpoint(endpoint) if endpoint else None
    return parsed.path if isinstance(parsed, UnixEndpoint) else None


def files(document: Document, facts: HostFacts) -> Iterator[tuple[Path, str, str]]:
    """Return where each file that the process behind tokens reads is named, its path, and what it is."""
    # Of two of one type, the second is refused for that.
    for table in of_auth_type(JWT)(document)[:1]:
        file = table.find(Authenticator.key_file)
        if file is not None and CREDENTIAL not in facts.credentials:
            yield table.at(Authenticator.key_file), file, KEYS
    if with_tokens(document):
        yield document.one(Identity).at(Identity.revocations), revocations(document, facts), REVOKED


def discovery_flaw(issuer: str) -> str:
    """Return why the keys of an issuer cannot be found by its name; empty if they can."""
    try:
        parse_url(issuer)
    except EndpointError as error:
        return str(error)
    return "it has a query" if "?" in issuer else ""


def settings_of(
    document: Document, facts: HostFacts, values: Mapping[str, Any]
) -> tuple[tuple[Role, int, object], ...]:
    """Return role, number and settings of each process that tokens need; `values` has what others are told as well."""
    tables, log = with_tokens(document), values["log"]
    if not tables:
        return ()
    fetched = [table for table in tables if key_file(table, facts) is None]
    identity = IdentitySettings(
        log=log,
        authenticators=values["authenticators"],
        tokens=tuple(_token(table, facts) for table in tables),
        fetchers=tuple(AUTH_TYPES[table.auth_type] for table in fetched),
        revocations=revocations(document, facts),
    )
    fetchers = ((Role.FETCHER, number, _fetcher(table, log)) for number, table in enumerate(fetched))
    return (Role.IDENTITY, 0, identity), *fetchers


def _token(table: Authenticator, facts: HostFacts) -> TokenSettings:
    # What is only for the other type has its default, or none.
    return TokenSettings(
        auth_type=AUTH_TYPES[table.auth_type],
        audiences=table.find(Authenticator.audience) or (AUDIENCE,),
        issuer=table.find(Authenticator.issuer),
        subject_claim=table.subject_claim,
        trust_domains=table.trust_domains,
        algorithms=table.algorithms,
        leeway_s=table.leeway,
        key_file=key_file(table, facts),
        fingerprint=table.find(Authenticator.fingerprint),
        max_age_s=table.max_age,
        key_file_is_credential=table.auth_type == JWT and CREDENTIAL in facts.credentials,
    )


def _fetcher(table: Authenticator, log: LogSettings) -> FetcherSettings:
    return FetcherSettings(
        log=log,
        workload_endpoint=table.find(Authenticator.workload_endpoint),
        jwks_url=table.find(Authenticator.jwks_url),
        discovery=table.discovery,
        issuer=table.find(Authenticator.issuer) or "",
        ca_file=table.find(Authenticator.ca_file),
    )
