"""Errors of a TPM, and the status that a client gets for each.

Source: TCG part 2, 6.6 (TPM_RC); the statuses are those of the reference,
docs/reference/parsec-behaviour.md, "Error mapping of the TPM".
"""

import enum
from collections.abc import Mapping
from typing import Final

from cofferdam_contracts.status import ServiceError, Status

_FORMAT_ONE: Final = 0x080
_FORMAT_ONE_CODE: Final = 0x0BF
_FORMAT_ZERO_CODE: Final = 0x97F
_OF_PARAMETER: Final = 0x040
_OF_SESSION: Final = 0x800
_LAYER: Final = 16
_MANAGER_OF_TPM_CODES: Final = 11
"""TSS2_RESMGR_TPM_RC_LAYER: a resource manager that answers in place of the TPM, with the TPM's codes."""


@enum.unique
class Code(enum.IntEnum):
    """Return codes without the number of the handle, session or parameter that they concern."""

    SUCCESS = 0x000
    INITIALIZE = 0x100
    FAILURE = 0x101
    AUTH_MISSING = 0x125
    COMMAND_SIZE = 0x142
    COMMAND_CODE = 0x143
    NO_RESULT = 0x154
    ASYMMETRIC = 0x081
    ATTRIBUTES = 0x082
    HASH = 0x083
    VALUE = 0x084
    HIERARCHY = 0x085
    KEY_SIZE = 0x087
    MGF = 0x088
    MODE = 0x089
    TYPE = 0x08A
    HANDLE = 0x08B
    KDF = 0x08C
    RANGE = 0x08D
    AUTH_FAIL = 0x08E
    NONCE = 0x08F
    PP = 0x090
    SCHEME = 0x092
    SIZE = 0x095
    SYMMETRIC = 0x096
    TAG = 0x097
    SELECTOR = 0x098
    INSUFFICIENT = 0x09A
    SIGNATURE = 0x09B
    KEY = 0x09C
    POLICY_FAIL = 0x09D
    INTEGRITY = 0x09F
    TICKET = 0x0A0
    RESERVED_BITS = 0x0A1
    BAD_AUTH = 0x0A2
    EXPIRED = 0x0A3
    POLICY_CC = 0x0A4
    BINDING = 0x0A5
    CURVE = 0x0A6
    ECC_POINT = 0x0A7
    CONTEXT_GAP = 0x901
    OBJECT_MEMORY = 0x902
    SESSION_MEMORY = 0x903
    MEMORY = 0x904
    SESSION_HANDLES = 0x905
    OBJECT_HANDLES = 0x906
    LOCALITY = 0x907
    YIELDED = 0x908
    CANCELED = 0x909
    TESTING = 0x90A
    REFERENCE_H0 = 0x910
    REFERENCE_H1 = 0x911
    REFERENCE_H2 = 0x912
    REFERENCE_S0 = 0x918
    REFERENCE_S1 = 0x919
    REFERENCE_S2 = 0x91A
    NV_RATE = 0x920
    LOCKOUT = 0x921
    RETRY = 0x922
    NV_UNAVAILABLE = 0x923


AGAIN: Final = frozenset({Code.RETRY, Code.YIELDED, Code.TESTING, Code.NV_RATE})
"""The same command may succeed a little later."""
FORGOTTEN: Final = frozenset(
    {
        Code.INITIALIZE,
        *(Code.REFERENCE_H0, Code.REFERENCE_H1, Code.REFERENCE_H2),
        *(Code.REFERENCE_S0, Code.REFERENCE_S1, Code.REFERENCE_S2),
        Code.HANDLE,
        Code.CONTEXT_GAP,
    }
)
"""A loaded object or the session is gone: the TPM was reset, or its resource manager dropped it."""
NO_ROOM: Final = frozenset({Code.OBJECT_MEMORY, Code.OBJECT_HANDLES})
"""No slot is free for another object."""
WRONG_AUTH: Final = frozenset({Code.AUTH_FAIL, Code.BAD_AUTH})

_STATUSES: Final[Mapping[int, Status]] = {
    Code.SIGNATURE: Status.PSA_ERROR_INVALID_SIGNATURE,
    **dict.fromkeys((Code.OBJECT_MEMORY, Code.SESSION_MEMORY, Code.MEMORY), Status.PSA_ERROR_INSUFFICIENT_MEMORY),
    Code.RETRY: Status.PSA_ERROR_HARDWARE_FAILURE,
    **dict.fromkeys(
        (
            *(Code.ASYMMETRIC, Code.HASH, Code.KEY_SIZE, Code.MGF, Code.MODE),
            *(Code.KDF, Code.SCHEME, Code.SYMMETRIC, Code.CURVE),
        ),
        Status.PSA_ERROR_NOT_SUPPORTED,
    ),
}
_KNOWN: Final = frozenset(Code)
REMEDIES: Final[Mapping[int, str]] = {
    Code.LOCKOUT: (
        "too many wrong authorisations locked it; wait, or reset with tpm2_dictionarylockout --clear-lockout"
    ),
    Code.INITIALIZE: "it was not started: the firmware, the kernel or the simulator has to send TPM2_Startup",
    Code.FAILURE: "it is in failure mode; power it off and on",
    Code.SESSION_MEMORY: "other programs hold its sessions; list them with tpm2_getcap handles-loaded-session",
    Code.OBJECT_MEMORY: "other programs hold its slots; use /dev/tpmrm0, or see tpm2_getcap handles-transient",
    Code.NV_UNAVAILABLE: "its memory cannot be written now",
}
"""What an operator can do about a code."""
MEANINGS: Final[Mapping[int, str]] = {
    Code.INITIALIZE: "it was not started, or twice",
    Code.FAILURE: "it could not carry the command out",
    Code.AUTH_MISSING: "an authorisation is missing",
    Code.COMMAND_SIZE: "the command has another size than it says",
    Code.COMMAND_CODE: "it does not have this command",
    Code.NO_RESULT: "there is no result",
    Code.ASYMMETRIC: "it does not have this asymmetric algorithm",
    Code.ATTRIBUTES: "attributes contradict each other",
    Code.HASH: "it does not have this hash",
    Code.VALUE: "a value is out of range",
    Code.HIERARCHY: "the hierarchy is switched off, or the wrong one",
    Code.KEY_SIZE: "it does not have keys of this size",
    Code.MGF: "it does not have this mask generation function",
    Code.MODE: "it does not have this mode",
    Code.TYPE: "an object is of another type",
    Code.HANDLE: "a handle is wrong or not loaded",
    Code.KDF: "it does not have this key derivation function",
    Code.RANGE: "a value is out of range",
    Code.AUTH_FAIL: "an authorisation value is wrong; it counts towards the lockout",
    Code.NONCE: "a nonce is wrong",
    Code.PP: "it demands physical presence",
    Code.SCHEME: "it does not have this scheme",
    Code.SIZE: "a size is wrong",
    Code.SYMMETRIC: "it does not have this symmetric algorithm",
    Code.TAG: "a structure has a wrong tag",
    Code.SELECTOR: "a selector is wrong",
    Code.INSUFFICIENT: "the command ends too early",
    Code.SIGNATURE: "the signature is wrong",
    Code.KEY: "the key does not suit",
    Code.POLICY_FAIL: "a policy is not met",
    Code.INTEGRITY: "the blob is not one that it made, or was changed",
    Code.TICKET: "a ticket is wrong",
    Code.RESERVED_BITS: "reserved bits are set",
    Code.BAD_AUTH: "an authorisation value is wrong",
    Code.EXPIRED: "an authorisation has expired",
    Code.POLICY_CC: "a policy does not permit this command",
    Code.BINDING: "the public part does not belong to the private one",
    Code.CURVE: "it does not have this curve",
    Code.ECC_POINT: "the point is not on the curve",
    Code.CONTEXT_GAP: "it has saved too many contexts; reset it",
    Code.SESSION_HANDLES: "it has no session left; other programs may hold them",
    Code.OBJECT_HANDLES: "it has no slot left; other programs may hold them",
    Code.MEMORY: "it has no memory left",
    Code.LOCALITY: "it does not permit this locality",
    Code.YIELDED: "it was interrupted and has to be asked again",
    Code.CANCELED: "the command was cancelled",
    Code.TESTING: "it is testing itself and has to be asked again",
    **dict.fromkeys((Code.REFERENCE_H0, Code.REFERENCE_H1, Code.REFERENCE_H2), "an object is not loaded any more"),
    **dict.fromkeys((Code.REFERENCE_S0, Code.REFERENCE_S1, Code.REFERENCE_S2), "a session is not loaded any more"),
    Code.NV_RATE: "its memory is written too often and has to be asked again",
    Code.RETRY: "it is busy and has to be asked again",
}
"""What the other codes say, for the log."""


class TpmError(ServiceError):
    """Raised when the TPM, or its resource manager, answers a command with an error."""

    def __init__(self, command: str, code: int, remedy: str | None = None) -> None:
        """Keep the command, the complete code from the TPM, and a remedy if the usual one does not apply."""
        self.whole = code
        self.code = base_of(code)
        self.remedy = REMEDIES.get(self.code, "") if remedy is None else remedy
        """What an operator can do about it; empty if nothing."""
        meaning = self.remedy or MEANINGS.get(self.code, "a code that is not in the TPM's specification")
        text = f"TPM2_{command}: {name_of(code)}; {meaning}"
        super().__init__(_STATUSES.get(self.code, _other(self.code)), text)


class CommandFailedError(TpmError):
    """Raised when a command failed (TPM_RC_FAILURE) in a TPM that works: the cause is the command's input.

    libtpms returns this for wrong padding, and for a signature whose verification ends at the point at infinity.
    """

    def __init__(self, command: str, code: int) -> None:
        super().__init__(command, code, "")


class MalformedAnswerError(ServiceError):
    """Raised when the received bytes are not a response to the command."""

    def __init__(self, detail: str) -> None:
        super().__init__(Status.PSA_ERROR_COMMUNICATION_FAILURE, detail)


def base_of(code: int) -> int:
    """Return a code without the number of the handle, session or parameter that it concerns."""
    layer, code = code >> _LAYER, code & 0xFFFF
    if layer not in (0, _MANAGER_OF_TPM_CODES):
        return (layer << _LAYER) | code
    return code & (_FORMAT_ONE_CODE if code & _FORMAT_ONE else _FORMAT_ZERO_CODE)


def name_of(code: int) -> str:
    """Return a code in words, for the log."""
    base = base_of(code)
    text = Code(base).name if base in _KNOWN else "unknown"
    about = ""
    if code & _FORMAT_ONE and base in _KNOWN:
        number = (code >> 8) & 0xF
        if code & _OF_PARAMETER:
            about = f", parameter {number}"
        elif code & _OF_SESSION:
            about = f", session {number & 0x7}"
        elif number:
            about = f", handle {number}"
    return f"TPM_RC_{text} ({code:#x}{about})"


def _other(base: int) -> Status:
    return Status.PSA_ERROR_COMMUNICATION_FAILURE if base in _KNOWN else Status.INVALID_ENCODING
