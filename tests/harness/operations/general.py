"""What an operation has to do with any provider; `tests/e2e/test_operations.py` lists providers and inputs.

Every function takes a client of a provider that has no keys, and checks the results of the provider with another
implementation. Keyword arguments are what differs between providers.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.harness.answers import refused

from cofferdam_client import (
    CheckType,
    Client,
    Curve,
    Hash,
    KeyAttributes,
    KeyKind,
    KeyType,
    Status,
    Usage,
    aes_gcm_key,
    ecc_signing_key,
    ecdsa,
    public_key_of,
)
from cofferdam_contracts.psa.algorithm import NoAlgorithm

HASHES: Final[Mapping[Hash, hashes.HashAlgorithm]] = {
    Hash.SHA_1: hashes.SHA1(),  # noqa: S303  where it is allowed
    Hash.SHA_224: hashes.SHA224(),
    Hash.SHA_256: hashes.SHA256(),
    Hash.SHA_384: hashes.SHA384(),
    Hash.SHA_512: hashes.SHA512(),
    Hash.SHA_512_256: hashes.SHA512_256(),
    Hash.SHA3_256: hashes.SHA3_256(),
}
CURVES: Final[Mapping[Curve, ec.EllipticCurve]] = {
    Curve.P_256: ec.SECP256R1(),
    Curve.P_384: ec.SECP384R1(),
    Curve.P_521: ec.SECP521R1(),
    Curve.SECP256K1: ec.SECP256K1(),
    Curve.BRAINPOOL_P256R1: ec.BrainpoolP256R1(),
}
P256: Final = ecc_signing_key(Curve.P_256, Hash.SHA_256)


def refusal(
    client: Client,
    method: Callable[..., object],
    *inputs: object,
    status: Status | tuple[Status, ...],
    keys: Mapping[str, KeyAttributes],
) -> None:
    """Expect a method of the client to fail and to leave the keys as they are; `keys` are generated before."""
    for name, attributes in keys.items():
        client.generate_key(name, attributes)
    with refused(*([status] if isinstance(status, Status) else status)):
        method(client, *inputs)
    assert {key.name for key in client.list_keys()} == set(keys)


def capability(
    client: Client,
    attributes: KeyAttributes,
    *,
    checks: Mapping[CheckType, bool],
    public: bool | None = None,
    status: Status | None = None,
) -> None:
    """Compare the answers of CanDoCrypto with those of PsaGenerateKey.

    Args:
        client: A client of the provider.
        attributes: Those of the key.
        checks: The expected answers.
        public: Whether the key can be used and its public key imported, if a provider imports public keys alone.
        status: With what the generation fails, if it does.
    """
    for check, can in checks.items():
        assert client.can_do_crypto(check, attributes) is can, check
    if public is not None:
        assert client.can_do_crypto(CheckType.USE, attributes) is public
        assert client.can_do_crypto(CheckType.IMPORT, public_key_of(attributes)) is public
        assert not client.can_do_crypto(CheckType.IMPORT, attributes)
    if status is None:
        client.generate_key("k", attributes)
    else:
        refusal(client, Client.generate_key, "k", attributes, status=status, keys={})


def policy_without_algorithm(client: Client, base: KeyAttributes) -> None:
    """Make a key that permits nothing, as CanDoCrypto says; it can be exported and destroyed."""
    idle = with_(base, algorithm=NoAlgorithm())
    assert client.can_do_crypto(CheckType.GENERATE, idle)
    assert client.can_do_crypto(CheckType.IMPORT, public_key_of(idle))
    assert not client.can_do_crypto(CheckType.USE, idle)
    client.generate_key("k", idle)
    public = client.export_public_key("k")
    client.import_key("public", public_key_of(idle), public)
    assert client.export_public_key("public") == public
    for name in ("k", "public"):
        with refused(Status.PSA_ERROR_NOT_PERMITTED):
            client.sign_hash(name, bytes(32), ecdsa())
        with refused(Status.PSA_ERROR_NOT_PERMITTED):
            client.verify_hash(name, bytes(32), bytes(64), ecdsa())
        client.destroy_key(name)


def missing_operation(client: Client, method: Callable[..., object], *inputs: object) -> None:
    """Refuse an operation that the provider does not have, whether the key exists or not."""
    client.generate_key("k", P256)
    for name in ("k", "absent"):
        with refused(Status.PSA_ERROR_NOT_SUPPORTED):
            method(client, name, *inputs)


def opcodes(client: Client, number: int, *, has: set[int], lacks: set[int] | None = None) -> None:
    """Look at the list of opcodes of a provider; it is `has` if nothing else is said."""
    listed = client.list_opcodes(number)
    assert listed == has if lacks is None else has <= listed and not lacks & listed


def hashing(client: Client, hash_: Hash, name: str) -> None:
    """Hash without a key."""
    digest = hashlib.new(name, b"input").digest()
    assert client.hash_compute(b"input", hash_) == digest
    client.hash_compare(b"input", digest, hash_)
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        client.hash_compare(b"input", digest[:-1], hash_)


def random(client: Client, size: int) -> None:
    """Return as many random bytes as were asked for."""
    first, second = client.generate_random(size), client.generate_random(size)
    assert len(first) == len(second) == size
    assert size < 16 or first != second


def material(client: Client, kind: KeyKind, bits: int) -> None:
    """Generate what no operation uses, and export it."""
    client.generate_key("k", KeyAttributes(KeyType(kind), bits, Usage.EXPORT, aes_gcm_key().algorithm))
    assert len(client.export_key("k")) * 8 == bits
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.export_public_key("k")


def destroyed_key(client: Client) -> None:
    """Destroy a key, and give its name to another."""
    client.generate_key("k", P256)
    client.sign_hash("k", bytes(32), ecdsa())
    client.destroy_key("k")
    with refused(Status.PSA_ERROR_DOES_NOT_EXIST):
        client.sign_hash("k", bytes(32), ecdsa())
    client.generate_key("k", ecc_signing_key(Curve.P_384, Hash.SHA_384))
    assert len(client.sign_hash("k", bytes(48), ecdsa(Hash.SHA_384))) == 96


def with_(base: KeyAttributes, *, algorithm: object = None, usage: Usage | None = None, bits: int = 0) -> KeyAttributes:
    """Return attributes with others in places."""
    chosen: Any = algorithm or base.algorithm
    return KeyAttributes(base.type, bits or base.bits, base.usage if usage is None else usage, chosen)


def flipped(data: bytes, index: int = -1) -> bytes:
    """Return the data with one bit changed."""
    changed = bytearray(data)
    changed[index] ^= 1
    return bytes(changed)
