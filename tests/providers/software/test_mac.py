"""Message authentication codes, against published vectors, another implementation and the definition."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hmac as pyca_hmac
from tests.providers.support import P256, handle, refused
from tests.providers.vectors import records

from cofferdam_contracts.psa.algorithm import HASH_LENGTH, Hash, Mac, MacScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind
from cofferdam_contracts.psa.policy import SHORTEST_MAC
from cofferdam_contracts.status import Status
from cofferdam_providers.pyca.hashes import AVAILABLE, PRIMITIVES
from cofferdam_providers.pyca.keys import Handle
from cofferdam_providers.software import mac

KEY = bytes(range(32))
CMAC = Mac(MacScheme.CMAC)
HMAC_KEY = handle(KeyKind.HMAC, KEY)
AES_KEY = handle(KeyKind.AES, KEY)
CAMELLIA_KEY = handle(KeyKind.CAMELLIA, KEY)
BLOCK_LENGTH = {Hash.SHA3_224: 144, Hash.SHA3_256: 136, Hash.SHA3_384: 104, Hash.SHA3_512: 72} | dict.fromkeys(
    (Hash.SHA_384, Hash.SHA_512, Hash.SHA_512_224, Hash.SHA_512_256), 128
)
"""Blocks of the hashes in bytes, where they are not of 64."""


def _hmac(hash_alg: Hash, length: int | None = None) -> Mac:
    return Mac(MacScheme.HMAC, hash_alg, length)


def _by_definition(hash_alg: Hash, key: bytes, data: bytes) -> bytes:
    """Compute HMAC as RFC 2104 section 2 writes it."""
    name, block = AVAILABLE[hash_alg], BLOCK_LENGTH.get(hash_alg, 64)
    padded = (hashlib.new(name, key).digest() if len(key) > block else key).ljust(block, b"\0")
    inner = hashlib.new(name, bytes(byte ^ 0x36 for byte in padded) + data).digest()
    return hashlib.new(name, bytes(byte ^ 0x5C for byte in padded) + inner).digest()


@pytest.mark.parametrize(
    ("path", "hash_alg", "count"),
    [
        ("rfc-2202-md5", Hash.MD5, 7),
        ("rfc-2202-sha1", Hash.SHA_1, 7),
        ("rfc-2286-ripemd160", Hash.RIPEMD160, 7),
        ("rfc-4231-sha224", Hash.SHA_224, 6),
        ("rfc-4231-sha256", Hash.SHA_256, 6),
        ("rfc-4231-sha384", Hash.SHA_384, 6),
        ("rfc-4231-sha512", Hash.SHA_512, 6),
    ],
)
def test_hmac_gives_the_published_codes(path: str, hash_alg: Hash, count: int) -> None:
    found = list(records(f"HMAC/{path}.txt", last="md"))
    assert len(found) == count
    for record in found:
        key, data, wanted = (bytes.fromhex(record[name]) for name in ("key", "msg", "md"))
        assert mac.compute(handle(KeyKind.HMAC, key), _hmac(hash_alg), data) == wanted
        mac.verify(handle(KeyKind.HMAC, key), _hmac(hash_alg), data, wanted)


@pytest.mark.parametrize(
    ("hash_alg", "wanted"),
    [
        (Hash.SHA_224, "0e2aea68a90c8d37c988bcdb9fca6fa8"),
        (Hash.SHA_256, "a3b6167473100ee06e0c796c2955552b"),
        (Hash.SHA_384, "3abf34c3503b2a23a46efc619baef897"),
        (Hash.SHA_512, "415fad6271580a531d4179bc891d87a6"),
    ],
)
def test_truncated_hmac_gives_the_published_codes(hash_alg: Hash, wanted: str) -> None:
    """RFC 4231, test case 5."""
    key = handle(KeyKind.HMAC, b"\x0c" * 20)
    assert mac.compute(key, _hmac(hash_alg, 16), b"Test With Truncation") == bytes.fromhex(wanted)


@pytest.mark.parametrize("hash_alg", AVAILABLE)
@pytest.mark.parametrize("length", [1, 64, 72, 73, 200])
def test_hmac_is_that_of_the_definition_for_every_hash(hash_alg: Hash, length: int) -> None:
    material = bytes(range(length))
    computed = mac.compute(handle(KeyKind.HMAC, material), _hmac(hash_alg), b"data")
    assert computed == _by_definition(hash_alg, material, b"data")
    if hash_alg in PRIMITIVES:
        other = pyca_hmac.HMAC(material, PRIMITIVES[hash_alg])
        other.update(b"data")
        assert computed == other.finalize()


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_cmac_gives_the_published_codes(bits: int) -> None:
    found = list(records(f"CMAC/nist-800-38b-aes{bits}.txt", last="output"))
    assert len(found) == 4
    for record in found:
        key, data, wanted = (bytes.fromhex(record[name]) for name in ("key", "message", "output"))
        assert mac.compute(handle(KeyKind.AES, key), CMAC, data) == wanted
        mac.verify(handle(KeyKind.AES, key), CMAC, data, wanted)


@pytest.mark.parametrize(
    ("length", "wanted"),
    [
        (0, "ba925782aaa1f5d9a00f89648094fc71"),
        (16, "6d962854a3b9fda56d7d45a95ee17993"),
        (40, "5c18d119ccd6766144ac1866131d9f22"),
    ],
)
def test_cmac_with_camellia_gives_the_published_codes(length: int, wanted: str) -> None:
    """draft-kato-ipsec-camellia-cmac96and128, section 3; key and text are those of NIST SP 800-38B."""
    record = list(records("CMAC/nist-800-38b-aes128.txt", last="output"))[-1]
    key, data = handle(KeyKind.CAMELLIA, bytes.fromhex(record["key"])), bytes.fromhex(record["message"])[:length]
    assert mac.compute(key, CMAC, data).hex() == wanted


@pytest.mark.parametrize(
    ("key", "algorithm", "full"),
    [
        *((HMAC_KEY, _hmac(hash_alg), HASH_LENGTH[hash_alg]) for hash_alg in AVAILABLE),
        (AES_KEY, CMAC, 16),
        (CAMELLIA_KEY, CMAC, 16),
    ],
)
@pytest.mark.parametrize("data", [b"", b"data"])
def test_every_form_is_verified_and_notices_every_change(key: Handle, algorithm: Mac, full: int, data: bytes) -> None:
    whole = mac.compute(key, algorithm, data)
    assert len(whole) == full
    for length in (None, SHORTEST_MAC, full - 1, full):
        form = Mac(algorithm.scheme, algorithm.hash, length)
        good = mac.compute(key, form, data)
        assert good == whole[:length]
        mac.verify(key, form, data, good)
        changed = (bytes(byte ^ (at == place) for at, byte in enumerate(good)) for place in range(len(good)))
        for bad in (*changed, b"", good[:-1], good + b"\0"):
            with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                mac.verify(key, form, data, bad)
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            mac.verify(key, form, data + b"\0", good)


@pytest.mark.parametrize("length", range(1, SHORTEST_MAC))
@pytest.mark.parametrize(("key", "algorithm"), [(HMAC_KEY, _hmac(Hash.SHA_256)), (AES_KEY, CMAC)])
def test_too_short_a_code_is_not_supported(key: Handle, algorithm: Mac, length: int) -> None:
    short = Mac(algorithm.scheme, algorithm.hash, length)
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        mac.compute(key, short, b"data")
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        mac.verify(key, short, b"data", mac.compute(key, algorithm, b"data")[:length])


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (AES_KEY, Mac(MacScheme.CBC_MAC)),
        (CAMELLIA_KEY, Mac(MacScheme.CBC_MAC)),
        (HMAC_KEY, _hmac(Hash.MD2)),
        (HMAC_KEY, _hmac(Hash.MD4)),
        (HMAC_KEY, CMAC),
        (AES_KEY, _hmac(Hash.SHA_256)),
    ],
)
def test_what_does_not_work_here_is_not_supported(key: Handle, algorithm: Mac) -> None:
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        mac.compute(key, algorithm, b"data")


def test_a_key_pair_is_refused() -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        mac.compute(handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.SECP_R1), CMAC, b"data")
