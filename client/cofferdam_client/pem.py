"""Keys and signatures in the forms that other programs have, and in those that the Parsec protocol has.

Only the subcommands that need this import it: loading `cryptography` takes longer than the rest of the program.
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
    """Raised when a key or a signature is not of a form that this module knows."""


def public_key_pem(attributes: KeyAttributes, data: bytes, *, pkcs1: bool) -> bytes:
    """Return a public key of the protocol's form as PEM: SubjectPublicKeyInfo, or PKCS#1 for RSA if asked for.

    Raises:
        KeyFormError: There is no such form of this kind of key, or the data are no key of this kind.
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
        raise KeyFormError(f"the service's public key cannot be read: {error}") from error
    raise KeyFormError(f"there is no PEM form of a {kind.name} key")


def _curve(family: EccFamily, bits: int, point: bytes) -> ec.EllipticCurve:
    width = len(point) // 2 * 8
    # A key that was imported without a size may be listed without one.
    for (known_family, known_bits), curve in _CURVES.items():
        if known_family is family and (known_bits == bits or (not bits and -(-known_bits // 8) * 8 == width)):
            return curve()
    raise KeyFormError(f"the curve {family.name} {bits} has no name here")


def signature_to_der(signature: bytes) -> bytes:
    """Return an ECDSA signature as DER, from r followed by s.

    Raises:
        KeyFormError: It cannot be cut into halves.
    """
    half, odd = divmod(len(signature), 2)
    if odd or not half:
        raise KeyFormError(f"an ECDSA signature of {len(signature)} bytes")
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def signature_from_der(signature: bytes, bits: int) -> bytes:
    """Return an ECDSA signature of a key with so many bits as r followed by s, from DER.

    Raises:
        KeyFormError: It is no DER, or the numbers are too large for the key.
    """
    width = -(-bits // 8)
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")
    except (ValueError, OverflowError) as error:
        raise KeyFormError("this is no ECDSA signature in DER for this key") from error


def key_to_import(text: bytes) -> tuple[KeyType, int, bytes]:
    """Return type, bits and data of the private or public key in a PEM or DER file.

    Raises:
        KeyFormError: It is no RSA key or key on a known curve, or it is encrypted.
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
            raise KeyFormError("only RSA keys and keys for ECDSA can be imported")


def _family(curve: ec.EllipticCurve) -> tuple[EccFamily, int]:
    known = _BY_NAME.get(curve.name)
    if known is None:
        raise KeyFormError(f"the curve {curve.name} cannot be imported")
    return known


def _load(text: bytes) -> object:
    """Return the key in a file; the two kinds of PEM say what they are, DER is tried as both."""
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
        raise KeyFormError("this is no key in PEM or DER") from error
