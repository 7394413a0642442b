"""Unauthenticated encryption, against published vectors and for every mode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.support import P256, handle, refused
from tests.providers.vectors import Record, records, spread

from cofferdam_contracts.psa.algorithm import CipherMode
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind
from cofferdam_contracts.status import Status
from cofferdam_providers.pyca.keys import Handle
from cofferdam_providers.software import cipher

KEY = bytes(range(32))
AES = handle(KeyKind.AES, KEY)
EVERY = [*cipher.MAKERS]
BLOCK_MODES = {CipherMode.ECB_NO_PADDING, CipherMode.CBC_NO_PADDING, CipherMode.CBC_PKCS7}

FILES = [
    *((KeyKind.AES, CipherMode.CBC_NO_PADDING, f"AES/CBC/CBCMMT{bits}.rsp") for bits in (128, 192, 256)),
    *((KeyKind.AES, CipherMode.CBC_NO_PADDING, f"AES/CBC/CBCVarTxt{bits}.rsp") for bits in (128, 256)),
    *((KeyKind.AES, CipherMode.CFB, f"AES/CFB/CFB128MMT{bits}.rsp") for bits in (128, 192, 256)),
    *((KeyKind.AES, CipherMode.OFB, f"AES/OFB/OFBMMT{bits}.rsp") for bits in (128, 192, 256)),
    *((KeyKind.AES, CipherMode.ECB_NO_PADDING, f"AES/ECB/ECBMMT{bits}.rsp") for bits in (128, 192, 256)),
    *((KeyKind.AES, CipherMode.CTR, f"AES/CTR/aes-{bits}-ctr.txt") for bits in (128, 192, 256)),
    (KeyKind.CAMELLIA, CipherMode.CBC_NO_PADDING, "Camellia/camellia-cbc.txt"),
    (KeyKind.CAMELLIA, CipherMode.CFB, "Camellia/camellia-cfb.txt"),
    (KeyKind.CAMELLIA, CipherMode.OFB, "Camellia/camellia-ofb.txt"),
]


def _check(key: Handle, mode: CipherMode, iv: bytes, plaintext: bytes, ciphertext: bytes) -> None:
    assert cipher.encrypt_with_iv(key, mode, iv, plaintext) == iv + ciphertext
    assert cipher.decrypt(key, mode, iv + ciphertext) == plaintext


def _hex(record: Record, name: str) -> bytes:
    return bytes.fromhex(record.get(name, ""))


@pytest.mark.parametrize(("kind", "mode", "path"), FILES, ids=[path for _, _, path in FILES])
def test_block_ciphers_give_the_published_ciphertexts(kind: KeyKind, mode: CipherMode, path: str) -> None:
    last = "plaintext" if "MMT" in path or "VarTxt" in path else "ciphertext"
    found = spread([record for record in records(f"ciphers/{path}", last=last) if "ciphertext" in record], 20)
    assert len(found) > 2
    for record in found:
        key = handle(kind, _hex(record, "key"))
        _check(key, mode, _hex(record, "iv"), _hex(record, "plaintext"), _hex(record, "ciphertext"))


def test_xts_gives_the_published_ciphertexts() -> None:
    path = "ciphers/AES/XTS/tweak-128hexstr/XTSGenAES128.rsp"
    found = [record for record in records(path, last="ct") if int(record["dataunitlen"]) % 8 == 0]
    for record in spread(found, 60):
        key = handle(KeyKind.AES, _hex(record, "key"))
        _check(key, CipherMode.XTS, _hex(record, "i"), _hex(record, "pt"), _hex(record, "ct"))


def test_chacha20_gives_the_published_ciphertexts() -> None:
    found = [
        record
        for record in records("ciphers/ChaCha20/rfc7539.txt", last="ciphertext")
        if record["initial_block_counter"] == "0"
    ]
    assert found
    for record in found:
        key = handle(KeyKind.CHACHA20, _hex(record, "key"))
        values = (_hex(record, name) for name in ("nonce", "plaintext", "ciphertext"))
        _check(key, CipherMode.STREAM_CIPHER, *values)


def test_every_mode_of_the_contract_works_with_some_key() -> None:
    assert {mode for _, mode in EVERY} == set(CipherMode)


@given(plaintext=st.binary(min_size=1, max_size=100))
@pytest.mark.parametrize(("kind", "mode"), EVERY, ids=lambda value: value.name)
def test_every_form_comes_back(kind: KeyKind, mode: CipherMode, plaintext: bytes) -> None:
    if mode in BLOCK_MODES - {CipherMode.CBC_PKCS7}:
        plaintext = plaintext[: len(plaintext) // 16 * 16] or bytes(16)
    if mode is CipherMode.XTS:
        plaintext = plaintext.rjust(16, b"x")
    key = handle(kind, KEY)
    sealed = cipher.encrypt(key, mode, plaintext)
    assert cipher.decrypt(key, mode, sealed) == plaintext
    padding = 16 - len(plaintext) % 16 if mode is CipherMode.CBC_PKCS7 else 0
    assert len(sealed) == cipher.IV_LENGTH[mode] + len(plaintext) + padding


@pytest.mark.parametrize(("kind", "mode"), EVERY, ids=lambda value: value.name)
def test_every_iv_is_a_new_one(kind: KeyKind, mode: CipherMode) -> None:
    key = handle(kind, KEY)
    distinct = {cipher.encrypt(key, mode, bytes(16)) for _ in range(8)}
    assert len(distinct) == (1 if mode is CipherMode.ECB_NO_PADDING else 8)


@pytest.mark.parametrize("mode", [CipherMode.ECB_NO_PADDING, CipherMode.CBC_NO_PADDING])
@pytest.mark.parametrize("length", [1, 15, 17])
def test_modes_without_padding_take_whole_blocks(mode: CipherMode, length: int) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        cipher.encrypt(AES, mode, bytes(length))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        cipher.decrypt(AES, mode, bytes(cipher.IV_LENGTH[mode] + length))


@pytest.mark.parametrize("length", [0, 1, 15, 17])
def test_a_padded_ciphertext_is_whole_blocks(length: int) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        cipher.decrypt(AES, CipherMode.CBC_PKCS7, bytes(16 + length))


@pytest.mark.parametrize("end", [b"\0", b"\x11", b"\xff", b"\1\2", b"\2\3\3"])
def test_wrong_padding_has_its_own_status(end: bytes) -> None:
    sealed = cipher.encrypt(AES, CipherMode.CBC_NO_PADDING, end.rjust(16, b"x"))
    with refused(Status.PSA_ERROR_INVALID_PADDING):
        cipher.decrypt(AES, CipherMode.CBC_PKCS7, sealed)


@pytest.mark.parametrize(("kind", "mode"), EVERY, ids=lambda value: value.name)
def test_a_ciphertext_shorter_than_its_iv_is_refused(kind: KeyKind, mode: CipherMode) -> None:
    for length in range(cipher.IV_LENGTH[mode]):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            cipher.decrypt(handle(kind, KEY), mode, bytes(length))


def test_xts_takes_at_least_a_block_and_two_different_keys() -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        cipher.encrypt(AES, CipherMode.XTS, bytes(15))
    twice = handle(KeyKind.AES, bytes(32))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        cipher.encrypt(twice, CipherMode.XTS, bytes(16))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        cipher.decrypt(twice, CipherMode.XTS, bytes(32))


@pytest.mark.parametrize("length", [16, 24])
def test_xts_needs_a_key_of_256_bits(length: int) -> None:
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        cipher.encrypt(handle(KeyKind.AES, KEY[:length]), CipherMode.XTS, bytes(16))


@pytest.mark.parametrize("mode", [CipherMode.CTR, CipherMode.XTS, CipherMode.STREAM_CIPHER])
def test_camellia_lacks_some_modes(mode: CipherMode) -> None:
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        cipher.encrypt(handle(KeyKind.CAMELLIA, KEY), mode, bytes(16))


def test_a_key_pair_is_refused() -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        cipher.encrypt(handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.SECP_R1), CipherMode.CTR, bytes(16))
