"""Signed tokens: JSON Web Tokens (RFC 7519) and their SPIFFE form, the JWT-SVID.

Every rule is checked here, so that none depends on a version of PyJWT, which verifies the signature: with a public key
that was chosen by `kid` among those of the token's issuer, and with one algorithm, which that key's type allows. Of the
header, `alg` and `kid` choose among what is configured; `jku`, `jwk`, `x5c` and `x5u` are never looked at.

The order is from cheap to dear: size, form, header, claims, key, signature. What is checked before the signature
depends on the token, the rules and public keys alone, so that its duration tells a client nothing that it did not know;
all failures but one have the same status. Sources: RFC 7515 section 5.2, RFC 7519 section 7.2, RFC 8725, SPIFFE
JWT-SVID sections 2 and 3.
"""

import enum
import hashlib
import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import jwt

from cofferdam_contracts.identity import MAX_APPLICATION
from cofferdam_contracts.ipc.limits import MAX_TOKEN
from cofferdam_contracts.status import Status
from cofferdam_identity.documents import DocumentError, JsonObject, decode_base64url, load_object, shown
from cofferdam_identity.keys import ALGORITHMS, Bundle, VerificationKey
from cofferdam_identity.spiffe import SpiffeError, parse_id

MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999; dates beyond are mistakes, milliseconds for instance."""
LEEWAY_S: Final = 60.0
"""By how much clocks may differ; that of the reference's library."""
SVID_ALGORITHMS: Final = ALGORITHMS - {"EdDSA"}
"""Those of JWT-SVID section 2.1."""
_FORM: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_SVID_TYPES: Final = frozenset({"JWT", "JOSE"})
_TYPES: Final = frozenset({"jwt", "jose", "at+jwt", "application/jwt", "application/at+jwt"})
"""In small letters: media types have no case (RFC 7515 section 4.1.9, RFC 9068 section 4)."""
_JWS: Final = jwt.PyJWS(algorithms=sorted(ALGORITHMS))


@enum.unique
class Check(enum.StrEnum):
    """What is checked, in this order; the value is what the log says."""

    SIZE = "size"
    ENCODING = "encoding"
    FORM = "form"
    HEADER = "header"
    CRITICAL = "crit"
    TYPE = "typ"
    ALGORITHM = "alg"
    KEY_NAME = "kid"
    CLAIMS = "claims"
    EXPIRY = "exp"
    NOT_BEFORE = "nbf"
    ISSUED_AT = "iat"
    AUDIENCE = "aud"
    ISSUER = "iss"
    SUBJECT = "sub"
    TRUST_DOMAIN = "trust domain"
    BUNDLE = "bundle"
    KEY = "key"
    KEY_ALGORITHM = "algorithm of the key"
    SIGNATURE = "signature"


class TokenError(Exception):
    """The token is refused.

    `check` and `detail` are for the operator's log, and never for the client, who gets `status` alone.
    """

    def __init__(self, check: Check, detail: str) -> None:
        super().__init__(f"{check}: {detail}")
        self.check = check
        self.detail = detail
        """What was found and what is allowed: never the token, its subject or its signature."""
        self.status = Status.INVALID_ENCODING if check is Check.ENCODING else Status.AUTHENTICATION_ERROR


class Rules(NamedTuple):
    """What one authenticator accepts."""

    authenticator: int
    """Number of the authenticator."""
    audiences: frozenset[str]
    """One of them has to be among the token's."""
    issuer: str | None
    """What `iss` has to be; None for JWT-SVIDs, in which it means nothing."""
    subject_claim: str
    """The claim that has the application's name: `sub` for JWT-SVIDs."""
    trust_domains: frozenset[str]
    """Those of JWT-SVIDs that count, all if there are none here; not looked at with an issuer."""
    algorithms: frozenset[str]
    """Of `ALGORITHMS`; others have no effect."""
    leeway: float = LEEWAY_S
    """Seconds by which clocks may differ."""

    @property
    def is_svid(self) -> bool:
        """Return whether the tokens are JWT-SVIDs."""
        return self.issuer is None


class Verified(NamedTuple):
    """What a token proves."""

    subject: str
    """Name of the application; the SPIFFE ID of a JWT-SVID."""
    issuer: str
    """`iss`; the trust domain of a JWT-SVID."""
    kid: str
    """Name of the key, or its thumbprint if it has none."""
    issued_at: float | None
    """Wall clock in seconds, as the token says, if it does."""
    expires_at: float
    """Wall clock in seconds from which the token is refused: `exp` and the leeway."""
    token_hash: str
    """See `token_hash`."""
    thumbprint: str
    """Of the key (RFC 7638)."""


Lookup: TypeAlias = Callable[[str], Bundle | None]
"""Returns the keys of an issuer, or of a trust domain."""


def token_hash(token: bytes) -> str:
    """Return the name of a token: SHA-256, in hexadecimal, of what is signed, which is all before its last dot.

    Whoever holds a token with an ECDSA signature (r, s) can write a second one, (r, -s), which verifies too. So a hash
    over the signature would name one of two spellings.
    """
    signed, _, _ = token.rpartition(b".")
    return hashlib.sha256(signed or token).hexdigest()


def verify(token: bytes, rules: Rules, lookup: Lookup, now: float) -> Verified:
    """Verify a token.

    Args:
        token: JWS in compact serialization.
        rules: What the authenticator accepts.
        lookup: Gives the keys of the issuer or trust domain, which is one of those in the rules.
        now: Wall clock in seconds.

    Raises:
        TokenError: It is refused.
    """
    encoded_header, encoded_claims, encoded_signature = _parts(token)
    header = _object(Check.HEADER, encoded_header)
    algorithm, kid = _check_header(header, rules)
    _decoded(Check.SIGNATURE, encoded_signature)
    claims = _object(Check.CLAIMS, encoded_claims)
    expires_at, issued_at = _check_times(claims, rules.leeway, now)
    _check_audience(claims, rules.audiences)
    subject, issuer = _svid_names(claims, rules) if rules.is_svid else _names(claims, rules)
    key = _key(lookup(issuer), kid, issuer, algorithm)
    _check_signature(token, key, algorithm)
    return Verified(
        subject=subject,
        issuer=issuer,
        kid=key.thumbprint if key.kid is None else key.kid,
        issued_at=issued_at,
        expires_at=expires_at,
        token_hash=token_hash(token),
        thumbprint=key.thumbprint,
    )


def _parts(token: bytes) -> tuple[bytes, bytes, bytes]:
    if len(token) > MAX_TOKEN:
        raise TokenError(Check.SIZE, f"found {len(token)} bytes, allowed: at most {MAX_TOKEN}")
    try:
        token.decode()
    except UnicodeDecodeError:
        raise TokenError(Check.ENCODING, "found bytes that are not UTF-8") from None
    form = _FORM.fullmatch(token)
    if form is None:
        raise TokenError(Check.FORM, "found no three parts of base64url with dots between them")
    return form[1], form[2], form[3]


def _decoded(check: Check, part: bytes) -> bytes:
    try:
        return decode_base64url(part)
    except DocumentError as error:
        raise TokenError(check, f"found {error}") from None


def _object(check: Check, part: bytes) -> JsonObject:
    decoded = _decoded(check, part)
    try:
        return load_object(decoded)
    except DocumentError as error:
        raise TokenError(check, f"found {error}") from None


def _check_header(header: JsonObject, rules: Rules) -> tuple[str, str | None]:
    """Return the algorithm and the name of the key."""
    # Extensions change what the other members mean; b64 without crit is not allowed either (RFC 7797 section 3).
    if extensions := [name for name in ("crit", "b64") if name in header]:
        raise TokenError(Check.CRITICAL, f"found {extensions[0]} in the header, allowed: no extension")
    _check_type(header, rules)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms & ALGORITHMS:
        allowed = ", ".join(sorted(rules.algorithms & ALGORITHMS))
        raise TokenError(Check.ALGORITHM, f"found {shown(algorithm)}, allowed: {allowed}")
    kid = header.get("kid")
    if not isinstance(kid, str) and ("kid" in header or rules.is_svid):
        raise TokenError(Check.KEY_NAME, f"found {shown(kid)}, allowed: a string")
    return algorithm, kid if isinstance(kid, str) else None


def _check_type(header: JsonObject, rules: Rules) -> None:
    kind = header.get("typ")
    if rules.is_svid:
        is_allowed = isinstance(kind, str) and kind in _SVID_TYPES
    else:
        is_allowed = "typ" not in header or (isinstance(kind, str) and kind.lower() in _TYPES)
    if not is_allowed:
        allowed = "JWT, JOSE" if rules.is_svid else "none, JWT, JOSE, at+jwt"
        raise TokenError(Check.TYPE, f"found {shown(kind)}, allowed: {allowed}")


def _check_times(claims: JsonObject, leeway: float, now: float) -> tuple[float, float | None]:
    """Return when the token ends, leeway included, and when it was issued."""
    expiry = _time(claims, Check.EXPIRY)
    not_before = _time(claims, Check.NOT_BEFORE)
    issued_at = _time(claims, Check.ISSUED_AT)
    if expiry is None:
        raise TokenError(Check.EXPIRY, "found none, which means that the token never ends")
    if now >= expiry + leeway:
        raise TokenError(Check.EXPIRY, f"found {now - expiry:.0f} s in the past, allowed: less than {leeway:.0f}")
    for check, start in ((Check.NOT_BEFORE, not_before), (Check.ISSUED_AT, issued_at)):
        if start is not None and start > now + leeway:
            raise TokenError(check, f"found {start - now:.0f} s in the future, allowed: at most {leeway:.0f}")
    return expiry + leeway, issued_at


def _time(claims: JsonObject, check: Check) -> float | None:
    if check.value not in claims:
        return None
    value = claims[check.value]
    # bool is an int in Python.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TIME:
        return float(value)
    raise TokenError(check, f"found {shown(value)}, allowed: a number from 0 to {MAX_TIME}")


def _check_audience(claims: JsonObject, audiences: frozenset[str]) -> None:
    found = claims.get("aud")
    named = found if isinstance(found, list) else [found]
    if not all(isinstance(each, str) for each in named):
        raise TokenError(Check.AUDIENCE, f"found {shown(found)}, allowed: a string or an array of strings")
    if audiences.isdisjoint(named):
        raise TokenError(Check.AUDIENCE, f"found {shown(found)}, allowed: {', '.join(sorted(audiences))}")


def _svid_names(claims: JsonObject, rules: Rules) -> tuple[str, str]:
    """Return the SPIFFE ID and its trust domain."""
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise TokenError(Check.SUBJECT, "found no string, allowed: a SPIFFE ID")
    try:
        trust_domain = parse_id(subject).trust_domain
    except SpiffeError as error:
        raise TokenError(Check.SUBJECT, f"{error}; allowed: a SPIFFE ID") from None
    # Without any, all count whose keys are known.
    if rules.trust_domains and trust_domain not in rules.trust_domains:
        allowed = ", ".join(sorted(rules.trust_domains))
        raise TokenError(Check.TRUST_DOMAIN, f"found {shown(trust_domain)}, allowed: {allowed}")
    return subject, trust_domain


def _names(claims: JsonObject, rules: Rules) -> tuple[str, str]:
    """Return the subject and the issuer."""
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer != rules.issuer:
        raise TokenError(Check.ISSUER, f"found {shown(issuer)}, allowed: {rules.issuer}")
    subject = claims.get(rules.subject_claim)
    # What is not printable could look like another name, or like two lines. Surrogates are among it.
    if not isinstance(subject, str) or not subject.isprintable() or not 0 < len(subject.encode()) <= MAX_APPLICATION:
        raise TokenError(
            Check.SUBJECT, f"found no name in the claim {rules.subject_claim}, allowed: printable characters, "
            f"at most {MAX_APPLICATION} bytes"
        )  # fmt: skip
    return subject, issuer


def _key(bundle: Bundle | None, kid: str | None, issuer: str, algorithm: str) -> VerificationKey:
    if bundle is None:
        raise TokenError(Check.BUNDLE, f"there are no keys of {issuer}")
    key = bundle.find(kid)
    if key is None:
        raise TokenError(Check.KEY, f"found {shown(kid)}, which is the name of none of the {len(bundle.keys)} keys")
    if algorithm not in key.algorithms:
        allowed = ", ".join(sorted(key.algorithms))
        raise TokenError(Check.KEY_ALGORITHM, f"found {algorithm}, allowed for the key {shown(kid)}: {allowed}")
    return key


def _check_signature(token: bytes, key: VerificationKey, algorithm: str) -> None:
    try:
        _JWS.decode_complete(token, key.public, algorithms=[algorithm])
    except jwt.PyJWTError as error:
        raise TokenError(Check.SIGNATURE, f"it does not verify ({type(error).__name__})") from None
