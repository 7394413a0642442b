"""MACs by the token: HMAC, AES-CMAC, whole and truncated."""

import hmac
from typing import Final

from pkcs11 import ObjectClass

from cofferdam_contracts.psa.algorithm import Mac
from cofferdam_contracts.psa.policy import full_mac_length, mac_is_long_enough
from cofferdam_contracts.status import Status
from cofferdam_providers.pkcs11 import mechanisms
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.device import Codes, TokenDevice
from cofferdam_providers.pkcs11.keys import TokenKey
from cofferdam_providers.pyca.errors import invalid_signature, not_supported

_CODES: Final[Codes] = {
    # Tokens require HMAC keys that are as long as the digest.
    Return.KEY_SIZE_RANGE: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.KEY_TYPE_INCONSISTENT: Status.PSA_ERROR_NOT_SUPPORTED,
}


def compute(device: TokenDevice, key: TokenKey, algorithm: Mac, data: bytes) -> bytes:
    """Return the MAC of a message.

    Raises:
        ServiceError: The token does not support the algorithm (`PSA_ERROR_NOT_SUPPORTED`), or fails.
    """
    number = mechanisms.mechanism_of(algorithm)
    if number is None:
        raise not_supported(f"{algorithm.scheme.name} by a token")
    device.capabilities.check_mechanism(number)
    if not mac_is_long_enough(algorithm):
        raise not_supported(f"a MAC of {algorithm.length} bytes")
    whole = full_mac_length(key.kind, algorithm)
    function, how = device.cryptoki.sign, mechanisms.plain(number)
    made = device.use(key, ObjectClass.SECRET_KEY, _CODES, function, how, data, whole)
    if len(made) != whole:
        raise device.unbelievable(f"a MAC of {len(made)} bytes in place of {whole}")
    return made[: algorithm.length]


def verify(device: TokenDevice, key: TokenKey, algorithm: Mac, data: bytes, mac: bytes) -> None:
    """Reject a MAC that is not that of the message; errors as for `compute`, and `PSA_ERROR_INVALID_SIGNATURE`.

    The MAC is computed and compared, which works for truncated ones too; the key must therefore be allowed to sign.
    """
    if not hmac.compare_digest(compute(device, key, algorithm, data), mac):
        raise invalid_signature("the MAC is wrong")
