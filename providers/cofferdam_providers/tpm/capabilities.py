"""What a TPM can do and has loaded, according to itself.

Source: TCG part 3, 30.2 (TPM2_GetCapability) and 30.3 (TPM2_TestParms).
"""

from typing import Final

from cofferdam_providers.tpm.codes import (
    CAP_ALGORITHMS,
    CAP_ECC_CURVES,
    CAP_HANDLES,
    CAP_TPM_PROPERTIES,
    FIRST_SESSION,
    FIRST_TRANSIENT,
    PT_HR_TRANSIENT_MIN,
    Algorithm,
    Command,
)
from cofferdam_providers.tpm.connection import TpmConnection
from cofferdam_providers.tpm.errors import Code, TpmError
from cofferdam_providers.tpm.marshal import U16, U32, Reader

LEAST_SLOTS: Final = 3
"""A parent, its child, and the endorsement key (TCG, PC Client Platform TPM Profile, 4.6)."""
_MOST_SLOTS: Final = 64
_MOST_ENTRIES: Final = 256
_STRONGER_AES: Final = 256
_AES: Final = 128
_HAS_NOT: Final = frozenset(
    {
        *(Code.ASYMMETRIC, Code.CURVE, Code.HASH, Code.KDF, Code.KEY_SIZE, Code.MODE, Code.RANGE),
        *(Code.SCHEME, Code.SYMMETRIC, Code.TYPE, Code.VALUE),
    }
)
"""Codes of TPM2_TestParms for parameters that the TPM does not have."""


def aes(bits: int) -> bytes:
    """Return the TPMT_SYM_DEF of AES in CFB mode."""
    return U16.pack(Algorithm.AES) + U16.pack(bits) + U16.pack(Algorithm.CFB)


def aes_bits(connection: TpmConnection) -> int:
    """Return the key length of the strongest AES that the TPM has: the storage root key depends on it.

    Raises:
        TpmError: The TPM does not say.
    """
    parameters = U16.pack(Algorithm.SYMCIPHER) + aes(_STRONGER_AES)
    return _STRONGER_AES if _has(connection, parameters) else _AES


def slots(connection: TpmConnection) -> int:
    """Return how many transient objects the TPM can hold at least."""
    least = properties(connection, PT_HR_TRANSIENT_MIN, 1).get(PT_HR_TRANSIENT_MIN, 0)
    return min(max(least, LEAST_SLOTS), _MOST_SLOTS)


def properties(connection: TpmConnection, first: int, count: int) -> dict[int, int]:
    """Return `count` properties of the TPM, from the number `first` on."""
    reader = _capability(connection, CAP_TPM_PROPERTIES, first, count)
    return {reader.u32(): reader.u32() for _ in range(reader.u32())}


def loaded(connection: TpmConnection) -> list[int]:
    """Return the handles of the transient objects and the sessions that are loaded."""
    return [
        handle
        for first in (FIRST_TRANSIENT, FIRST_SESSION)
        for handle in _numbers(_capability(connection, CAP_HANDLES, first, _MOST_ENTRIES), 4)
    ]


def curves(connection: TpmConnection) -> frozenset[int]:
    """Return the curves (TPM_ECC_CURVE) that the TPM has."""
    return frozenset(_numbers(_capability(connection, CAP_ECC_CURVES, 0, _MOST_ENTRIES), 2))


def algorithms(connection: TpmConnection) -> frozenset[int]:
    """Return the algorithms (TPM_ALG_ID) that the TPM has."""
    reader = _capability(connection, CAP_ALGORITHMS, 0, _MOST_ENTRIES)
    found = set()
    for _ in range(reader.u32()):
        found.add(reader.u16())
        reader.u32()
    return frozenset(found)


def has_rsa(connection: TpmConnection, bits: int) -> bool:
    """Tell whether the TPM has RSA keys of this size."""
    scheme = U16.pack(Algorithm.NULL)
    parameters = U16.pack(Algorithm.RSA) + U16.pack(Algorithm.NULL) + scheme + U16.pack(bits) + U32.pack(0)
    return _has(connection, parameters)


def _has(connection: TpmConnection, parameters: bytes) -> bool:
    try:
        connection.execute(Command.TEST_PARMS, parameters=parameters)
    except TpmError as error:
        # Any other error is temporary, and a wrong answer would be final: the storage root key depends on it.
        if error.code not in _HAS_NOT:
            raise
        return False
    return True


def _capability(connection: TpmConnection, capability: int, first: int, count: int) -> Reader:
    parameters = U32.pack(capability) + U32.pack(first) + U32.pack(count)
    reader = connection.execute(Command.GET_CAPABILITY, parameters=parameters).parameters
    reader.u8()
    reader.u32()
    return reader


def _numbers(reader: Reader, size: int) -> list[int]:
    return [int.from_bytes(reader.take(size), "big") for _ in range(reader.u32())]
