"""Random bytes of the token."""

from typing import Final

from cofferdam_providers.pkcs11.cryptoki import CryptokiError
from cofferdam_providers.pkcs11.device import TokenDevice

PIECE: Final = 1 << 16
"""Bytes requested at a time; a module need not return a megabyte at once."""


def random_bytes(device: TokenDevice, size: int) -> bytes:
    """Return random bytes.

    Raises:
        ServiceError: The token has no generator (`PSA_ERROR_INSUFFICIENT_ENTROPY`), or fails.
    """
    try:
        pieces = [device.cryptoki.random(min(PIECE, size - at)) for at in range(0, size, PIECE)]
    except CryptokiError as error:
        raise device.explained(error) from error
    return b"".join(pieces)
