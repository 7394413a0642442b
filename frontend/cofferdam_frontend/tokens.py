"""Tokens of clients: shown to the identity process once, and then named by the handle that it has granted.

    unknown --VERIFY--> granted for the servers that were asked for --until--> unknown
                      `-> refused, and not remembered

The identity process has told the servers for whom this frontend may speak (`contracts.ipc.grants`), so a handle is
worth nothing elsewhere, and a token is kept only while it is being verified: it is recognised by its digest. A server
that knows no such grant, because it or the identity process was replaced, or because the identity was revoked, answers
AUTHENTICATION_ERROR; the token is then shown once more (`Pipeline`).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from msgspec import Struct

from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.grants import VERIFIED, GrantMessage
from cofferdam_contracts.ipc.limits import MAX_TOKEN
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_frontend.auth import Identity, IdentitySource
from cofferdam_frontend.upstream import InFlight, Upstream
from cofferdam_runtime.grants import now_us

MOST: Final = 256
"""Tokens that are remembered; the identity process keeps as many grants for a frontend."""
_VERIFY: Final = int(GrantMessage.VERIFY)
_ENVELOPE: Final = 3
_STATUSES: Final = frozenset(map(int, Status))

Settle = Callable[[Identity | ServiceError], None]


class IdentityUpstream(Upstream):
    """The identity process."""

    def verify(self, authenticator: int, servers: int, token: bytes, settle: Callable[[int, Any], None]) -> int:
        """Ask who a token is from; `settle` gets the status and the answer's fields. Return the number of the question.

        Args:
            authenticator: Whose token it is.
            servers: The roles that will be asked, as bits.
            token: At most `MAX_TOKEN` bytes.
            settle: Called once, now or later, unless the question is withdrawn.

        Raises:
            ServiceError: The identity process is down, or too much is in flight.
        """
        deadline, number = self._admit(), self._last_id + 1
        message = (_VERIFY, number, deadline, authenticator, servers, token)
        self._ask(number, InFlight(settle, deadline, message), message)
        return number

    def withdraw(self, number: int) -> None:
        """Forget a question; its answer is for nobody."""
        self._in_flight.pop(number, None)

    def _take_answer(self, message: tuple[Any, ...]) -> None:
        number, request_id, status, *fields = message if len(message) >= _ENVELOPE else (0, 0, 0)
        if number != _VERIFY + 1 or type(request_id) is not int or type(status) is not int or status not in _STATUSES:
            raise ForbiddenMessageError("a malformed answer of the identity process")
        if fields if status else not VERIFIED.accepts(tuple(fields)):
            raise ForbiddenMessageError("an answer of the identity process with the wrong fields")
        self._finish(request_id, status, tuple(fields))

    def _greet(self) -> None:
        # Verifying a token changes nothing.
        for waiting in list(self._in_flight.values()):
            self._send(waiting.question)


class _Known(Struct):
    identity: Identity
    servers: int
    until_us: int


class Tokens:
    """The tokens that one principal's clients have shown."""

    def __init__(self, upstream: IdentityUpstream) -> None:
        """Know none yet."""
        self._upstream = upstream
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        """By digest, the longest unused first."""

    def find(self, authenticator: int, token: bytes, servers: int) -> Identity | IdentitySource:
        """Return whom a token is from, or whom to ask.

        Args:
            authenticator: Whose token it is.
            token: What the client has shown.
            servers: The roles that will be asked, as bits.

        Raises:
            ServiceError: AUTHENTICATION_ERROR: no token is that long.
        """
        if len(token) > MAX_TOKEN:
            raise ServiceError(Status.AUTHENTICATION_ERROR, f"a token of {len(token)} bytes, the limit is {MAX_TOKEN}")
        digest = _digest(authenticator, token)
        known = self._known.get(digest)
        if known is None or servers & ~known.servers or known.until_us <= now_us():
            return partial(self._ask, authenticator, servers, digest)
        self._known.move_to_end(digest)
        return known.identity

    def forget(self, authenticator: int, token: bytes) -> None:
        """Have a token verified again when it is shown next."""
        self._known.pop(_digest(authenticator, token), None)

    def _ask(self, authenticator: int, servers: int, digest: bytes, token: bytes, settle: Settle) -> Callable[[], None]:
        def done(status: int, fields: tuple[Any, ...]) -> None:
            if status:
                settle(ServiceError(Status(status), "the identity process refused the token, and logged why"))
                return
            handle, admin, until_us = fields
            identity = Identity(authenticator, handle, bool(admin))
            before = self._known.pop(digest, None)
            together = servers | (before.servers if before is not None and before.identity == identity else 0)
            self._known[digest] = _Known(identity, together, until_us)
            if len(self._known) > MOST:
                self._known.popitem(last=False)
            settle(identity)

        number = self._upstream.verify(authenticator, servers, token, done)
        return lambda: self._upstream.withdraw(number)


def _digest(authenticator: int, token: bytes) -> bytes:
    return hashlib.sha256(bytes((authenticator,)) + token).digest()
