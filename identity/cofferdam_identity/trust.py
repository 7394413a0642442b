"""What is trusted: the keys of each issuer and the revocations, as they come and go, and what follows for a token."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.token_settings import TokenSettings
from cofferdam_identity import revocations
from cofferdam_identity.keys import Bundle, BundleError, parse_bundle, parse_jwk_set
from cofferdam_identity.revocations import RevocationError, Revocations
from cofferdam_identity.spiffe import SpiffeError, check_trust_domain
from cofferdam_identity.tokens import Rules, Verified, verify
from cofferdam_runtime.log import Log


class RevokedError(Exception):
    """The token is good, and an administrator has revoked it."""


class _Held(Struct):
    """The keys of one issuer, and when they came or were confirmed (monotonic seconds)."""

    bundle: Bundle
    since: float


class Trust:
    """The rules, keys and revocations of all authenticators with tokens."""

    def __init__(
        self, settings: Sequence[TokenSettings], log: Log, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Trust nobody yet."""
        self.settings: Final[Mapping[int, TokenSettings]] = {one.auth_type: one for one in settings}
        self._rules = {number: _rules(one) for number, one in self.settings.items()}
        self._held: dict[tuple[int, str], _Held] = {}
        self._revocations: Revocations | None = None
        """None until they were read: whoever was revoked must not come back because a file cannot be read."""
        self._log, self._monotonic = log, monotonic

    def verify(self, authenticator: int, token: bytes, now: float) -> Verified:
        """Verify a token of an authenticator at this wall-clock time.

        Raises:
            TokenError: It is refused.
            RevokedError: It is revoked.
        """
        verified = verify(token, self._rules[authenticator], lambda issuer: self._bundle(authenticator, issuer), now)
        if self._revocations is None:
            raise RevokedError(
                "what is revoked could not be read, so no token is accepted; see the line about the file"
            )
        if reason := self._revocations.covers(verified, authenticator):
            raise RevokedError(reason)
        return verified

    def holds(self, authenticator: int, verified: Verified, now: float) -> bool:
        """Tell whether a token would still be accepted: its key is trusted, it has not ended nor been revoked."""
        bundle = self._bundle(authenticator, verified.issuer)
        known = bundle is not None and any(key.thumbprint == verified.thumbprint for key in bundle.keys)
        revoked = self._revocations is None or self._revocations.covers(verified, authenticator)
        return known and now < verified.expires_at and not revoked

    def learn(self, authenticator: int, issuer: str, document: bytes, origin: str) -> None:
        """Take a document with the keys of an issuer in place of what was known.

        A document that cannot be used changes nothing, and is logged; so is any change.
        """
        settings, key = self.settings[authenticator], (authenticator, issuer)
        is_svid = authenticator == AuthType.JWT_SVID
        before = self._held.get(key)
        about = {"issuer": issuer, "origin": origin}
        try:
            if is_svid:
                if settings.trust_domains and issuer not in settings.trust_domains:
                    return
                check_trust_domain(issuer)
            # A trust domain without keys has withdrawn them.
            bundle = parse_jwk_set(document, origin, may_be_empty=True) if is_svid else parse_bundle(document, origin)
        except (BundleError, SpiffeError) as error:
            kept = "those from before stay in force" if before else "its tokens are refused"
            self._log.error("the keys of an issuer cannot be used", **about, cause=error, consequence=kept)
            return
        if before is None and settings.fingerprint not in {None, bundle.fingerprint}:
            self._log.error(
                "the first keys of an issuer are not those of the configuration; its tokens are refused",
                **about,
                found=bundle.fingerprint,
                expected=settings.fingerprint,
                remedy="compare both with the issuer, then correct `fingerprint`",
            )
            return
        self._held[key] = _Held(bundle, self._monotonic())
        if before is not None and before.bundle.fingerprint == bundle.fingerprint:
            return
        for note in bundle.notes:
            self._log.warning("a key of an issuer is not used", **about, cause=note)
        count, print_ = len(bundle.keys), bundle.fingerprint
        self._log.info("the keys of an issuer are in force", **about, keys=count, fingerprint=print_)

    def keep_only(self, authenticator: int, issuers: frozenset[str]) -> None:
        """Drop the keys of issuers that a complete answer does not name any more."""
        for key in [key for key in self._held if key[0] == authenticator and key[1] not in issuers]:
            del self._held[key]
            self._log.warning("the keys of an issuer are withdrawn; its tokens are refused", issuer=key[1])

    def revoke(self, document: bytes, origin: str) -> None:
        """Put a file of revocations in force; one that cannot be read changes nothing, and is logged."""
        try:
            self._revocations = revocations.parse(document, origin)
        except RevocationError as error:
            kept = "every token is refused" if self._revocations is None else "those from before stay in force"
            self._log.error("the revocations cannot be used", file=origin, cause=error, consequence=kept)
            return
        self._log.info("the revocations are in force", file=origin, entries=len(self._revocations.entries))

    def _bundle(self, authenticator: int, issuer: str) -> Bundle | None:
        held = self._held.get((authenticator, issuer))
        limit = self.settings[authenticator].max_age_s
        # A file is always as current as its administrator wants it.
        is_old = limit and self.settings[authenticator].key_file is None
        if held is None or (is_old and self._monotonic() - held.since > limit):
            return None
        return held.bundle


def _rules(settings: TokenSettings) -> Rules:
    return Rules(
        authenticator=settings.auth_type,
        audiences=frozenset(settings.audiences),
        issuer=settings.issuer,
        subject_claim=settings.subject_claim,
        trust_domains=frozenset(settings.trust_domains),
        algorithms=frozenset(settings.algorithms),
        leeway=settings.leeway_s,
    )
