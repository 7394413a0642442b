"""The syntax of endpoints and URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_contracts.endpoints import (
    Endpoint,
    EndpointError,
    HttpsUrl,
    TcpEndpoint,
    UnixEndpoint,
    parse_endpoint,
    parse_url,
)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:/run/agent.sock", UnixEndpoint("/run/agent.sock")),
        ("unix:///run/agent.sock", UnixEndpoint("/run/agent.sock")),
        ("unix:/" + "a" * 106, UnixEndpoint("/" + "a" * 106)),
        ("tcp://127.0.0.1:8000", TcpEndpoint("127.0.0.1", 8000)),
        ("tcp://[::1]:65535", TcpEndpoint("::1", 65535)),
        ("tcp://10.0.0.1:1", TcpEndpoint("10.0.0.1", 1)),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "unix: or tcp:"),
        ("/run/agent.sock", "unix: or tcp:"),
        ("http://127.0.0.1:80", "unix: or tcp:"),
        ("UNIX:/run/a", "unix: or tcp:"),
        ("unix:", "no absolute path"),
        ("unix:/", "no absolute path"),
        ("unix:///", "no absolute path"),
        ("unix:agent.sock", "no absolute path"),
        ("unix://host/run/a", "before the path"),
        ("unix://user@/run/a", "before the path"),
        ("unix:/run/a?b", "a query"),
        ("unix:/run/a#b", "a fragment"),
        ("unix:/run/%61", "an escape"),
        ("unix:/run/a\0", "control character"),
        ("unix:/run/\udc80", "control character"),
        ("unix:/" + "a" * 107, "108 bytes"),
        ("tcp:127.0.0.1:80", "no //"),
        ("tcp://127.0.0.1", "no port"),
        ("tcp://127.0.0.1:", "its port"),
        ("tcp://127.0.0.1:0", "its port"),
        ("tcp://127.0.0.1:65536", "its port"),
        ("tcp://127.0.0.1:80/", "a path"),
        ("tcp://127.0.0.1:80?a", "a query"),
        ("tcp://me@127.0.0.1:80", "a user"),
        ("tcp://localhost:80", "not an IP address"),
        ("tcp://::1:80", "not an IP address"),
        ("tcp://[fe80::1%eth0]:80", "an escape"),
    ],
)
def test_what_is_no_endpoint(text: str, error: str) -> None:
    with pytest.raises(EndpointError, match=error):
        parse_endpoint(text)


def test_only_loopback_addresses_are_safe_without_tls() -> None:
    hosts = {"127.0.0.1": True, "127.9.9.9": True, "::1": True, "10.0.0.1": False, "2001:db8::1": False}
    assert {host: TcpEndpoint(host, 1).is_loopback for host in hosts} == hosts


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://issuer.example", HttpsUrl("issuer.example", 443, "/")),
        ("https://Issuer.Example:8443/a/b?c=d", HttpsUrl("issuer.example", 8443, "/a/b?c=d")),
        ("https://issuer.example?c", HttpsUrl("issuer.example", 443, "/?c")),
        ("https://127.0.0.1/jwks", HttpsUrl("127.0.0.1", 443, "/jwks")),
        ("https://[::1]:1/jwks", HttpsUrl("::1", 1, "/jwks")),
    ],
)
def test_urls(text: str, url: HttpsUrl) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("http://issuer.example", "https://"),
        ("HTTPS://issuer.example", "https://"),
        ("https://", "its host"),
        ("https://user@issuer.example", "a user"),
        ("https://user:1@issuer.example", "a user|its host"),
        ("https://issuer.example/#a", "a fragment"),
        ("https://issuer.example/a b", "a character"),
        ("https://issuer.example/\r\nHost: other", "a character"),
        ("https://issuer.example:x/", "its port"),
        ("https://1.2.3", "its host"),
        ("https://a..b", "its host"),
        ("https://-a.b", "its host"),
        ("https://b\u00fccher.example", "its host"),
        ("https://issuer.example\\@other", "a user|its host"),
        ("https://a/" + "b" * 2048, "2058 characters"),
    ],
)
def test_what_is_no_url(text: str, error: str) -> None:
    with pytest.raises(EndpointError, match=error):
        parse_url(text)


def test_a_request_names_the_host_as_the_url_does() -> None:
    urls = ["https://a.example/", "https://a.example:444/", "https://[::1]:444/", "https://[::1]/"]
    assert [parse_url(url).authority for url in urls] == ["a.example", "a.example:444", "[::1]:444", "[::1]"]


PIECES = st.lists(
    st.sampled_from(["unix:", "tcp:", "https:", "//", "/", "127.0.0.1", "[::1]", ":", "80", "a", "?", "#"])
)


@given(st.text() | PIECES.map("".join))
def test_any_text_is_an_endpoint_or_not(text: str) -> None:
    for parse in (parse_endpoint, parse_url):
        try:
            found = parse(text)
        except EndpointError as error:
            assert str(error).startswith("it")
        else:
            assert found == parse(text)
