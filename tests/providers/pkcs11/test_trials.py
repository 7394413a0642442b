"""Tokens that accept a parameter and use something else, and what remains usable of their mechanisms."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from pkcs11 import Mechanism as Number
from pkcs11 import MechanismFlag, ObjectClass
from tests.harness.pkcs11.second import second
from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.token import softhsm
from tests.providers.pkcs11.child import Child, settings_for
from tests.providers.pkcs11.flawed import ALL, OFFERS, Flawed, Flaws
from tests.providers.support import attributes, refused

from cofferdam_contracts.operations import AeadDecrypt, AeadEncrypt, ImportKey
from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    AsymmetricEncryption,
    Cipher,
    CipherMode,
    EncryptionScheme,
    Hash,
)
from cofferdam_contracts.psa.attributes import KeyKind, Usage
from cofferdam_contracts.settings import LogSettings
from cofferdam_contracts.status import Status
from cofferdam_providers.pkcs11 import trials
from cofferdam_providers.pkcs11.capability_discovery import TokenCapabilities
from cofferdam_providers.pkcs11.cryptoki import Cryptoki
from cofferdam_providers.pkcs11.probe import probe
from cofferdam_providers.software.gcm import AnyNonceGcm
from cofferdam_runtime.log import Log

GCM = Aead(AeadScheme.GCM)
UNSUPPORTED = Status.PSA_ERROR_NOT_SUPPORTED
SEALING = Usage.ENCRYPT | Usage.DECRYPT
LOG = Log("trials", LogSettings(level="error", details=True))
EVERYTHING = range(1, 257)


def found(flaws: Flaws) -> TokenCapabilities:
    return probe(cast("Cryptoki", Flawed(flaws)), OFFERS, public_in_software=False, log=LOG)


def test_the_answers_are_those_of_gcm() -> None:
    for length, expected in trials.NONCES.items():
        ciphertext, tag = AnyNonceGcm(trials.KEY).encrypt(bytes(range(length)), trials.MORE, trials.TEXT)
        assert ciphertext + tag == expected


def test_a_token_without_flaws_loses_nothing() -> None:
    assert found(Flaws()) == TokenCapabilities(offers=OFFERS, gcm=trials.Gcm(nonces=EVERYTHING))


@pytest.mark.parametrize(
    ("flaws", "nonces"),
    [
        # SoftHSM 2.6.1.
        (Flaws(nonce=lambda nonce: nonce[:12] if len(nonce) > 128 else nonce), range(1, 129)),
        (Flaws(nonce=lambda nonce: nonce[:16]), range(1, 13)),
        (Flaws(nonce=lambda nonce: nonce[:128]), range(1, 129)),
        (Flaws(nonce=lambda nonce: nonce.ljust(12, b"\0")), range(12, 257)),
        (Flaws(nonce=lambda nonce: nonce[:12].ljust(12, b"\0")), range(12, 13)),
    ],
)
def test_nonces_that_are_cut_or_filled_up_are_not_used(flaws: Flaws, nonces: range) -> None:
    assert found(flaws) == TokenCapabilities(offers=OFFERS, gcm=trials.Gcm(nonces=nonces))


@pytest.mark.parametrize(
    ("flaws", "gcm"),
    [
        (Flaws(tag=lambda _: 16), trials.Gcm(nonces=EVERYTHING, tags=frozenset({16}))),
        (Flaws(tag=lambda tag: max(tag, 12)), trials.Gcm(nonces=EVERYTHING, tags=frozenset(range(12, 17)))),
        (Flaws(additional=lambda more: more[:65_535]), trials.Gcm(nonces=EVERYTHING, additional=range(257))),
        (Flaws(additional=lambda more: more[:16]), trials.Gcm(nonces=EVERYTHING, additional=range(1))),
    ],
)
def test_tags_and_additional_data_that_are_changed_are_not_used(flaws: Flaws, gcm: trials.Gcm) -> None:
    assert found(flaws) == TokenCapabilities(offers=OFFERS, gcm=gcm)


def test_a_nonce_that_is_never_used_costs_the_mechanism() -> None:
    token = found(Flaws(nonce=lambda _: bytes(12)))
    assert token.wrong == {Number.AES_GCM}
    key = attributes(KeyKind.AES, 128, GCM, usage=SEALING)
    for check in (token.check_import, token.check_use):
        with refused(UNSUPPORTED):
            check(key)
    with refused(UNSUPPORTED):
        token.check_gcm(12, 0, 16)


@pytest.mark.parametrize(
    ("flaws", "wrong"),
    [
        (Flaws(counter=lambda counter: counter[:8] + bytes(8)), {Number.AES_CTR}),
        (Flaws(counter=lambda counter: bytes(12) + counter[12:]), {Number.AES_CTR}),
        (Flaws(iv=lambda _: bytes(16)), {Number.AES_CBC, Number.AES_CBC_PAD, Number.AES_CFB128, Number.AES_OFB}),
        (Flaws(mac=lambda mac: mac[:8]), {Number.AES_CMAC, Number.SHA256_HMAC, Number.SHA512_HMAC}),
    ],
)
def test_a_mechanism_with_a_wrong_answer_is_not_used(flaws: Flaws, wrong: set[Number]) -> None:
    token = found(flaws)
    assert token.wrong == wrong
    for number in ALL:
        if number in wrong:
            with refused(UNSUPPORTED):
                token.check_mechanism(number)
        else:
            token.check_mechanism(number)


def test_a_key_for_a_mechanism_with_a_wrong_answer_is_not_taken() -> None:
    token = found(Flaws(counter=lambda _: bytes(16)))
    with refused(UNSUPPORTED):
        token.check_import(attributes(KeyKind.AES, 128, Cipher(CipherMode.CTR), usage=SEALING))
    token.check_import(attributes(KeyKind.AES, 128, Cipher(CipherMode.CBC_PKCS7), usage=SEALING))


@pytest.mark.parametrize("flaw", [lambda _: b"", lambda label: label[:255]], ids=["none", "255"])
def test_labels_that_are_cut_are_not_used(flaw: Callable[[bytes], bytes]) -> None:
    token = found(Flaws(label=flaw))
    assert not token.labels
    assert token.refused == set()


def test_a_label_out_of_nowhere_costs_the_padding() -> None:
    token = found(Flaws(label=lambda label: label + b"x"))
    # For SHA-512 the known key is too short.
    assert {hash_alg for _, hash_alg in token.refused} == {Hash.SHA_1, Hash.SHA_224, Hash.SHA_256, Hash.SHA_384}
    with refused(UNSUPPORTED):
        token.check_parameters(AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256))


def test_salts_of_another_length_than_asked_for_are_noticed() -> None:
    assert found(Flaws(salt=lambda _: 20)).refused == {
        (Number.RSA_PKCS_PSS, hash_alg) for hash_alg in (Hash.SHA_224, Hash.SHA_256, Hash.SHA_384, Hash.SHA_512)
    }
    # One that takes any salt does not verify.
    token = found(Flaws(salt=lambda _: padding.PSS.AUTO))  # type: ignore[arg-type, return-value]
    assert not token.exact_salts
    assert token.refused == set()
    assert token.in_software(Number.RSA_PKCS_PSS, MechanismFlag.VERIFY)
    assert not token.in_software(Number.RSA_PKCS_OAEP, MechanismFlag.ENCRYPT)


def test_a_token_that_takes_no_known_key_gets_nonces_of_twelve_bytes() -> None:
    token = found(Flaws(refuses=frozenset({ObjectClass.SECRET_KEY, ObjectClass.PUBLIC_KEY})))
    assert token == TokenCapabilities(offers=OFFERS)
    for nonce in (1, 11, 13, 128):
        with refused(UNSUPPORTED):
            token.check_gcm(nonce, 0, 16)
    token.check_gcm(12, 1 << 20, 4)


Tried = tuple[str, Child, Shim]


@pytest.fixture(scope="module", params=["SoftHSM", "NSS"])
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    """A real token behind a shim, with an AES key that is known here."""
    folder: Path = tmp_path_factory.mktemp("tried")
    if request.param == "SoftHSM":
        token = softhsm(folder / "softhsm")
        shim = Shim(folder / "shim", token.library, token.environment)
    else:
        token, shim = second(folder / "nss")
    with Child(settings_for(token, folder, library_path=str(shim.library))) as child:
        calls = shim.count(*{call.function for call in shim.calls()} - {"C_GetMechanismInfo"})
        assert calls <= MOST_CALLS, "the start of a token becomes slow"
        child.do(ImportKey("gcm", attributes(KeyKind.AES, 256, GCM, usage=SEALING), trials.KEY))
        yield request.param, child, shim


MOST_CALLS = 130
"""Functions that may be called until a token is open, beside one for each mechanism of its list."""
LONGEST = {"SoftHSM": 128, "NSS": 256}


@pytest.mark.parametrize("length", [1, 2, 7, 8, 11, 12, 13, 16, 17, 64, 127, 128, 129, 130, 255, 256, 257, 5000])
def test_a_nonce_counts_whole_or_is_refused(tried: Tried, length: int) -> None:
    name, child, shim = tried
    nonce = bytes(place % 256 for place in range(1, length + 1))
    if length > LONGEST[name]:
        shim.forget()
        child.refuses(AeadEncrypt("gcm", GCM, nonce, b"more", b"text"), UNSUPPORTED)
        child.refuses(AeadDecrypt("gcm", GCM, nonce, b"more", bytes(20)), UNSUPPORTED)
        assert shim.count("C_EncryptInit", "C_DecryptInit") == 0
        return
    ciphertext, tag = AnyNonceGcm(trials.KEY).encrypt(nonce, b"more", b"text")
    assert child.do(AeadEncrypt("gcm", GCM, nonce, b"more", b"text")) == ciphertext + tag
    assert child.do(AeadDecrypt("gcm", GCM, nonce, b"more", ciphertext + tag)) == b"text"
