"""JSON and base64url, each in one reading."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_identity.documents import (
    MAX_DEPTH,
    DocumentError,
    _members,
    decode_base64url,
    encode_base64url,
    load_object,
    shown,
)

# RFC 4648 section 10, in base64url without padding, and RFC 7515 appendix C.
VECTORS = {b"": b"", b"f": b"Zg", b"fo": b"Zm8", b"foo": b"Zm9v", b"\x03\xec\xff\xe0\xc1": b"A-z_4ME"}


@pytest.mark.parametrize("data", VECTORS)
def test_published_encodings(data: bytes) -> None:
    assert encode_base64url(data) == VECTORS[data]
    assert decode_base64url(VECTORS[data]) == data


@pytest.mark.parametrize("text", ["Zh", "Zm9", "Zg==", "Zg=", "Z", "Zm 9v", "Zm9v\n", "A+z/4ME", "é", "=", "\0\0\0\0"])
def test_whatever_else_is_no_base64url(text: str) -> None:
    with pytest.raises(DocumentError):
        decode_base64url(text)


@given(st.binary())
def test_bytes_have_one_encoding(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data)) == data


@given(st.binary() | st.text())
def test_a_text_is_the_encoding_of_what_it_decodes_to(text: bytes | str) -> None:
    try:
        decoded = decode_base64url(text)
    except DocumentError:
        return
    assert encode_base64url(decoded) == (text.encode() if isinstance(text, str) else text)


def test_depth() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert load_object(nested(MAX_DEPTH))
    with pytest.raises(DocumentError, match="16 deep"):
        load_object(nested(MAX_DEPTH + 1))
    flat = {"a": [[] for _ in range(1000)], "b": '[{"' * 100}
    assert load_object(json.dumps(flat).encode()) == flat


@given(
    st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()), max_size=5)
)
def test_objects_that_are_json_are_read(value: dict[str, object]) -> None:
    text = json.dumps(value).encode()
    if text.count(b"[") < MAX_DEPTH:
        assert load_object(text) == value


@given(st.binary() | st.text(alphabet='{}[]",:\\ 0123456789eE+-.truefalsn').map(str.encode))
def test_whatever_is_read_is_an_object_or_an_error(text: bytes) -> None:
    try:
        assert isinstance(load_object(text), dict)
    except DocumentError as error:
        assert str(error)


@given(st.text(max_size=300) | st.integers() | st.lists(st.text()))
def test_what_is_shown_is_one_short_line_of_ascii(value: object) -> None:
    text = shown(value)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= 83


class _Compared(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        _Compared.comparisons += 1
        return str.__eq__(self, other)


def test_a_member_that_stands_twice_is_found_in_one_pass() -> None:
    """However many others there are: a client chooses."""
    pairs = [(_Compared(number), None) for number in [*range(2000), 1999]]
    _Compared.comparisons = 0
    with pytest.raises(DocumentError, match="the member '1999' twice"):
        _members(pairs)
    assert _Compared.comparisons < 100
