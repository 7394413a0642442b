"""Where trust bundles come from: the syntax of a Workload API endpoint and of an HTTPS URL.

An endpoint is accepted as Parsec accepts it (SPIFFE Workload Endpoint, section 4), an URL only if nothing in it could
be read in two ways. Texts of errors quote nothing of the value.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

MAX_SOCKET_PATH: Final = 107
"""Bytes of the path of a Unix socket: `sun_path` has 108, the last one is a NUL (unix(7))."""
MAX_URL: Final = 2048
"""Bytes of an URL or issuer."""
HTTPS: Final = "https://"
_HTTPS_PORT: Final = 443
_LAST_PORT: Final = 65535
_MAX_HOST: Final = 253
"""Characters of a host name (RFC 1035 section 2.3.4)."""
_LABEL: Final = re.compile("[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_TARGET: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?")
"""A path and a query (RFC 3986 sections 3.3 and 3.4), as they are sent."""


class EndpointError(ValueError):
    """Raised for an endpoint or URL that cannot be used; the text says what is wrong with "it"."""


class UnixEndpoint(NamedTuple):
    """A Unix socket."""

    path: str


class TcpEndpoint(NamedTuple):
    """An IP address, without brackets, and a port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Tell whether nobody on a network can answer in place of the agent: the connection has no protection."""
        return ipaddress.ip_address(self.host).is_loopback


Endpoint: TypeAlias = UnixEndpoint | TcpEndpoint


class HttpsUrl(NamedTuple):
    """An `https` URL."""

    host: str
    """A name in small letters, or an IP address without brackets."""
    port: int
    target: str
    """The path and the query."""

    @property
    def authority(self) -> str:
        """The host and, unless it is the usual one, the port, as a request names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTPS_PORT else f"{host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """Parse the endpoint of a Workload API: `unix:/path`, `unix:///path` or `tcp://address:port`.

    Raises:
        EndpointError: It is none of these.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _SCHEMES:
        raise EndpointError("it does not begin with unix: or tcp:")
    for character, part in (("?", "a query"), ("#", "a fragment"), ("%", "an escape (%)")):
        if character in rest:
            raise EndpointError(f"it has {part}")
    return _SCHEMES[scheme](rest)


def _unix(rest: str) -> UnixEndpoint:
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        if authority:
            raise EndpointError("it has a host or a user before the path; after unix:// the path begins with a third /")
        rest = slash + path
    if not rest.startswith("/") or rest == "/":
        raise EndpointError("it has no absolute path")
    if not rest.isprintable():
        raise EndpointError("its path has a control character")
    try:
        size = len(rest.encode())
    except UnicodeEncodeError:
        raise EndpointError("its path is not UTF-8") from None
    if size > MAX_SOCKET_PATH:
        raise EndpointError(f"its path has {size} bytes; a Unix socket has at most {MAX_SOCKET_PATH}")
    return UnixEndpoint(rest)


def _tcp(rest: str) -> TcpEndpoint:
    if not rest.startswith("//"):
        raise EndpointError("it has no // before the address")
    host, port, path = _authority(rest[2:])
    if path:
        raise EndpointError("it has a path")
    if port is None:
        raise EndpointError("it has no port")
    address = _address(host)
    if address is None:
        raise EndpointError("its host is not an IP address")
    return TcpEndpoint(address, port)


_SCHEMES: Final[Mapping[str, Callable[[str], Endpoint]]] = {"unix": _unix, "tcp": _tcp}


def parse_url(text: str) -> HttpsUrl:
    """Parse an `https` URL.

    Raises:
        EndpointError: It is none, or has a user, a fragment, or characters that an URL has to escape.
    """
    if len(text) > MAX_URL:
        raise EndpointError(f"it has {len(text)} characters, more than {MAX_URL}")
    if not text.startswith(HTTPS):
        raise EndpointError("it does not begin with https://")
    if "#" in text:
        raise EndpointError("it has a fragment")
    host, port, target = _authority(text.removeprefix(HTTPS))
    if target[:1] != "/":
        target = "/" + target
    if not _TARGET.fullmatch(target):
        raise EndpointError("its path or query has a character that an URL may not have")
    return HttpsUrl(_host(host), _HTTPS_PORT if port is None else port, target)


def _authority(text: str) -> tuple[str, int | None, str]:
    """Return the host (with brackets, if any), the port and what follows."""
    end = next((place for place, character in enumerate(text) if character in "/?"), len(text))
    authority, rest = text[:end], text[end:]
    if "@" in authority:
        raise EndpointError("it has a user before the host")
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        return authority, None, rest
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= _LAST_PORT:
        raise EndpointError(f"its port is not a number from 1 to {_LAST_PORT}")
    return host, int(port), rest


def _host(text: str) -> str:
    if (address := _address(text)) is not None:
        return address
    labels = text.split(".")
    # A last label of digits would be taken for a part of an IPv4 address (RFC 3696 section 2).
    if len(text) <= _MAX_HOST and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit():
        return text.lower()
    raise EndpointError("its host is neither a name of letters, digits, hyphens and dots nor an IP address")


def _address(text: str) -> str | None:
    """Return an IP address in its usual form: IPv4, or IPv6 in brackets without a zone."""
    is_v6 = text.startswith("[") and text.endswith("]")
    try:
        address = ipaddress.IPv6Address(text[1:-1]) if is_v6 else ipaddress.IPv4Address(text)
    except ValueError:
        return None
    return None if isinstance(address, ipaddress.IPv6Address) and address.scope_id else str(address)
