"""The syntax of SPIFFE IDs and trust domains.

Source: The SPIFFE Identity and Verifiable Identity Document, section 2. An ID is compared byte by byte, and so is
accepted in its one spelling only: no capital letter in scheme or trust domain, no percent-encoding, no port, no query.
"""

import re
from typing import Final, NamedTuple

MAX_ID: Final = 2048
"""Bytes of an ID (section 2.3)."""
MAX_TRUST_DOMAIN: Final = 255
"""Bytes of a trust domain (section 2.1)."""
_SCHEME: Final = "spiffe://"
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")


class SpiffeError(ValueError):
    """The text is no SPIFFE ID or trust domain; the message says what is wrong with it, and quotes nothing of it."""


class SpiffeId(NamedTuple):
    """An ID in its two parts."""

    trust_domain: str
    path: str
    """Empty, or a slash and the rest."""

    def __str__(self) -> str:
        """Return the ID as it is written."""
        return f"{_SCHEME}{self.trust_domain}{self.path}"


def check_trust_domain(name: str) -> None:
    """Check the name of a trust domain.

    Raises:
        SpiffeError: It is none.
    """
    if not name:
        raise SpiffeError("found no trust domain")
    if len(name) > MAX_TRUST_DOMAIN:
        raise SpiffeError(f"found a trust domain of {len(name)} bytes, allowed: at most {MAX_TRUST_DOMAIN}")
    if not _TRUST_DOMAIN.fullmatch(name):
        raise SpiffeError("found another character in the trust domain, allowed: a-z, 0-9, dot, hyphen and underscore")


def parse_id(text: str) -> SpiffeId:
    """Take an ID apart.

    Raises:
        SpiffeError: It is none.
    """
    if len(text) > MAX_ID:
        raise SpiffeError(f"found {len(text)} bytes, allowed: at most {MAX_ID}")
    if not text.startswith(_SCHEME):
        raise SpiffeError(f"found another beginning, allowed: {_SCHEME}")
    trust_domain, slash, path = text.removeprefix(_SCHEME).partition("/")
    check_trust_domain(trust_domain)
    if slash:
        _check_path(path)
    return SpiffeId(trust_domain, slash + path)


def _check_path(path: str) -> None:
    for segment in path.split("/"):
        if not segment:
            raise SpiffeError("found an empty segment or a slash at the end of the path")
        if segment in {".", ".."}:
            raise SpiffeError("found a segment of dots in the path")
        if not _SEGMENT.fullmatch(segment):
            raise SpiffeError("found another character in the path, allowed: a-z, A-Z, 0-9, dot, hyphen and underscore")
