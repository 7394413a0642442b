"""Documents that are not TOML are refused with line and column, and the error holds nothing of their content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config.documents import SECRET

from cofferdam_config.source import MAX_DOCUMENT, ConfigError, parse

TWICE = "; a key or table can be there once only, so put the two together"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"a = 1\nb = \n", "c.toml:2:5: not TOML: Invalid value"),
        (b"a = 1\r\n\r\nb = x\r\n", "c.toml:3:5: not TOML: Invalid value"),
        (b"a = 1\na = 2\n", f"c.toml:2:6: not TOML: Cannot overwrite a value{TWICE}"),
        (b"[a]\n[a]\n", f"c.toml:2:3: not TOML: Cannot declare ('a',) twice{TWICE}"),
        (b"\n[a\n", "c.toml:2:3: not TOML: Expected ']' at the end of a table declaration"),
        (b"a = 1\nb = [1,\n", "c.toml:2: not TOML: Invalid value (at the end of the document)"),
        (b'a = "\x01"', "c.toml:1:6: not TOML: Illegal character '\\x01'"),
        (b"a = 1\n# \xc3\xa9\xff\n", "c.toml:2:4: found bytes that are not UTF-8, allowed: TOML in UTF-8"),
        (b"a = " + b"[" * 5000, "c.toml:1: found arrays or tables nested too deeply"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "c.toml:1: found arrays or tables nested too deeply"),
        (b"a = " + b"9" * 5000, "c.toml:1: found an integer of thousands of digits, allowed: 64 bits"),
        (b" " * (MAX_DOCUMENT + 1), f"c.toml:1: found a larger file, allowed: at most {MAX_DOCUMENT} bytes"),
        (
            b"[" + b"k" * 5000 + b"]\n[" + b"k" * 5000 + b"]\n",
            "c.toml:2:5002: not TOML: Cannot declare ('" + "k" * 183 + TWICE,
        ),
    ],
)
def test_a_document_that_is_not_toml(document: bytes, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(document, "c.toml")
    assert caught.value.problems == (problem,)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "document",
    [
        f'user_pin = "{SECRET}\n'.encode(),
        f'user_pin = "{SECRET}" x'.encode(),
        f"user_pin = {SECRET}".encode(),
        f'user_pin = "{SECRET}"\nuser_pin = "{SECRET}"'.encode(),
        f'user_pin = "{SECRET}\xe9"'.encode("latin-1"),
    ],
)
def test_a_refusal_holds_nothing_of_the_document(document: bytes) -> None:
    """The exceptions of the parsers do: UnicodeDecodeError has all of the bytes in its repr."""
    with pytest.raises(ConfigError) as caught:
        parse(document, "c.toml")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in repr(caught.value)


def test_a_byte_order_mark_is_skipped() -> None:
    tree, lines = parse(b"\xef\xbb\xbfa = 1\n", "c.toml")
    assert tree == {"a": 1}
    assert lines.of(("a",)) == 1


@given(st.one_of(st.binary(), st.text().map(str.encode), st.text(alphabet='a=[]{}".\n#1').map(str.encode)))
def test_any_bytes_are_a_tree_or_one_line_of_text(document: bytes) -> None:
    try:
        tree, lines = parse(document, "c.toml")
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.startswith("c.toml:")
        assert "\n" not in problem
    else:
        assert all(lines.of((name,)) >= 1 for name in tree)
