"""Authenticated encryption, against published vectors and for every nonce and tag length."""

import itertools

import pytest
from tests.providers.support import P256, handle, refused
from tests.providers.vectors import Record, records, spread

from cofferdam_contracts.psa.algorithm import Aead, AeadScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind
from cofferdam_contracts.status import Status
from cofferdam_providers.pyca.keys import Handle
from cofferdam_providers.software import aead

KEY = bytes(range(32))
GCM = Aead(AeadScheme.GCM)
CCM = Aead(AeadScheme.CCM)
CHACHA = Aead(AeadScheme.CHACHA20_POLY1305)
AES_KEY = handle(KeyKind.AES, KEY)
CHACHA_KEY = handle(KeyKind.CHACHA20, KEY)


def _gcm_records(path: str) -> list[Record]:
    """Return vectors of every nonce length, tag length and length of text."""
    found: dict[tuple[str, ...], Record] = {}
    for record in records(path, last="tag"):
        found.setdefault(tuple(record[name] for name in ("ivlen", "ptlen", "aadlen", "taglen")), record)
    return list(found.values())


def _hex(record: Record, name: str) -> bytes:
    return bytes.fromhex(record.get(name, ""))


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_gcm_encryption_gives_the_published_ciphertexts(bits: int) -> None:
    """NIST CAVS 14.0, with nonces of 1, 12 and 128 bytes and tags of 4 to 16."""
    found = _gcm_records(f"ciphers/AES/GCM/gcmEncryptExtIV{bits}.rsp")
    assert {record["ivlen"] for record in found} == {"8", "96", "1024"}
    assert {record["taglen"] for record in found} == {"32", "64", "96", "104", "112", "120", "128"}
    for record in found:
        key = handle(KeyKind.AES, _hex(record, "key"))
        algorithm = Aead(AeadScheme.GCM, int(record["taglen"]) // 8)
        sealed = aead.encrypt(key, algorithm, _hex(record, "iv"), _hex(record, "aad"), _hex(record, "pt"))
        assert sealed == _hex(record, "ct") + _hex(record, "tag")


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_gcm_decryption_takes_and_refuses_the_published_ciphertexts(bits: int) -> None:
    found = list(records(f"ciphers/AES/GCM/gcmDecrypt{bits}.rsp", last="tag"))
    for record in spread(found, 400):
        key = handle(KeyKind.AES, _hex(record, "key"))
        algorithm = Aead(AeadScheme.GCM, int(record["taglen"]) // 8)
        sealed = _hex(record, "ct") + _hex(record, "tag")
        arguments = (key, algorithm, _hex(record, "iv"), _hex(record, "aad"), sealed)
        if "fail" in record:
            with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                aead.decrypt(*arguments)
        else:
            assert aead.decrypt(*arguments) == _hex(record, "pt")


@pytest.mark.parametrize("path", ["VNT128", "VADT192", "VPT256", "VTT128"])
def test_ccm_gives_the_published_ciphertexts(path: str) -> None:
    """NIST CAVS 11.0: nonces of 7 to 13 bytes, additional data and texts of all lengths, all tags."""
    for record in spread(list(records(f"ciphers/AES/CCM/{path}.rsp", last="ct")), 60):
        key = handle(KeyKind.AES, _hex(record, "key"))
        algorithm = Aead(AeadScheme.CCM, int(record["tlen"]))
        nonce = _hex(record, "nonce")
        additional_data = _hex(record, "adata")[: int(record["alen"])]
        plaintext = _hex(record, "payload")[: int(record["plen"])]
        sealed = aead.encrypt(key, algorithm, nonce, additional_data, plaintext)
        assert sealed == _hex(record, "ct")
        assert aead.decrypt(key, algorithm, nonce, additional_data, sealed) == plaintext


def test_ccm_decryption_takes_and_refuses_the_published_ciphertexts() -> None:
    for record in spread(list(records("ciphers/AES/CCM/DVPT128.rsp", last="result")), 120):
        key = handle(KeyKind.AES, _hex(record, "key"))
        algorithm = Aead(AeadScheme.CCM, int(record["tlen"]))
        additional_data = _hex(record, "adata")[: int(record["alen"])]
        arguments = (key, algorithm, _hex(record, "nonce"), additional_data, _hex(record, "ct"))
        if record["result"] == "Fail":
            with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                aead.decrypt(*arguments)
        else:
            assert aead.decrypt(*arguments) == _hex(record, "payload")[: int(record["plen"])]


def test_chacha20_poly1305_takes_and_refuses_the_published_ciphertexts() -> None:
    outcomes = []
    for record in records("ciphers/ChaCha20Poly1305/openssl.txt", last="ciphertext"):
        key = handle(KeyKind.CHACHA20, _hex(record, "key"))
        nonce, additional_data, plaintext = _hex(record, "iv"), _hex(record, "aad"), _hex(record, "plaintext")
        sealed = _hex(record, "ciphertext") + _hex(record, "tag")
        outcomes.append("result" in record)
        if "result" in record:
            with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                aead.decrypt(key, CHACHA, nonce, additional_data, sealed)
        else:
            assert aead.encrypt(key, CHACHA, nonce, additional_data, plaintext) == sealed
            assert aead.decrypt(key, CHACHA, nonce, additional_data, sealed) == plaintext
    assert outcomes == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("key", "algorithm", "nonce_length"),
    [
        *((AES_KEY, Aead(AeadScheme.GCM, tag), length) for tag in (4, 8, 12, 13, 14, 15, 16) for length in (1, 12, 16)),
        *((AES_KEY, Aead(AeadScheme.CCM, tag), length) for tag in (4, 6, 8, 10, 12, 14, 16) for length in (7, 13)),
        *((AES_KEY, algorithm, 12) for algorithm in (GCM, CCM)),
        *((CHACHA_KEY, algorithm, 12) for algorithm in (CHACHA, Aead(AeadScheme.CHACHA20_POLY1305, 16))),
    ],
)
def test_every_form_comes_back_and_notices_every_change(key: Handle, algorithm: Aead, nonce_length: int) -> None:
    nonce = bytes(range(nonce_length))
    sealed = aead.encrypt(key, algorithm, nonce, b"data", b"plaintext")
    tag = 16 if algorithm.tag_length is None else algorithm.tag_length
    assert len(sealed) == len(b"plaintext") + tag
    assert aead.decrypt(key, algorithm, nonce, b"data", sealed) == b"plaintext"
    for place in range(len(sealed)):
        changed = bytes(byte ^ (at == place) for at, byte in enumerate(sealed))
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            aead.decrypt(key, algorithm, nonce, b"data", changed)
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        aead.decrypt(key, algorithm, nonce, b"date", sealed)
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        aead.decrypt(key, algorithm, nonce[:-1] + b"\xff", b"data", sealed)


@pytest.mark.parametrize(
    ("scheme", "tag"),
    [
        *itertools.product([AeadScheme.GCM], [0, 1, 3, 5, 6, 7, 9, 10, 11, 17, 1 << 40]),
        *itertools.product([AeadScheme.CCM], [0, 2, 3, 5, 13, 15, 17, 18]),
    ],
)
def test_tags_that_do_not_exist_are_refused(scheme: AeadScheme, tag: int) -> None:
    algorithm = Aead(scheme, tag)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        aead.encrypt(AES_KEY, algorithm, bytes(12), b"", b"text")
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        aead.decrypt(AES_KEY, algorithm, bytes(12), b"", bytes(64))


@pytest.mark.parametrize("tag", [0, 8, 12, 15, 17])
def test_chacha20_poly1305_has_one_tag_length(tag: int) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        aead.encrypt(CHACHA_KEY, Aead(AeadScheme.CHACHA20_POLY1305, tag), bytes(12), b"", b"text")


@pytest.mark.parametrize(
    ("key", "algorithm", "length"),
    [
        *((AES_KEY, CCM, length) for length in (1, 4, 6, 14, 16)),
        *((CHACHA_KEY, CHACHA, length) for length in (1, 8, 11, 13, 24)),
    ],
)
def test_nonces_that_the_scheme_does_not_have_are_refused(key: Handle, algorithm: Aead, length: int) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        aead.encrypt(key, algorithm, bytes(length), b"", b"text")
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        aead.decrypt(key, algorithm, bytes(length), b"", bytes(64))


def test_ccm_refuses_a_text_too_long_for_its_nonce() -> None:
    assert len(aead.encrypt(AES_KEY, CCM, bytes(13), b"", bytes(0xFFFF))) == 0xFFFF + 16
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        aead.encrypt(AES_KEY, CCM, bytes(13), b"", bytes(0x10000))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        aead.decrypt(AES_KEY, CCM, bytes(13), b"", bytes(0x10000 + 16))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(AES_KEY, GCM), (AES_KEY, Aead(AeadScheme.GCM, 12)), (AES_KEY, CCM), (CHACHA_KEY, CHACHA)],
)
@pytest.mark.parametrize("nonce_length", [12, 1])
def test_a_ciphertext_shorter_than_its_tag_is_refused(key: Handle, algorithm: Aead, nonce_length: int) -> None:
    tag = 16 if algorithm.tag_length is None else algorithm.tag_length
    for length in (0, 1, tag - 1):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            aead.decrypt(key, algorithm, bytes(nonce_length), b"", bytes(length))


@pytest.mark.parametrize("scheme", [AeadScheme.GCM, AeadScheme.CCM])
def test_camellia_is_not_supported(scheme: AeadScheme) -> None:
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        aead.encrypt(handle(KeyKind.CAMELLIA, KEY), Aead(scheme), bytes(12), b"", b"text")


def test_a_key_pair_is_refused() -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        aead.encrypt(handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.SECP_R1), GCM, bytes(12), b"", b"text")
