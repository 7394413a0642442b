"""The settings of the processes for identities by token, as `settings` has those of the others.

They stand apart because the broker, which passes them on, imports `settings`.
"""

from typing import NamedTuple

from cofferdam_contracts.opaque import opaque
from cofferdam_contracts.settings import AuthenticatorSettings, LogSettings


class TokenSettings(NamedTuple):
    """What an authenticator with tokens accepts, and where it has keys from."""

    auth_type: int
    audiences: tuple[str, ...]
    """One of them has to be among the token's."""
    issuer: str | None
    """What the token's issuer has to be; None for JWT-SVIDs."""
    subject_claim: str
    """The claim with the application's name."""
    trust_domains: tuple[str, ...]
    """Those of JWT-SVIDs that count; none given: all that the fetcher brings keys of. Empty with an issuer."""
    algorithms: tuple[str, ...]
    """Names of signature algorithms as tokens have them."""
    leeway_s: int
    """By how much the issuer's clock may differ."""
    key_file: str | None
    """A JWK set or PEM file, which is read again when it changes; None if a fetcher has the keys."""
    fingerprint: str | None
    """What the first keys have to have, if an administrator has pinned it."""
    max_age_s: int
    """Fetched keys that were not confirmed for this long are not used; 0 for no limit."""
    key_file_is_credential: bool = False
    """Whether `key_file` is a systemd credential, which never changes; its folder has other secrets, and only root may
    read it: it has to be read before the process is confined."""


class IdentitySettings(NamedTuple):
    """Settings of the process that verifies tokens."""

    log: LogSettings
    authenticators: tuple[AuthenticatorSettings, ...]
    tokens: tuple[TokenSettings, ...]
    """Those of the authenticators that take tokens."""
    fetchers: tuple[int, ...]
    """Whose keys each fetcher brings: authenticators, by the fetcher's number."""
    revocations: str
    """File of what is revoked; there may be none."""


class FetcherSettings(NamedTuple):
    """Settings of a process that fetches keys: exactly one of the first three is set."""

    log: LogSettings
    workload_endpoint: str | None
    """Address of a SPIFFE Workload API."""
    jwks_url: str | None
    """Where an issuer has its JWK set."""
    discovery: bool
    """Whether the issuer's OpenID configuration says where its JWK set is."""
    issuer: str
    """Empty for a Workload API, which names the trust domains itself."""
    ca_file: str | None
    """Certificates that sign the server's; None for those of the system."""

    def __repr__(self) -> str:
        """Show only the type: an URL can have a secret in its query."""
        return opaque(self)
