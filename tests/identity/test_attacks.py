"""Tokens that must not be accepted, each with the one check that refuses it.

Without that check the token is accepted, or refused by another.
"""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.identity import forge
from tests.identity.forge import NOW, claims, header, jwt_claims, refused, signer

from cofferdam_contracts.ipc.limits import MAX_TOKEN
from cofferdam_identity.keys import ALGORITHMS, Bundle, parse_jwk_set
from cofferdam_identity.tokens import LEEWAY_S, MAX_TIME, Check, TokenError, verify

CASES_OF_NONE = ["none", "None", "NONE", "nOnE", "none ", " none", "\x00none", "", "null", "N\u043eNE"]
PUBLIC = signer().private.public_key()
SECRETS = {
    "PEM": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "PEM without its last line end": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
    "DER": PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "point": PUBLIC.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    "JWK": json.dumps(signer().jwk()).encode(),
    "JWK set": forge.jwk_set(signer().jwk()),
    "nothing": b"",
}


def _raw(header_text: bytes | None = None, claims_text: bytes | None = None) -> bytes:
    """Sign texts that need not be JSON."""
    return signer().token(
        json.dumps(claims()).encode() if claims_text is None else claims_text,
        json.dumps(header()).encode() if header_text is None else header_text,
    )


def _with(text: bytes, member: bytes) -> bytes:
    """Put one more member into an object."""
    return text[:-1] + b", " + member + b"}"


def _unsigned(algorithm: object, ending: bytes = b"") -> bytes:
    return forge.encode(header(alg=algorithm)) + b"." + forge.encode(claims()) + b"." + ending


@pytest.mark.parametrize("name", CASES_OF_NONE)
def test_no_algorithm(name: str) -> None:
    assert refused(_unsigned(name)) is Check.FORM
    assert refused(_unsigned(name, b"AAAA")) is Check.ALGORITHM
    assert refused(signer().token(claims(), header(alg=name))) is Check.ALGORITHM


@pytest.mark.parametrize("value", [..., None, 0, True, ["ES256"], {"ES256": 1}, "es256", "ES256 ", "ES256K", "A128KW"])
def test_the_algorithm_is_one_string_of_the_table(value: object) -> None:
    assert refused(signer().token(claims(), header(alg=value))) is Check.ALGORITHM


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", ["HS256", "HS384", "HS512"])
def test_hmac_with_what_is_public(secret: str, name: str) -> None:
    token = forge.hmac_token(SECRETS[secret], claims(), name)
    assert refused(token) is Check.ALGORITHM
    # Not even if it is configured: no key has it.
    assert refused(token, rules=forge.SVID._replace(algorithms=frozenset({name}))) is Check.ALGORITHM


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS - {"ES256"}))
def test_an_algorithm_of_another_type_or_curve(algorithm: str) -> None:
    token = signer().token(jwt_claims(), header(alg=algorithm))
    assert refused(token, rules=forge.JWT) is Check.KEY_ALGORITHM


def test_an_algorithm_that_is_not_configured() -> None:
    token = signer().token(jwt_claims())
    assert refused(token, rules=forge.JWT._replace(algorithms=frozenset({"RS256"}))) is Check.ALGORITHM
    eddsa = signer("EdDSA")
    assert refused(eddsa.token(claims()), keys=forge.bundle(eddsa)) is Check.ALGORITHM, "no algorithm of JWT-SVIDs"


def test_another_algorithm_of_the_type_than_the_jwk_names() -> None:
    rsa = signer("PS256")
    keys = parse_jwk_set(forge.jwk_set(rsa.jwk(alg="RS256")), "test")
    assert refused(rsa.token(claims()), keys=keys) is Check.KEY_ALGORITHM


@pytest.mark.parametrize("kid", ["", "two", "One", "one\0", "one ", "../one", "one' OR '1'='1"])
def test_a_key_of_no_or_another_name(kid: str) -> None:
    assert refused(signer().token(claims(), header(kid=kid))) is Check.KEY


@pytest.mark.parametrize("kid", [..., None, 1, ["one"], {"one": 1}, True])
def test_a_key_whose_name_is_no_string(kid: object) -> None:
    assert refused(signer().token(claims(), header(kid=kid))) is Check.KEY_NAME


@pytest.mark.parametrize("kid", [None, 1, ["one"], {"one": 1}, True])
def test_a_key_whose_name_is_no_string_in_other_tokens(kid: object) -> None:
    assert refused(signer().token(jwt_claims(), header(kid=kid)), rules=forge.JWT) is Check.KEY_NAME


def test_no_name_where_there_are_several_keys() -> None:
    keys = forge.bundle(signer(), signer(kid="two"))
    assert refused(signer().token(jwt_claims(), header(kid=...)), keys=keys, rules=forge.JWT) is Check.KEY


def test_a_signature_of_another_key_of_the_set() -> None:
    keys = forge.bundle(signer(), signer(kid="two"))
    assert refused(signer().token(claims(), header(kid="two")), keys=keys) is Check.SIGNATURE


@pytest.mark.parametrize(
    "member", ["jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "url", "iss", "keys", "key", "public_key"]
)
def test_a_key_or_its_address_in_the_header_is_ignored(member: str) -> None:
    """A forger's own key, embedded, does not verify; and beside a good signature it does no harm."""
    forger = signer(kid="forger")
    values: dict[str, Any] = {
        "jwk": forger.jwk(),
        "x5c": ["MIIB"],
        "jku": "https://forger.example/keys",
        "x5u": "file:///etc/passwd",
    }
    value = values.get(member, "https://forger.example")
    assert refused(forger.token(claims(), header(**{member: value}))) is Check.SIGNATURE
    assert refused(forger.token(claims(), header(**{member: value, "kid": "forger"}))) is Check.KEY
    assert forge.svid(signer().token(claims(), header(**{member: value})))


@pytest.mark.parametrize("value", [[], ["exp"], ["b64"], ["x"], "exp", None, {}])
def test_critical_extensions(value: object) -> None:
    assert refused(signer().token(claims(), header(crit=value))) is Check.CRITICAL


@pytest.mark.parametrize("value", [True, False, None, "false", 0])
def test_unencoded_payloads(value: object) -> None:
    assert refused(signer().token(claims(), header(b64=value))) is Check.CRITICAL
    assert refused(signer().token(claims(), header(b64=value, crit=["b64"]))) is Check.CRITICAL


@pytest.mark.parametrize("kind", [..., None, "", "jwt", "JWT ", "at+jwt", "logout+jwt", 1, ["JWT"]])
def test_another_type_than_that_of_a_jwt_svid(kind: object) -> None:
    assert refused(signer().token(claims(), header(typ=kind))) is Check.TYPE


@pytest.mark.parametrize("kind", [None, "", "logout+jwt", "secevent+jwt", "dpop+jwt", "JWE", 1, ["JWT"]])
def test_another_type_than_those_of_other_tokens(kind: object) -> None:
    assert refused(signer().token(jwt_claims(), header(typ=kind)), rules=forge.JWT) is Check.TYPE


@pytest.mark.parametrize("member", [b'"alg": "ES256"', b'"alg": "none"', b'"kid": "one"', b'"k\\u0069d": "two"'])
def test_members_of_the_header_twice(member: bytes) -> None:
    assert refused(_raw(header_text=_with(json.dumps(header()).encode(), member))) is Check.HEADER


@pytest.mark.parametrize(
    "member", [b'"sub": "spiffe://example.org/web"', b'"\\u0073ub": "x"', b'"exp": 1', b'"x": {"a": 1, "a": 1}']
)
def test_claims_twice(member: bytes) -> None:
    assert refused(_raw(claims_text=_with(json.dumps(claims()).encode(), member))) is Check.CLAIMS


NO_OBJECTS = {
    "nothing of JSON": b"x",
    "a list": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "cut off": b'{"a": 1',
    "something after it": b"{} x",
    "two objects": b"{}{}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "UTF-16 without mark": "{}".encode("utf-16-le"),
    "UTF-32": "{}".encode("utf-32-le"),
    "no UTF-8": b'{"a": "\xff"}',
    "an overlong encoding": b'{"a": "\xc0\xaf"}',
    "a comment": b"{} // x",
    "a line feed in a string": b'{"a": "\n"}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a number of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "deep arrays": b'{"a": ' + b"[" * 17 + b"]" * 17 + b"}",
    "very deep arrays": b'{"a": ' + b"[" * 2700 + b"]" * 2700 + b"}",
    "deep arrays without end": b"{" + b'"a": [' * 900,
    "deep objects": b'{"a": ' * 300 + b"1" + b"}" * 300,
    "quotes that hide the depth": b'{"\\"": ' + b"[" * 100 + b"]" * 100 + b"}",
}


@pytest.mark.parametrize("text", NO_OBJECTS)
def test_a_part_that_is_no_object_of_json(text: str) -> None:
    assert refused(_raw(header_text=NO_OBJECTS[text])) is Check.HEADER
    assert refused(_raw(claims_text=NO_OBJECTS[text])) is Check.CLAIMS


def test_a_token_within_a_token() -> None:
    inner = signer().token(claims())
    assert refused(_raw(claims_text=inner)) is Check.CLAIMS
    assert refused(signer().token(inner, header(cty="JWT"))) is Check.CLAIMS


def _pieces(part: int, change: Callable[[bytes], bytes]) -> bytes:
    pieces = signer().token(claims()).split(b".")
    pieces[part] = change(pieces[part])
    return b".".join(pieces)


def _padded(piece: bytes) -> bytes:
    return piece + b"=" * (-len(piece) % 4 or 4)


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize(
    "change",
    [
        _padded,
        lambda piece: piece + b"\n",
        lambda piece: b" " + piece,
        lambda piece: piece[:4] + b"\r\n" + piece[4:],
        lambda piece: piece + b"+/",
        lambda piece: piece + b"%3d",
        lambda piece: piece + b"\x00",
        lambda piece: piece + "é".encode(),
        lambda _: b"",
        lambda piece: piece + b".",
        lambda piece: b"." + piece,
    ],
)
def test_another_form(part: int, change: Callable[[bytes], bytes]) -> None:
    assert refused(_pieces(part, change)) is Check.FORM


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_another_number_of_parts(count: int) -> None:
    assert refused(b".".join((signer().token(claims()).split(b".") * 2)[:count])) is Check.FORM


@pytest.mark.parametrize("serialization", ["general", "flattened"])
def test_the_json_serialization(serialization: str) -> None:
    protected, payload, signature = signer().token(claims()).decode().split(".")
    signed = {"protected": protected, "signature": signature}
    made = {"payload": payload, **({"signatures": [signed]} if serialization == "general" else signed)}
    assert refused(json.dumps(made).encode()) is Check.FORM


@pytest.mark.parametrize(("part", "check"), [(0, Check.HEADER), (1, Check.CLAIMS), (2, Check.SIGNATURE)])
def test_base64_in_a_second_spelling(part: int, check: Check) -> None:
    """The bits that are left over in the last character have to be zero, or a token would have many spellings."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for padding in range(3):
        parts = forge.signer().token(claims(x="x" * padding), header(x="x" * padding)).split(b".")
        last = parts[part][-1:]
        if len(parts[part]) % 4:
            parts[part] = parts[part][:-1] + alphabet[alphabet.index(last) + 1 :][:1]
            token = b".".join(parts)
            assert base64.urlsafe_b64decode(_padded(parts[part]))
            with pytest.raises(TokenError, match="bits left over") as caught:
                forge.svid(token)
            assert caught.value.check is check
            return
    raise AssertionError("no part has bits left over")


@pytest.mark.parametrize("part", [0, 1, 2])
def test_base64_of_a_length_that_no_bytes_have(part: int) -> None:
    check = (Check.HEADER, Check.CLAIMS, Check.SIGNATURE)[part]
    assert refused(_pieces(part, lambda piece: piece[: len(piece) // 4 * 4] + b"A")) is check


def test_standard_base64() -> None:
    """Of the same bytes, with the two characters that base64url has not."""
    text = json.dumps(claims(x="???>>>~~~"), ensure_ascii=False).encode()
    assert b"_" in forge.base64url(text) or b"-" in forge.base64url(text)
    signed = forge.encode(header()) + b"." + base64.b64encode(text).rstrip(b"=")
    token = signed + b"." + forge.base64url(forge.signature(signer().private, "ES256", signed))
    assert refused(token) is Check.FORM


def test_a_huge_token_is_refused_before_anything_is_read() -> None:
    assert refused(b"\xff" * (MAX_TOKEN + 1)) is Check.SIZE
    assert refused(b"." * (1 << 20)) is Check.SIZE
    assert refused(b"." * MAX_TOKEN) is Check.FORM


BAD_TIMES = [b"NaN", b"Infinity", b"-Infinity"]
NO_TIMES: list[bytes] = [
    b"1e400", b"-1e400", b"-1", b"-0.5", str(MAX_TIME + 1).encode(), b"1e300", b"1800000300000", b"true", b"false",
    b"null", b'"1800000300"', b"[1800000300]", b"{}", b'""', b"9" * 400,
]  # fmt: skip


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", NO_TIMES, ids=lambda value: value.decode()[:20])
def test_a_date_that_is_no_number_in_range(name: str, value: bytes) -> None:
    text = _with(json.dumps(claims(**{name: ...})).encode(), b'"%s": %s' % (name.encode(), value))
    assert refused(_raw(claims_text=text)) is Check(name)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", BAD_TIMES, ids=bytes.decode)
def test_a_date_that_json_does_not_have(name: str, value: bytes) -> None:
    text = _with(json.dumps(claims(**{name: ...})).encode(), b'"%s": %s' % (name.encode(), value))
    assert refused(_raw(claims_text=text)) is Check.CLAIMS


def test_a_token_without_end() -> None:
    assert refused(signer().token(claims(exp=...))) is Check.EXPIRY


@pytest.mark.parametrize("exact", [int, float])
def test_the_edges_of_dates(exact: type[float]) -> None:
    now, leeway = exact(NOW), exact(LEEWAY_S)
    assert refused(signer().token(claims(exp=now - leeway))) is Check.EXPIRY
    assert forge.svid(signer().token(claims(exp=now - leeway + 1))).expires_at == NOW + 1
    assert forge.svid(signer().token(claims(nbf=now + leeway)))
    assert refused(signer().token(claims(nbf=now + leeway + 1))) is Check.NOT_BEFORE
    assert forge.svid(signer().token(claims(iat=now + leeway)))
    assert refused(signer().token(claims(iat=now + leeway + 1))) is Check.ISSUED_AT
    assert forge.svid(signer().token(claims(iat=..., nbf=...))).issued_at is None


def test_fractions_of_seconds_count() -> None:
    assert refused(signer().token(claims(exp=NOW - LEEWAY_S)), now=NOW) is Check.EXPIRY
    assert forge.svid(signer().token(claims(exp=NOW - LEEWAY_S)), now=NOW - 0.25)
    assert refused(signer().token(claims(exp=NOW)), now=NOW, rules=forge.SVID._replace(leeway=0.0)) is Check.EXPIRY


@pytest.mark.parametrize(
    "value",
    [..., None, "", "other", "Parsec", "parsec ", "parsec/x", [], ["other"], [["parsec"]], {"parsec": 1}, 1, True,
     ["parsec", 1], ["parsec", None], ["parsec", ["x"]], "\u0440arsec"],
)  # fmt: skip
def test_another_audience(value: object) -> None:
    assert refused(signer().token(claims(aud=value))) is Check.AUDIENCE
    assert refused(signer().token(jwt_claims(aud=value)), rules=forge.JWT) is Check.AUDIENCE


@pytest.mark.parametrize(
    "value",
    [..., None, "", "https://issuer.example/", "HTTPS://issuer.example", "https://issuer.example ", 1, [forge.ISSUER]],
)  # fmt: skip
def test_another_issuer(value: object) -> None:
    assert refused(signer().token(jwt_claims(iss=value)), rules=forge.JWT) is Check.ISSUER


@pytest.mark.parametrize("domain", ["other.org", "example.org.evil", "xample.org", "example.com", "sub.example.org"])
def test_another_trust_domain(domain: str) -> None:
    assert refused(signer().token(claims(sub=f"spiffe://{domain}/web"))) is Check.TRUST_DOMAIN


@pytest.mark.parametrize(
    "value",
    [..., None, "", 1, True, [forge.SUBJECT], "web", "spiffe://", "spiffe:/example.org", "SPIFFE://example.org/web",
     "spiffe://EXAMPLE.org/web", "spiffe://example.org/", "spiffe://example.org/web/", "spiffe://example.org//web",
     "spiffe://example.org/./web", "spiffe://example.org/../web", "spiffe://example.org/%77eb", "spiffe://example.org/web?x",
     "spiffe://example.org/web#x", "spiffe://user@example.org/web", "spiffe://example.org:8080/web",
     "spiffe://example.org/w\u0435b", "spiffe://example.org/web\n", "spiffe://example.org/web\0", "\ud800",
     "spiffe://example.org/" + "x" * 2028],
)  # fmt: skip
def test_a_subject_that_is_no_spiffe_id(value: object) -> None:
    assert refused(signer().token(claims(sub=value))) is Check.SUBJECT


@pytest.mark.parametrize(
    "value",
    [..., None, "", 1, True, ["web"], "a\nb", "a\0b", "\ud800", "a\u202eb", "a\u200bb", "a\x7f", "\ufeffa", "x" * 4097],
)  # fmt: skip
def test_a_subject_that_is_no_name(value: object) -> None:
    assert refused(signer().token(jwt_claims(sub=value)), rules=forge.JWT) is Check.SUBJECT


def test_a_claim_of_another_name_is_not_taken_for_the_subject() -> None:
    token = signer().token(jwt_claims())
    assert refused(token, rules=forge.JWT._replace(subject_claim="email")) is Check.SUBJECT


def test_every_changed_character_is_noticed() -> None:
    token = signer().token(claims())
    for index in range(len(token)):
        for other in (b"A", b"b", b"_", b"."):
            changed = token[:index] + other + token[index + 1 :]
            assert changed == token or refused(changed)


@pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 128])
def test_a_signature_of_another_length(size: int) -> None:
    signed, _, _ = signer().token(claims()).rpartition(b".")
    if size:
        assert refused(signed + b"." + forge.base64url(b"\1" * size)) is Check.SIGNATURE


@pytest.mark.parametrize("number", [0, 1, (1 << 256) - 1])
def test_signatures_of_numbers_that_no_signature_has(number: int) -> None:
    """CVE-2022-21449: zeros verified with any key and any token."""
    signed, _, _ = signer().token(claims()).rpartition(b".")
    assert refused(signed + b"." + forge.base64url(number.to_bytes(32, "big") * 2)) is Check.SIGNATURE


def test_a_der_signature() -> None:
    private = signer().private
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    signed, _, _ = signer().token(claims()).rpartition(b".")
    der = private.sign(signed, ec.ECDSA(forge.HASHES["256"]()))
    assert refused(signed + b"." + forge.base64url(der)) is Check.SIGNATURE


def test_nothing_dear_happens_for_what_a_look_refuses() -> None:
    def lookup(_: str) -> Bundle:
        raise AssertionError("no key is needed")

    tokens = [signer().token(claims(**{name: "x"})) for name in ("exp", "nbf", "iat", "aud", "sub")]
    tokens += [signer().token(claims(), header(**{name: 1})) for name in ("alg", "kid", "typ", "crit", "b64")]
    for token in tokens:
        with pytest.raises(TokenError):
            verify(token, forge.SVID, lookup, NOW)
