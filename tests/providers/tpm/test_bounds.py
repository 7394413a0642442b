"""Limits of a TPM's worker: the length of a command, and what an error keeps alive."""

import pytest
from tests.providers.support import refused

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pkcs11.provider import Pkcs11Provider
from cofferdam_providers.tpm.codes import MOST_BYTES, Command
from cofferdam_providers.tpm.connection import TpmConnection
from cofferdam_providers.tpm.provider import TpmProvider


class Recorder:
    """A transport to nowhere, which must not break."""

    starts_up = False
    is_managed = True

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def exchange(self, command: bytes, timeout_s: float) -> bytes:
        self.sent.append(command)
        return bytes.fromhex("8001 0000000a 00000000")

    def close(self) -> None:
        pass


def test_a_command_that_is_too_long_is_not_sent_and_breaks_nothing() -> None:
    recorder = Recorder()
    connection = TpmConnection(recorder)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        connection.execute(Command.FLUSH_CONTEXT, parameters=bytes(MOST_BYTES - 9))
    assert recorder.sent == []
    connection.execute(Command.FLUSH_CONTEXT, parameters=bytes(MOST_BYTES - 10))
    assert [len(command) for command in recorder.sent] == [MOST_BYTES]


@pytest.mark.parametrize("kind", [TpmProvider, Pkcs11Provider])
def test_a_refusal_keeps_no_requests_alive(kind: type[TpmProvider] | type[Pkcs11Provider]) -> None:
    provider = object.__new__(kind)
    provider._opened = None
    provider._refusal = ServiceError(Status.PSA_ERROR_HARDWARE_FAILURE, "away")
    for _ in range(3):
        with refused(Status.PSA_ERROR_HARDWARE_FAILURE):
            provider.require_device()
    # The frames of a traceback hold the requests that they worked on.
    assert provider._refusal.__traceback__ is None
