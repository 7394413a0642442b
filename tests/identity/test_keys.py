"""Bundles: JWK sets and PEM."""

import hashlib
import json
import random
import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from tests.identity import forge
from tests.identity.certificates import certificate

from cofferdam_identity.keys import (
    EC_ALGORITHMS,
    MAX_DOCUMENT,
    MAX_KEYS,
    RSA_ALGORITHMS,
    BundleError,
    parse_bundle,
    parse_jwk_set,
    parse_pem,
)

# RFC 7638 section 3.1, RFC 8037 appendix A.3.
THUMBPRINTS = {
    "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWK"
        "RXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMic"
        "AtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3"
        "XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    },
    "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    },
}
SPIRE = {
    "kty": "EC",
    "kid": "C6vs25welZOx6WksNYfbMfiw9l96pMnD",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
"""In the form that SPIRE 1.13 publishes: neither `use` nor `alg`."""
RSA_JWK = forge.signer("RS256").jwk()
ED_JWK = forge.signer("EdDSA").jwk()
EC_JWK = forge.signer().jwk()


def _one(**changes: object) -> bytes:
    """Return a set of one EC key with changes; ... removes a member."""
    return forge.jwk_set(_changed(EC_JWK, **changes))


def _changed(entry: dict[str, object], **changes: object) -> dict[str, object]:
    return {name: value for name, value in {**entry, **changes}.items() if value is not ...}


def _refusal(document: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        parse_bundle(document, "keys.json")
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("thumbprint", THUMBPRINTS)
def test_published_thumbprints(thumbprint: str) -> None:
    (key,) = parse_jwk_set(forge.jwk_set(THUMBPRINTS[thumbprint]), "test").keys
    assert key.thumbprint == thumbprint


def test_the_algorithms_follow_from_the_key() -> None:
    for algorithm in ("ES256", "ES384", "ES512"):
        (key,) = forge.bundle(forge.signer(algorithm)).keys
        assert key.algorithms == {algorithm}
    assert EC_ALGORITHMS == {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
    (key,) = forge.bundle(forge.signer("RS256")).keys
    assert key.algorithms == RSA_ALGORITHMS
    (key,) = forge.bundle(forge.signer("EdDSA")).keys
    assert key.algorithms == {"EdDSA"}


def test_the_alg_of_a_jwk_narrows_them() -> None:
    (key,) = parse_jwk_set(forge.jwk_set({**RSA_JWK, "alg": "PS384"}), "test").keys
    assert key.algorithms == {"PS384"}
    assert "allowed for this key: ES256" in _refusal(_one(alg="RS256"))
    assert "allowed for this key: ES256" in _refusal(_one(alg="ES384"))


def test_a_bundle_of_spire() -> None:
    (key,) = parse_jwk_set(forge.jwk_set(SPIRE), "a.example").keys
    assert key.kid == SPIRE["kid"]
    assert key.algorithms == {"ES256"}


def test_a_bundle_of_a_spiffe_endpoint() -> None:
    """It has the certificates of X.509-SVIDs too, and members of its own."""
    entries = [{**SPIRE, "use": "jwt-svid"}, _changed(EC_JWK, kid=..., use="x509-svid", x5c=["MIIB"])]
    document = json.dumps({"keys": entries, "spiffe_sequence": 7, "spiffe_refresh_hint": 300}).encode()
    bundle = parse_jwk_set(document, "a.example")
    assert [key.kid for key in bundle.keys] == [SPIRE["kid"]]
    assert bundle.notes == ("a.example: keys[1]: passed over: its use is 'x509-svid', not sig or jwt-svid",)


def test_a_trust_domain_may_revoke_all_its_keys() -> None:
    assert parse_jwk_set(forge.jwk_set(), "a.example", may_be_empty=True).keys == ()
    assert "no key that verifies" in _refusal(forge.jwk_set())


NOT_FOR_US: dict[str, dict[str, object]] = {
    "kty": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
    "use": _changed(RSA_JWK, use="enc"),
    "key_ops": _changed(RSA_JWK, key_ops=["encrypt", "wrapKey"]),
    "alg": _changed(RSA_JWK, alg="RSA-OAEP"),
    "crv": _changed(EC_JWK, crv="secp256k1"),
    "crv of OKP": {"kty": "OKP", "crv": "X25519", "x": "AAAA"},
}


@pytest.mark.parametrize("member", NOT_FOR_US)
def test_keys_for_other_purposes_are_passed_over_with_a_note(member: str) -> None:
    """Identity providers publish them beside the others."""
    bundle = parse_jwk_set(forge.jwk_set({**NOT_FOR_US[member], "kid": "other"}, EC_JWK), "idp")
    assert [key.kid for key in bundle.keys] == ["one"]
    (note,) = bundle.notes
    assert note.startswith("idp: keys[0]: passed over: its ")
    assert "no key that verifies tokens" in _refusal(forge.jwk_set(NOT_FOR_US[member]))


@pytest.mark.parametrize("changes", [{"use": "sig"}, {"use": "jwt-svid"}, {"key_ops": ["sign", "verify"]}])
def test_keys_that_may_verify(changes: dict[str, object]) -> None:
    assert parse_jwk_set(_one(**changes), "test").keys


@pytest.mark.parametrize("name", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
@pytest.mark.parametrize("entry", [EC_JWK, RSA_JWK, ED_JWK, {"kty": "oct"}, NOT_FOR_US["use"]])
def test_private_and_symmetric_keys(name: str, entry: dict[str, object]) -> None:
    """Also in a key that would be passed over: somebody has published what must not be."""
    message = _refusal(forge.jwk_set(EC_JWK, {**entry, name: "AAAA"}))
    assert message.startswith(f'keys.json: keys[1]: found the member "{name}" of a private')
    assert "replace that key" in message


WRONG_MEMBERS: dict[str, tuple[dict[str, object], str]] = {
    "no kty": ({"kty": ...}, 'no string "kty"'),
    "kty of another type": ({"kty": 1}, 'no string "kty"'),
    "use of another type": ({"use": ["sig"]}, 'no string "use"'),
    "use of null": ({"use": None}, 'no string "use"'),
    "key_ops of another type": ({"key_ops": "verify"}, "key_ops that are no array"),
    "key_ops of null": ({"key_ops": None}, "key_ops that are no array"),
    "key_ops of numbers": ({"key_ops": ["verify", 1]}, "key_ops that are no array"),
    "alg of another type": ({"alg": 1}, 'no string "alg"'),
    "kid of another type": ({"kid": 1}, 'no string "kid"'),
    "empty kid": ({"kid": ""}, "1 to 256 printable"),
    "long kid": ({"kid": "x" * 257}, "1 to 256 printable"),
    "kid of two lines": ({"kid": "a\nb"}, "1 to 256 printable"),
    "kid of half a character": ({"kid": "\ud800"}, "1 to 256 printable"),
    "no curve": ({"crv": ...}, 'no string "crv"'),
    "no x": ({"x": ...}, 'no string "x"'),
    "x with padding": ({"x": f"{EC_JWK['x']}="}, 'in "x": no base64url'),
    "x of another size": ({"x": "AAAA"}, '3 octets in "x", allowed: 32'),
    "a longer x": ({"x": forge.base64url(b"\0" + b"\1" * 32).decode()}, '33 octets in "x"'),
    "a point off the curve": ({"x": forge.base64url(b"\1" * 32).decode()}, "a key that is none"),
    "the point at infinity": (
        {"x": forge.base64url(bytes(32)).decode(), "y": forge.base64url(bytes(32)).decode()},
        "none",
    ),
    "a coordinate beyond the field": ({"x": forge.base64url(b"\xff" * 32).decode()}, "a key that is none"),
    "another curve": ({"crv": "P-384"}, '32 octets in "x", allowed: 48'),
}


@pytest.mark.parametrize("what", WRONG_MEMBERS)
def test_wrong_members_refuse_the_set(what: str) -> None:
    changes, reason = WRONG_MEMBERS[what]
    message = _refusal(forge.jwk_set(RSA_JWK | {"kid": "good"}, _changed(EC_JWK, **changes)))
    assert message.startswith("keys.json: keys[1]: found ")
    assert reason in message


def _rsa(bits: int, exponent: int = 65537) -> dict[str, object]:
    """Return a public key of exactly so many bits, of which nobody has the private one."""
    modulus = random.Random(bits).getrandbits(bits) | 1 << (bits - 1) | 1
    return {"kty": "RSA", "n": forge.number(modulus), "e": forge.number(exponent)}


WRONG_RSA: dict[str, tuple[dict[str, object], str]] = {
    "small": (_rsa(1024), "1024 bits"),
    "one bit too small": (_rsa(2047), "2047 bits"),
    "one bit too large": (_rsa(8193), "8193 bits"),
    "a large exponent": (_rsa(2048, (1 << 33) + 1), "34 bits"),
    "an even exponent": (_rsa(2048, 4), "a key that is none"),
    "an exponent of one": (_rsa(2048, 1), "a key that is none"),
    "an even modulus": ({**_rsa(2048), "n": forge.number((1 << 2048) - 2)}, "allowed: an odd one"),
    "a zero in front": ({**_rsa(2048), "n": "AAAA" + "AQAB" * 90}, "a zero octet"),
    "no modulus": ({"kty": "RSA", "e": "AQAB"}, 'no string "n"'),
    "an empty modulus": ({**_rsa(2048), "n": ""}, "no number"),
    "a number for a text": ({**_rsa(2048), "e": 65537}, 'in "e": no string'),
}


@pytest.mark.parametrize("what", WRONG_RSA)
def test_wrong_rsa_keys_refuse_the_set(what: str) -> None:
    entry, reason = WRONG_RSA[what]
    assert reason in _refusal(forge.jwk_set(entry))


@pytest.mark.parametrize("bits", [2048, 3072, 4096, 8192])
def test_rsa_keys_of_allowed_sizes(bits: int) -> None:
    assert parse_jwk_set(forge.jwk_set(_rsa(bits), {**_rsa(2048, 3), "kid": "three"}), "test").keys


def test_kids_are_unique() -> None:
    assert "the kid 'one' twice" in _refusal(forge.jwk_set(EC_JWK, RSA_JWK))
    nameless = [_changed(entry, kid=...) for entry in (EC_JWK, RSA_JWK)]
    assert len(parse_jwk_set(forge.jwk_set(*nameless), "test").keys) == 2


def test_members_are_unique() -> None:
    text = _one()
    assert "the member 'keys' twice" in _refusal(text[:-1] + b', "keys": []}')
    assert "the member 'kid' twice" in _refusal(text.replace(b'"kid"', b'"kid": "x", "kid"'))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "neither a JWK set nor PEM"),
        (b"[]", "neither a JWK set nor PEM"),
        (b"{", "no JSON"),
        (b"{}", 'no array "keys"'),
        (b'{"keys": {}}', 'no array "keys"'),
        (b'{"keys": [1]}', "keys[0]: found no object"),
        (b'{"keys": ["x"], "x": NaN}', "NaN, which is no number"),
        (json.dumps(EC_JWK).encode(), 'no array "keys"'),
        (b'{"keys": ' + b"[" * 100_000, "deep"),
        (b'{"\xff": 1}', "not UTF-8"),
        (b"{" + b" " * MAX_DOCUMENT + b"}", f"found {MAX_DOCUMENT + 2} bytes"),
        (forge.jwk_set(*({"kty": "x"} for _ in range(MAX_KEYS + 1))), "found 65 keys, allowed: at most 64"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_documents_that_are_no_sets(document: bytes, reason: str) -> None:
    assert reason in _refusal(document)


def test_the_most_keys() -> None:
    entries = [{**_rsa(2048), "kid": str(number)} for number in range(MAX_KEYS)]
    assert len(parse_jwk_set(forge.jwk_set(*entries), "test").keys) == MAX_KEYS


def test_the_fingerprint_is_that_of_the_keys_alone() -> None:
    first = parse_jwk_set(forge.jwk_set(EC_JWK, RSA_JWK | {"kid": "r"}, ED_JWK | {"kid": "e"}), "a")
    renamed = parse_jwk_set(
        forge.jwk_set(ED_JWK | {"kid": "x"}, NOT_FOR_US["kty"], EC_JWK | {"use": "sig"}, RSA_JWK | {"kid": "y"}), "b"
    )
    assert first.fingerprint == renamed.fingerprint
    fewer = parse_jwk_set(forge.jwk_set(EC_JWK, RSA_JWK | {"kid": "r"}), "a")
    other = parse_jwk_set(forge.jwk_set(forge.signer(kid="two").jwk()), "a")
    assert len({first.fingerprint, fewer.fingerprint, other.fingerprint, forge.bundle().fingerprint}) == 4


def test_an_operator_can_compute_the_fingerprint() -> None:
    """As José's tool, sort and sha256sum do."""
    lines = sorted(f"{thumbprint}\n" for thumbprint in THUMBPRINTS)
    bundle = parse_jwk_set(forge.jwk_set(*THUMBPRINTS.values()), "test")
    assert bundle.fingerprint == hashlib.sha256("".join(lines).encode()).hexdigest()


def _pem(public: object, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return public.public_bytes(Encoding.PEM, form)  # type: ignore[attr-defined, no-any-return]


def _private(kind: PrivateFormat, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return forge.signer("RS256").private.private_bytes(Encoding.PEM, kind, encryption)


PUBLICS = [forge.signer(name).private.public_key() for name in ("ES256", "ES384", "ES512", "RS256", "EdDSA")]


def test_pem_of_every_kind() -> None:
    document = b"a comment\n" + b"between\n".join(map(_pem, PUBLICS))
    document += _pem(PUBLICS[3], PublicFormat.PKCS1) + certificate(forge.signer())
    bundle = parse_bundle(document.replace(b"\n", b"\r\n"), "keys.pem")
    assert [key.kid for key in bundle.keys] == [None] * 7
    assert bundle.keys[3].thumbprint == bundle.keys[5].thumbprint
    assert bundle.keys[0].thumbprint == bundle.keys[6].thumbprint == forge.bundle().keys[0].thumbprint
    assert parse_pem(_pem(PUBLICS[0]), "x").fingerprint == forge.bundle().fingerprint


@pytest.mark.parametrize(
    "private",
    [
        _private(PrivateFormat.PKCS8),
        _private(PrivateFormat.TraditionalOpenSSL),
        _private(PrivateFormat.PKCS8, b"password"),
        _private(PrivateFormat.TraditionalOpenSSL, b"password"),
        _private(PrivateFormat.OpenSSH),
    ],
    ids=lambda text: text.splitlines()[0].decode(),
)
def test_private_keys_in_pem(private: bytes) -> None:
    message = _refusal(_pem(PUBLICS[0]) + private)
    assert message.startswith("keys.json:5: found a private key")


def _certificate_of_version(number: int) -> bytes:
    der = ssl.PEM_cert_to_DER_cert(certificate(forge.signer()).decode())
    changed = der.replace(b"\xa0\x03\x02\x01\x02", bytes([0xA0, 3, 2, 1, number]), 1)
    assert changed != der
    return ssl.DER_cert_to_PEM_cert(changed).encode()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n", "no end"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END CERTIFICATE-----\n", "no end"),
        (b"-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----\n", "no end"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "keys.json:1: found a key that is none"),
        (b"\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "keys.json:2: found a key that is none"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "allowed: PUBLIC KEY"),
        (_certificate_of_version(1), "keys.json:1: found a key that is none"),
        (b"x" * MAX_DOCUMENT + b"-----BEGIN PUBLIC KEY-----", "at most"),
        (_pem(PUBLICS[0]) * (MAX_KEYS + 1), "found 65 keys"),
        (_pem(rsa.RSAPublicNumbers(65537, (1 << 1024) - 105).public_key()), "1024 bits"),
    ],
)
def test_pem_that_cannot_be_used(document: bytes, reason: str) -> None:
    assert reason in _refusal(document)


def test_keys_of_other_kinds_in_pem_are_passed_over() -> None:
    others = [
        ed448.Ed448PrivateKey.generate().public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        dsa.generate_private_key(2048).public_key(),
    ]
    bundle = parse_pem(b"".join(map(_pem, [*others, PUBLICS[0]])), "keys.pem")
    assert len(bundle.keys) == 1
    assert [note.partition(" ")[0] for note in bundle.notes[:2]] == ["keys.pem:1:", "keys.pem:5:"]
    assert len(bundle.notes) == 3


_MEMBERS = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops", "d"])
_VALUES = st.sampled_from(
    ["RSA", "EC", "OKP", "P-256", "P-521", "Ed25519", "sig", "enc", "ES256", "AQAB", EC_JWK["x"],
     EC_JWK["y"], ED_JWK["x"], RSA_JWK["n"], ["verify"], None, 1, [], {}, ""]
) | st.text()  # fmt: skip


@given(st.lists(st.dictionaries(_MEMBERS, _VALUES) | st.sampled_from([EC_JWK, RSA_JWK, ED_JWK]).flatmap(
    lambda entry: st.dictionaries(_MEMBERS, _VALUES, max_size=2).map(lambda changes: {**entry, **changes})
)))  # fmt: skip
def test_a_set_is_taken_or_refused(entries: list[object]) -> None:
    try:
        bundle = parse_bundle(forge.jwk_set(*entries), "test")
    except BundleError as error:
        assert str(error).isprintable()
        return
    assert len(bundle.keys) + len(bundle.notes) == len(entries)
    assert all(key.algorithms for key in bundle.keys)


@given(st.binary(max_size=400) | st.binary(max_size=400).map(lambda data: b"{" + data) | st.binary(max_size=400).map(
    lambda data: b"-----BEGIN PUBLIC KEY-----\n" + forge.base64url(data) + b"\n-----END PUBLIC KEY-----"
))  # fmt: skip
def test_any_bytes_are_taken_or_refused(document: bytes) -> None:
    try:
        parse_bundle(document, "test")
    except BundleError:
        return


@given(st.sampled_from([*map(_pem, PUBLICS), certificate(forge.signer())]), st.integers(0, 200), st.binary(max_size=2))
def test_changed_pem_is_taken_or_refused(document: bytes, place: int, change: bytes) -> None:
    try:
        parse_bundle(document[:place] + change + document[place + len(change) :], "test")
    except BundleError:
        return


def test_which_key_a_token_means() -> None:
    named, nameless = _changed(EC_JWK), _changed(RSA_JWK, kid=...)
    both = parse_jwk_set(forge.jwk_set(named, nameless, ED_JWK | {"kid": "two"}), "test")
    thumbprint = both.keys[1].thumbprint
    assert [both.find(kid) for kid in ("one", thumbprint, "two")] == list(both.keys)
    assert [both.find(kid) for kid in (None, "", "three", both.keys[0].thumbprint)] == [None] * 4
    alone = parse_jwk_set(forge.jwk_set(named), "test")
    assert [alone.find(kid) for kid in (None, "one", "two")] == [alone.keys[0], alone.keys[0], None]
    anonymous = parse_jwk_set(forge.jwk_set(nameless), "test")
    assert [anonymous.find(kid) for kid in (None, "any")] == [anonymous.keys[0]] * 2
    assert parse_jwk_set(forge.jwk_set(), "test", may_be_empty=True).find(None) is None
