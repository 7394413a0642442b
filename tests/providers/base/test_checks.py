"""Checks of a MAC before a backend is called: the usage flag, the policy, the key type, the length; in this order."""

import pytest
from tests.providers.support import attributes, refused

from cofferdam_contracts.operations import MacCompute, MacVerify
from cofferdam_contracts.psa.algorithm import Hash, Mac, MacScheme
from cofferdam_contracts.psa.attributes import KeyKind, Usage
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import Status
from cofferdam_providers.base.checks import check_use
from cofferdam_providers.base.provider import Key

DENIED = Status.PSA_ERROR_NOT_PERMITTED
INVALID = Status.PSA_ERROR_INVALID_ARGUMENT
EVERY_USE = ~Usage.NONE
BY_COMPUTING = {Usage.SIGN_MESSAGE, Usage.SIGN_HASH}
BY_VERIFYING = {Usage.VERIFY_MESSAGE, Usage.VERIFY_HASH}
HMAC = Mac(MacScheme.HMAC, Hash.SHA_256)
CMAC = Mac(MacScheme.CMAC)


def usable(kind: KeyKind, policy: Mac) -> Key[None]:
    return Key(attributes=attributes(kind, 128, policy, usage=EVERY_USE), handle=None)


def _compute(algorithm: Mac) -> MacCompute:
    return MacCompute("", algorithm, b"data")


def _verify(algorithm: Mac) -> MacVerify:
    return MacVerify("", algorithm, b"data", b"mac")


@pytest.mark.parametrize("flag", [Usage(1 << bit) for bit in range(10)])
def test_computing_takes_a_signing_flag_and_verifying_a_verifying_one(flag: Usage) -> None:
    key = Key(attributes=attributes(KeyKind.AES, 128, CMAC, usage=flag), handle=None)
    for operation, flags in ((_compute(CMAC), BY_COMPUTING), (_verify(CMAC), BY_VERIFYING)):
        if flag in flags:
            check_use(key, operation.opcode, operation)
        else:
            with refused(DENIED):
                check_use(key, operation.opcode, operation)


@pytest.mark.parametrize(
    ("kind", "policy", "algorithm", "status"),
    [
        (KeyKind.AES, CMAC, Mac(MacScheme.CMAC, None, 16), DENIED),
        (KeyKind.AES, Mac(MacScheme.CMAC, None, 16), CMAC, DENIED),
        (KeyKind.AES, Mac(MacScheme.CMAC, None, 8), Mac(MacScheme.CMAC, None, 4), DENIED),
        (KeyKind.AES, CMAC, Mac(MacScheme.CBC_MAC), DENIED),
        (KeyKind.HMAC, HMAC, Mac(MacScheme.HMAC, Hash.SHA_512), DENIED),
        (KeyKind.HMAC, CMAC, CMAC, DENIED),
        (KeyKind.AES, HMAC, HMAC, DENIED),
        *((KeyKind.AES, same, same, INVALID) for same in (Mac(MacScheme.CMAC, None, n) for n in (0, 17, 1 << 32))),
        *((KeyKind.DES, same, same, INVALID) for same in (Mac(MacScheme.CMAC, None, n) for n in (0, 9))),
        *((KeyKind.HMAC, same, same, INVALID) for same in (Mac(MacScheme.HMAC, Hash.SHA_256, n) for n in (0, 33))),
    ],
)
def test_another_algorithm_is_not_permitted_and_another_length_is_invalid(
    kind: KeyKind, policy: Mac, algorithm: Mac, status: Status
) -> None:
    for operation in (_compute(algorithm), _verify(algorithm)):
        with refused(status):
            check_use(usable(kind, policy), operation.opcode, operation)


@pytest.mark.parametrize("length", [None, 1, 16])
def test_every_length_up_to_the_whole_is_left_to_the_backend(length: int | None) -> None:
    algorithm = Mac(MacScheme.CMAC, None, length)
    for operation in (_compute(algorithm), _verify(algorithm)):
        check_use(usable(KeyKind.AES, algorithm), operation.opcode, operation)


def test_what_was_permitted_before_permits_nothing_else() -> None:
    """Another algorithm, or an operation that needs another flag, is checked anew."""
    only_computes = Key(attributes=attributes(KeyKind.AES, 128, CMAC, usage=Usage.SIGN_MESSAGE), handle=None)
    for _ in range(2):
        check_use(only_computes, Opcode.PSA_MAC_COMPUTE, _compute(CMAC))
        with refused(DENIED):
            check_use(only_computes, Opcode.PSA_MAC_VERIFY, _verify(CMAC))
        with refused(DENIED):
            check_use(only_computes, Opcode.PSA_MAC_COMPUTE, _compute(Mac(MacScheme.CBC_MAC)))
