"""The client of JWK sets and of OIDC discovery against an HTTPS server, good or bad."""

import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fetcher.turns import Heard, forget, turn
from tests.fetcher.web import Answer, Authority, answering, sending, website

from cofferdam_contracts.endpoints import EndpointError
from cofferdam_fetcher.https import Https, Issuer, Tools
from cofferdam_fetcher.limits import MAX_DISCOVERY, MAX_DOCUMENT, USUAL, Times
from cofferdam_fetcher.resolver import Names
from cofferdam_fetcher.source import Source, SourceError
from cofferdam_fetcher.tls import trust
from cofferdam_runtime.loop import Loop

FAST = USUAL._replace(first_pause_s=0.01, longest_pause_s=0.02, soonest_s=0.01, latest_s=0.02, usual_s=0.01)
KEYS = b'{"keys":[]}'
NAMES = Names({"issuer.example": ["127.0.0.1"]}, [])
ISSUER = "https://issuer.example/a"
OPEN: list[Source] = []


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    yield
    forget(OPEN)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def good(authority: Authority) -> ssl.SSLContext:
    return authority.server("issuer.example", "127.0.0.1")


def hear(issuer: Issuer, trusted: str, until: Callable[[Heard], bool], times: Times = FAST) -> Heard:
    loop, heard = Loop(), Heard()
    source = Https(loop, issuer, Tools(trust(trusted), NAMES), heard.reports, times)
    OPEN.append(source)
    source.start()
    turn(loop, source, lambda: until(heard))
    return heard


def found(heard: Heard) -> bool:
    return bool(heard.found)


def failed(heard: Heard) -> bool:
    return bool(heard.failed)


def at(port: int, path: str = "/jwks?v=1") -> Issuer:
    return Issuer("issuer", f"https://issuer.example:{port}{path}")


def test_a_key_set_is_found(authority: Authority, good: ssl.SSLContext) -> None:
    with website(good, answering(KEYS)) as (port, requests):
        heard = hear(at(port), authority.file, found)
    assert (heard.found, heard.failed) == ([("issuer", KEYS)], [])
    lines = requests[0].decode().lower().split("\r\n")
    assert lines[0] == "get /jwks?v=1 http/1.1"
    assert {f"host: issuer.example:{port}", "accept-encoding: identity", "connection: close"} <= set(lines)


def test_an_address_in_place_of_a_name(authority: Authority, good: ssl.SSLContext) -> None:
    with website(good, answering(KEYS)) as (port, _):
        assert hear(Issuer("i", f"https://127.0.0.1:{port}/"), authority.file, found).found == [("i", KEYS)]


@pytest.mark.parametrize("days", [1, -1])
@pytest.mark.parametrize("name", ["issuer.example", "other.example"])
@pytest.mark.parametrize("own", [False, True])
def test_only_a_good_certificate_is_trusted(authority: Authority, days: int, name: str, *, own: bool) -> None:
    with website(authority.server(name, days=days, own=own), answering(KEYS)) as (port, requests):
        heard = hear(at(port), authority.file, lambda heard: found(heard) or failed(heard))
    if (days, name, own) == (1, "issuer.example", False):
        assert (heard.found, heard.failed) == ([("issuer", KEYS)], [])
    else:
        assert (heard.found, requests) == ([], [])
        assert "its certificate is not trusted: " in heard.failed[0]


def test_the_authority_of_somebody_else_is_not_trusted(
    good: ssl.SSLContext, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(tmp_path_factory.mktemp("other"))
    with website(good, answering(KEYS)) as (port, _):
        assert "not trusted" in hear(at(port), other.file, failed).failed[0]


def test_old_versions_of_tls_are_refused(authority: Authority, good: ssl.SSLContext) -> None:
    good.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        good.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        good.maximum_version = ssl.TLSVersion.TLSv1_1
    with website(good, answering(KEYS)) as (port, _):
        assert "TLS failed" in hear(at(port), authority.file, failed).failed[0]


def _stop(_connection: ssl.SSLSocket, _request: bytes) -> None:
    raise OSError


def _endless(connection: ssl.SSLSocket, _request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1000\r\n" + bytes(4096) + b"\r\n")


def _endless_headers(connection: ssl.SSLSocket, _request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: " + b"y" * 1000 + b"\r\n")


FAULTS: dict[str, tuple[Answer, str]] = {
    "redirect": (answering(b"", "Location: https://other.example/", status="302 Found"), "redirects .HTTP status 302."),
    "not there": (answering(b"no", status="404 Not Found"), "status 404"),
    "no content": (sending(b"HTTP/1.1 204 No Content\r\n\r\n"), "status 204"),
    "empty": (answering(b""), "is empty"),
    "compressed": (answering(KEYS, "Content-Encoding: gzip"), "compressed"),
    "announced too long": (
        sending(f"HTTP/1.1 200 OK\r\nContent-Length: {MAX_DOCUMENT + 1}\r\n\r\n".encode()),
        f"more than {MAX_DOCUMENT} bytes",
    ),
    "a length without end": (sending(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"), "HTTP"),
    "two lengths": (sending(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "keep to HTTP"),
    "too long": (_endless, f"more than {MAX_DOCUMENT} bytes"),
    "headers without end": (_endless_headers, "does not keep to HTTP|closed"),
    "interim answers": (sending(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "interim answers"),
    "half": (sending(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "does not keep to HTTP"),
    "closed": (_stop, "closed the connection"),
    "no HTTP": (sending(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not keep to HTTP"),
    "zeros": (sending(bytes(100000)), "does not keep to HTTP"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_the_request_and_the_next_one_succeeds(
    authority: Authority, good: ssl.SSLContext, name: str
) -> None:
    answer, error = FAULTS[name]
    with website(good, answer, answering(KEYS)) as (port, _):
        heard = hear(at(port), authority.file, found)
    assert heard.found == [("issuer", KEYS)]
    (text,) = heard.failed
    assert re.search(error, text), text
    assert text.startswith(f"https://issuer.example:{port}/jwks?v=1: ")
    assert text.isprintable()


def _silent(connection: ssl.SSLSocket, _request: bytes) -> None:
    connection.recv(1)


def _drip(connection: ssl.SSLSocket, _request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b" ")
        time.sleep(0.01)


@pytest.mark.parametrize("answer", [_silent, _drip])
def test_an_answer_has_to_come_in_time(authority: Authority, good: ssl.SSLContext, answer: Answer) -> None:
    with website(good, answer) as (port, _):
        heard = hear(at(port), authority.file, failed, FAST._replace(first_s=0.2))
    assert "did not come in time" in heard.failed[0]


def test_keys_are_asked_for_again_and_kept_meanwhile(authority: Authority, good: ssl.SSLContext) -> None:
    answers = (answering(b"1"), answering(b"", status="503 Busy"), answering(b"2"))
    with website(good, *answers) as (port, _):
        heard = hear(at(port), authority.file, lambda heard: len(heard.found) == 2)
    assert [document for _, document in heard.found] == [b"1", b"2"]
    assert len(heard.failed) == 1


def discovery(issuer: str, jwks: str) -> Answer:
    return answering(json.dumps({"issuer": issuer, "jwks_uri": jwks, "more": [[[]]]}).encode())


def test_discovery_leads_to_the_keys(authority: Authority, good: ssl.SSLContext) -> None:
    with website(good, answering(KEYS)) as (keys_port, keys_requests):
        jwks = f"https://issuer.example:{keys_port}/keys"

        def answer(connection: ssl.SSLSocket, request: bytes) -> None:
            discovery(name, jwks)(connection, request)

        with website(good, answer) as (port, requests):
            name = f"https://issuer.example:{port}/a"
            heard = hear(Issuer(name), authority.file, found)
    assert (heard.found, heard.failed) == ([(name, KEYS)], [])
    assert requests[0].startswith(b"GET /a/.well-known/openid-configuration HTTP/1.1\r\n")
    assert keys_requests[0].startswith(b"GET /keys HTTP/1.1\r\n")


METADATA: dict[str, tuple[Answer, str]] = {
    "another issuer": (discovery("https://issuer.example/b", "https://a/"), "those of the issuer"),
    "a slash more": (discovery("{issuer}/", "https://a/"), "those of the issuer"),
    "no https": (discovery("{issuer}", "http://issuer.example/"), "jwks_uri .* https://"),
    "no object": (answering(b"[]"), "no metadata"),
    "no keys": (answering(b'{"issuer":"a"}'), "no metadata"),
    "no JSON": (answering(b"<html>"), "no metadata"),
    "deep": (answering(b'{"a":' + b"[" * 60000), "no metadata"),
    "too long": (answering(bytes(MAX_DISCOVERY + 1)), f"more than {MAX_DISCOVERY} bytes"),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_have_to_be_the_issuers(authority: Authority, good: ssl.SSLContext, name: str) -> None:
    answer, error = METADATA[name]

    def answer_with_issuer(connection: ssl.SSLSocket, request: bytes) -> None:
        class Filling:
            def sendall(self, data: bytes) -> None:
                filled = data.replace(b"{issuer}", issuer.encode())
                length = len(filled) - len(data) + int(re.search(rb"Length: (\d+)", data)[1])  # type: ignore[index]
                connection.sendall(re.sub(rb"Length: \d+", b"Length: %d" % length, filled, count=1))

        answer(Filling(), request)  # type: ignore[arg-type]

    with website(good, answer_with_issuer) as (port, _):
        issuer = f"https://issuer.example:{port}/a"
        heard = hear(Issuer(issuer), authority.file, failed)
    assert heard.found == []
    assert re.search(error, heard.failed[0]), heard.failed


@pytest.mark.parametrize("issuer", [Issuer("http://a/"), Issuer("a", "http://a/"), Issuer("https://a/?b")])
def test_only_https(issuer: Issuer, authority: Authority) -> None:
    with pytest.raises(EndpointError):
        Https(Loop(), issuer, Tools(trust(authority.file), NAMES), Heard().reports)


def test_what_is_no_authority_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"text"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(SourceError, match="cannot be used"):
            trust(str(tmp_path / "file"))
    with pytest.raises(SourceError, match="No such file"):
        trust(str(tmp_path / "none"))


def test_nobody_there(authority: Authority) -> None:
    assert "Connection refused" in hear(at(1), authority.file, failed).failed[0]
