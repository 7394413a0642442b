"""URIs of tokens: the examples of RFC 7512 (section 3), and what is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cofferdam_config.kinds import NotAllowedError
from cofferdam_config.token_uri import TokenUri, parse
from cofferdam_contracts.settings import TokenMatch

ATTRIBUTES = list(TokenMatch._fields)


def _match(**given: object) -> TokenMatch:
    return TokenMatch(**dict.fromkeys(ATTRIBUTES) | given)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("pkcs11:", _match()),
        (
            "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;serial=",
            _match(label="The Software PKCS#11 Softtoken", manufacturer="Snake Oil, Inc.", model="1.0", serial=""),
        ),
        ("pkcs11:slot-description=Sun%20Metaslot", _match(slot_description="Sun Metaslot")),
        (
            (
                "pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;"
                "library-version=1.23"
            ),
            _match(
                library_manufacturer="Snake Oil, Inc.",
                library_description="Soft Token Library",
                library_version="1.23",
            ),
        ),
        (
            "pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3",
            _match(label="My token% created by Joe", library_version="3.0"),
        ),
        ("pkcs11:token=A%20name%20with%20a%20substring%20%25%3B", _match(label="A name with a substring %;")),
        (
            "pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1",
            _match(label="Name with a small A with acute: á"),
        ),
        # Not of the RFC.
        ("PKCS11:slot-id=0;slot-manufacturer=a&b", _match(slot_id=0, slot_manufacturer="a&b")),
        ("pkcs11:slot-id=18446744073709551615", _match(slot_id=(1 << 64) - 1)),
        ("pkcs11:token=padded%20%20%00;library-version=007.08", _match(label="padded", library_version="7.8")),
    ],
)
def test_what_a_uri_says_of_a_token(text: str, match: TokenMatch) -> None:
    assert parse(text) == TokenUri(match=match, pin_file=None, module_path=None)


@pytest.mark.parametrize(
    ("query", "pin_file", "module_path"),
    [
        ("", None, None),
        ("pin-source=file:/etc/token_pin", "/etc/token_pin", None),
        ("pin-source=/etc/token_pin", "/etc/token_pin", None),
        ("pin-source=file:///etc/token_pin", "/etc/token_pin", None),
        ("pin-source=%2Fetc%2Ftoken%20pin", "/etc/token pin", None),
        ("module-path=/mnt/libmypkcs11.so.1", None, "/mnt/libmypkcs11.so.1"),
        ("module-path=/m.so&pin-source=/p", "/p", "/m.so"),
    ],
)
def test_what_a_uri_says_besides(query: str, pin_file: str | None, module_path: str | None) -> None:
    uri = parse(f"pkcs11:token=t?{query}")
    assert (uri.match, uri.pin_file, uri.module_path) == (_match(label="t"), pin_file, module_path)
    assert pin_file is None or pin_file not in repr(uri)


_KEY = "it names a key, not a token"
_UNKNOWN = "it has an unknown attribute"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # Examples of the RFC that are about something else.
        ("pkcs11:object=my-pubkey;type=public", _KEY),
        ("pkcs11:object=my-key;type=private?pin-source=file:/etc/token", _KEY),
        ("pkcs11:token=t;id=%69%95%3E%5C%F4%BD%EC%91", _KEY),
        (
            "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-value=the-pin",
            "it contains the PIN, use user_pin_file",
        ),
        ("pkcs11:?module-name=mypkcs11", "it names a module, use library_path"),
        ("pkcs11:token=my-token;vendor-aaa=value-a", _UNKNOWN),
        ("pkcs11:token=my-token?pin-source=file:/etc/token_pin&vendor-bbb=value-b", _UNKNOWN),
        ("pkcs11:token=t?pin-source=|/usr/lib/pinomatic", "pin-source is not the absolute path of a file"),
        # What is no URI, or not a strict one.
        ("", "it does not begin with pkcs11:"),
        ("token=t", "it does not begin with pkcs11:"),
        ("pkcs12:token=t", "it does not begin with pkcs11:"),
        ("pkcs11:token", _UNKNOWN),
        ("pkcs11:token=a;", _UNKNOWN),
        ("pkcs11:=a", _UNKNOWN),
        ("pkcs11:Token=a", _UNKNOWN),
        ("pkcs11:pin-source=/p", _UNKNOWN),
        ("pkcs11:?token=t", _UNKNOWN),
        ("pkcs11:token=a;token=a", "it has token twice"),
        ("pkcs11:?pin-source=/a&pin-source=/a", "it has pin-source twice"),
        *(
            (f"pkcs11:token={value}", "token has a character that has to be percent-encoded")
            for value in ("a b", "a/b", "%4", "%zz", "é", "a#b", "a\n")
        ),
        ("pkcs11:token=%C3", "token is not UTF-8"),
        *(
            (f"pkcs11:slot-id={value}", "slot-id is not a slot number")
            for value in ("", "-1", "0x1", "18446744073709551616", "1" * 5000)
        ),
        *(
            (f"pkcs11:library-version={value}", "library-version is not a version")
            for value in ("", "1.", ".1", "1.2.3", "v1", "1234")
        ),
        *(
            (f"pkcs11:?pin-source={value}", "pin-source is not the absolute path of a file")
            for value in ("", "pin", "file:pin", "file://host/pin", "//host/pin", "/a%00b", "/" * 4096, "http://x/y")
        ),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotAllowedError) as caught:
        parse(text)
    assert str(caught.value) == reason


_NAMES = st.sampled_from(["token", "serial", "slot-id", "library-version", "pin-source", "object", "vendor", ""])
_VALUES = st.text(alphabet="a1%2F0.:/;&?= é\0", max_size=12)


@given(
    st.one_of(
        st.text(),
        st.text(alphabet="tokenserialpin-;&?=%2F:/0").map("pkcs11:".__add__),
        st.lists(st.builds("{}={}".format, _NAMES, _VALUES)).map(lambda parts: f"pkcs11:{';'.join(parts)}"),
        st.lists(st.builds("{}={}".format, _NAMES, _VALUES)).map(lambda parts: f"pkcs11:?{'&'.join(parts)}"),
    )
)
@example("pkcs11:slot-id=" + "9" * 10_000)
def test_any_text_is_a_match_or_the_one_error(text: str) -> None:
    try:
        uri = parse(text)
    except NotAllowedError as error:
        assert str(error).isprintable()
        return
    assert isinstance(uri.match.slot_id, int | None)
    texts = [getattr(uri.match, name) for name in ATTRIBUTES if name != "slot_id"]
    assert all(value is None or isinstance(value, str) for value in [*texts, uri.pin_file, uri.module_path])
