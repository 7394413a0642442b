"""Tokens that are good, and what becomes of them."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.identity import forge

from cofferdam_contracts.ipc.limits import MAX_TOKEN
from cofferdam_contracts.status import Status
from cofferdam_identity.keys import ALGORITHMS, Bundle, parse_jwk_set, parse_pem
from cofferdam_identity.tokens import LEEWAY_S, Check, TokenError, _check_signature, token_hash, verify

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

RFC7515_PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
GOLDEN: dict[str, tuple[str, dict[str, str], str]] = {
    "RFC 7515 A.2": (
        "RS256",
        {
            "kty": "RSA",
            "e": "AQAB",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR"
            "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS"
            "-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2et"
            "hFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        },
        (
            f"eyJhbGciOiJSUzI1NiJ9.{RFC7515_PAYLOAD}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4"
            "Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQ"
            "BMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np"
            "6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
        ),
    ),
    "RFC 7515 A.3": (
        "ES256",
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        },
        (
            f"eyJhbGciOiJFUzI1NiJ9.{RFC7515_PAYLOAD}"
            ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        ),
    ),
    "RFC 7515 A.4": (
        "ES512",
        {
            "kty": "EC",
            "crv": "P-521",
            "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
            "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
        },
        (
            "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34X"
            "O0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
        ),
    ),
    "RFC 8037 A.4": (
        "EdDSA",
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        (
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
            ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        ),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_published_signatures_verify_and_others_do_not(name: str) -> None:
    algorithm, jwk, text = GOLDEN[name]
    token = text.encode()
    (key,) = parse_jwk_set(forge.jwk_set(jwk), name).keys
    _check_signature(token, key, algorithm)
    signed, _, signature = token.rpartition(b".")
    other = b"A" if signature[:1] != b"A" else b"B"
    with pytest.raises(TokenError, match="signature"):
        _check_signature(signed + b"." + other + signature[1:], key, algorithm)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_verifies(algorithm: str) -> None:
    signer = forge.signer(algorithm)
    found = forge.svid(signer.token(forge.jwt_claims()), keys=forge.bundle(signer), rules=forge.JWT)
    assert (found.subject, found.issuer, found.kid) == ("web", forge.ISSUER, "one")


def test_a_jwt_svid_says_what_it_proves() -> None:
    token = forge.signer().token(forge.claims(iss="anybody"))
    found = forge.svid(token)
    (key,) = forge.bundle().keys
    assert found == (
        forge.SUBJECT,
        forge.DOMAIN,
        "one",
        forge.NOW,
        forge.NOW + 300 + LEEWAY_S,
        hashlib.sha256(token.rpartition(b".")[0]).hexdigest(),
        key.thumbprint,
    )


def test_keys_are_those_of_the_issuer_or_trust_domain() -> None:
    """A key of one trust domain says nothing about names of another."""
    bundles: dict[str, Bundle] = {"a.example": forge.bundle(), "b.example": forge.bundle(forge.signer(kid="two"))}
    rules = forge.SVID._replace(trust_domains=frozenset(bundles))
    own = forge.signer().token(forge.claims(sub="spiffe://a.example/web"))
    assert verify(own, rules, bundles.get, forge.NOW).issuer == "a.example"
    foreign = forge.signer().token(forge.claims(sub="spiffe://b.example/web"))
    with pytest.raises(TokenError) as caught:
        verify(foreign, rules, bundles.get, forge.NOW)
    assert caught.value.check is Check.KEY
    with pytest.raises(TokenError) as caught:
        verify(own, rules, lambda _: None, forge.NOW)
    assert caught.value.check is Check.BUNDLE


@pytest.mark.parametrize("audience", ["parsec", ["parsec"], ["other", "parsec"]])
def test_the_audience_may_be_one_of_several(audience: object) -> None:
    assert forge.svid(forge.signer().token(forge.claims(aud=audience)))


@pytest.mark.parametrize("kind", ["JWT", "JOSE"])
def test_the_types_of_a_jwt_svid(kind: str) -> None:
    assert forge.svid(forge.signer().token(forge.claims(), forge.header(typ=kind)))


@pytest.mark.parametrize("kind", [..., "JWT", "jwt", "JOSE", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_the_types_of_other_tokens(kind: object) -> None:
    assert forge.svid(forge.signer().token(forge.jwt_claims(), forge.header(typ=kind)), rules=forge.JWT)


def test_the_subject_may_be_in_another_claim() -> None:
    token = forge.signer().token(forge.jwt_claims(sub=..., email="grüße@example.org"))
    assert forge.svid(token, rules=forge.JWT._replace(subject_claim="email")).subject == "grüße@example.org"


@pytest.mark.parametrize("kid", [..., "unknown"])
def test_a_single_key_without_a_name_needs_none(kid: object) -> None:
    pem = forge.signer().private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    keys = parse_pem(pem, "test")
    found = forge.svid(forge.signer().token(forge.jwt_claims(), forge.header(kid=kid)), keys=keys, rules=forge.JWT)
    assert found.kid == found.thumbprint == keys.keys[0].thumbprint


def test_one_of_several_keys_without_names_is_meant_by_its_thumbprint() -> None:
    signers = forge.signer(), forge.signer(kid="two")
    keys = parse_jwk_set(forge.jwk_set(*({**forge.public_jwk(each.private.public_key())} for each in signers)), "test")
    for signer, key in zip(signers, keys.keys, strict=True):
        token = signer.token(forge.jwt_claims(), signer.header(kid=key.thumbprint))
        assert forge.svid(token, keys=keys, rules=forge.JWT).kid == key.thumbprint


def test_a_token_of_the_largest_size() -> None:
    def made(size: int) -> bytes:
        """Return a token of so many bytes; some lengths need a byte more in the header, as base64 has not every one."""
        for extra in range(3):
            head = forge.encode(forge.header(x="x" * extra))
            claims = forge.claims(x="")
            room = size - len(head) - 2 - 86
            padding = room * 3 // 4 - len(json.dumps(claims))
            token = forge.signer().token(forge.claims(x="x" * padding), forge.header(x="x" * extra))
            if len(token) == size:
                return token
        raise AssertionError(size)

    assert forge.svid(made(MAX_TOKEN))
    assert forge.refused(made(MAX_TOKEN + 1)) is Check.SIZE


def test_a_second_signature_over_the_same_token_has_the_same_hash() -> None:
    """(r, -s) verifies as (r, s) does, so that a hash of all would not hold who has been revoked."""
    token = forge.signer().token(forge.claims())
    signed, _, encoded = token.rpartition(b".")
    signature = forge.signature(forge.signer().private, "ES256", signed)
    r, s = signature[:32], int.from_bytes(signature[32:], "big")
    twin = signed + b"." + forge.base64url(r + (P256_ORDER - s).to_bytes(32, "big"))
    assert encoded not in twin
    assert forge.svid(twin).token_hash == forge.svid(token).token_hash == token_hash(token)


def test_whatever_is_no_token_has_a_hash_too() -> None:
    assert token_hash(b"") == hashlib.sha256(b"").hexdigest()
    assert token_hash(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_statuses_are_those_of_the_reference() -> None:
    with pytest.raises(TokenError) as caught:
        forge.svid(b"\xff" + forge.signer().token(forge.claims()))
    assert (caught.value.check, caught.value.status) == (Check.ENCODING, Status.INVALID_ENCODING)
    for token in (b"", b"x", "é".encode(), b"x" * (MAX_TOKEN + 1)):
        with pytest.raises(TokenError) as caught:
            forge.svid(token)
        assert caught.value.status is Status.AUTHENTICATION_ERROR


def test_errors_quote_little_of_a_token() -> None:
    """What a log line has of it is one line of ASCII, short, and neither the subject nor the signature."""
    secret = "s3cret\n" * 100
    for changes in ({"sub": secret}, {"aud": secret}, {"exp": secret}, {"iss": secret}):
        for rules, made in ((forge.SVID, forge.claims), (forge.JWT, forge.jwt_claims)):
            if rules is forge.JWT or "iss" not in changes:
                with pytest.raises(TokenError) as caught:
                    forge.svid(forge.signer().token(made(**changes)), rules=rules)
                assert len(str(caught.value)) < 250
                assert str(caught.value).isprintable()
                assert str(caught.value).isascii()
                assert "sub" not in changes or "s3cret" not in str(caught.value)
