"""Commands to a TPM, one at a time: header, handles, authorisations and parameters, out and back."""

import select
import time
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import DeviceLostError
from cofferdam_providers.tpm.codes import HEADER, MOST_BYTES, NO_SESSIONS, SESSIONS, SHAPES, Command, Shape
from cofferdam_providers.tpm.errors import (
    AGAIN,
    Code,
    CommandFailedError,
    MalformedAnswerError,
    TpmError,
    base_of,
)
from cofferdam_providers.tpm.marshal import U16, U32, Reader
from cofferdam_providers.tpm.session import Authorization, Step
from cofferdam_providers.tpm.transport import Transport, TransportError

ANSWER_S: Final = 4.0
"""Longest wait for a response: shorter than the hang timeout (`limits.hang_ms`), so that the client gets a status."""
SLOW_ANSWER_S: Final = 600.0
"""Longest wait while a key is generated, which the broker bounds (`limits.generate_ms`)."""
AGAIN_S: Final = 2.0
"""How long a command is repeated that the TPM asks to be sent again."""
_PAUSE_S: Final = 0.002
_MOST_PAUSE_S: Final = 0.1
_NOTHING: Final = select.poll()
_RANDOM_BYTE: Final = U16.pack(NO_SESSIONS) + U32.pack(HEADER + 2) + U32.pack(Command.GET_RANDOM) + U16.pack(1)
"""A complete command."""


class TpmResponse(Struct, frozen=True):
    """The result of a command: a handle where there is one, and the parameters, decrypted."""

    handle: int
    parameters: Reader


class Named(Struct, frozen=True):
    """A handle, and the Name by which the TPM identifies the object (part 1, 16)."""

    handle: int
    name: bytes


def permanent(handle: int) -> Named:
    """Return a permanent handle, which is its own Name."""
    return Named(handle, U32.pack(handle))


class TpmConnection:
    """Sends commands to a TPM over a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.starts_up = transport.starts_up
        self.is_managed = transport.is_managed
        self._broken = False

    def execute(
        self,
        command: Command,
        handles: Sequence[Named] = (),
        parameters: bytes = b"",
        authorizations: Sequence[Authorization] = (),
    ) -> TpmResponse:
        """Send a command and return its response.

        Args:
            command: The command.
            handles: Its handle area.
            parameters: In plain text.
            authorizations: One for each handle that requires one, then a session that only encrypts, if any.

        Raises:
            TpmError: The TPM refused. `CommandFailedError` if the command failed in a TPM that works.
            DeviceLostError: The connection is unusable: it broke, or a response was missing or wrong.
        """
        shape = SHAPES[command]
        step = Step(
            U32.pack(command), b"".join(named.name for named in handles), shape.hides_parameter, shape.hides_answer
        )
        for authorization in authorizations:
            parameters = authorization.hide(step, parameters)
        area = b"".join(authorization.entry(step, parameters) for authorization in authorizations)
        body = (
            step.code
            + b"".join(U32.pack(named.handle) for named in handles)
            + (U32.pack(len(area)) + area if authorizations else b"")
            + parameters
        )
        tag = SESSIONS if authorizations else NO_SESSIONS
        message = U16.pack(tag) + U32.pack(len(body) + HEADER - U32.size) + body
        if len(message) > MOST_BYTES:
            # A simulator would take the excess for another command.
            raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"{len(message)} bytes are more than a TPM takes")
        if self._broken:
            raise DeviceLostError(Status.PSA_ERROR_COMMUNICATION_FAILURE, "the connection to the TPM is broken")
        try:
            return self._take(command, step, shape, self._exchange(command, shape, message), authorizations)
        except (TransportError, MalformedAnswerError) as error:
            self._broken = True
            said = error.detail if isinstance(error, MalformedAnswerError) else error
            raise DeviceLostError(
                Status.PSA_ERROR_COMMUNICATION_FAILURE, f"the TPM, TPM2_{command.name}: {said}"
            ) from error

    def close(self) -> None:
        """Close the transport."""
        self._transport.close()

    def _exchange(self, command: Command, shape: Shape, message: bytes) -> bytes:
        """Return a response without an error, repeating the command while the TPM asks for it again."""
        deadline = time.monotonic() + AGAIN_S
        pause = _PAUSE_S
        while True:
            answer = self._transport.exchange(message, SLOW_ANSWER_S if shape.slow else ANSWER_S)
            reader = Reader(answer)
            tag, size, code = reader.u16(), reader.u32(), reader.u32()
            if size != len(answer) or tag not in (NO_SESSIONS, SESSIONS):
                # TPM_RC_BAD_TAG has the tag of TPM 1.2; no command sent here can cause it.
                raise MalformedAnswerError(f"an answer of {len(answer)} bytes that says {size}, with tag {tag:#x}")
            if not code:
                return answer
            error = TpmError(command.name, code)
            if error.code == Code.FAILURE and not self._is_failing():
                raise CommandFailedError(command.name, code)
            if error.code not in AGAIN or time.monotonic() + pause > deadline:
                raise error
            # Not a sleep: the system call filter allows poll already.
            _NOTHING.poll(pause * 1000)
            pause = min(2 * pause, _MOST_PAUSE_S)

    def _is_failing(self) -> bool:
        """Tell whether the TPM is in failure mode, in which this command fails with the same code (part 1, 12.3)."""
        reader = Reader(self._transport.exchange(_RANDOM_BYTE, ANSWER_S))
        reader.take(U16.size + U32.size)
        return base_of(reader.u32()) == Code.FAILURE

    def _take(
        self, command: Command, step: Step, shape: Shape, answer: bytes, authorizations: Sequence[Authorization]
    ) -> TpmResponse:
        reader = Reader(answer, HEADER)
        if U16.unpack_from(answer)[0] != (SESSIONS if authorizations else NO_SESSIONS):
            raise MalformedAnswerError(f"the answer to TPM2_{command.name} has another tag than the command")
        handle = reader.u32() if shape.returns_handle else 0
        if not authorizations:
            return TpmResponse(handle, reader)
        parameters = reader.take(reader.u32())
        for authorization in authorizations:
            authorization.check(step, reader, parameters)
        reader.end()
        for authorization in reversed(authorizations):
            parameters = authorization.reveal(step, parameters)
        return TpmResponse(handle, Reader(parameters))
