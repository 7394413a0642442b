"""Keys in memory, and the formats of import and export.

Formats: docs/reference/parsec-protocol.md, "Formats of values". Keys at rest have the import format, too.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448, x25519
from msgspec import Struct, field

from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.psa.algorithm import Aead, AsymmetricSignature
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind, KeyType
from cofferdam_providers.pyca.curves import CurveParameters, find_curve, find_curve_by_size
from cofferdam_providers.pyca.der import DerError, read_integers
from cofferdam_providers.pyca.errors import invalid_argument, not_supported
from cofferdam_providers.pyca.rsa_consistency import check_numbers, check_pair

RSA_SIZES: Final = frozenset({1024, 2048, 3072, 4096})
AES_BITS: Final = frozenset({128, 192, 256})
MAX_SECRET_BITS: Final = 0xFFF8
"""Longest symmetric or raw key (PSA_MAX_KEY_BITS of the reference's library)."""
SECRET_SIZES: Final[Mapping[KeyKind, frozenset[int] | None]] = {
    KeyKind.RAW_DATA: None,
    KeyKind.HMAC: None,
    KeyKind.DERIVE: None,
    KeyKind.AES: AES_BITS,
    KeyKind.CAMELLIA: frozenset({128, 192, 256}),
    KeyKind.CHACHA20: frozenset({256}),
}
"""Sizes in bits of keys that are plain bytes; None stands for any number of whole bytes."""
_PRIVATE_INTEGERS: Final = 9
_PUBLIC_INTEGERS: Final = 2
_MAX_EXPONENT_BITS: Final = 64
"""OpenSSL rejects larger public exponents with the larger moduli."""
_UNCOMPRESSED: Final = 4
_X25519_BITS: Final = 255
_X25519_SIZE: Final = 32
_X448_SIZE: Final = 56

MontgomeryPrivate: TypeAlias = x25519.X25519PrivateKey | x448.X448PrivateKey
MontgomeryPublic: TypeAlias = x25519.X25519PublicKey | x448.X448PublicKey
Signer: TypeAlias = Callable[[bytes], bytes]
"""From digest to signature."""
Verifier: TypeAlias = Callable[[bytes, bytes], None]
"""From digest and signature to nothing, or an error."""


class ReadyAead(Protocol):
    """An authenticated cipher set up with a key; `tag` is the length of its tags in bytes."""

    tag: int

    def encrypt(self, nonce: bytes, additional_data: bytes, plaintext: bytes) -> bytes:
        """Return ciphertext and tag."""

    def decrypt(self, nonce: bytes, additional_data: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext."""


class SecretKey(Opaque, Struct, eq=False):
    """A key of plain bytes; `ready` holds the authenticated ciphers already set up with it."""

    kind: KeyKind
    material: bytes
    ready: dict[Aead, ReadyAead] = field(default_factory=dict)

    @property
    def bits(self) -> int:
        """Return the size of the key."""
        return len(self.material) * 8


class RsaKey(Opaque, Struct, eq=False):
    """An RSA key pair, or a public key when `private` is None; `size` is that of the modulus in bytes."""

    private: rsa.RSAPrivateKey | None
    public: rsa.RSAPublicKey
    modulus: int
    material: bytes
    signers: dict[AsymmetricSignature, Signer] = field(default_factory=dict)
    verifiers: dict[AsymmetricSignature, Verifier] = field(default_factory=dict)
    decrypters: list[Callable[[bytes], bytes | None]] = field(default_factory=list)

    @property
    def bits(self) -> int:
        """Return the size of the key."""
        return self.modulus.bit_length()

    @property
    def size(self) -> int:
        """Return the length of signatures and ciphertexts in bytes."""
        return (self.modulus.bit_length() + 7) // 8


class EccKey(Opaque, Struct, eq=False):
    """A key on a Weierstrass curve; `private` is None for a public key."""

    curve: CurveParameters
    private: ec.EllipticCurvePrivateKey | None
    public: ec.EllipticCurvePublicKey
    material: bytes
    signers: dict[AsymmetricSignature, Signer] = field(default_factory=dict)
    verifiers: dict[AsymmetricSignature, Verifier] = field(default_factory=dict)

    @property
    def bits(self) -> int:
        """Return the size of the key."""
        return self.curve.bits


class MontgomeryKey(Opaque, Struct, eq=False):
    """A key on a Montgomery curve; `private` is None for a public key."""

    curve: CurveParameters
    private: MontgomeryPrivate | None
    public: MontgomeryPublic
    material: bytes

    @property
    def bits(self) -> int:
        """Return the size of the key."""
        return self.curve.bits


Handle: TypeAlias = SecretKey | RsaKey | EccKey | MontgomeryKey


def read_key(key_type: KeyType, bits: int, data: bytes, *, vouched: bool) -> Handle:
    """Read a key in the format of import; 0 bits means whatever size the data has.

    `vouched` says that the bytes were checked before and have not changed since. It skips the costly part of checking
    an RSA key pair, which is one signature.

    Raises:
        ServiceError: The data is not such a key (`PSA_ERROR_INVALID_ARGUMENT`), or such keys are not supported
            (`PSA_ERROR_NOT_SUPPORTED`).
    """
    if not data:
        raise invalid_argument("an empty key")
    try:
        handle = _read(key_type, bits, data, vouched=vouched)
    except ValueError as error:
        raise invalid_argument(f"a malformed or inconsistent {key_type.kind.name}") from error
    if bits not in (0, handle.bits):
        raise invalid_argument(f"a key of {handle.bits} bits where {bits} were announced")
    return handle


def _read(key_type: KeyType, bits: int, data: bytes, *, vouched: bool) -> Handle:
    match key_type:
        case KeyType(KeyKind.RSA_KEY_PAIR):
            return _read_rsa_pair(data, vouched=vouched)
        case KeyType(KeyKind.RSA_PUBLIC_KEY):
            return _read_rsa_public(data)
        case KeyType(KeyKind.ECC_KEY_PAIR, EccFamily() as family):
            return _read_private(_curve_for(family, bits, len(data)), data)
        case KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily.MONTGOMERY):
            return _read_montgomery_public(_curve_for(EccFamily.MONTGOMERY, bits, len(data)), data)
        case KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily() as family):
            return _read_point(_curve_for(family, bits, (len(data) - 1) // 2), data)
        case KeyType(kind) if kind in SECRET_SIZES:
            check_secret_size(kind, len(data) * 8)
            return SecretKey(kind, data)
        case _:
            raise not_supported(f"keys of type {key_type.kind.name}")


def check_secret_size(kind: KeyKind, bits: int) -> None:
    """Reject a size that symmetric or raw keys of this kind cannot have."""
    sizes = SECRET_SIZES[kind]
    if bits == 0 or bits % 8 or (sizes is not None and bits not in sizes):
        raise invalid_argument(f"a {kind.name} key of {bits} bits")
    if bits > MAX_SECRET_BITS:
        raise not_supported(f"a {kind.name} key of {bits} bits")


def check_rsa_size(bits: int) -> None:
    """Reject a size that no RSA key may have here."""
    if bits not in RSA_SIZES:
        raise invalid_argument(f"an RSA key of {bits} bits; possible are {', '.join(map(str, sorted(RSA_SIZES)))}")


def read_montgomery_private(curve: CurveParameters, data: bytes) -> MontgomeryKey:
    """Read a private value of X25519 or X448, setting the bits that RFC 7748 section 5 forces."""
    if len(data) != curve.size:
        raise invalid_argument("a private value of another length than the curve's")
    forced = bytearray(data)
    private: MontgomeryPrivate
    if curve.bits == _X25519_BITS:
        forced[0] &= 0xF8
        forced[-1] = forced[-1] & 0x7F | 0x40
        private = x25519.X25519PrivateKey.from_private_bytes(bytes(forced))
    else:
        forced[0] &= 0xFC
        forced[-1] |= 0x80
        private = x448.X448PrivateKey.from_private_bytes(bytes(forced))
    return MontgomeryKey(curve, private, private.public_key(), bytes(forced))


def point_of(curve: CurveParameters, data: bytes) -> ec.EllipticCurvePublicKey:
    """Read an uncompressed point; anything else, including a point off the curve, is an invalid argument."""
    if curve.group is None or len(data) != 1 + 2 * curve.size or data[0] != _UNCOMPRESSED:
        raise invalid_argument("not an uncompressed point of the curve's size")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve.group, data)
    except ValueError as error:
        raise invalid_argument("not a point of the curve") from error


def read_x25519_public(data: bytes) -> x25519.X25519PublicKey:
    """Read a public value of X25519."""
    if len(data) != _X25519_SIZE:
        raise invalid_argument("a public value of another length than the curve's")
    # RFC 7748 section 5: the unused top bit is masked on receipt.
    return x25519.X25519PublicKey.from_public_bytes(data[:-1] + bytes((data[-1] & 0x7F,)))


def read_x448_public(data: bytes) -> x448.X448PublicKey:
    """Read a public value of X448."""
    if len(data) != _X448_SIZE:
        raise invalid_argument("a public value of another length than the curve's")
    return x448.X448PublicKey.from_public_bytes(data)


def export_public(handle: Handle) -> bytes:
    """Return the public part in the format of import."""
    match handle:
        case RsaKey():
            return handle.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
        case EccKey():
            return handle.public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        case MontgomeryKey():
            return handle.public.public_bytes_raw()
        case SecretKey():
            raise invalid_argument("a symmetric key has no public part")


def _curve_for(family: EccFamily, bits: int, size: int) -> CurveParameters:
    return find_curve(family, bits) if bits else find_curve_by_size(family, size)


def _read_rsa_pair(data: bytes, *, vouched: bool) -> RsaKey:
    integers = read_integers(data)
    if len(integers) != _PRIVATE_INTEGERS or integers[0] != 0:
        raise DerError("not an RSAPrivateKey of version 0")
    _, modulus, exponent, secret, p, q, dmp1, dmq1, iqmp = integers
    _check_rsa_public(modulus, exponent)
    numbers = rsa.RSAPrivateNumbers(
        p=p, q=q, d=secret, dmp1=dmp1, dmq1=dmq1, iqmp=iqmp, public_numbers=rsa.RSAPublicNumbers(exponent, modulus)
    )
    check_numbers(numbers)
    private = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    if not vouched:
        check_pair(private)
    return RsaKey(private, private.public_key(), modulus, data)


def _read_rsa_public(data: bytes) -> RsaKey:
    integers = read_integers(data)
    if len(integers) != _PUBLIC_INTEGERS:
        raise DerError("not an RSAPublicKey")
    modulus, exponent = integers
    _check_rsa_public(modulus, exponent)
    return RsaKey(None, rsa.RSAPublicNumbers(exponent, modulus).public_key(), modulus, data)


def _check_rsa_public(modulus: int, exponent: int) -> None:
    check_rsa_size(modulus.bit_length())
    if modulus % 2 == 0 or exponent % 2 == 0 or exponent == 1:
        raise invalid_argument("an RSA modulus or exponent that is even or 1")
    if exponent.bit_length() > _MAX_EXPONENT_BITS:
        raise not_supported(f"an RSA exponent of {exponent.bit_length()} bits")


def _read_private(curve: CurveParameters, data: bytes) -> EccKey | MontgomeryKey:
    if curve.group is None:
        return read_montgomery_private(curve, data)
    if len(data) != curve.size:
        raise invalid_argument("a private value of another length than the curve's")
    # Raises for 0 and for the group's order and above.
    private = ec.derive_private_key(int.from_bytes(data, "big"), curve.group)
    return EccKey(curve, private, private.public_key(), data)


def _read_point(curve: CurveParameters, data: bytes) -> EccKey:
    return EccKey(curve, None, point_of(curve, data), data)


def _read_montgomery_public(curve: CurveParameters, data: bytes) -> MontgomeryKey:
    public = read_x25519_public(data) if curve.bits == _X25519_BITS else read_x448_public(data)
    return MontgomeryKey(curve, None, public, public.public_bytes_raw())
