"""Raw key agreement: ECDH on Weierstrass curves, X25519, X448."""

from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519

from cofferdam_contracts.psa.algorithm import KeyAgreement, RawAgreement
from cofferdam_providers.software.errors import invalid_argument, not_supported
from cofferdam_providers.software.keys import EccKey, Handle, MontgomeryKey, montgomery_public_of, point_of


def agree(key: Handle, algorithm: KeyAgreement, peer: bytes) -> bytes:
    """Return the secret shared with the owner of a public key, which is in the format of export.

    Raises:
        ServiceError: The peer's key is empty, malformed, off the curve or of small order
            (`PSA_ERROR_INVALID_ARGUMENT`), or the algorithm is not supported.
    """
    if algorithm.raw is not RawAgreement.ECDH or algorithm.derivation is not None:
        raise not_supported("a key agreement other than raw ECDH")
    if not isinstance(key, EccKey | MontgomeryKey) or key.private is None:
        raise invalid_argument("a key that does not agree")
    if isinstance(key, EccKey):
        return key.private.exchange(ec.ECDH(), point_of(key.curve, peer))
    public = montgomery_public_of(key.curve, peer)
    try:
        match key.private, public:
            case x25519.X25519PrivateKey() as private, x25519.X25519PublicKey():
                return private.exchange(public)
            case x448.X448PrivateKey() as private, x448.X448PublicKey():
                return private.exchange(public)
            case _:
                raise invalid_argument("keys of two curves")
    except ValueError as error:
        # RFC 7748 section 6: a shared secret of zeros tells of a peer key of small order.
        raise invalid_argument("a public value of small order") from error
