"""Raw key agreement: ECDH on Weierstrass curves, X25519, X448."""

from cryptography.hazmat.primitives.asymmetric import ec, x25519

from cofferdam_contracts.psa.algorithm import KeyAgreement, RawAgreement
from cofferdam_providers.pyca.errors import invalid_argument, not_supported
from cofferdam_providers.pyca.keys import (
    EccKey,
    Handle,
    MontgomeryKey,
    MontgomeryPrivate,
    point_of,
    read_x448_public,
    read_x25519_public,
)


def agree(key: Handle, algorithm: KeyAgreement, peer: bytes) -> bytes:
    """Return the secret shared with the owner of a public key, which is in the format of export.

    Raises:
        ServiceError: The peer's key is empty, malformed, off the curve or of small order
            (`PSA_ERROR_INVALID_ARGUMENT`), or the algorithm is not supported.
    """
    if algorithm.raw is not RawAgreement.ECDH or algorithm.derivation is not None:
        raise not_supported("a key agreement other than raw ECDH")
    if not isinstance(key, EccKey | MontgomeryKey) or key.private is None:
        raise invalid_argument("a key that does not support key agreement")
    if isinstance(key, EccKey):
        return key.private.exchange(ec.ECDH(), point_of(key.curve, peer))
    try:
        return _agree_montgomery(key.private, peer)
    except ValueError as error:
        # RFC 7748 section 6: a shared secret of zeros means that the peer's key is of small order.
        raise invalid_argument("a public value of small order") from error


def _agree_montgomery(private: MontgomeryPrivate, peer: bytes) -> bytes:
    if isinstance(private, x25519.X25519PrivateKey):
        return private.exchange(read_x25519_public(peer))
    return private.exchange(read_x448_public(peer))
