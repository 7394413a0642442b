"""Return codes of PKCS#11 (OASIS PKCS#11 v2.40 and v3.0, CKR_*). python-pkcs11 has the other numbers."""

import enum
from collections.abc import Mapping
from typing import Final


@enum.unique
class Return(enum.IntEnum):
    """CKR_* values that this service distinguishes; any other value is logged as a number."""

    HOST_MEMORY = 0x2
    GENERAL_ERROR = 0x5
    FUNCTION_FAILED = 0x6
    ARGUMENTS_BAD = 0x7
    ATTRIBUTE_READ_ONLY = 0x10
    ATTRIBUTE_SENSITIVE = 0x11
    ATTRIBUTE_TYPE_INVALID = 0x12
    ATTRIBUTE_VALUE_INVALID = 0x13
    ACTION_PROHIBITED = 0x1B
    DATA_INVALID = 0x20
    DATA_LEN_RANGE = 0x21
    DEVICE_ERROR = 0x30
    DEVICE_MEMORY = 0x31
    DEVICE_REMOVED = 0x32
    ENCRYPTED_DATA_INVALID = 0x40
    ENCRYPTED_DATA_LEN_RANGE = 0x41
    AEAD_DECRYPT_FAILED = 0x42
    FUNCTION_NOT_SUPPORTED = 0x54
    KEY_HANDLE_INVALID = 0x60
    KEY_SIZE_RANGE = 0x62
    KEY_TYPE_INCONSISTENT = 0x63
    KEY_FUNCTION_NOT_PERMITTED = 0x68
    MECHANISM_INVALID = 0x70
    MECHANISM_PARAM_INVALID = 0x71
    OBJECT_HANDLE_INVALID = 0x82
    OPERATION_ACTIVE = 0x90
    OPERATION_NOT_INITIALIZED = 0x91
    PIN_INCORRECT = 0xA0
    PIN_INVALID = 0xA1
    PIN_LEN_RANGE = 0xA2
    PIN_EXPIRED = 0xA3
    PIN_LOCKED = 0xA4
    SESSION_CLOSED = 0xB0
    SESSION_COUNT = 0xB1
    SESSION_HANDLE_INVALID = 0xB3
    SESSION_READ_ONLY = 0xB5
    SIGNATURE_INVALID = 0xC0
    SIGNATURE_LEN_RANGE = 0xC1
    TEMPLATE_INCOMPLETE = 0xD0
    TEMPLATE_INCONSISTENT = 0xD1
    TOKEN_NOT_PRESENT = 0xE0
    TOKEN_NOT_RECOGNIZED = 0xE1
    TOKEN_WRITE_PROTECTED = 0xE2
    USER_ALREADY_LOGGED_IN = 0x100
    USER_NOT_LOGGED_IN = 0x101
    USER_PIN_NOT_INITIALIZED = 0x102
    RANDOM_NO_RNG = 0x121
    DOMAIN_PARAMS_INVALID = 0x130
    CURVE_NOT_SUPPORTED = 0x140
    BUFFER_TOO_SMALL = 0x150
    STATE_UNSAVEABLE = 0x180
    CRYPTOKI_NOT_INITIALIZED = 0x190
    CRYPTOKI_ALREADY_INITIALIZED = 0x191


MEANINGS: Final[Mapping[int, str]] = {
    Return.HOST_MEMORY: "the module has no memory left",
    Return.GENERAL_ERROR: "the module failed and does not say why",
    Return.FUNCTION_FAILED: "the module failed and does not say why",
    Return.ARGUMENTS_BAD: "the module does not take these arguments",
    Return.ATTRIBUTE_READ_ONLY: "an attribute cannot be set",
    Return.ATTRIBUTE_SENSITIVE: "an attribute cannot be read",
    Return.ATTRIBUTE_TYPE_INVALID: "the token does not know an attribute",
    Return.ATTRIBUTE_VALUE_INVALID: "the token does not take the value of an attribute",
    Return.ACTION_PROHIBITED: "the object does not permit that",
    Return.DATA_INVALID: "the token does not take this input",
    Return.DATA_LEN_RANGE: "the token does not take input of this length",
    Return.DEVICE_ERROR: "the token or its reader failed",
    Return.DEVICE_MEMORY: "the token is full",
    Return.DEVICE_REMOVED: "the token was removed",
    Return.ENCRYPTED_DATA_INVALID: "the ciphertext is wrong",
    Return.ENCRYPTED_DATA_LEN_RANGE: "the ciphertext has a wrong length",
    Return.AEAD_DECRYPT_FAILED: "the ciphertext is not authentic",
    Return.FUNCTION_NOT_SUPPORTED: "the module does not have this function",
    Return.KEY_HANDLE_INVALID: "the key is not known any more",
    Return.KEY_SIZE_RANGE: "the token does not take keys of this size",
    Return.KEY_TYPE_INCONSISTENT: "the key is of another type",
    Return.KEY_FUNCTION_NOT_PERMITTED: "the key does not permit that",
    Return.MECHANISM_INVALID: "the token does not have this mechanism",
    Return.MECHANISM_PARAM_INVALID: "the token does not take these parameters of the mechanism",
    Return.OBJECT_HANDLE_INVALID: "the object is not known any more",
    Return.OPERATION_ACTIVE: "another operation is not finished",
    Return.OPERATION_NOT_INITIALIZED: "the operation was not begun",
    Return.PIN_INCORRECT: "the PIN is wrong",
    Return.PIN_INVALID: "the PIN has characters that the token does not take",
    Return.PIN_LEN_RANGE: "the PIN is too short or too long",
    Return.PIN_EXPIRED: "the PIN has expired",
    Return.PIN_LOCKED: "the PIN is locked after too many wrong ones",
    Return.SESSION_CLOSED: "the session was closed",
    Return.SESSION_COUNT: "the token has no session left",
    Return.SESSION_HANDLE_INVALID: "the session is not known any more",
    Return.SESSION_READ_ONLY: "the session can only read",
    Return.SIGNATURE_INVALID: "the signature is wrong",
    Return.SIGNATURE_LEN_RANGE: "the signature has a wrong length",
    Return.TEMPLATE_INCOMPLETE: "an attribute is missing",
    Return.TEMPLATE_INCONSISTENT: "attributes contradict each other",
    Return.TOKEN_NOT_PRESENT: "there is no token in the slot",
    Return.TOKEN_NOT_RECOGNIZED: "the module does not know what is in the slot",
    Return.TOKEN_WRITE_PROTECTED: "the token is write-protected",
    Return.USER_ALREADY_LOGGED_IN: "somebody is logged in already",
    Return.USER_NOT_LOGGED_IN: "nobody is logged in",
    Return.USER_PIN_NOT_INITIALIZED: "the token has no PIN for users yet",
    Return.RANDOM_NO_RNG: "the token has no random numbers",
    Return.DOMAIN_PARAMS_INVALID: "the token does not take these parameters of a curve",
    Return.CURVE_NOT_SUPPORTED: "the token does not have this curve",
    Return.BUFFER_TOO_SMALL: "the result is longer than the module said",
    Return.STATE_UNSAVEABLE: "the state of the operation cannot be saved",
    Return.CRYPTOKI_NOT_INITIALIZED: "the module was not initialised",
    Return.CRYPTOKI_ALREADY_INITIALIZED: "the module was initialised before",
}
"""What each code says, for the log."""
_BY_NAME: Final = {code.name.replace("_", "").lower(): code for code in Return}
_FIRST_OF_VENDORS: Final = 0x80000000


def in_words(code: int) -> str:
    """Return a return code with its meaning."""
    if code in MEANINGS:
        return f"CKR_{Return(code).name} ({MEANINGS[code]})"
    whose = "the vendor's own, see its manual" if code >= _FIRST_OF_VENDORS else "see PKCS#11"
    return f"return code {code:#x} ({whose})"


def code_of(name: str) -> Return | None:
    """Return the code for which python-pkcs11 has an exception of this name."""
    return _BY_NAME.get(name.lower().replace("recognised", "recognized"))
