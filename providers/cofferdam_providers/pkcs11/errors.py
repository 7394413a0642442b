"""Return codes of a module as statuses; no error of the module or of python-pkcs11 leaves this package.

Source: docs/reference/parsec-behaviour.md, "Error mapping of PKCS#11". A code in no table is a communication failure,
as there.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import DeviceLostError
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.cryptoki import CryptokiError, ImplausibleAnswerError

STATUSES: Final[Mapping[int, Status]] = {
    Return.HOST_MEMORY: Status.PSA_ERROR_INSUFFICIENT_MEMORY,
    Return.DEVICE_ERROR: Status.PSA_ERROR_HARDWARE_FAILURE,
    Return.DEVICE_REMOVED: Status.PSA_ERROR_HARDWARE_FAILURE,
    Return.TOKEN_NOT_PRESENT: Status.PSA_ERROR_HARDWARE_FAILURE,
    Return.TOKEN_NOT_RECOGNIZED: Status.PSA_ERROR_HARDWARE_FAILURE,
    Return.STATE_UNSAVEABLE: Status.PSA_ERROR_HARDWARE_FAILURE,
    Return.DEVICE_MEMORY: Status.PSA_ERROR_INSUFFICIENT_STORAGE,
    Return.SIGNATURE_INVALID: Status.PSA_ERROR_INVALID_SIGNATURE,
    Return.SIGNATURE_LEN_RANGE: Status.PSA_ERROR_INVALID_SIGNATURE,
    Return.RANDOM_NO_RNG: Status.PSA_ERROR_INSUFFICIENT_ENTROPY,
    Return.CURVE_NOT_SUPPORTED: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.DOMAIN_PARAMS_INVALID: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.FUNCTION_NOT_SUPPORTED: Status.PSA_ERROR_NOT_SUPPORTED,
}
"""The reference's table."""
INPUT: Final[Mapping[int, Status]] = {
    Return.DATA_LEN_RANGE: Status.PSA_ERROR_INVALID_ARGUMENT,
    Return.DATA_INVALID: Status.PSA_ERROR_INVALID_ARGUMENT,
    Return.MECHANISM_PARAM_INVALID: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.ARGUMENTS_BAD: Status.PSA_ERROR_NOT_SUPPORTED,
}
"""Codes of tokens for input and parameters that do not suit a key pair."""
LOST: Final = frozenset(
    {
        *(Return.DEVICE_REMOVED, Return.TOKEN_NOT_PRESENT, Return.TOKEN_NOT_RECOGNIZED),
        *(Return.SESSION_HANDLE_INVALID, Return.SESSION_CLOSED, Return.USER_NOT_LOGGED_IN),
        *(Return.CRYPTOKI_NOT_INITIALIZED, Return.OPERATION_ACTIVE),
        # A key that requires a login for every use must not consume the attempts of a PIN that has become wrong;
        # whether it has is tried, and remembered, when the token is opened.
        *(Return.PIN_INCORRECT, Return.PIN_INVALID, Return.PIN_LEN_RANGE, Return.PIN_EXPIRED, Return.PIN_LOCKED),
    }
)
"""Codes after which nothing works until the module is initialised again, in a new process. No request alone can cause
one of them, or one client could keep the others waiting."""
SUSPICIOUS: Final = frozenset({Return.DEVICE_ERROR, Return.GENERAL_ERROR, Return.FUNCTION_FAILED})
"""Codes that may mean the same, or one odd request: the session's state tells which."""
STALE: Final = frozenset({Return.OBJECT_HANDLE_INVALID, Return.KEY_HANDLE_INVALID})
"""Codes for a handle that the module no longer knows."""


def service_error(error: CryptokiError, also: Mapping[int, Status] | None = None) -> ServiceError:
    """Return the error for a client; `also` says what codes mean in this operation, in addition to the table."""
    status = (also or {}).get(error.code) or STATUSES.get(error.code, Status.PSA_ERROR_COMMUNICATION_FAILURE)
    kind = DeviceLostError if error.code in LOST else ServiceError
    return kind(status, str(error))


@contextmanager
def translated(also: Mapping[int, Status] | None = None) -> Iterator[None]:
    """Turn errors of the module into errors for a client."""
    try:
        yield
    except CryptokiError as error:
        raise service_error(error, also) from error
    except ImplausibleAnswerError as error:
        # A module that wrote beyond its buffer, or returned false lengths, is not used any more.
        raise DeviceLostError(Status.PSA_ERROR_COMMUNICATION_FAILURE, f"the module is not trusted: {error}") from error
