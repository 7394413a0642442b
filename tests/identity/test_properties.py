"""Whatever a client sends, a token is verified or refused with `TokenError`: nothing else is raised."""

import math

from hypothesis import given
from hypothesis import strategies as st
from tests.identity import forge

from cofferdam_identity.tokens import MAX_TIME, Rules, TokenError, Verified

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "zip", "cty"]), _JSON, max_size=3
)
_CLAIMS = st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "jti", "x"]), _JSON, max_size=3)
_RULES = st.sampled_from([forge.SVID, forge.JWT])


def _tried(token: bytes, rules: Rules) -> Verified | None:
    try:
        found = forge.svid(token, rules=rules)
    except TokenError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 300
        return None
    assert found.subject
    assert found.subject.isprintable()
    assert forge.NOW < found.expires_at <= MAX_TIME + rules.leeway
    assert found.issued_at is None or math.isfinite(found.issued_at)
    return found


@given(st.binary() | st.text(alphabet="eyJhbGciOi_-.=").map(str.encode), _RULES)
def test_any_bytes(token: bytes, rules: Rules) -> None:
    assert _tried(token, rules) is None


@given(st.binary(), st.binary(), _RULES)
def test_any_parts_with_a_good_signature(header: bytes, claims: bytes, rules: Rules) -> None:
    assert _tried(forge.signer().token(claims, header), rules) is None


@given(_HEADERS, _CLAIMS, _RULES)
def test_any_members_with_a_good_signature(header: dict[str, object], claims: dict[str, object], rules: Rules) -> None:
    good = forge.claims() if rules is forge.SVID else forge.jwt_claims()
    _tried(forge.signer().token({**good, **claims}, forge.header(**header)), rules)


@given(st.binary(max_size=140))
def test_any_signature(signature: bytes) -> None:
    signed, _, _ = forge.signer().token(forge.claims()).rpartition(b".")
    assert _tried(signed + b"." + forge.base64url(signature), forge.SVID) is None


@given(st.data())
def test_a_piece_of_a_token_changed(data: st.DataObject) -> None:
    token = forge.signer().token(forge.claims())
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, len(token)))
    changed = token[:start] + data.draw(st.binary(max_size=20)) + token[end:]
    assert changed == token or _tried(changed, forge.SVID) is None
