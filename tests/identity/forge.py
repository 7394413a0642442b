"""Keys and tokens for tests, made without the code under test and without PyJWT: a forger keeps to no rule."""

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cofferdam_contracts.registry import AuthType
from cofferdam_identity.keys import ALGORITHMS, Bundle, parse_jwk_set
from cofferdam_identity.tokens import SVID_ALGORITHMS, Check, Rules, TokenError, Verified, verify

Private: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Object: TypeAlias = Mapping[str, object]
NOW: Final = 1_800_000_000.0
DOMAIN: Final = "example.org"
SUBJECT: Final = f"spiffe://{DOMAIN}/web"
ISSUER: Final = "https://issuer.example"
HASHES: Final[Mapping[str, Callable[[], hashes.HashAlgorithm]]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
CURVES: Final[Mapping[str, Callable[[], ec.EllipticCurve]]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
CURVE_NAMES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp256k1": "secp256k1"}
SVID: Final = Rules(AuthType.JWT_SVID, frozenset({"parsec"}), None, "sub", frozenset({DOMAIN}), SVID_ALGORITHMS)
JWT: Final = Rules(AuthType.JWT, frozenset({"parsec"}), ISSUER, "sub", frozenset(), ALGORITHMS)


class Signer(NamedTuple):
    """A private key with the name of its public key and its algorithm."""

    private: Private
    kid: str
    algorithm: str

    def jwk(self, **changes: object) -> dict[str, object]:
        return {**public_jwk(self.private.public_key()), "kid": self.kid, **changes}

    def header(self, **changes: object) -> dict[str, object]:
        return {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **changes}

    def token(self, claims: Object | bytes, header: Object | bytes | None = None) -> bytes:
        """Sign whatever is given."""
        signed = b".".join(encode(each) for each in (self.header() if header is None else header, claims))
        return signed + b"." + base64url(signature(self.private, self.algorithm, signed))


@functools.cache
def signer(algorithm: str = "ES256", kid: str = "one") -> Signer:
    return Signer(private_key(algorithm, kid), kid, algorithm)


@functools.cache
def private_key(algorithm: str, which: str) -> Private:
    if algorithm in CURVES:
        return ec.derive_private_key(int.from_bytes(_seed(algorithm, which), "big"), CURVES[algorithm]())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.from_private_bytes(_seed(algorithm, which))
    # One is enough for the RSA algorithms, whatever its name: they are slow to make.
    return _rsa_key()


@functools.cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _seed(algorithm: str, which: str) -> bytes:
    """Return the same bytes each time, so that what a fuzzer finds can be repeated."""
    return hashlib.sha256(f"{algorithm} {which}".encode()).digest()[:31] + b"\1"


def signature(private: Private, algorithm: str, signed: bytes) -> bytes:
    match private:
        case ed25519.Ed25519PrivateKey():
            return private.sign(signed)
        case ec.EllipticCurvePrivateKey():
            digest = HASHES[algorithm[2:]]()
            size = (private.curve.key_size + 7) // 8
            return b"".join(
                number.to_bytes(size, "big") for number in decode_dss_signature(private.sign(signed, ec.ECDSA(digest)))
            )
        case _:
            digest = HASHES[algorithm[2:]]()
            pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
            return private.sign(signed, padding.PKCS1v15() if algorithm.startswith("R") else pss, digest)


def public_jwk(public: object) -> dict[str, object]:
    match public:
        case rsa.RSAPublicKey():
            numbers = public.public_numbers()
            return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        case ec.EllipticCurvePublicKey():
            size, point = (public.curve.key_size + 7) // 8, public.public_numbers()
            x, y = (base64url(each.to_bytes(size, "big")).decode() for each in (point.x, point.y))
            return {"kty": "EC", "crv": CURVE_NAMES[public.curve.name], "x": x, "y": y}
        case ed25519.Ed25519PublicKey():
            raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            return {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw).decode()}
        case _:
            raise AssertionError(public)


def number(value: int, size: int = 0) -> str:
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big")).decode()


def jwk_set(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


def bundle(*signers: Signer) -> Bundle:
    return parse_jwk_set(jwk_set(*(each.jwk() for each in signers or (signer(),))), "test")


def encode(part: Object | bytes) -> bytes:
    return base64url(part if isinstance(part, bytes) else json.dumps(part).encode())


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def claims(**changes: object) -> dict[str, object]:
    """Return good claims of a JWT-SVID, with changes; a claim that is changed to ... is left out."""
    return _changed({"aud": ["parsec"], "exp": NOW + 300, "iat": NOW, "sub": SUBJECT}, changes)


def jwt_claims(**changes: object) -> dict[str, object]:
    """Return good claims of a token of the issuer, with changes."""
    return _changed({"aud": "parsec", "exp": NOW + 300, "iat": NOW, "iss": ISSUER, "sub": "web"}, changes)


def header(**changes: object) -> dict[str, object]:
    """Return a good header of the first signer, with changes."""
    return _changed(signer().header(), changes)


def hmac_token(secret: bytes, claimed: Object, name: str = "HS256") -> bytes:
    signed = encode(header(alg=name)) + b"." + encode(claimed)
    return signed + b"." + base64url(hmac.digest(secret, signed, hashlib.new(f"sha{name[2:]}").name))


def svid(token: bytes, *, keys: Bundle | None = None, rules: Rules = SVID, now: float = NOW) -> Verified:
    """Verify a token with the keys of the first signer, or others, whoever the issuer is."""
    return verify(token, rules, lambda _: bundle() if keys is None else keys, now)


def refused(token: bytes, *, keys: Bundle | None = None, rules: Rules = SVID, now: float = NOW) -> Check:
    """Return which check refuses a token."""
    try:
        found = svid(token, keys=keys, rules=rules, now=now)
    except TokenError as error:
        return error.check
    raise AssertionError(f"accepted: {found}")


def _changed(values: dict[str, object], changes: Object) -> dict[str, object]:
    return {name: value for name, value in {**values, **changes}.items() if value is not ...}
