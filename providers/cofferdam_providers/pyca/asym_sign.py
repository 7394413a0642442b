"""Signatures: RSA PKCS#1 v1.5 and PSS, ECDSA with random and with derived nonces.

Whatever can be prepared for a key and an algorithm is prepared once and kept with the key, so that signing costs little
more than the library's own call.
"""

import functools
import hmac
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed, encode_dss_signature

from cofferdam_contracts.operations import SignMessage, VerifyMessage
from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.policy import pss_salt_length
from cofferdam_providers.pyca.errors import invalid_argument, invalid_signature, not_supported
from cofferdam_providers.pyca.hashes import PRIMITIVES, digest_of
from cofferdam_providers.pyca.keys import EccKey, Handle, RsaKey, Signer, Verifier

_PKCS1V15: Final = padding.PKCS1v15()
_RAW: Final = NoDigestInfo()
_PKCS1V15_OVERHEAD: Final = 11
_DIGEST_INFO: Final = {Hash.RIPEMD160: bytes.fromhex("3021300906052b2403020105000414")}
"""Prefixes of DigestInfo for hashes without an object in the library (RFC 8017 section 9.2; TeleTrusT's number)."""

PKCS1V15_HASHES: Final = frozenset({*PRIMITIVES, *_DIGEST_INFO})
PSS_HASHES: Final = frozenset(PRIMITIVES)
ECDSA_HASHES: Final = frozenset({*PRIMITIVES, Hash.RIPEMD160})
DETERMINISTIC_HASHES: Final = frozenset(PRIMITIVES)
"""Hashes that each scheme works with here."""


def sign_hash(key: Handle, algorithm: AsymmetricSignature, digest: bytes) -> bytes:
    """Return the signature of a digest.

    Raises:
        ServiceError: The key does not support the algorithm, the digest does not fit the key, or the hash is not
            supported.
    """
    if not isinstance(key, EccKey | RsaKey):
        raise invalid_argument("a key that cannot sign")
    signer = key.signers.get(algorithm)
    if signer is None:
        signer = key.signers[algorithm] = (
            _rsa_signer(key, algorithm) if isinstance(key, RsaKey) else _ecc_signer(key, algorithm)
        )
    return signer(digest)


def verify_hash(key: Handle, algorithm: AsymmetricSignature, digest: bytes, signature: bytes) -> None:
    """Reject an invalid signature of the digest, whatever is wrong with it.

    Raises:
        ServiceError: `PSA_ERROR_INVALID_SIGNATURE`, or the key does not support the algorithm.
    """
    if not isinstance(key, EccKey | RsaKey):
        raise invalid_argument("a key that cannot verify")
    verifier = key.verifiers.get(algorithm)
    if verifier is None:
        verifier = key.verifiers[algorithm] = (
            _rsa_verifier(key, algorithm) if isinstance(key, RsaKey) else _ecc_verifier(key, algorithm)
        )
    try:
        verifier(digest, signature)
    except (InvalidSignature, ValueError) as error:
        raise invalid_signature("the signature is invalid") from error


def hashed(operation: SignMessage | VerifyMessage) -> bytes:
    """Return the digest of a message; schemes without a hash sign no messages (PSA_ALG_IS_SIGN_MESSAGE)."""
    if not isinstance(operation.alg.hash, Hash):
        raise invalid_argument(f"{operation.alg.scheme.name} does not sign messages")
    return digest_of(operation.alg.hash, operation.message)


def _hash_for(algorithm: AsymmetricSignature) -> Hash:
    # The worker rejects wildcards, and schemes whose hash is missing.
    if not isinstance(algorithm.hash, Hash):
        raise invalid_argument(f"{algorithm.scheme.name} without a hash")
    return algorithm.hash


def _prehashed(hash_alg: Hash) -> Prehashed:
    if hash_alg not in PRIMITIVES:
        raise not_supported(f"signatures with {hash_alg.name}")
    return Prehashed(PRIMITIVES[hash_alg])


def _rsa_parameters(
    algorithm: AsymmetricSignature, bits: int
) -> tuple[bytes, padding.PKCS1v15 | padding.PSS, Prehashed | NoDigestInfo]:
    """Return what precedes the digest, the padding and the library's algorithm."""
    match algorithm.scheme:
        case SignatureScheme.RSA_PKCS1V15_RAW:
            return b"", _PKCS1V15, _RAW
        case SignatureScheme.RSA_PKCS1V15:
            hash_alg = _hash_for(algorithm)
            if hash_alg in _DIGEST_INFO:
                return _DIGEST_INFO[hash_alg], _PKCS1V15, _RAW
            return b"", _PKCS1V15, _prehashed(hash_alg)
        case SignatureScheme.RSA_PSS:
            hash_alg = _hash_for(algorithm)
            prehashed, salt = _prehashed(hash_alg), pss_salt_length(bits, hash_alg)
            if salt < 0:
                raise invalid_argument("a digest that does not fit into the modulus")
            return b"", padding.PSS(padding.MGF1(PRIMITIVES[hash_alg]), salt), prehashed
        case _:
            raise invalid_argument(f"{algorithm.scheme.name} with an RSA key")


def _rsa_signer(key: RsaKey, algorithm: AsymmetricSignature) -> Signer:
    private = key.private
    if private is None:
        raise invalid_argument("a public key does not sign")
    prefix, pad, hashed = _rsa_parameters(algorithm, key.bits)
    longest = key.size - _PKCS1V15_OVERHEAD

    def sign(digest: bytes) -> bytes:
        if len(prefix) + len(digest) > longest:
            raise invalid_argument("more to sign than fits into the modulus")
        try:
            return private.sign(prefix + digest, pad, hashed)
        except ValueError as error:
            raise invalid_argument("a digest of the wrong length or too long for the key") from error

    return sign


def _rsa_verifier(key: RsaKey, algorithm: AsymmetricSignature) -> Verifier:
    public = key.public
    prefix, pad, hashed = _rsa_parameters(algorithm, key.bits)
    if not isinstance(hashed, NoDigestInfo):
        return lambda digest, signature: public.verify(signature, digest, pad, hashed)

    def verify_raw(digest: bytes, signature: bytes) -> None:
        # The library's own comparison fails for an empty input.
        recovered = public.recover_data_from_signature(signature, _PKCS1V15, None)
        if not hmac.compare_digest(recovered, prefix + digest):
            raise invalid_signature("the signature is of something else")

    return verify_raw


def _ecdsa(algorithm: AsymmetricSignature) -> ec.ECDSA:
    hash_alg = _hash_for(algorithm)
    if algorithm.scheme is SignatureScheme.DETERMINISTIC_ECDSA:
        return ec.ECDSA(_prehashed(hash_alg), deterministic_signing=True)
    if algorithm.scheme is not SignatureScheme.ECDSA:
        raise invalid_argument(f"{algorithm.scheme.name} with an elliptic-curve key")
    if hash_alg is Hash.RIPEMD160:
        # Only the length of the digest affects an ECDSA signature with a random nonce.
        return ec.ECDSA(_prehashed(Hash.SHA_1))
    return ec.ECDSA(_prehashed(hash_alg))


@functools.lru_cache(maxsize=64)
def _ecdsa_any(length: int) -> ec.ECDSA:
    """Return ECDSA over a digest of any length: some hash of that length stands for it, as only its length counts."""
    return ec.ECDSA(Prehashed(hashes.SHAKE256(length)))


def _ecc_signer(key: EccKey, algorithm: AsymmetricSignature) -> Signer:
    private = key.private
    size = key.curve.size
    if private is None:
        raise invalid_argument("a public key does not sign")
    if algorithm.scheme is SignatureScheme.ECDSA_ANY:

        def sign_any(digest: bytes) -> bytes:
            if not digest:
                raise invalid_argument("an empty digest")
            return _raw_signature(private.sign(digest, _ecdsa_any(len(digest))), size)

        return sign_any
    ecdsa = _ecdsa(algorithm)

    def sign(digest: bytes) -> bytes:
        try:
            return _raw_signature(private.sign(digest, ecdsa), size)
        except ValueError as error:
            raise invalid_argument("a digest of the wrong length") from error

    return sign


def _ecc_verifier(key: EccKey, algorithm: AsymmetricSignature) -> Verifier:
    public = key.public
    size = key.curve.size
    ecdsa = None if algorithm.scheme is SignatureScheme.ECDSA_ANY else _ecdsa(algorithm)

    def verify(digest: bytes, signature: bytes) -> None:
        if len(signature) != 2 * size or not digest:
            raise invalid_signature("not a signature of the curve's size")
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        public.verify(encode_dss_signature(r, s), digest, ecdsa or _ecdsa_any(len(digest)))

    return verify


def _raw_signature(der: bytes, size: int) -> bytes:
    """Return r and s at full length; the DER is the library's own, so it is well-formed."""
    at = 5 if der[1] & 0x80 else 4  # where r begins, after the lengths
    middle = at + der[at - 1]
    return der[at:middle][-size:].rjust(size, b"\0") + der[middle + 2 :][-size:].rjust(size, b"\0")
