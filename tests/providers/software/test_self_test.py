"""The self-test: quick, complete, and it notices."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.providers.support import provider

from cofferdam_contracts.psa.algorithm import CipherMode, Hash
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.hashes import AVAILABLE
from cofferdam_providers.software import cipher, known_answers, mac, self_test

ROOT = Path(__file__).resolve().parents[3]
ROOTS = [str(ROOT / name) for name in ("contracts", "runtime", "providers")]
NOTHING_IS_IMPORTED_AFTER = """
import sys
sys.path[:0] = sys.argv[1:]
from cofferdam_contracts import operations
from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.algorithm import Hash, AsymmetricSignature, SignatureScheme
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind, KeyType, Usage, EccFamily
from cofferdam_providers.software.provider import SoftwareProvider
provider = SoftwareProvider(bytes(32))
provider.warm_up()
imported = []
sys.addaudithook(lambda event, arguments: imported.append(arguments[0]) if event in ("import", "open") else None)
algorithm = AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_384)
for kind, bits, family in ((KeyKind.RSA_KEY_PAIR, 1024, None), (KeyKind.ECC_KEY_PAIR, 521, EccFamily.SECP_R1)):
    identity = KeyIdentity(1, "a", "b")
    attributes = KeyAttributes(KeyType(kind, family), bits, Usage.SIGN_HASH, algorithm)
    stored = provider.generate_key(identity, attributes, b"")
    key = provider.open_key(identity, stored)
    if family is None:
        provider.perform(key, operations.SignHash("", algorithm, bytes(48)))
    provider.perform(key, operations.ExportPublicKey(""))
provider.perform(None, operations.GenerateRandom(10))
provider.warm_up()
print(imported)
"""


def test_it_passes_quickly() -> None:
    """The best of three runs counts; the self-test may add 80 ms of processor time to a start at most."""
    backend = provider()
    durations = []
    for _ in range(3):
        start = time.thread_time()
        backend.warm_up()
        durations.append(time.thread_time() - start)
    assert min(durations) < 0.08


def test_nothing_is_imported_or_opened_afterwards() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_IS_IMPORTED_AFTER, *ROOTS],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.strip() == "[]"


def test_there_are_answers_for_every_hash_and_mode() -> None:
    assert set(known_answers.DIGESTS_OF_ABC) >= set(AVAILABLE)
    assert {mode for _, mode, *_ in known_answers.CIPHERS} >= {
        mode for _, mode in cipher.MAKERS if mode is not CipherMode.CBC_PKCS7
    }
    assert {kind for kind, *_ in known_answers.CMACS} == set(mac.CMAC_CIPHERS)


def _flip(value: bytes) -> bytes:
    return value[:-1] + bytes((value[-1] ^ 1,))


@pytest.mark.parametrize("name", ["RSA_SIGNATURE_DIGEST", "RSA_MESSAGE", "ECDSA_SIGNATURE", "ECDH_SECRET"])
def test_a_wrong_answer_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_answers, name, _flip(getattr(known_answers, name)))
    with pytest.raises(RuntimeError, match="wrong answer"):
        provider().warm_up()


def test_a_wrong_digest_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: Mapping[Hash, bytes] = {
        **known_answers.DIGESTS_OF_ABC,
        Hash.SHA3_512: _flip(known_answers.DIGESTS_OF_ABC[Hash.SHA3_512]),
    }
    monkeypatch.setattr(known_answers, "DIGESTS_OF_ABC", wrong)
    with pytest.raises(RuntimeError, match="SHA3_512"):
        provider().warm_up()


@pytest.mark.parametrize("name", ["AEADS", "CIPHERS", "CMACS"])
@pytest.mark.parametrize("place", [0, -1])
def test_a_wrong_ciphertext_or_code_is_noticed(name: str, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = list(getattr(known_answers, name))
    answers[place] = (*answers[place][:-1], _flip(answers[place][-1]))
    monkeypatch.setattr(known_answers, name, tuple(answers))
    with pytest.raises(RuntimeError, match="wrong answer"):
        provider().warm_up()


@pytest.mark.parametrize("hash_alg", known_answers.HMACS)
def test_a_wrong_hmac_is_noticed(hash_alg: Hash, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(known_answers.HMACS, hash_alg, _flip(known_answers.HMACS[hash_alg]))
    with pytest.raises(RuntimeError, match="HMAC"):
        provider().warm_up()


def test_a_wrong_shared_secret_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    scalar, peer, secret = known_answers.MONTGOMERY[448]
    monkeypatch.setitem(known_answers.MONTGOMERY, 448, (scalar, peer, _flip(secret)))
    with pytest.raises(RuntimeError, match="Montgomery"):
        provider().warm_up()


def test_an_operation_that_fails_altogether_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_answers, "RSA_CIPHERTEXT", bytes(127) + b"\2")
    with pytest.raises(RuntimeError, match="test_rsa_encryption failed: PSA_ERROR_INVALID_PADDING"):
        provider().warm_up()


def test_what_must_be_refused_must_be_refused_with_its_status() -> None:
    def refuse() -> None:
        raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT)

    self_test._expect_refusal("it", Status.PSA_ERROR_INVALID_ARGUMENT, refuse)
    with pytest.raises(RuntimeError, match="wrong answer"):
        self_test._expect_refusal("it", Status.PSA_ERROR_INVALID_PADDING, refuse)
    with pytest.raises(RuntimeError, match="accepted what it must reject"):
        self_test._expect_refusal("it", Status.PSA_ERROR_INVALID_PADDING, lambda: None)
