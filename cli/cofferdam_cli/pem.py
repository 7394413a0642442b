"""Conversion of keys and signatures between PEM or DER and the encodings of the Parsec protocol.

Subcommands import this module only when they need it: loading `cryptography` takes longer than the rest of the
program.
"""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from cofferdam_contracts.psa.attributes import ECC_KINDS, RSA_KINDS, EccFamily, KeyAttributes, KeyKind, KeyType

_CURVES: Final[dict[tuple[EccFamily, int], type[ec.EllipticCurve]]] = {
    (EccFamily.SECP_R1, 192): ec.SECP192R1,
    (EccFamily.SECP_R1, 224): ec.SECP224R1,
    (EccFamily.SECP_R1, 256): ec.SECP256R1,
    (EccFamily.SECP_R1, 384): ec.SECP384R1,
    (EccFamily.SECP_R1, 521): ec.SECP521R1,
    (EccFamily.SECP_K1, 256): ec.SECP256K1,
    (EccFamily.BRAINPOOL_P_R1, 256): ec.BrainpoolP256R1,
    (EccFamily.BRAINPOOL_P_R1, 384): ec.BrainpoolP384R1,
    (EccFamily.BRAINPOOL_P_R1, 512): ec.BrainpoolP512R1,
}
_BY_NAME: Final = {curve().name: (family, bits) for (family, bits), curve in _CURVES.items()}
_PEM: Final = b"-----BEGIN "


class KeyFormError(ValueError):
    """Raised when a key or a signature is malformed or of an unsupported kind."""


def public_key_pem(attributes: KeyAttributes, data: bytes, *, pkcs1: bool) -> bytes:
    """Return a public key in the protocol's encoding as PEM: SubjectPublicKeyInfo, or PKCS#1 for RSA on request.

    Raises:
        KeyFormError: This kind of key has no such form, or the data are not a key of this kind.
    """
    kind, family = attributes.type.kind, attributes.type.family
    if pkcs1 and kind not in RSA_KINDS:
        raise KeyFormError("only RSA keys have a PKCS#1 form; leave out --pkcs1")
    try:
        if kind in RSA_KINDS:
            key = load_der_public_key(data)
            return key.public_bytes(Encoding.PEM, PublicFormat.PKCS1 if pkcs1 else PublicFormat.SubjectPublicKeyInfo)
        if kind in ECC_KINDS and isinstance(family, EccFamily):
            point = ec.EllipticCurvePublicKey.from_encoded_point(_curve(family, attributes.bits, data), data)
            return point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFormError(f"the public key from the service is malformed: {error}") from error
    raise KeyFormError(f"a {kind.name} key has no PEM form")


def _curve(family: EccFamily, bits: int, point: bytes) -> ec.EllipticCurve:
    width = len(point) // 2 * 8
    # The service may list a key without a size if it was imported without one.
    for (known_family, known_bits), curve in _CURVES.items():
        if known_family is family and (known_bits == bits or (not bits and -(-known_bits // 8) * 8 == width)):
            return curve()
    raise KeyFormError(f"the curve {family.name} {bits} is not supported")


def signature_to_der(signature: bytes) -> bytes:
    """Return an ECDSA signature as DER; the input is r followed by s.

    Raises:
        KeyFormError: The length of the input is 0 or odd.
    """
    half, odd = divmod(len(signature), 2)
    if odd or not half:
        raise KeyFormError(f"an ECDSA signature cannot have {len(signature)} bytes")
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def signature_from_der(signature: bytes, bits: int) -> bytes:
    """Return an ECDSA signature as r followed by s, each as long as a key of so many bits; the input is DER.

    Raises:
        KeyFormError: The input is not DER, or the numbers are too large for the key.
    """
    width = -(-bits // 8)
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")
    except (ValueError, OverflowError) as error:
        raise KeyFormError("the signature is not an ECDSA signature in DER for this key") from error


def key_to_import(text: bytes) -> tuple[KeyType, int, bytes]:
    """Return the type, the size in bits and the protocol's encoding of the private or public key in a PEM or DER file.

    Raises:
        KeyFormError: The key is neither an RSA key nor one on a supported curve, or it is encrypted.
    """
    key = _load(text)
    match key:
        case rsa.RSAPrivateKey():
            data = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            return KeyType(KeyKind.RSA_KEY_PAIR), key.key_size, data
        case rsa.RSAPublicKey():
            return KeyType(KeyKind.RSA_PUBLIC_KEY), key.key_size, key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        case ec.EllipticCurvePrivateKey():
            family, bits = _family(key.curve)
            scalar = key.private_numbers().private_value.to_bytes(-(-bits // 8), "big")
            return KeyType(KeyKind.ECC_KEY_PAIR, family), bits, scalar
        case ec.EllipticCurvePublicKey():
            family, bits = _family(key.curve)
            point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return KeyType(KeyKind.ECC_PUBLIC_KEY, family), bits, point
        case _:
            raise KeyFormError("only RSA and ECDSA keys can be imported")


def _family(curve: ec.EllipticCurve) -> tuple[EccFamily, int]:
    known = _BY_NAME.get(curve.name)
    if known is None:
        raise KeyFormError(f"the curve {curve.name} cannot be imported")
    return known


def _load(text: bytes) -> object:
    """Return the key in a file. PEM says whether it is private or public; DER is tried as private first."""
    try:
        if text.lstrip().startswith(_PEM):
            return load_pem_private_key(text, None) if b"PRIVATE KEY-----" in text else load_pem_public_key(text)
        try:
            return load_der_private_key(text, None)
        except ValueError:
            return load_der_public_key(text)
    except TypeError as error:
        raise KeyFormError("the key is encrypted; decrypt it first") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFormError("the file contains no key in PEM or DER") from error
