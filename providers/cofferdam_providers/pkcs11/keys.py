"""Keys of the token, ready for use."""

from msgspec import Struct
from pkcs11 import Attribute, KeyType, ObjectClass

from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.psa.attributes import ECC_KINDS, PUBLIC_KINDS, RSA_KINDS, KeyAttributes, KeyKind
from cofferdam_contracts.psa.attributes import KeyType as PsaType
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pkcs11 import curves
from cofferdam_providers.pkcs11.cryptoki import number_of
from cofferdam_providers.pkcs11.objects import Handles
from cofferdam_providers.pyca.der import write_integers
from cofferdam_providers.pyca.keys import Handle, read_key

_MAIN: dict[KeyKind, ObjectClass] = {
    KeyKind.RSA_KEY_PAIR: ObjectClass.PRIVATE_KEY,
    KeyKind.ECC_KEY_PAIR: ObjectClass.PRIVATE_KEY,
    KeyKind.RSA_PUBLIC_KEY: ObjectClass.PUBLIC_KEY,
    KeyKind.ECC_PUBLIC_KEY: ObjectClass.PUBLIC_KEY,
    KeyKind.AES: ObjectClass.SECRET_KEY,
    KeyKind.HMAC: ObjectClass.SECRET_KEY,
}
SECRET_TYPES: dict[KeyKind, KeyType] = {KeyKind.AES: KeyType.AES, KeyKind.HMAC: KeyType.GENERIC_SECRET}


class TokenKey(Opaque, Struct, eq=False):
    """A key with its objects; `size` is that of the modulus or of a coordinate, in bytes, 0 for a secret key."""

    identifier: bytes
    attributes: KeyAttributes
    kind: KeyKind
    bits: int
    size: int
    handles: Handles
    always_authenticate: bool = False
    """Whether every use of the private key requires a login of its own (CKA_ALWAYS_AUTHENTICATE)."""
    public: Handle | None = None
    """The public part in memory, once it was read from the token."""

    @property
    def main(self) -> ObjectClass:
        """The class of the key's main object."""
        return _MAIN[self.kind]


def main_class(attributes: KeyAttributes) -> ObjectClass:
    """Return the class of a key's main object.

    Raises:
        ServiceError: The token cannot hold keys of this type (`PSA_ERROR_NOT_SUPPORTED`).
    """
    found = _MAIN.get(attributes.type.kind)
    if found is None:
        raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, f"keys of type {attributes.type.kind.name}")
    return found


def wanted(kind: KeyKind) -> tuple[Attribute, ...]:
    """Return the attributes of the main object that `key_of` reads."""
    common = (Attribute.KEY_TYPE,) if kind in PUBLIC_KINDS else (Attribute.KEY_TYPE, Attribute.ALWAYS_AUTHENTICATE)
    if kind in RSA_KINDS:
        return (*common, Attribute.MODULUS)
    return (*common, Attribute.EC_PARAMS) if kind in ECC_KINDS else common


def key_of(identifier: bytes, attributes: KeyAttributes, handles: Handles, found: dict[Attribute, bytes]) -> TokenKey:
    """Return a key, after comparing its object with the stored attributes.

    Raises:
        ServiceError: The object is a different kind of key (`PSA_ERROR_DATA_CORRUPT`).
    """
    kind = attributes.type.kind
    expected = KeyType.RSA if kind in RSA_KINDS else KeyType.EC if kind in ECC_KINDS else SECRET_TYPES[kind]
    if Attribute.KEY_TYPE not in found or number_of(found[Attribute.KEY_TYPE]) != expected:
        raise ServiceError(Status.PSA_ERROR_DATA_CORRUPT, "the object of the token is another type of key")
    bits = attributes.bits
    if kind in RSA_KINDS:
        bits = int.from_bytes(found.get(Attribute.MODULUS, b""), "big").bit_length()
    elif Attribute.EC_PARAMS in found:
        bits = curves.bits_of(found[Attribute.EC_PARAMS])
    if attributes.bits not in (0, bits) or (kind in RSA_KINDS | ECC_KINDS and not bits):
        raise ServiceError(
            Status.PSA_ERROR_DATA_CORRUPT, f"the object of the token has {bits} bits, not {attributes.bits}"
        )
    return TokenKey(
        identifier=identifier,
        attributes=attributes,
        kind=kind,
        bits=bits,
        size=(bits + 7) // 8 if kind in RSA_KINDS | ECC_KINDS else 0,
        handles=handles,
        always_authenticate=any(found.get(Attribute.ALWAYS_AUTHENTICATE, b"")),
    )


def public_data(kind: KeyKind, bits: int, found: dict[Attribute, bytes]) -> bytes:
    """Return the public part in the format of export, from the attributes of an object.

    Raises:
        ServiceError: The object does not reveal them (`PSA_ERROR_NOT_SUPPORTED`), or they are malformed.
    """
    if kind in RSA_KINDS:
        modulus, exponent = found.get(Attribute.MODULUS), found.get(Attribute.PUBLIC_EXPONENT)
        if modulus and exponent:
            return write_integers(int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big"))
    elif found.get(Attribute.EC_POINT):
        return curves.point_from(found[Attribute.EC_POINT], bits)
    raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "the token does not reveal the public part of the key")


def read_public(kind: KeyKind, bits: int, data: bytes) -> Handle:
    """Return a public key in memory."""
    public = PsaType(KeyKind.RSA_PUBLIC_KEY) if kind in RSA_KINDS else PsaType(KeyKind.ECC_PUBLIC_KEY, curves.FAMILY)
    return read_key(public, bits, data, vouched=True)
