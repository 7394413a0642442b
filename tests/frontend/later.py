"""An authenticator that answers later: it asks another process over a channel, as one for tokens will do.

    with LaterStage() as later:
        client = later.stage.client()
        client.send(request_with(b"a token"))
        (question,) = later.questions()
        later.say(question, "name")

The tests play the process at the other end. `forgets` is False for an authenticator that does not forget what it has
been told to, so that its answers come late.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Self
from unittest.mock import patch

from tests.frontend.stage import ADMIN, SETTINGS, Stage
from tests.harness.wire import KEEP_ALIVE, Caller, Request

from cofferdam_contracts.registry import AUTHENTICATORS, AuthenticatorDescription, AuthType
from cofferdam_contracts.settings import AuthenticatorSettings, FrontendSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_frontend.auth import Identity
from cofferdam_runtime.channel import Channel
from cofferdam_runtime.loop import READ, Loop
from cofferdam_runtime.pairs import socket_pair

JWT = AuthType.JWT_SVID
ASK, ANSWER = 2, 3
AT_ONCE, REFUSED_AT_ONCE = b"known already", b"refused at once"
_LIMIT = 1 << 17
Settle = Callable[[Identity | ServiceError], None]


def application(name: str) -> Identity:
    return Identity(JWT, name, name == ADMIN)


class TokenAuthenticator:
    """The authenticator: in the frontend's process, on its loop."""

    def __init__(self, loop: Loop, descriptor: int, *, forgets: bool) -> None:
        self._channel = Channel.of(descriptor, _LIMIT)
        self._forgets = forgets
        self._last = 0
        self.asked: dict[int, Settle] = {}
        loop.add(self._channel.fileno(), READ, self._on_answers)

    def __call__(self, proof: bytes, settle: Settle) -> Callable[[], None]:
        if proof == REFUSED_AT_ONCE:
            raise ServiceError(Status.AUTHENTICATION_ERROR, "a token that cannot be one")
        if proof == AT_ONCE:
            settle(application("cached"))
            return lambda: None
        self._last += 1
        self.asked[self._last] = settle
        self._channel.send((ASK, self._last, proof))
        return partial(self._forget, self._last)

    def _forget(self, number: int) -> None:
        if self._forgets:
            del self.asked[number]

    def _on_answers(self, _events: int) -> None:
        while (message := self._channel.receive()) is not None:
            _, number, status, name = message
            settle = self.asked.pop(number, None) if self._forgets else self.asked[number]
            if settle is not None:
                settle(ServiceError(Status(status), "a token that is not valid") if status else application(name))


class LaterStage:
    """A stage with such an authenticator, beside the others."""

    def __init__(self, changed: FrontendSettings = SETTINGS, *, forgets: bool = True) -> None:
        ours, theirs = socket_pair()
        self.process = Channel(ours, _LIMIT)
        loop = Loop()
        self.authenticator = TokenAuthenticator(loop, theirs.detach(), forgets=forgets)
        authenticators = (*changed.authenticators, AuthenticatorSettings(auth_type=JWT, admins=(ADMIN,)))
        # The row that a release with this authenticator would have.
        with patch.dict(AUTHENTICATORS, {JWT: AuthenticatorDescription(id=JWT, description="Asks another process.")}):
            self.stage = Stage(
                changed._replace(authenticators=authenticators),
                loop=loop,
                methods={JWT: lambda _proof, _servers: self.authenticator},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stage.loop.remove(self.authenticator._channel.fileno())
        self.authenticator._channel.close()
        self.process.close()
        self.stage.__exit__()

    def questions(self) -> list[tuple[int, bytes]]:
        """Return what the process has been asked since: numbers and tokens."""
        return [(message[1], message[2]) for message in self.stage.messages(self.process)]

    def say(self, question: tuple[int, bytes], name: str, status: int = 0) -> None:
        """Answer a question, with a name or a status."""
        self.stage.say(self.process, ANSWER, question[0], status, name)

    def pending(self) -> tuple[int, int]:
        """Return how many requests are pending, and how many bytes count."""
        return len(self.stage.frontend._identities), self.stage.frontend.budget.used


def with_token(request: Request, token: bytes = b"a token") -> bytes:
    """Return a request that is authenticated by a token, on a connection that is kept."""
    return request.but(auth_type=JWT, auth=token, flags=KEEP_ALIVE).to_bytes()


def random(size: int = 1, token: bytes = b"a token", **fields: Any) -> bytes:  # noqa: ANN401  fields of a request
    return with_token(Caller(1000).random(size).but(**fields), token)
