"""Message authentication codes: HMAC and CMAC, whole and truncated to their leading bytes."""

import hmac
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import Camellia
from cryptography.hazmat.primitives import cmac
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, algorithms

from cofferdam_contracts.psa.algorithm import Mac, MacScheme
from cofferdam_contracts.psa.attributes import KeyKind
from cofferdam_contracts.psa.policy import mac_is_long_enough
from cofferdam_providers.pyca.errors import invalid_argument, invalid_signature, not_supported
from cofferdam_providers.pyca.hashes import AVAILABLE
from cofferdam_providers.pyca.keys import Handle, SecretKey

CMAC_CIPHERS: Final[Mapping[KeyKind, Callable[[bytes], BlockCipherAlgorithm]]] = {
    KeyKind.AES: algorithms.AES,
    KeyKind.CAMELLIA: Camellia,
}
"""Block ciphers for CMAC."""


def is_supported(kind: KeyKind, algorithm: Mac) -> bool:
    """Tell whether keys of a kind support such MACs here.

    CBC-MAC is not supported: it can be forged if messages differ in length, and CMAC is its repaired form.
    """
    match algorithm.scheme:
        case MacScheme.HMAC:
            return kind is KeyKind.HMAC and algorithm.hash in AVAILABLE
        case MacScheme.CMAC:
            return kind in CMAC_CIPHERS
        case MacScheme.CBC_MAC:
            return False


def compute(key: Handle, algorithm: Mac, data: bytes) -> bytes:
    """Return the MAC of some data; the worker has checked that a truncated MAC is not longer than the whole one.

    Raises:
        ServiceError: The algorithm, its length or the key are not supported.
    """
    if not isinstance(key, SecretKey):
        raise invalid_argument("a key that is not symmetric")
    if not is_supported(key.kind, algorithm):
        raise not_supported(f"{algorithm.scheme.name} with {key.kind.name}")
    if not mac_is_long_enough(algorithm):
        raise not_supported(f"a MAC of {algorithm.length} bytes")
    whole = _cmac(key, data) if algorithm.hash is None else hmac.digest(key.material, data, AVAILABLE[algorithm.hash])
    return whole[: algorithm.length]


def verify(key: Handle, algorithm: Mac, data: bytes, mac: bytes) -> None:
    """Reject a MAC that is not that of the data, whatever its length.

    Raises:
        ServiceError: The MAC is wrong (`PSA_ERROR_INVALID_SIGNATURE`), or as for `compute`.
    """
    if not hmac.compare_digest(compute(key, algorithm, data), mac):
        raise invalid_signature("the MAC is wrong")


def _cmac(key: SecretKey, data: bytes) -> bytes:
    context = cmac.CMAC(CMAC_CIPHERS[key.kind](key.material))
    context.update(data)
    return context.finalize()
