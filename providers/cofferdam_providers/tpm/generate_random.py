"""Random bytes of the TPM.

A TPM returns at most as many bytes at a time as its longest digest has, and hardware takes milliseconds for that. A
long request would keep everybody waiting for minutes, so it is served from SHAKE256 over a seed: 64 bytes of the TPM
and 64 of the kernel, either of which suffices.
"""

import os
from functools import partial
from hashlib import shake_256
from typing import Final

from cofferdam_providers.tpm.codes import Command
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.errors import MalformedAnswerError
from cofferdam_providers.tpm.marshal import U16

MOST_OF_TPM: Final = 1024
"""Bytes of the longest request that is served from the TPM alone."""
_SEED: Final = 64


def random_bytes(device: TpmDevice, size: int) -> bytes:
    """Return `size` random bytes.

    Raises:
        ServiceError: The TPM refuses.
    """
    if size > MOST_OF_TPM:
        return shake_256(_of_tpm(device, _SEED) + os.urandom(_SEED)).digest(size)
    return _of_tpm(device, size)


def _of_tpm(device: TpmDevice, size: int) -> bytes:
    collected = b""
    while left := size - len(collected):
        collected += device.retry_after_reset(partial(_some, device, left))
    return collected


def _some(device: TpmDevice, most: int) -> bytes:
    answer = device.execute(Command.GET_RANDOM, (), U16.pack(most), device.protect())
    some = answer.parameters.sized()
    if not 0 < len(some) <= most:
        raise MalformedAnswerError(f"{len(some)} random bytes where it was asked for {most}")
    return some
