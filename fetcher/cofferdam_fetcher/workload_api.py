"""Trust bundles of SPIFFE: keeps a call of `FetchJWTBundles` open, and makes it again whenever it ends.

The states and what each waits for:

    connecting   a connection
    first        the first message of the stream
    open         more messages; now and then it asks whether the agent is there, and waits for the answer
    paused       the end of a pause after a failure
"""

import socket
from collections.abc import Callable
from typing import Final

from cofferdam_contracts.endpoints import Endpoint, UnixEndpoint
from cofferdam_fetcher.bundle_stream import BundleStream
from cofferdam_fetcher.limits import USUAL, Times
from cofferdam_fetcher.link import Events, Link, Place, Plain
from cofferdam_fetcher.source import Deadline, Pauses, Reports, SourceError, Teller
from cofferdam_runtime.loop import IDLE_S, Loop

_CONNECTION, _FIRST, _MESSAGE, _PROBE, _ANSWER, _PAUSE = (
    "connection",
    "first message",
    "end of a message",
    "time to ask",
    "answer to a ping",
    "end of a pause",
)
_WINDOW_S: Final = 60.0
_MOST_MESSAGES: Final = 120
"""Messages in that time: keys change a few times an hour."""


class WorkloadApi:
    """The bundles of all trust domains that an agent knows."""

    def __init__(self, loop: Loop, endpoint: Endpoint, reports: Reports, times: Times = USUAL) -> None:
        """Make a source that does nothing yet."""
        self._loop, self._times = loop, times
        self._place = _place(endpoint)
        self._who = f"the Workload API at {_shown(endpoint)}"
        self._teller = Teller(reports)
        self._pauses = Pauses(times)
        self._deadline, self._window = Deadline(), Deadline()
        self._messages = 0
        """Messages within the window."""
        self._link: Link | None = None
        self._stream: BundleStream | None = None
        self._answers = 0
        self._overdue: dict[str, Callable[[], None]] = {
            _CONNECTION: lambda: self._fail("there is no connection yet"),
            _FIRST: lambda: self._fail("it sent no bundles"),
            _MESSAGE: lambda: self._fail("it began a message and did not end it"),
            _PROBE: self._ask,
            _ANSWER: lambda: self._fail("it does not answer"),
            _PAUSE: self._connect,
        }

    def start(self) -> None:
        """Connect with the next tick."""
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
        return self._deadline.left() if self._deadline.what else IDLE_S

    def _connect(self) -> None:
        self._deadline.set(_CONNECTION, self._times.connect_s)
        try:
            self._link = Link(self._loop, self._place, Plain(), Events(self._begin, self._receive, self._fail))
        except SourceError as error:
            self._fail(str(error))

    def _begin(self) -> None:
        self._stream, self._answers = BundleStream(), 0
        self._deadline.set(_FIRST, self._times.first_s)
        self._send()

    def _receive(self, data: bytes) -> None:
        if self._stream is None:
            raise SourceError("it closed the connection")
        for bundles in self._stream.receive(data):
            self._count()
            self._pauses.succeed()
            self._deadline.set(_PROBE, self._times.probe_s)
            self._teller.found(bundles)
        self._send()
        self._look_at(self._stream)

    def _look_at(self, stream: BundleStream) -> None:
        """Set the deadline by what the stream waits for now."""
        if stream.answers > self._answers:
            self._answers = stream.answers
            if self._deadline.what == _ANSWER:
                self._deadline.set(_PROBE, self._times.probe_s)
                self._teller.repeat()
        if stream.is_partial and self._deadline.what == _PROBE:
            self._deadline.set(_MESSAGE, self._times.message_s)

    def _count(self) -> None:
        if not self._window.left():
            self._window.set("", _WINDOW_S)
            self._messages = 0
        self._messages += 1
        if self._messages > _MOST_MESSAGES:
            raise SourceError(f"it sent more than {_MOST_MESSAGES} messages within {_WINDOW_S:.0f} s")

    def _ask(self) -> None:
        if self._stream is not None:
            self._stream.ask()
        self._deadline.set(_ANSWER, self._times.answer_s)
        try:
            self._send()
        except SourceError as error:
            self._fail(str(error))

    def _send(self) -> None:
        if self._link is not None and self._stream is not None and (data := self._stream.unsent()):
            self._link.send(data)

    def _fail(self, text: str) -> None:
        self._hang_up()
        self._deadline.set(_PAUSE, self._pauses.fail())
        self._teller.failed(f"{self._who}: {text}")

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = self._stream = None


def _place(endpoint: Endpoint) -> Place:
    if isinstance(endpoint, UnixEndpoint):
        return Place(socket.AF_UNIX, endpoint.path)
    return Place(socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET, (endpoint.host, endpoint.port))


def _shown(endpoint: Endpoint) -> str:
    return endpoint.path if isinstance(endpoint, UnixEndpoint) else f"{endpoint.host} port {endpoint.port}"
