"""Bundles of verification keys, from a JWK set or PEM.

A bundle is taken as a whole or refused as a whole. Keys that are for another purpose or of a kind that is not used here
are passed over with a note, since identity providers publish them side by side; a key that is wrong, too weak or not
public refuses the bundle. Sources: RFC 7517, RFC 7518 section 6, RFC 8037, RFC 7638, RFC 7468, the SPIFFE Trust Domain
and Bundle section 4 (`use` is `jwt-svid`), and what SPIRE 1.13 publishes: neither `use` nor `alg`.

The fingerprint of a bundle, which an operator pins, is the SHA-256 of the RFC 7638 thumbprints of its keys, in
base64url, each on a line, sorted, each once. With José's tool, for a set that has verification keys alone:

    jose jwk thp -i keys.json | LC_ALL=C sort -u | sha256sum
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from cofferdam_contracts.ipc.limits import MAX_BUNDLE
from cofferdam_identity.documents import (
    DocumentError,
    JsonObject,
    decode_base64url,
    encode_base64url,
    load_object,
    shown,
)

MAX_DOCUMENT: Final = MAX_BUNDLE
"""Bytes of the largest bundle."""
MAX_KEYS: Final = 64
MAX_KID: Final = 256
"""Characters of the name of a key."""
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
_MAX_EXPONENT_BITS: Final = 32

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
EC_ALGORITHMS: Final[Mapping[str, str]] = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
ALGORITHMS: Final = RSA_ALGORITHMS | {*EC_ALGORITHMS.values(), "EdDSA"}
"""Every algorithm that a token may be signed with (RFC 7518 section 3.1, RFC 8037)."""
_CURVES: Final[Mapping[str, type[EllipticCurve]]] = {"P-256": SECP256R1, "P-384": SECP384R1, "P-521": SECP521R1}
_CURVE_NAMES: Final[Mapping[str, str]] = {str(curve.name): name for name, curve in _CURVES.items()}
_PRIVATE: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
"""Members of private and symmetric keys (RFC 7518 sections 6.2.2, 6.3.2 and 6.4)."""
_USES: Final = frozenset({"sig", "jwt-svid"})
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----")
_PRIVATE_BLOCK: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")

_Source = TypeVar("_Source")
_Reader: TypeAlias = Callable[[_Source], "VerificationKey"]


class BundleError(Exception):
    """The bundle cannot be used: which key, what was found, what is allowed."""


class VerificationKey(NamedTuple):
    """A public key and what it may verify."""

    kid: str | None
    """Its name; keys of PEM have none."""
    public: PublicKey
    algorithms: frozenset[str]
    """Names of `ALGORITHMS`: those of its type and curve, narrowed to `alg` if the JWK has that."""
    thumbprint: str
    """Of RFC 7638, with SHA-256, in base64url."""


class Bundle(NamedTuple):
    """The keys of one issuer or trust domain."""

    keys: tuple[VerificationKey, ...]
    fingerprint: str
    """SHA-256 in hexadecimal, the same for any order and names of the keys."""
    notes: tuple[str, ...] = ()
    """What was passed over, one line of text for each key."""

    def find(self, kid: str | None) -> VerificationKey | None:
        """Return the key that a token means.

        A token without `kid` means the only key. A key without a name is meant by its thumbprint, or by any name if it
        is the only one.
        """
        only = self.keys[0] if len(self.keys) == 1 else None
        if kid is None or (only is not None and only.kid is None):
            return only
        for key in self.keys:
            if kid == (key.thumbprint if key.kid is None else key.kid):
                return key
        return None


class _NotForUsError(Exception):
    """The key is for another purpose, or of a kind that is not used here: it is passed over."""


def parse_bundle(document: bytes, name: str) -> Bundle:
    """Read a file that is a JWK set or PEM.

    Args:
        document: The content of the file.
        name: What errors and notes call it.

    Raises:
        BundleError: It is neither, or has a key that cannot be used, or none.
    """
    if document.lstrip()[:1] == b"{":
        return parse_jwk_set(document, name)
    if b"-----BEGIN " in document:
        return parse_pem(document, name)
    raise BundleError(f"{name}: found neither a JWK set nor PEM, allowed: either")


def parse_jwk_set(document: bytes, name: str, *, may_be_empty: bool = False) -> Bundle:
    """Read a JWK set (RFC 7517 section 5).

    Args:
        document: The set, in UTF-8.
        name: What errors and notes call it: a file, an issuer or a trust domain.
        may_be_empty: Whether a set without keys is one: a trust domain revokes all its keys in that way.

    Raises:
        BundleError: It is none, or has a key that cannot be used, or none.
    """
    _check_size(document, name)
    try:
        entries = load_object(document).get("keys")
    except DocumentError as error:
        raise BundleError(f"{name}: found {error}, allowed: a JWK set (RFC 7517)") from None
    if not isinstance(entries, list):
        raise BundleError(f'{name}: found no array "keys", allowed: a JWK set (RFC 7517)')
    places = [f"{name}: keys[{index}]" for index in range(len(entries))]
    bundle = _bundle(places, entries, _key_of_entry, name)
    if not bundle.keys and not may_be_empty:
        raise BundleError(_nothing_left(name, bundle.notes))
    return bundle


def parse_pem(document: bytes, name: str) -> Bundle:
    """Read public keys and certificates in PEM (RFC 7468); of a certificate, its key alone counts.

    Args:
        document: The blocks, with any text around them.
        name: What errors and notes call it.

    Raises:
        BundleError: It has something else than these, or a key that cannot be used, or none.
    """
    _check_size(document, name)
    if private := _PRIVATE_BLOCK.search(document):
        raise BundleError(
            f"{name}:{_line(document, private)}: found a private key, allowed: public keys and certificates; "
            "replace that key, because whoever could read it can sign tokens"
        )
    blocks = list(_BLOCK.finditer(document))
    if len(blocks) != document.count(b"-----BEGIN "):
        raise BundleError(f"{name}: found a block that is not PEM or has no end, allowed: public keys and certificates")
    places = [f"{name}:{_line(document, block)}" for block in blocks]
    bundle = _bundle(places, blocks, _key_of_block, name)
    if not bundle.keys:
        raise BundleError(_nothing_left(name, bundle.notes))
    return bundle


def _check_size(document: bytes, name: str) -> None:
    if len(document) > MAX_DOCUMENT:
        raise BundleError(f"{name}: found {len(document)} bytes, allowed: at most {MAX_DOCUMENT}")


def _nothing_left(name: str, notes: Sequence[str]) -> str:
    return f"{name}: found no key that verifies tokens, allowed: at least one" + "".join(f"; {note}" for note in notes)


def _bundle(places: Sequence[str], sources: Sequence[_Source], read: _Reader[_Source], name: str) -> Bundle:
    """Read each source with a function; its errors get the place of the source in front."""
    if len(sources) > MAX_KEYS:
        raise BundleError(f"{name}: found {len(sources)} keys, allowed: at most {MAX_KEYS}")
    keys, notes = [], []
    for place, source in zip(places, sources, strict=True):
        try:
            keys.append(read(source))
        except _NotForUsError as reason:
            notes.append(f"{place}: passed over: {reason}")
        except DocumentError as error:
            raise BundleError(f"{place}: found {error}") from None
    named = Counter(key.kid for key in keys if key.kid is not None)
    if twice := [kid for kid, count in named.items() if count > 1]:
        raise BundleError(f"{name}: found the kid {shown(twice[0])} twice, allowed: a name of its own for each key")
    return Bundle(tuple(keys), _fingerprint(keys), tuple(notes))


def _fingerprint(keys: Sequence[VerificationKey]) -> str:
    lines = "".join(f"{thumbprint}\n" for thumbprint in sorted({key.thumbprint for key in keys}))
    return hashlib.sha256(lines.encode()).hexdigest()


def _key_of_entry(entry: object) -> VerificationKey:
    """Return the key of a JWK."""
    if not isinstance(entry, dict):
        raise DocumentError("no object, allowed: a JWK")
    _check_private(entry)
    kind = _text(entry, "kty")
    _check_purpose(entry)
    if kind not in _KINDS:
        raise _NotForUsError(f"its kty is {shown(kind)}, used are {', '.join(_KINDS)}")
    return _key(_KINDS[kind](entry), kid=_kid(entry), algorithm=_optional_text(entry, "alg"))


def _check_private(entry: JsonObject) -> None:
    """Refuse what could sign; whoever has read the document could sign tokens too."""
    if private := [name for name in _PRIVATE if name in entry]:
        raise DocumentError(
            f'the member "{private[0]}" of a private or symmetric key, allowed: public keys alone; '
            "replace that key, because whoever could read it can sign tokens"
        )


def _check_purpose(entry: JsonObject) -> None:
    use, operations = _optional_text(entry, "use"), entry.get("key_ops")
    if use is not None and use not in _USES:
        raise _NotForUsError(f"its use is {shown(use)}, not sig or jwt-svid")
    if operations is None and "key_ops" not in entry:
        return
    if not isinstance(operations, list) or not all(isinstance(each, str) for each in operations):
        raise DocumentError("key_ops that are no array of strings (RFC 7517 section 4.3)")
    if "verify" not in operations:
        raise _NotForUsError("its key_ops do not have verify")


def _kid(entry: JsonObject) -> str | None:
    kid = _optional_text(entry, "kid")
    if kid is not None and not (0 < len(kid) <= MAX_KID and kid.isprintable()):
        raise DocumentError(f"the kid {shown(kid)}, allowed: 1 to {MAX_KID} printable characters")
    return kid


def _key(public: object, kid: str | None = None, algorithm: str | None = None) -> VerificationKey:
    """Check a key of any origin, and say what it verifies."""
    allowed, members = _described(public)
    if algorithm is not None and algorithm not in allowed:
        if algorithm in ALGORITHMS:
            raise DocumentError(f"the alg {algorithm}, allowed for this key: {', '.join(sorted(allowed))}")
        raise _NotForUsError(f"its alg is {shown(algorithm)}, used are {', '.join(sorted(allowed))}")
    algorithms = allowed if algorithm is None else frozenset({algorithm})
    return VerificationKey(kid, public, algorithms, _thumbprint(members))  # type: ignore[arg-type]


def _described(public: object) -> tuple[frozenset[str], Mapping[str, str]]:
    """Return the algorithms of a key, and the members that its thumbprint is made of."""
    match public:
        case RSAPublicKey():
            return RSA_ALGORITHMS, _rsa_members(public)
        case EllipticCurvePublicKey():
            return _ec_described(public)
        case Ed25519PublicKey():
            x = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            return frozenset({"EdDSA"}), {"crv": "Ed25519", "kty": "OKP", "x": _base64url(x)}
        case _:
            raise _NotForUsError("it is neither RSA, nor of a curve P-256, P-384 or P-521, nor Ed25519")


def _rsa_members(public: RSAPublicKey) -> Mapping[str, str]:
    numbers = public.public_numbers()
    bits = numbers.n.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS or not numbers.n & 1:
        raise DocumentError(f"an RSA modulus of {bits} bits, allowed: an odd one of {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    if numbers.e.bit_length() > _MAX_EXPONENT_BITS:
        raise DocumentError(f"an RSA exponent of {numbers.e.bit_length()} bits, allowed: at most {_MAX_EXPONENT_BITS}")
    return {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}


def _ec_described(public: EllipticCurvePublicKey) -> tuple[frozenset[str], Mapping[str, str]]:
    curve = _CURVE_NAMES.get(public.curve.name)
    if curve is None:
        raise _NotForUsError(f"its curve is {public.curve.name}, used are {', '.join(_CURVES)}")
    numbers, size = public.public_numbers(), _size(public.curve)
    x, y = (_base64url(number.to_bytes(size, "big")) for number in (numbers.x, numbers.y))
    return frozenset({EC_ALGORITHMS[curve]}), {"crv": curve, "kty": "EC", "x": x, "y": y}


def _thumbprint(members: Mapping[str, str]) -> str:
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(text.encode()).digest())


def _rsa(entry: JsonObject) -> PublicKey:
    exponent, modulus = (int.from_bytes(_minimal(entry, name), "big") for name in ("e", "n"))
    if modulus.bit_length() > MAX_RSA_BITS or exponent.bit_length() > _MAX_EXPONENT_BITS:
        # OpenSSL would not get to see it.
        raise DocumentError(
            f"an RSA key of {modulus.bit_length()} bits with an exponent of {exponent.bit_length()} bits, "
            f"allowed: at most {MAX_RSA_BITS} and {_MAX_EXPONENT_BITS}"
        )
    return _made(lambda: RSAPublicNumbers(exponent, modulus).public_key())


def _ec(entry: JsonObject) -> PublicKey:
    name = _text(entry, "crv")
    if name not in _CURVES:
        raise _NotForUsError(f"its curve is {shown(name)}, used are {', '.join(_CURVES)}")
    curve = _CURVES[name]()
    x, y = (int.from_bytes(_sized(entry, member, _size(curve)), "big") for member in ("x", "y"))
    return _made(lambda: EllipticCurvePublicNumbers(x, y, curve).public_key())


def _okp(entry: JsonObject) -> PublicKey:
    name = _text(entry, "crv")
    if name != "Ed25519":
        raise _NotForUsError(f"its curve is {shown(name)}, used is Ed25519")
    data = _sized(entry, "x", _ED25519_BYTES)
    return _made(lambda: Ed25519PublicKey.from_public_bytes(data))


def _key_of_block(block: re.Match[bytes]) -> VerificationKey:
    """Return the key of a PEM block."""
    label = block[1].decode()
    if label not in _BLOCKS:
        raise DocumentError(f"a block {shown(label)}, allowed: {', '.join(_BLOCKS)}")
    return _key(_made(lambda: _BLOCKS[label](block[0])))


def _made(make: Callable[[], _Source]) -> _Source:
    """Return what the library makes of a key."""
    try:
        return make()
    except UnsupportedAlgorithm:
        raise _NotForUsError("its kind is not known to the library") from None
    except (ValueError, TypeError, OverflowError, x509.InvalidVersion):
        raise DocumentError("a key that is none: its numbers or its encoding are wrong") from None


def _text(entry: JsonObject, name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise DocumentError(f'no string "{name}", which a key of this kind has (RFC 7518 section 6)')
    return value


def _optional_text(entry: JsonObject, name: str) -> str | None:
    return _text(entry, name) if name in entry else None


def _octets(entry: JsonObject, name: str) -> bytes:
    try:
        return decode_base64url(_text(entry, name))
    except DocumentError as error:
        raise DocumentError(f'in "{name}": {error}') from None


def _minimal(entry: JsonObject, name: str) -> bytes:
    octets = _octets(entry, name)
    if octets[:1] in {b"", b"\0"}:
        raise DocumentError(f'no number or a zero octet in front of it in "{name}" (RFC 7518 section 6.3.1)')
    return octets


def _sized(entry: JsonObject, name: str, size: int) -> bytes:
    octets = _octets(entry, name)
    if len(octets) != size:
        raise DocumentError(f'{len(octets)} octets in "{name}", allowed: {size} (RFC 7518 section 6.2.1, RFC 8037)')
    return octets


def _line(document: bytes, block: re.Match[bytes]) -> int:
    return document.count(b"\n", 0, block.start()) + 1


def _size(curve: EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _number(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return encode_base64url(data).decode()


_ED25519_BYTES: Final = 32
_KINDS: Final[Mapping[str, Callable[[JsonObject], PublicKey]]] = {"RSA": _rsa, "EC": _ec, "OKP": _okp}
_BLOCKS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "PUBLIC KEY": load_pem_public_key,
    "RSA PUBLIC KEY": load_pem_public_key,
    "CERTIFICATE": lambda block: x509.load_pem_x509_certificate(block).public_key(),
}
