"""The reference's mapping files, by vectors written out from the documented format, and by properties."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kim.support import ECDSA, RSA

from cofferdam_contracts.ipc.limits import MAX_ATTRIBUTES, MAX_KEY_ID
from cofferdam_kim.mapping_files import MAX_FILE, Mapped, MappingError, decode, encode, mapped_by, parts_of

FLAGS = "01 00 00 01 00 00 00 00 00 00"
"""Export and encrypt."""
SAMPLE = bytes.fromhex(
    # The key id of the software provider: its length, and the number 2.
    "0400000000000000 02000000"
    # Persistent, RsaKeyPair, 2048 bits, flags, AsymmetricEncryption, RsaPkcs1v15Crypt.
    f"01000000 09000000 0008000000000000 {FLAGS} 06000000 00000000"
)
ROOT_KEY = bytes.fromhex(
    # The Name of the TPM's storage root key, a byte vector of its own.
    "2a00000000000000 2200000000000000 000b"
    + "ab" * 32
    +
    # Persistent, RsaPublicKey, 2048 bits, no flags, no algorithm.
    "01000000 08000000 0008000000000000 00000000000000000000 00000000"
)
PATHS = {
    ("MTAwMA==", "1", "a2V5"): Mapped(1, "1000", "key"),
    ("MTAwMA==", "3", "w7_Dvg=="): Mapped(3, "1000", "ÿþ"),
    ("YS9i", "2", "Li4="): Mapped(2, "a/b", ".."),
    ("parsec", "dHBtUm9vdEtleVRQTQ=="): Mapped(3, None, "RootKeyTPM"),
    ("parsec", "bWJlZGNyeXB0b3g="): Mapped(1, None, "x"),
    ("parsec", "dHJ1c3RlZC1zZXJ2aWNleA=="): Mapped(4, None, "x"),
}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def test_the_documented_sample() -> None:
    assert len(SAMPLE) == 46
    assert decode(SAMPLE) == (b"\x02\0\0\0", SAMPLE[12:])
    assert encode(b"\x02\0\0\0", SAMPLE[12:]) == SAMPLE
    assert decode(ROOT_KEY) == (ROOT_KEY[8:50], ROOT_KEY[50:])


@pytest.mark.parametrize(("parts", "mapped"), PATHS.items())
def test_documented_paths(parts: tuple[str, ...], mapped: Mapped) -> None:
    assert mapped_by(parts) == mapped
    assert parts_of(mapped) == parts


@pytest.mark.parametrize(
    "parts",
    [
        ("MTAwMA==", "6", "a2V5"),
        ("MTAwMA==", "01", "a2V5"),
        ("MTAwMA==", "x", "a2V5"),
        ("MTAwMA", "1", "a2V5"),
        ("MTAwMA==", "1", "a2V5="),
        ("MTAwMA==", "1", "a+V5"),
        ("MTAwMA==", "1", "a2\nV5"),
        ("MTAwMA==", "1", "_w=="),
        ("MTAwMB==", "1", "a2V5"),
        ("MTAwMA==", "1", "..."),
        ("MTAwMA==", "1", ""),
        ("MTAwMA==", "1"),
        ("parsec", "key"),
        ("parsec", "1", "a2V5"),
    ],
)
def test_paths_that_the_reference_does_not_make(parts: tuple[str, ...]) -> None:
    with pytest.raises(MappingError):
        mapped_by(parts)


def test_an_internal_key_of_no_provider_is_ignored() -> None:
    assert mapped_by(("parsec", "bm9ib2R5")) is None


@pytest.mark.parametrize("name", ["", "n" * 190, "ä" * 95])
def test_names_that_no_file_can_have(name: str) -> None:
    for mapped in (Mapped(1, name, "key"), Mapped(1, "1000", name)):
        with pytest.raises(MappingError):
            parts_of(mapped)


def test_the_longest_name() -> None:
    mapped = Mapped(1, "n" * 189, "ä" * 94)
    assert mapped_by(parts_of(mapped)) == mapped
    assert max(map(len, parts_of(mapped))) <= 255


@given(st.integers(0, 5), st.none() | NAMES, NAMES)
def test_a_path_says_what_it_was_made_of(provider: int, application: str | None, key_name: str) -> None:
    mapped = Mapped(provider, application, key_name)
    assert mapped_by(parts_of(mapped)) == mapped


@given(st.tuples(st.text(string.ascii_letters + "-_=+/.", max_size=8), st.sampled_from("0156"), st.text(max_size=6)))
def test_a_path_that_is_understood_is_the_only_one(parts: tuple[str, ...]) -> None:
    try:
        mapped = mapped_by(parts)
    except MappingError:
        return
    assert mapped is not None
    assert parts_of(mapped) == parts


@given(st.binary(max_size=200), st.sampled_from([ECDSA, RSA]), st.binary(max_size=400))
def test_contents_come_back_whatever_follows(key_id: bytes, attributes: bytes, more: bytes) -> None:
    assert decode(encode(key_id, attributes) + more) == (key_id, attributes)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda more: SAMPLE[:20] + more))
def test_any_content_is_a_mapping_or_refused(content: bytes) -> None:
    try:
        key_id, attributes = decode(content)
    except MappingError:
        return
    assert content.startswith(encode(key_id, attributes))


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_a_content_that_is_cut_off(length: int) -> None:
    with pytest.raises(MappingError):
        decode(SAMPLE[:length])


def test_lengths_beyond_the_limits() -> None:
    longest = encode(bytes(MAX_KEY_ID), ECDSA)
    assert len(longest) <= MAX_FILE
    assert decode(longest) == (bytes(MAX_KEY_ID), ECDSA)
    for length in (MAX_KEY_ID + 1, 1 << 32, (1 << 64) - 1):
        with pytest.raises(MappingError):
            decode(length.to_bytes(8, "little") + bytes(MAX_FILE - 8))
    assert len(ECDSA) < MAX_ATTRIBUTES
