"""The keys of an issuer by HTTPS: a JWK set at an URL, or found by OIDC discovery. Asked for again and again.

The states and what each waits for:

    address      the address of the host
    connection   a connection with TLS
    answer       the whole answer
    paused       the end of the document's age, or of a pause after a failure

With discovery, there are two requests in turn, the second to where the answer of the first says.
"""

import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

from cofferdam_contracts.endpoints import HttpsUrl, parse_url
from cofferdam_fetcher.discovery import jwks_of, parse_issuer
from cofferdam_fetcher.http_get import Get
from cofferdam_fetcher.limits import MAX_DISCOVERY, MAX_DOCUMENT, USUAL, Times
from cofferdam_fetcher.link import Events, Link, Place
from cofferdam_fetcher.resolver import Lookup, Names
from cofferdam_fetcher.source import Deadline, Pauses, Reports, SourceError, Teller, spread
from cofferdam_fetcher.tls import Tls
from cofferdam_runtime.loop import IDLE_S, Loop

_ADDRESS, _CONNECTION, _ANSWER, _PAUSE = "address", "connection", "answer", "end of a pause"


class Issuer(NamedTuple):
    """Whose keys, and where they are."""

    name: str
    """What tokens have in `iss`."""
    jwks_url: str = ""
    """Where the keys are; empty: ask the issuer."""


class Tools(NamedTuple):
    """What was made before the process confined itself."""

    context: ssl.SSLContext
    names: Names


class Https:
    """The keys of one issuer."""

    def __init__(self, loop: Loop, issuer: Issuer, tools: Tools, reports: Reports, times: Times = USUAL) -> None:
        """Make a source that does nothing yet.

        Raises:
            EndpointError: The URL or the issuer cannot be used.
        """
        self._loop, self._issuer, self._tools, self._times = loop, issuer, tools, times
        self._first = parse_url(issuer.jwks_url) if issuer.jwks_url else parse_issuer(issuer.name)
        self._url = self._first
        self._is_discovery = False
        self._teller, self._pauses, self._deadline = Teller(reports), Pauses(times), Deadline()
        self._lookup: Lookup | None = None
        self._places: list[Place] = []
        """Addresses that were not tried yet."""
        self._link: Link | None = None
        self._get: Get | None = None
        self._overdue: dict[str, Callable[[], None]] = {
            _ADDRESS: lambda: self._fail("its name was not found in time: no name server answers"),
            _CONNECTION: lambda: self._try_next("there is no connection yet"),
            _ANSWER: lambda: self._fail("its answer did not come in time"),
            _PAUSE: self._begin,
        }

    def start(self) -> None:
        """Ask with the next tick."""
        self._deadline.set(_PAUSE, 0.0)

    def repeat(self) -> None:
        """Report again what was found last."""
        self._teller.repeat()

    def close(self) -> None:
        """Close the connection, for good."""
        self._hang_up()
        self._deadline.what = ""

    def tick(self) -> float:
        """Do what is due, and return the seconds until it must run again."""
        if self._deadline.what and not self._deadline.left():
            self._overdue[self._deadline.what]()
        if self._lookup is not None:
            self._lookup.tick()
        return self._wait()

    def _wait(self) -> float:
        if not self._deadline.what:
            return IDLE_S
        left = self._deadline.left()
        return left if self._lookup is None else min(left, self._lookup.left())

    def _begin(self) -> None:
        self._is_discovery = not self._issuer.jwks_url
        self._ask(self._first)

    def _ask(self, url: HttpsUrl) -> None:
        self._hang_up()
        self._url = url
        self._deadline.set(_ADDRESS, self._times.connect_s)
        self._lookup = Lookup(self._loop, self._tools.names, url.host, self._resolved)
        self._lookup.start()

    def _resolved(self, addresses: list[str], problem: str) -> None:
        self._lookup = None
        self._places = [
            Place(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, self._url.port))
            for address in addresses
        ]
        self._try_next(problem)

    def _try_next(self, problem: str) -> None:
        """Connect to the next address; `problem` is what was wrong with the one before."""
        self._drop_link()
        while self._places:
            place = self._places.pop(0)
            self._deadline.set(_CONNECTION, self._times.connect_s)
            try:
                layer = Tls(self._tools.context, self._url.host)
                self._link = Link(self._loop, place, layer, Events(self._send, self._receive, self._broken))
            except SourceError as error:
                problem = str(error)
            else:
                return
        self._fail(problem)

    def _broken(self, text: str) -> None:
        if self._deadline.what == _CONNECTION:
            self._try_next(text)
        else:
            self._fail(text)

    def _send(self) -> None:
        self._get = Get(self._url, MAX_DISCOVERY if self._is_discovery else MAX_DOCUMENT)
        self._deadline.set(_ANSWER, self._times.first_s)
        if self._link is not None:
            self._link.send(self._get.request)

    def _receive(self, data: bytes) -> None:
        if self._get is None:
            raise SourceError("it closed the connection")
        document = self._get.receive(data)
        if document is None:
            return
        if self._is_discovery:
            url = jwks_of(document, self._issuer.name)
            self._is_discovery = False
            self._ask(url)
            return
        if not document:
            raise SourceError("its document is empty")
        self._pauses.succeed()
        self._deadline.set(_PAUSE, spread(self._age(self._get.max_age)))
        self._hang_up()
        self._teller.found({self._issuer.name: document})

    def _age(self, max_age: int | None) -> float:
        wanted = self._times.usual_s if max_age is None else float(max_age)
        return min(max(wanted, self._times.soonest_s), self._times.latest_s)

    def _fail(self, text: str) -> None:
        self._hang_up()
        self._deadline.set(_PAUSE, self._pauses.fail())
        self._teller.failed(f"https://{self._url.authority}{self._url.target}: {text}")

    def _hang_up(self) -> None:
        self._drop_link()
        self._places = []
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = self._get = None
