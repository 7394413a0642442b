"""Return codes: each row of the reference's mapping, and the text for operators."""

import pytest

from cofferdam_contracts.status import Status
from cofferdam_providers.tpm.errors import Code, TpmError, base_of, name_of

P1 = 0x1C0
H1 = 0x180
S1 = 0x980
MAPPING = [
    (Code.SIGNATURE | P1, Status.PSA_ERROR_INVALID_SIGNATURE),
    (Code.OBJECT_MEMORY, Status.PSA_ERROR_INSUFFICIENT_MEMORY),
    (Code.SESSION_MEMORY, Status.PSA_ERROR_INSUFFICIENT_MEMORY),
    (Code.MEMORY, Status.PSA_ERROR_INSUFFICIENT_MEMORY),
    (Code.RETRY, Status.PSA_ERROR_HARDWARE_FAILURE),
    *(
        (code | P1, Status.PSA_ERROR_NOT_SUPPORTED)
        for code in (
            Code.ASYMMETRIC,
            Code.HASH,
            Code.KEY_SIZE,
            Code.MGF,
            Code.MODE,
            Code.KDF,
            Code.SCHEME,
            Code.SYMMETRIC,
            Code.CURVE,
        )
    ),
    (Code.AUTH_FAIL | S1, Status.PSA_ERROR_COMMUNICATION_FAILURE),
    (Code.LOCKOUT, Status.PSA_ERROR_COMMUNICATION_FAILURE),
    (Code.INTEGRITY | P1, Status.PSA_ERROR_COMMUNICATION_FAILURE),
    (Code.FAILURE, Status.PSA_ERROR_COMMUNICATION_FAILURE),
    # From a resource manager in place of the TPM, and from a layer of the TSS.
    (0xB0000 | Code.MEMORY, Status.PSA_ERROR_INSUFFICIENT_MEMORY),
    (0xC0001, Status.INVALID_ENCODING),
    (0x1FE, Status.INVALID_ENCODING),
]


@pytest.mark.parametrize(("code", "status"), MAPPING, ids=lambda value: f"{int(value):#x}")
def test_a_code_becomes_the_status_of_the_reference(code: int, status: Status) -> None:
    error = TpmError("SIGN", code)
    assert error.status is status
    assert f"{code:#x}" in error.detail
    assert "TPM2_SIGN" in error.detail


@pytest.mark.parametrize(
    ("code", "base", "words"),
    [
        (0x1D5, Code.SIZE, "TPM_RC_SIZE (0x1d5, parameter 1)"),
        (0x98E, Code.AUTH_FAIL, "TPM_RC_AUTH_FAIL (0x98e, session 1)"),
        (0x18B, Code.HANDLE, "TPM_RC_HANDLE (0x18b, handle 1)"),
        (0x922, Code.RETRY, "TPM_RC_RETRY (0x922)"),
        (0x101, Code.FAILURE, "TPM_RC_FAILURE (0x101)"),
    ],
)
def test_what_a_code_is_about_is_told_apart_from_what_it_says(code: int, base: Code, words: str) -> None:
    assert base_of(code) == base
    assert name_of(code) == words
