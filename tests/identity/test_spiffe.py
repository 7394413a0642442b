"""The syntax of SPIFFE IDs. What is refused is in `test_attacks.py` too, in tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_identity.spiffe import MAX_ID, MAX_TRUST_DOMAIN, SpiffeError, check_trust_domain, parse_id

_LONGEST = "spiffe://example.org/"
GOOD = [
    ("spiffe://example.org", "example.org", ""),
    ("spiffe://example.org/web", "example.org", "/web"),
    ("spiffe://a/B/c-D_e.f/0", "a", "/B/c-D_e.f/0"),
    ("spiffe://1.2.3.4/x", "1.2.3.4", "/x"),
    ("spiffe://a_b-c.d/...", "a_b-c.d", "/..."),
    ("spiffe://./.x", ".", "/.x"),
    (_LONGEST + "x" * (MAX_ID - len(_LONGEST)), "example.org", "/" + "x" * (MAX_ID - len(_LONGEST))),
    ("spiffe://" + "a" * MAX_TRUST_DOMAIN, "a" * MAX_TRUST_DOMAIN, ""),
]
BAD = [
    ("", "beginning"),
    ("example.org/web", "beginning"),
    ("http://example.org/web", "beginning"),
    ("Spiffe://example.org/web", "beginning"),
    (" spiffe://example.org/web", "beginning"),
    ("spiffe:///web", "no trust domain"),
    ("spiffe://", "no trust domain"),
    ("spiffe://exAmple.org/web", "character in the trust domain"),
    ("spiffe://example.org:80/web", "character in the trust domain"),
    ("spiffe://user@example.org/web", "character in the trust domain"),
    ("spiffe://ex%61mple.org/web", "character in the trust domain"),
    ("spiffe://[::1]/web", "character in the trust domain"),
    ("spiffe://exämple.org/web", "character in the trust domain"),
    ("spiffe://example.org\n", "character in the trust domain"),
    ("spiffe://example.org?x", "character in the trust domain"),
    ("spiffe://example.org#x", "character in the trust domain"),
    ("spiffe://" + "a" * (MAX_TRUST_DOMAIN + 1), "256 bytes"),
    ("spiffe://example.org/", "empty segment"),
    ("spiffe://example.org//", "empty segment"),
    ("spiffe://example.org//web", "empty segment"),
    ("spiffe://example.org/web/", "empty segment"),
    ("spiffe://example.org/a//b", "empty segment"),
    ("spiffe://example.org/.", "segment of dots"),
    ("spiffe://example.org/a/../b", "segment of dots"),
    ("spiffe://example.org/a/./b", "segment of dots"),
    ("spiffe://example.org/%61", "character in the path"),
    ("spiffe://example.org/a b", "character in the path"),
    ("spiffe://example.org/a?b", "character in the path"),
    ("spiffe://example.org/a#b", "character in the path"),
    ("spiffe://example.org/a~b", "character in the path"),
    ("spiffe://example.org/ä", "character in the path"),
    ("spiffe://example.org/\u0430", "character in the path"),
    ("spiffe://example.org/a\n", "character in the path"),
    ("spiffe://example.org/a\\b", "character in the path"),
    (_LONGEST + "x" * (MAX_ID + 1 - len(_LONGEST)), "2049 bytes"),
]


@pytest.mark.parametrize(("text", "trust_domain", "path"), GOOD, ids=lambda value: value[:30])
def test_ids(text: str, trust_domain: str, path: str) -> None:
    assert parse_id(text) == (trust_domain, path)
    assert str(parse_id(text)) == text


@pytest.mark.parametrize(("text", "reason"), BAD, ids=lambda value: ascii(value[:40]))
def test_what_is_none(text: str, reason: str) -> None:
    with pytest.raises(SpiffeError, match=reason):
        parse_id(text)


@pytest.mark.parametrize("name", ["example.org", "a" * 255, "0", "-._"])
def test_trust_domains(name: str) -> None:
    check_trust_domain(name)


@pytest.mark.parametrize("name", ["", "a" * 256, "A", "a/b", "spiffe://a", "a\n", "é", "a b"])
def test_names_that_are_no_trust_domains(name: str) -> None:
    with pytest.raises(SpiffeError):
        check_trust_domain(name)


@given(st.text() | st.text(alphabet="aA0.-_/%:@?#").map(lambda rest: f"spiffe://{rest}"))
def test_an_id_has_one_spelling(text: str) -> None:
    try:
        found = parse_id(text)
    except SpiffeError:
        return
    assert str(found) == text
    assert text.isascii()
    assert "//" not in found.path
    assert not {".", ".."} & set(found.path.split("/"))
