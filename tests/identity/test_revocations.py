"""The file of revocations, and which tokens it covers."""

import datetime as dt
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.identity import forge

from cofferdam_contracts.registry import AuthType
from cofferdam_identity.revocations import (
    AUTHENTICATORS,
    MAX_DOCUMENT,
    MAX_REVOCATIONS,
    MAX_TEXT,
    NONE,
    TARGETS,
    Revocation,
    RevocationError,
    add,
    parse,
)
from cofferdam_identity.tokens import Verified

HASH = "ab" * 32
NOON = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)
VERIFIED = Verified(
    subject="spiffe://a.example/web",
    issuer="a.example",
    kid="one",
    issued_at=NOON.timestamp(),
    expires_at=NOON.timestamp() + 300,
    token_hash=HASH,
    thumbprint="thumb",
)
FILE = "revocations.toml"


def _covers(text: str, verified: Verified = VERIFIED, authenticator: int = AuthType.JWT_SVID) -> str | None:
    return parse(f"[[revocation]]\n{text}\n".encode(), FILE).covers(verified, authenticator)


@pytest.mark.parametrize(
    "text",
    [
        f'token = "{HASH}"',
        'subject = "spiffe://a.example/web"',
        'key = "one"',
        'key = "thumb"',
        'issuer = "a.example"',
    ],
)
def test_what_is_revoked(text: str) -> None:
    assert _covers(f'{text}\nreason = "lost"') == f"revocation 1, of its {text.split(maxsplit=1)[0]}: lost"
    assert _covers(text) is not None
    assert _covers(text, VERIFIED._replace(issued_at=None)) is not None
    assert _covers(f'{text}\nauthenticator = "JwtSvid"') is not None
    assert _covers(f'{text}\nauthenticator = "Jwt"') is None
    assert _covers(f'{text}\nauthenticator = "Jwt"', authenticator=AuthType.JWT) is not None


@pytest.mark.parametrize(
    "text",
    [
        f'token = "{"ac" * 32}"',
        'subject = "spiffe://a.example/we"',
        'subject = "a.example"',
        'key = "One"',
        'issuer = "one"',
        'issuer = "spiffe://a.example/web"',
    ],
)
def test_what_is_not(text: str) -> None:
    assert _covers(text) is None
    assert NONE.covers(VERIFIED, AuthType.JWT_SVID) is None


@pytest.mark.parametrize(("issued", "is_revoked"), [(-1, True), (-0.5, True), (0, False), (1, False), (None, True)])
def test_a_subject_may_get_new_tokens(issued: float | None, *, is_revoked: bool) -> None:
    when = None if issued is None else NOON.timestamp() + issued
    text = 'subject = "spiffe://a.example/web"\nnot_before = 2026-12-01T13:00:00+01:00'
    assert (_covers(text, VERIFIED._replace(issued_at=when)) is not None) == is_revoked


def test_the_strictest_of_several_counts() -> None:
    """In any order, and a second one never takes back what a first one said."""
    dates = ["2026-12-01T11:00:00Z", "2026-12-01T13:00:00Z", "2026-12-01T10:00:00Z"]
    for moved in range(3):
        entries = [
            f'subject = "spiffe://a.example/web"\nnot_before = {date}\n' for date in dates[moved:] + dates[:moved]
        ]
        assert _covers("[[revocation]]\n".join(entries)) is not None
    always = 'subject = "spiffe://a.example/web"\n'
    assert _covers(f"{always}[[revocation]]\n{always}not_before = 2020-01-01T00:00:00Z") is not None
    narrow = f'{always}authenticator = "JwtSvid"\n[[revocation]]\n{always}not_before = 2020-01-01T00:00:00Z'
    assert _covers(narrow) is not None


def test_a_verified_token_is_found_by_all_that_it_says() -> None:
    verified = forge.svid(forge.signer().token(forge.claims()))
    for target, value in (
        ("token", verified.token_hash),
        ("subject", forge.SUBJECT),
        ("key", "one"),
        ("key", verified.thumbprint),
        ("issuer", forge.DOMAIN),
    ):
        document = add(b"", Revocation(target, value), FILE)
        assert parse(document, FILE).covers(verified, AuthType.JWT_SVID)


WRONG = {
    "not TOML": ("x", "no TOML"),
    "not UTF-8": ("\udcff", "not UTF-8"),
    "another table": ("[revoked]", "found 'revoked', allowed: [[revocation]]"),
    "single brackets": ("[revocation]\ntoken = 'x'", "single brackets"),
    "no tables": ("revocation = [1]", "revocation 1: found no table"),
    "nothing": ("[[revocation]]", "revocation 1: found none of token, subject, key, issuer"),
    "two": ('[[revocation]]\nkey = "a"\nissuer = "b"', "found key and issuer of"),
    "an unknown name": ('[[revocation]]\nkey = "a"\n[[revocation]]\nkeys = "a"', "revocation 2: found 'keys', allowed"),
    "a capital hash": (f'[[revocation]]\ntoken = "{HASH.upper()}"', "64 hexadecimal digits in small letters"),
    "a short hash": (f'[[revocation]]\ntoken = "{HASH[1:]}"', "64 hexadecimal digits"),
    "a token": ('[[revocation]]\ntoken = "eyJh.eyJh.AAAA"', "64 hexadecimal digits"),
    "an empty name": ('[[revocation]]\nsubject = ""', "revocation 1: subject: found '', allowed: 1 to"),
    "a number": ("[[revocation]]\nsubject = 1000", "subject: found 1000"),
    "two lines": ('[[revocation]]\nkey = "a"\nreason = "a\\nb"', "reason: found"),
    "a long text": (f'[[revocation]]\nkey = "{"x" * (MAX_TEXT + 1)}"', "1 to 4096 printable"),
    "a date without offset": ('[[revocation]]\nsubject = "a"\nnot_before = 2026-12-01T00:00:00', "a date with offset"),
    "a day": ('[[revocation]]\nsubject = "a"\nnot_before = 2026-12-01', "a date with offset"),
    "a date as text": ('[[revocation]]\nsubject = "a"\nat = "2026-12-01T00:00:00Z"', "a date with offset"),
    "a date for a key": ('[[revocation]]\nkey = "a"\nnot_before = 2026-12-01T00:00:00Z', "not_before with key"),
    "an authenticator": ('[[revocation]]\nkey = "a"\nauthenticator = "Direct"', "allowed: Jwt, JwtSvid"),
    "a number of it": ('[[revocation]]\nkey = "a"\nauthenticator = 4', "allowed: Jwt, JwtSvid"),
    "too many": ('[[revocation]]\nkey = "a"\n' * (MAX_REVOCATIONS + 1), "found 10001 revocations"),
    "too large": ("#" * (MAX_DOCUMENT + 1), "found 4194305 bytes"),
    "deep": ("x = " + "[" * 5000, "revocation"),
    "a huge number": ("x = " + "9" * 5000, "a number or a table"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_no_file_has(what: str) -> None:
    text, reason = WRONG[what]
    with pytest.raises(RevocationError) as caught:
        parse(text.encode(errors="surrogateescape"), FILE)
    assert str(caught.value).startswith(f"{FILE}: ")
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_empty_file_revokes_nothing() -> None:
    assert parse(b"", FILE).entries == parse(b"# nothing yet\n", FILE).entries == ()


def test_what_stands_in_the_file_stays() -> None:
    document = b'# ours\n[[revocation]]\n  key = "a" # the first'
    document = add(document, Revocation("issuer", "b", reason='"quoted" \\ ümlaut'), FILE)
    document = add(document, Revocation("subject", "c", not_before=NOON, authenticator="Jwt", at=NOON), FILE)
    assert document.decode().splitlines() == [
        "# ours",
        "[[revocation]]",
        '  key = "a" # the first',
        "",
        "[[revocation]]",
        'issuer = "b"',
        'reason = "\\"quoted\\" \\\\ ümlaut"',
        "",
        "[[revocation]]",
        'subject = "c"',
        "not_before = 2026-12-01T12:00:00+00:00",
        'authenticator = "Jwt"',
        "at = 2026-12-01T12:00:00+00:00",
    ]


@pytest.mark.parametrize(
    "entry",
    [
        Revocation("token", "eyJh"),
        Revocation("key", 'a"\n[[revocation]]\nkey = "b'),
        Revocation("key", "\ud800"),
        Revocation("key", "a\x7f"),
        Revocation("key", ""),
        Revocation('key = "b"\nissuer', "a"),
        Revocation("reason", "a"),
        Revocation("key", "a", reason="two\nlines"),
        Revocation("key", "a", authenticator="Direct"),
        Revocation("key", "a", not_before=NOON),
        Revocation("subject", "a", not_before=NOON.replace(tzinfo=None)),
    ],
)
def test_what_the_file_cannot_say_is_not_written(entry: Revocation) -> None:
    with pytest.raises(RevocationError):
        add(b'[[revocation]]\nkey = "a"\n', entry, FILE)


def test_a_file_that_cannot_be_used_is_not_added_to() -> None:
    with pytest.raises(RevocationError, match="no TOML"):
        add(b"x", Revocation("key", "a"), FILE)


_TEXTS = st.text(min_size=1, max_size=40).filter(str.isprintable)
_DATES = st.datetimes(timezones=st.just(dt.UTC))


@given(
    st.lists(
        st.builds(
            lambda target, text, date, authenticator, reason, at: Revocation(
                target,
                HASH if target == "token" else text,
                date if target == "subject" else None,
                authenticator,
                reason,
                at,
            ),
            st.sampled_from(TARGETS),
            _TEXTS,
            st.none() | _DATES,
            st.none() | st.sampled_from(sorted(AUTHENTICATORS)),
            st.none() | _TEXTS,
            st.none() | _DATES,
        ),
        max_size=4,
    )
)
def test_what_is_written_is_read(entries: list[Revocation]) -> None:
    document = b""
    for entry in entries:
        document = add(document, entry, FILE)
    assert parse(document, FILE).entries == tuple(entries)


@given(st.text(alphabet=string.printable).map(lambda text: f"[[revocation]]\n{text}".encode()) | st.binary())
def test_any_bytes_are_taken_or_refused(document: bytes) -> None:
    try:
        parse(document, FILE)
    except RevocationError as error:
        assert str(error).startswith(f"{FILE}: ")
