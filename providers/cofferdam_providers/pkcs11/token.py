"""Finding the token and logging in, once in the life of the process.

One-time calls go through python-pkcs11, except for the login, of which the exact return code is needed: it tells
whether the token counted an attempt. The session holds the login (closing it would log out every session of the
process) and serves all requests: one thread, one operation at a time.
"""

import os
import re
from collections.abc import Iterator
from typing import Final

import pkcs11
from msgspec import Struct
from pkcs11 import _pkcs11  # noqa: F401  loaded late otherwise
from pkcs11 import exceptions as library
from pkcs11.constants import SlotFlag, TokenFlag

from cofferdam_contracts.settings import Pkcs11Settings, TokenMatch
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pkcs11.codes import Return, code_of, in_words
from cofferdam_providers.pkcs11.cryptoki import Cryptoki, CryptokiError
from cofferdam_providers.pkcs11.errors import STATUSES
from cofferdam_providers.pkcs11.loading import why_not
from cofferdam_providers.pkcs11.pin import Attempts, PinRefusedError
from cofferdam_runtime.log import Log

_WRONG_PIN: Final = frozenset(
    {
        *(Return.PIN_INCORRECT, Return.PIN_INVALID, Return.PIN_LEN_RANGE, Return.PIN_EXPIRED, Return.PIN_LOCKED),
        Return.USER_PIN_NOT_INITIALIZED,
    }
)
"""Codes about the PIN; another attempt would lock the token, or change nothing."""
_NOT_ASKED: Final = frozenset(
    {
        *(Return.TOKEN_NOT_PRESENT, Return.TOKEN_NOT_RECOGNIZED, Return.DEVICE_REMOVED),
        *(Return.SESSION_HANDLE_INVALID, Return.SESSION_CLOSED, Return.CRYPTOKI_NOT_INITIALIZED),
        *(Return.FUNCTION_NOT_SUPPORTED, Return.HOST_MEMORY),
    }
)
"""Codes that precede any check of the PIN. After any other code it is unknown whether the token counted an attempt."""
_ABSENT: Final = (library.TokenNotPresent, library.TokenNotRecognised, library.DeviceRemoved, library.DeviceError)
_NUMBER: Final = re.compile("0x[0-9a-fA-F]+")
_PADDING: Final = " \0"
"""Padding of fixed fields: blanks by the specification, NULs in some modules."""


class SetupError(Exception):
    """Raised when the configuration cannot be right; the text says what is wrong and what is available."""


class UnavailableError(Exception):
    """Raised when the token cannot be used now; `retry` tells whether another attempt later may succeed."""

    def __init__(self, status: Status, reason: str, *, retry: bool) -> None:
        super().__init__(reason)
        self.status = status
        self.retry = retry


class OpenToken(Struct, frozen=True, eq=False):
    """A token with a session, logged in if there is a PIN."""

    library: "pkcs11._pkcs11.lib"
    token: pkcs11.Token
    session: pkcs11.Session
    cryptoki: Cryptoki
    pin: bytes | None


def open_token(settings: Pkcs11Settings, pin: bytes | None, log: Log, *, careful: bool = False) -> OpenToken:
    """Load the module, find the token, open the session and log in.

    Args:
        settings: The module, the token, and the folder in which attempts to log in are recorded, empty for no record.
        pin: The PIN, None for no login.
        log: For what an operator should know.
        careful: Whether to give up where a wrong PIN would bring the token nearer to its lockout than a start may.

    Raises:
        SetupError: The module cannot be loaded.
        UnavailableError: The token is missing or not unique, refuses the PIN, or fails.
    """
    path = os.path.realpath(settings.library_path)
    try:
        module = pkcs11.lib(path)
    except library.PKCS11Error as error:
        if _is_loading_error(error):
            said = str(error).partition("while loading ")[2].partition(": ")[2]
            raise SetupError(why_not(path, said)) from error
        raise _unavailable("C_Initialize", error) from error
    token = _find(module, settings.token, log)
    slot = token.slot.slot_id
    if settings.slot_number is not None and settings.slot_number != slot:
        log.notice("the token is in another slot than configured", slot=slot, slot_number=settings.slot_number)
    try:
        session = token.open(rw=not token.flags & TokenFlag.WRITE_PROTECTED)
        # Not in the interface that python-pkcs11 declares, only in the class that implements it.
        cryptoki = Cryptoki(path, session.handle)  # type: ignore[attr-defined]
    except library.PKCS11Error as error:
        raise _unavailable("C_OpenSession", error) from error
    except OSError as error:
        raise SetupError(f"provider.library_path: {error}") from error
    if pin is not None:
        attempts = Attempts(settings.state_folder, pin, _name(token), settings.pin_change)
        _check_counters(token, log, failed_before=attempts.failed_before)
        if careful:
            _spare_tries(token, settings)
        _log_in(cryptoki, pin, attempts, settings.pin_change)
    elif token.flags & TokenFlag.LOGIN_REQUIRED:
        log.notice("the token requires a login and no PIN is configured; only its public objects can be used")
    return OpenToken(module, token, session, cryptoki, pin)


def about(opened: OpenToken) -> dict[str, object]:
    """Return the token's description for the log."""
    return {
        "token": opened.token.label,
        "serial": opened.token.serial.decode(errors="replace"),
        "slot": opened.token.slot.slot_id,
        "model": opened.token.model,
        "manufacturer": opened.token.manufacturer_id,
        "module": opened.library.library_description,
        "module_version": ".".join(map(str, opened.library.library_version)),
    }


def name_of(opened: OpenToken) -> str:
    """Return the token's name for the status."""
    return f"token {_describe(opened.token)}"


def is_there(opened: OpenToken) -> bool:
    """Tell whether the module still has the token in its slot."""
    try:
        opened.token.slot.get_token()
    except library.PKCS11Error:
        return False
    except UnicodeDecodeError:
        pass  # it is there, and its name is another
    return True


def _find(module: "pkcs11._pkcs11.lib", wanted: TokenMatch, log: Log) -> pkcs11.Token:
    try:
        tokens = list(_initialised(module, log))
    except library.PKCS11Error as error:
        raise _unavailable("looking for tokens", error) from error
    found = [token for token in tokens if _fits(module, token, wanted)]
    if not found:
        there = "; ".join(map(_describe, tokens)) or "none"
        raise UnavailableError(
            Status.PSA_ERROR_HARDWARE_FAILURE,
            f"no token fits {_wanted(wanted)} in provider; initialised tokens: {there}. Plug it in, give its files "
            "to the worker, or correct the configuration",
            retry=True,
        )
    if len(found) > 1:
        # Not a reason to keep the other providers from starting: anybody may plug in a token with the same name.
        raise UnavailableError(
            Status.PSA_ERROR_HARDWARE_FAILURE,
            f"{len(found)} tokens fit the configuration: {'; '.join(map(_describe, found))}. Name one by "
            "provider.serial_number or provider.token_uri",
            retry=True,
        )
    return found[0]


def _initialised(module: "pkcs11._pkcs11.lib", log: Log) -> Iterator[pkcs11.Token]:
    for slot in module.get_slots(token_present=True):
        try:
            token = slot.get_token()
        except (library.TokenNotPresent, library.TokenNotRecognised, UnicodeDecodeError) as error:
            log.notice("a slot is skipped", slot=slot.slot_id, cause=type(error).__name__)
            continue
        if token.flags & TokenFlag.TOKEN_INITIALIZED and slot.flags & SlotFlag.TOKEN_PRESENT:
            yield token


def _fits(module: "pkcs11._pkcs11.lib", token: pkcs11.Token, wanted: TokenMatch) -> bool:
    slot = token.slot
    pairs = (
        (wanted.label, token.label),
        (wanted.serial, token.serial.decode(errors="replace")),
        (wanted.manufacturer, token.manufacturer_id),
        (wanted.model, token.model),
        (wanted.slot_description, slot.slot_description),
        (wanted.slot_manufacturer, slot.manufacturer_id),
        (wanted.library_manufacturer, module.manufacturer_id),
        (wanted.library_description, module.library_description),
        (wanted.library_version, ".".join(map(str, module.library_version))),
    )
    if wanted.slot_id is not None and wanted.slot_id != slot.slot_id:
        return False
    return all(want is None or want.strip(_PADDING) == has.strip(_PADDING) for want, has in pairs)


def _describe(token: pkcs11.Token) -> str:
    serial = token.serial.decode(errors="replace").strip(_PADDING)
    return f"label {token.label!r}, serial {serial!r}, slot {token.slot.slot_id}"


def _wanted(wanted: TokenMatch) -> str:
    """Return what the configuration says of the token."""
    pairs = wanted._asdict().items()
    return ", ".join(f"{name} {value!r}" for name, value in pairs if value is not None) or "any token"


def _log_in(cryptoki: Cryptoki, pin: bytes, attempts: Attempts, change: str) -> None:
    try:
        attempts.begin()
    except PinRefusedError as error:
        raise UnavailableError(Status.PSA_ERROR_COMMUNICATION_FAILURE, str(error), retry=False) from error
    try:
        cryptoki.login(pin)
    except CryptokiError as error:
        if error.code in _WRONG_PIN:
            attempts.refused(Return(error.code).name)
            raise UnavailableError(
                Status.PSA_ERROR_COMMUNICATION_FAILURE,
                f"{error}; the token refuses the PIN, which is not tried again; correct it, then {change} the service",
                retry=False,
            ) from error
        if error.code in _NOT_ASKED:
            attempts.unanswered()
        if error.code != Return.USER_ALREADY_LOGGED_IN:
            status = STATUSES.get(error.code, Status.PSA_ERROR_COMMUNICATION_FAILURE)
            raise UnavailableError(status, str(error), retry=True) from error
    attempts.succeeded()


def _name(token: pkcs11.Token) -> str:
    return f"{token.label}/{token.serial.decode(errors='replace')}"


def _check_counters(token: pkcs11.Token, log: Log, *, failed_before: bool) -> None:
    """Leave the last attempt to a person (CKF_USER_PIN_FINAL_TRY).

    `failed_before` tells whether the last attempt of this service failed, so that the token may have counted that one.
    """
    if token.flags & TokenFlag.USER_PIN_LOCKED:
        reason = "the token says that its PIN is locked; unlock it with the security officer's PIN"
    elif token.flags & TokenFlag.USER_PIN_FINAL_TRY:
        reason = "the token has one try left for its PIN; log in once by hand, with pkcs11-tool --login"
    else:
        if token.flags & TokenFlag.USER_PIN_COUNT_LOW and not failed_before:
            log.warning("somebody gave the token a wrong PIN since the last login", token=token.label)
        return
    raise UnavailableError(Status.PSA_ERROR_COMMUNICATION_FAILURE, reason, retry=True)


def _spare_tries(token: pkcs11.Token, settings: Pkcs11Settings) -> None:
    """Refuse an attempt that could be made more than once, or of which few are left."""
    if token.flags & TokenFlag.USER_PIN_COUNT_LOW:
        reason = "the token was given a wrong PIN since the last login, so few tries may be left"
    elif not settings.state_folder:
        reason = "there is no provider.state_folder yet in which an attempt could be recorded"
    else:
        return
    raise UnavailableError(
        Status.PSA_ERROR_COMMUNICATION_FAILURE,
        f"the PIN was not tried: {reason}; `cofferdam check --devices --login` tries it",
        retry=False,
    )


def _unavailable(what: str, error: library.PKCS11Error) -> UnavailableError:
    status = Status.PSA_ERROR_HARDWARE_FAILURE if isinstance(error, _ABSENT) else Status.PSA_ERROR_COMMUNICATION_FAILURE
    return UnavailableError(status, f"{what}: {said_by(error)}", retry=True)


def said_by(error: library.PKCS11Error) -> str:
    """Return what the module said, in words."""
    code = code_of(type(error).__name__)
    if code is not None:
        return in_words(code)
    number = _NUMBER.search(str(error))
    return in_words(int(number[0], 16)) if number else f"{type(error).__name__} {error}".rstrip()


def _is_loading_error(error: library.PKCS11Error) -> bool:
    # python-pkcs11 has no class of its own for errors of the dynamic linker.
    return type(error) is library.PKCS11Error and "while loading" in str(error)


def refusal(error: UnavailableError) -> ServiceError:
    """Return the error of every request while the token cannot be used."""
    return ServiceError(error.status, f"the token is not available: {error}")
