"""Who decides a client's status: the token about the client's data, and this service where the code is unrelated."""

from collections.abc import Iterator

import pytest
from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.token import softhsm
from tests.providers.pkcs11.child import Child, settings_for
from tests.providers.pkcs11.samples import DIGEST, ECDSA, ecc

from cofferdam_contracts.operations import GenerateKey, SignHash, VerifyHash
from cofferdam_contracts.status import Status
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.errors import STATUSES, SUSPICIOUS

GONE = "C_GetSessionInfo return CKR_SESSION_HANDLE_INVALID"
BAD_SIGNATURE = Status.PSA_ERROR_INVALID_SIGNATURE
OTHERWISE = (Return.DATA_LEN_RANGE, Return.DATA_INVALID, Return.HOST_MEMORY, Return.ENCRYPTED_DATA_INVALID)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Child, Shim]]:
    """A provider that has a shim in front of its module."""
    folder = tmp_path_factory.mktemp("verdicts")
    token = softhsm(folder / "softhsm")
    shim = Shim(folder / "shim", token.library, token.environment)
    with Child(settings_for(token, folder, library_path=str(shim.library))) as child:
        child.do(GenerateKey("ec", ecc(256)))
        yield child, shim


@pytest.fixture
def child(behind: tuple[Child, Shim]) -> Iterator[Child]:
    child, shim = behind
    shim.clear()
    yield child
    shim.clear()


@pytest.fixture
def shim(behind: tuple[Child, Shim]) -> Shim:
    return behind[1]


@pytest.mark.parametrize("code", [*sorted(SUSPICIOUS), *OTHERWISE])
def test_a_signature_that_a_token_has_something_else_to_say_about_is_looked_at_again(
    child: Child, shim: Shim, code: int
) -> None:
    # NSS rejects an invalid signature with the last error of an earlier request, anybody's.
    signature = child.do(SignHash("ec", ECDSA, DIGEST))
    good, bad = VerifyHash("ec", ECDSA, DIGEST, signature), VerifyHash("ec", ECDSA, DIGEST, signature[::-1])
    shim.set(f"C_Verify then-return {code:#x}")
    child.do(good)
    child.refuses(bad, BAD_SIGNATURE)
    if code in SUSPICIOUS:
        shim.set(f"C_Verify then-return {code:#x}", GONE)
        child.refuses(good, STATUSES.get(code, Status.PSA_ERROR_COMMUNICATION_FAILURE), lost=True)


@pytest.mark.parametrize("code", [Return.SIGNATURE_INVALID, Return.SIGNATURE_LEN_RANGE])
def test_the_word_of_a_token_on_a_signature_counts(child: Child, shim: Shim, code: int) -> None:
    signature = child.do(SignHash("ec", ECDSA, DIGEST))
    shim.set(f"C_Verify then-return {code:#x}")
    child.refuses(VerifyHash("ec", ECDSA, DIGEST, signature), BAD_SIGNATURE)
