"""Hashes, against published vectors."""

import hashlib
from pathlib import PurePath

import pytest
from tests.providers.support import refused
from tests.providers.vectors import records, spread

from cofferdam_contracts.psa.algorithm import HASH_LENGTH, Hash
from cofferdam_contracts.status import Status
from cofferdam_providers.pyca.hashes import AVAILABLE, PRIMITIVES, compare, digest_of

FILES = {
    Hash.MD5: "MD5/rfc-1321.txt",
    Hash.RIPEMD160: "ripemd160/ripevectors.txt",
    Hash.SHA_1: "SHA1/SHA1ShortMsg.rsp",
    Hash.SHA_224: "SHA2/SHA224ShortMsg.rsp",
    Hash.SHA_256: "SHA2/SHA256LongMsg.rsp",
    Hash.SHA_384: "SHA2/SHA384ShortMsg.rsp",
    Hash.SHA_512: "SHA2/SHA512LongMsg.rsp",
    Hash.SHA_512_224: "SHA2/SHA512_224ShortMsg.rsp",
    Hash.SHA_512_256: "SHA2/SHA512_256ShortMsg.rsp",
    Hash.SHA3_224: "SHA3/SHA3_224ShortMsg.rsp",
    Hash.SHA3_256: "SHA3/SHA3_256LongMsg.rsp",
    Hash.SHA3_384: "SHA3/SHA3_384ShortMsg.rsp",
    Hash.SHA3_512: "SHA3/SHA3_512ShortMsg.rsp",
}


@pytest.mark.parametrize("hash_alg", FILES, ids=lambda hash_alg: hash_alg.name)
def test_digests_are_those_that_were_published(hash_alg: Hash) -> None:
    path = str(PurePath("hashes", FILES[hash_alg]))
    found = spread(list(records(path, last="md")), 20)
    assert len(found) > 5
    for record in found:
        message = bytes.fromhex(record["msg"])[: int(record["len"]) // 8]
        digest = digest_of(hash_alg, message)
        assert digest == bytes.fromhex(record["md"])
        compare(hash_alg, message, digest)


def test_all_hashes_but_the_oldest_work() -> None:
    assert set(AVAILABLE) == set(FILES) == set(Hash) - {Hash.MD2, Hash.MD4}


@pytest.mark.parametrize("hash_alg", [Hash.MD2, Hash.MD4])
def test_the_oldest_hashes_are_not_supported(hash_alg: Hash) -> None:
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        digest_of(hash_alg, b"abc")
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        compare(hash_alg, b"abc", bytes(16))


@pytest.mark.parametrize(
    "digest",
    [b"", bytes(32), hashlib.sha256(b"abc").digest()[:-1], hashlib.sha256(b"abc").digest() + b"\0"],
    ids=["empty", "other", "short", "long"],
)
def test_another_digest_is_refused(digest: bytes) -> None:
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        compare(Hash.SHA_256, b"abc", digest)


def test_an_empty_input_has_a_digest() -> None:
    assert digest_of(Hash.SHA_256, b"") == hashlib.sha256().digest()


def test_primitives_have_the_digest_lengths_of_the_contract() -> None:
    assert {hash_alg: primitive.digest_size for hash_alg, primitive in PRIMITIVES.items()} == {
        hash_alg: HASH_LENGTH[hash_alg] for hash_alg in PRIMITIVES
    }
