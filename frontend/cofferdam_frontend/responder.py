"""The answer to one request: turns a status and a result into a response on its connection."""

from collections.abc import Callable
from functools import partial
from typing import Any

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_contracts.wire.bodies import encode_result
from cofferdam_contracts.wire.header import RequestHeader, response_bytes
from cofferdam_frontend.budget import Share
from cofferdam_frontend.connection import ClientConnection


class Responder:
    """Answers one request, once."""

    __slots__ = ("_again", "_header", "_share", "connection", "request_id")

    def __init__(self, connection: ClientConnection, header: RequestHeader, request_id: int) -> None:
        """Answer the request with this header; the id names it in every log line about it."""
        self.request_id = request_id
        self.connection = connection
        self._header = header
        self._again: Callable[[], None] | None = None
        self._share: Share | None = None

    def hold(self, again: Callable[[], None], size: int) -> bool:
        """Keep a request of this size until it is answered; return False if the budget has no room.

        If a server does not know whom it is from, `again` has it carried out again, once.
        """
        self._again, self._share = again, self.connection.share()
        return self._share.hold(size)

    def give_up(self) -> None:
        """Answer with whatever comes next: the identity has been asked for again already."""
        self._again = None

    def answer(self, status: int, results: tuple[Any, ...]) -> None:
        """Answer with the status and the results of a worker."""
        if status == Status.SUCCESS:
            self.succeed(results)
        else:
            self.fail(status)

    def answer_unlisted(self, status: int, results: tuple[Any, ...]) -> None:
        """Answer with the status and the results of an operation that ListOpcodes does not list.

        Clients look for operations with the name of a key that does not exist. What they learn has to be what the list
        says, as with the reference.
        """
        self.answer(Status.PSA_ERROR_NOT_SUPPORTED if status == Status.PSA_ERROR_DOES_NOT_EXIST else status, results)

    def succeed(self, results: Any) -> None:  # noqa: ANN401  what `encode_result` takes for the opcode
        """Answer with success and a result."""
        self.encode(partial(encode_result, self._header.opcode), results)

    def encode(self, encode: Callable[[Any], bytes], results: Any) -> None:  # noqa: ANN401  what a server sent
        """Answer with success and an encoded result, or with a status if a server sent what cannot be encoded."""
        try:
            body = encode(results)
        except (ServiceError, ValueError, TypeError):
            self.fail(Status.SERIALIZING_BODY_FAILED)
            return
        self.send(body)

    def send(self, body: bytes) -> None:
        """Answer with success and an encoded result, if the budget has room for it to wait for the client."""
        self.release()
        if self.connection.has_room(len(body)):
            self.connection.respond(response_bytes(self._header, Status.SUCCESS, body))
        else:
            self.fail(Status.PSA_ERROR_INSUFFICIENT_MEMORY)

    def fail(self, status: int) -> None:
        """Answer with a status other than success, or have the request carried out again, see `hold`."""
        again, self._again = self._again, None
        if status == Status.AUTHENTICATION_ERROR and again is not None:
            again()
            return
        self.release()
        self.connection.respond(response_bytes(self._header, status))

    @property
    def holds(self) -> bool:
        """Whether the request is kept, and counted, by this responder."""
        return self._share is not None

    def release(self) -> None:
        """Keep the request no longer: it is answered, or nobody is left to answer."""
        self._again = None
        if self._share is not None:
            self._share.force(0)
