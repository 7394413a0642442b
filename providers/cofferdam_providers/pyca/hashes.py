"""Hashes, and the library's objects for them."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives import hashes

from cofferdam_contracts.psa.algorithm import Hash
from cofferdam_providers.pyca.errors import invalid_signature, not_supported

_NAMES: Final[Mapping[Hash, str]] = {
    Hash.MD5: "md5",
    Hash.RIPEMD160: "ripemd160",
    Hash.SHA_1: "sha1",
    Hash.SHA_224: "sha224",
    Hash.SHA_256: "sha256",
    Hash.SHA_384: "sha384",
    Hash.SHA_512: "sha512",
    Hash.SHA_512_224: "sha512_224",
    Hash.SHA_512_256: "sha512_256",
    Hash.SHA3_224: "sha3_224",
    Hash.SHA3_256: "sha3_256",
    Hash.SHA3_384: "sha3_384",
    Hash.SHA3_512: "sha3_512",
}
AVAILABLE: Final = {hash_alg: name for hash_alg, name in _NAMES.items() if name in hashlib.algorithms_available}
"""Supported hashes with their names; the interpreter's OpenSSL may lack some."""

PRIMITIVES: Final[Mapping[Hash, hashes.HashAlgorithm]] = {
    Hash.MD5: hashes.MD5(),  # noqa: S303  the policy decides about deprecated hashes
    Hash.SHA_1: hashes.SHA1(),  # noqa: S303
    Hash.SHA_224: hashes.SHA224(),
    Hash.SHA_256: hashes.SHA256(),
    Hash.SHA_384: hashes.SHA384(),
    Hash.SHA_512: hashes.SHA512(),
    Hash.SHA_512_224: hashes.SHA512_224(),
    Hash.SHA_512_256: hashes.SHA512_256(),
    Hash.SHA3_224: hashes.SHA3_224(),
    Hash.SHA3_256: hashes.SHA3_256(),
    Hash.SHA3_384: hashes.SHA3_384(),
    Hash.SHA3_512: hashes.SHA3_512(),
}
"""The library's objects for the hashes that it can sign and pad with."""


def digest_of(hash_alg: Hash, data: bytes) -> bytes:
    """Return the digest; a hash that is not available is not supported."""
    name = AVAILABLE.get(hash_alg)
    if name is None:
        raise not_supported(f"the hash {hash_alg.name}")
    return hashlib.new(name, data, usedforsecurity=False).digest()


def compare(hash_alg: Hash, data: bytes, digest: bytes) -> None:
    """Reject a digest that is not that of the data, whatever its length."""
    if not hmac.compare_digest(digest_of(hash_alg, data), digest):
        raise invalid_signature("the digest is wrong")
