"""OIDC discovery: from an issuer to the URL of its keys (OpenID Connect Discovery 1.0, sections 4 and 4.3). No I/O."""

from typing import Final

import msgspec

from cofferdam_contracts.endpoints import EndpointError, HttpsUrl, parse_url
from cofferdam_fetcher.source import SourceError, quoted

_PLACE: Final = "/.well-known/openid-configuration"


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


_DECODER: Final = msgspec.json.Decoder(_Metadata)


def parse_issuer(issuer: str) -> HttpsUrl:
    """Return where the metadata of an issuer are.

    Raises:
        EndpointError: The issuer is no `https` URL, or has a query.
    """
    if "?" in issuer:
        raise EndpointError("it has a query")
    return parse_url(issuer.removesuffix("/") + _PLACE)


def jwks_of(document: bytes, issuer: str) -> HttpsUrl:
    """Return where the keys of an issuer are, by its metadata.

    Raises:
        SourceError: These are no metadata, are another issuer's, or name no `https` URL.
    """
    try:
        metadata = _DECODER.decode(document)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise SourceError(f"its document is no metadata of OpenID: {quoted(str(error))}") from None
    if metadata.issuer != issuer:
        raise SourceError(
            f"its metadata are those of the issuer {quoted(metadata.issuer)!r}, and {quoted(issuer)!r} is configured; "
            "they have to be the same, to the last character"
        )
    try:
        return parse_url(metadata.jwks_uri)
    except EndpointError as error:
        raise SourceError(f"the jwks_uri in its metadata cannot be used: {error}") from None
