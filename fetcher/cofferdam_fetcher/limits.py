"""Limits of what a source of bundles may send, and how long it may take. Times in seconds, sizes in bytes."""

from typing import Final, NamedTuple

from cofferdam_contracts.ipc.limits import MAX_BUNDLE

MAX_DOCUMENT: Final = MAX_BUNDLE
"""A document with the keys of one trust domain or issuer; the largest seen, with 40 keys of RSA 4096, has 30,000."""
MAX_MESSAGE: Final = 1 << 20
"""A message of the Workload API, which has the documents of all trust domains."""
MAX_DOMAINS: Final = 256
MAX_DISCOVERY: Final = 1 << 16
"""The document of OIDC discovery."""
READ_SIZE: Final = 1 << 16
"""What is read in one turn of the loop, so that the process also answers its broker."""
MAX_UNSENT: Final = 1 << 16
"""What may wait to be sent: nothing of ours is long, so the peer makes us answer and does not read."""


class Times(NamedTuple):
    """How long things may take."""

    connect_s: float = 10.0
    """Until there is a connection, with TLS if it has that."""
    first_s: float = 30.0
    """From there to the first message of a stream, or to the whole answer of a request."""
    message_s: float = 30.0
    """From the first byte of a message to its last."""
    probe_s: float = 330.0
    """From one question whether an agent is there to the next. The library of SPIRE (gRPC for Go) ends a connection
    that is asked more often than every 300 s."""
    answer_s: float = 20.0
    """Until it answers that."""
    first_pause_s: float = 1.0
    """The pause after one failure; it doubles with each further one."""
    longest_pause_s: float = 60.0
    soonest_s: float = 60.0
    """The shortest time from one request to the next, whatever the answer says about its age."""
    usual_s: float = 300.0
    """The same, if the answer says nothing."""
    latest_s: float = 3600.0


USUAL: Final = Times()
