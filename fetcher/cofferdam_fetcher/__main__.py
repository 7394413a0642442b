"""A fetcher: one source of keys in the network, or an agent on this machine, whose answers go to the identity process.

It holds nothing: no secret, no key of a provider, no token. What it brings is looked at by the identity process, and
counts for one authenticator alone.
"""

import os
from collections.abc import Callable

from cofferdam_contracts.endpoints import EndpointError, UnixEndpoint, parse_endpoint
from cofferdam_contracts.ipc.control import Failure, UpstreamChannel
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.grants import MAX_ANNOUNCED, GrantMessage
from cofferdam_contracts.roles import Role
from cofferdam_contracts.token_settings import FetcherSettings
from cofferdam_fetcher.source import Reports, Source, SourceError
from cofferdam_runtime.channel import Channel, ChannelClosedError, MessageSizeError
from cofferdam_runtime.entry import Child, Reporter, begin, confine, give_up
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, WRITE, Loop
from cofferdam_runtime.notices import ChildLog
from cofferdam_runtime.sandbox.policies import POLICIES, for_agent, for_network
from cofferdam_runtime.sandbox.policy import Policy


class Announcer:
    """Passes on what a source finds, and all of it again to a successor of the identity process."""

    def __init__(self, loop: Loop, log: Log, reporter: Reporter) -> None:
        """Have no channel yet; what is found meanwhile is repeated when there is one."""
        self._loop, self._log, self._reporter = loop, log, reporter
        self._channel: Channel | None = None
        self._before = 0
        self._number = 0
        self.repeat: Callable[[], None] = lambda: None
        """Has the source report again."""

    def attach(self, record: UpstreamChannel) -> None:
        """Use a channel to the identity process in place of the one before."""
        self._drop()
        self._channel, self._before = Channel.of(record.descriptor, MAX_ANNOUNCED), record.before
        self._loop.add(record.descriptor, READ, self._on_events)
        self.repeat()

    def found(self, name: str, document: bytes) -> None:
        """Pass on a document of an issuer; an empty name ends what the source knows."""
        if self._channel is None:
            return
        self._number += 1
        try:
            self._channel.send((int(GrantMessage.BUNDLE), self._number, name, document))
        except MessageSizeError as error:
            self._log.error("the keys of an issuer are too many to pass on", issuer=name, cause=error)
        except ChannelClosedError as error:
            self._lose(error)
            return
        if self._channel.backlog:
            self._loop.change(self._channel.fileno(), READ | WRITE)

    def complete(self) -> None:
        """Tell that everything was passed on that is known."""
        self.found("", b"")

    def _on_events(self, events: int) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            if events & WRITE:
                channel.flush()
                if not channel.backlog:
                    self._loop.change(channel.fileno(), READ)
            message = channel.receive()
        except (ChannelClosedError, FramingError) as error:
            self._lose(error)
            return
        if message is None:
            return
        if message != (Common.HELLO,):
            self._lose(FramingError(f"message {message[0]!r:.20} of the identity process"))
        else:
            self.repeat()

    def _lose(self, cause: Exception) -> None:
        self._drop()
        self._log.error(
            "the channel to the identity process is lost; keys wait until the broker makes another",
            cause=str(cause) or type(cause).__name__,
        )
        self._reporter.broken(Role.IDENTITY, 0, self._before)

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            self._loop.remove(channel.fileno())
            channel.close()


def main() -> int:
    """Fetch keys until the broker sends STOP."""
    start = begin("fetcher")
    settings = start.settings(FetcherSettings)
    log = ChildLog("fetcher", settings.log, start)
    loop = Loop()
    reporter = Reporter(start.control)
    announcer = Announcer(loop, log, reporter)
    reports = Reports(found=announcer.found, failed=lambda why: _say(log, why), complete=announcer.complete)
    try:
        source, policy = _source(settings, loop, reports)
    except (EndpointError, SourceError) as error:
        _say(log, str(error))
        give_up(start.control, Failure.CONFIGURATION)
    announcer.repeat = source.repeat
    achieved = confine(start, log, policy)
    child = Child(start, log, loop, reporter, {UpstreamChannel: announcer.attach})
    child.ready(achieved)
    source.start()
    loop.run(source.tick)
    os._exit(0)


def _say(log: Log, why: str) -> None:
    log.error("keys of issuers cannot be fetched; those that are known stay in force until they are too old", cause=why)


def _source(settings: FetcherSettings, loop: Loop, reports: Reports) -> tuple[Source, Policy]:
    """Return where the keys are, and what the process may do to get them."""
    policy = POLICIES[Role.FETCHER]
    if settings.workload_endpoint is not None:
        from cofferdam_fetcher.workload_api import WorkloadApi  # noqa: PLC0415  the other source has no HTTP/2

        endpoint = parse_endpoint(settings.workload_endpoint)
        is_local = isinstance(endpoint, UnixEndpoint)
        return WorkloadApi(loop, endpoint, reports), for_agent(policy) if is_local else for_network(policy)
    from cofferdam_fetcher.https import Https, Issuer, Tools  # noqa: PLC0415  the other source has no TLS
    from cofferdam_fetcher.resolver import read_names  # noqa: PLC0415
    from cofferdam_fetcher.tls import trust  # noqa: PLC0415

    issuer = Issuer(settings.issuer, settings.jwks_url or "")
    # What is read of the system is read before the process is confined.
    tools = Tools(trust(settings.ca_file or ""), read_names())
    return Https(loop, issuer, tools, reports), for_network(policy)
