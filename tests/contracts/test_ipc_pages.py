"""Pages of listings: what goes in comes out, nothing else is taken, and clients get what protobuf would write."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.strategies import WIDENED_ATTRIBUTES

from cofferdam_contracts.ipc.framing import FramingError
from cofferdam_contracts.ipc.pages import Key, keys_of, pack_page, unpack_page
from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.psa.encoding import decode_attributes, encode_attributes
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire.bodies import KeyInfo, encode_result
from cofferdam_contracts.wire.listing import encode_page

NAMES = st.text(st.characters(codec="utf-8"), max_size=12) | st.integers(100, 20_000).map("n".__mul__)
KEYS = st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), NAMES, WIDENED_ATTRIBUTES.map(encode_attributes)), max_size=6)
SOME = encode_attributes(
    KeyAttributes(
        KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1),
        256,
        Usage.SIGN_HASH,
        AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256),
    )
)


@given(keys=KEYS)
def test_a_page_holds_its_keys_in_order(keys: list[Key]) -> None:
    assert list(keys_of([pack_page(keys)])) == keys
    assert list(keys_of(pack_page([key]) for key in keys)) == keys


@given(keys=KEYS)
def test_an_encoded_page_is_what_protobuf_writes(keys: list[Key]) -> None:
    infos = [KeyInfo(provider, name, decode_attributes(attributes)) for provider, name, attributes in keys]
    assert encode_page(pack_page(keys)) == encode_result(Opcode.LIST_KEYS, infos)


@pytest.mark.parametrize("length", [0, 1, *range(40, 130), 127, 128, 16_383, 16_384, 70_000])
def test_every_length_is_written_as_protobuf_does(length: int) -> None:
    name = "é" * (length // 2) + "e" * (length % 2)
    expected = encode_result(Opcode.LIST_KEYS, [KeyInfo(1, name, decode_attributes(SOME))])
    assert encode_page(pack_page([(1, name, SOME)])) == expected


def test_a_key_that_cannot_be_encoded_is_left_out() -> None:
    keys: list[Key] = [
        (1, "one", SOME),
        (1, "bad", SOME[:-1]),
        (1 << 32, "far", SOME),
        (-1, "less", SOME),
        (2, "two", SOME),
    ]
    infos = [KeyInfo(provider, name, decode_attributes(SOME)) for provider, name in ((1, "one"), (2, "two"))]
    assert encode_page(pack_page(keys)) == encode_result(Opcode.LIST_KEYS, infos)


@pytest.mark.parametrize(
    "message",
    [
        0,
        [],
        [[]],
        [[], [], []],
        [[], 0],
        [{}, []],
        [[], ["name"]],
        [[], ["name", 0]],
        [[[1, b"a"]], ["name", 1]],
        [[[1, b"a"]], ["name", -1]],
        [[[1, b"a"]], [b"name", 0]],
        [[[1, b"a"]], ["name", "0"]],
        [[[1, b"a"]], ["name", True]],
        [[[1]], ["name", 0]],
        [[[1, "a"]], ["name", 0]],
        [[["1", b"a"]], ["name", 0]],
        [[1], ["name", 0]],
    ],
)
def test_what_is_no_page_is_refused(message: object) -> None:
    for take in (unpack_page, encode_page, lambda page: list(keys_of([page]))):
        with pytest.raises(FramingError):
            take(msgpack.packb(message))


@pytest.mark.parametrize("page", [b"", b"\xc1", b"\x92\x90", b"\x92\x90\x92\xa1\xff\x00", b"\x91" * 5000])
def test_what_is_no_message_is_refused(page: bytes) -> None:
    with pytest.raises(FramingError):
        unpack_page(page)
