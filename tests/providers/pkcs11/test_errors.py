"""Return codes, and the statuses that clients get for them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.pkcs11.shim import SOURCE

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import DeviceLostError
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.cryptoki import CryptokiError, ImplausibleAnswerError
from cofferdam_providers.pkcs11.errors import LOST, STALE, STATUSES, SUSPICIOUS, service_error, translated

REFERENCE = {
    # docs/reference/parsec-behaviour.md, "Error mapping of PKCS#11"; the numbers of PKCS#11 v2.40.
    0x2: 1141,  # CKR_HOST_MEMORY
    0x30: 1147,  # CKR_DEVICE_ERROR
    0x32: 1147,  # CKR_DEVICE_REMOVED
    0xE0: 1147,  # CKR_TOKEN_NOT_PRESENT
    0xE1: 1147,  # CKR_TOKEN_NOT_RECOGNIZED
    0x180: 1147,  # CKR_STATE_UNSAVEABLE
    0x31: 1142,  # CKR_DEVICE_MEMORY
    0xC0: 1149,  # CKR_SIGNATURE_INVALID
    0xC1: 1149,  # CKR_SIGNATURE_LEN_RANGE
    0x121: 1148,  # CKR_RANDOM_NO_RNG
    0x140: 1134,  # CKR_CURVE_NOT_SUPPORTED
    0x130: 1134,  # CKR_DOMAIN_PARAMS_INVALID
    0x54: 1134,  # CKR_FUNCTION_NOT_SUPPORTED
}
OTHERWISE = 1145
"""Everything else."""
_NUMBER = re.compile(r'\{"CKR_(\w+)", (\w+?)(?:UL)?\}')


def test_the_table_is_that_of_the_reference() -> None:
    assert {int(code): int(status) for code, status in STATUSES.items()} == REFERENCE


@given(st.integers(min_value=1, max_value=(1 << 64) - 1))
def test_every_other_code_is_a_communication_failure(code: int) -> None:
    error = service_error(CryptokiError("Sign", code))
    assert error.status.value == REFERENCE.get(code, OTHERWISE)
    assert isinstance(error, DeviceLostError) == (code in LOST)


def test_the_numbers_are_those_that_others_know() -> None:
    known = {name: int(number, 0) for name, number in _NUMBER.findall(SOURCE.read_text())}
    assert len(known) > 40
    assert {code.name: known[code.name] for code in Return if code.name in known} == {
        code.name: code.value for code in Return if code.name in known
    }


def test_a_table_of_an_operation_comes_first() -> None:
    also: dict[int, Status] = {
        Return.GENERAL_ERROR: Status.PSA_ERROR_INVALID_PADDING,
        Return.DEVICE_MEMORY: Status.PSA_ERROR_NOT_SUPPORTED,
    }
    assert service_error(CryptokiError("Decrypt", 5), also).status is Status.PSA_ERROR_INVALID_PADDING
    assert service_error(CryptokiError("Decrypt", 0x31), also).status is Status.PSA_ERROR_NOT_SUPPORTED
    assert service_error(CryptokiError("Decrypt", 2), also).status is Status.PSA_ERROR_INSUFFICIENT_MEMORY


def test_one_code_says_one_thing() -> None:
    assert not LOST & STALE
    assert not LOST & SUSPICIOUS
    assert not STALE & SUSPICIOUS


def test_the_log_learns_function_and_code() -> None:
    assert str(CryptokiError("Sign", 0xA0)) == "C_Sign: CKR_PIN_INCORRECT (the PIN is wrong)"
    assert str(CryptokiError("Sign", 0x80000123)) == "C_Sign: return code 0x80000123 (the vendor's own, see its manual)"


def test_what_cannot_be_ends_the_worker() -> None:
    with pytest.raises(DeviceLostError) as caught, translated():
        raise ImplausibleAnswerError("4096 bytes where 64 fit")
    assert caught.value.status is Status.PSA_ERROR_COMMUNICATION_FAILURE
    with pytest.raises(ServiceError) as plain, translated({Return.ARGUMENTS_BAD: Status.PSA_ERROR_INVALID_ARGUMENT}):
        raise CryptokiError("Sign", Return.ARGUMENTS_BAD)
    assert plain.value.status is Status.PSA_ERROR_INVALID_ARGUMENT
