"""Generation, import and export of keys in the token."""

import functools
from typing import Final

from msgspec.structs import replace
from pkcs11 import Attribute, ObjectClass
from pkcs11 import KeyType as Type

from cofferdam_contracts.psa.attributes import PUBLIC_KINDS, RSA_KINDS, KeyAttributes
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import DeviceLostError, UnsettledError
from cofferdam_providers.pkcs11 import curves, mechanisms, templates
from cofferdam_providers.pkcs11.capability_discovery import GENERATORS
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.cryptoki import CryptokiError, Template
from cofferdam_providers.pkcs11.device import Codes, TokenDevice
from cofferdam_providers.pkcs11.keys import SECRET_TYPES, TokenKey, main_class
from cofferdam_providers.pyca.der import write_integers
from cofferdam_providers.pyca.errors import invalid_argument, not_supported
from cofferdam_providers.pyca.keys import EccKey, RsaKey, SecretKey, read_key
from cofferdam_providers.pyca.keys import export_public as public_in_memory

_GENERATE: Final[Codes] = {
    Return.ATTRIBUTE_VALUE_INVALID: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.KEY_SIZE_RANGE: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.MECHANISM_INVALID: Status.PSA_ERROR_NOT_SUPPORTED,
}
_IMPORT: Final[Codes] = {
    **_GENERATE,
    Return.ACTION_PROHIBITED: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.ATTRIBUTE_READ_ONLY: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.ATTRIBUTE_TYPE_INVALID: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.TEMPLATE_INCOMPLETE: Status.PSA_ERROR_NOT_SUPPORTED,
    Return.TEMPLATE_INCONSISTENT: Status.PSA_ERROR_NOT_SUPPORTED,
}
"""Codes of tokens that import no private or secret keys."""
_REFUSALS: Final = frozenset(
    {
        *(Return.ATTRIBUTE_READ_ONLY, Return.ATTRIBUTE_TYPE_INVALID, Return.ATTRIBUTE_VALUE_INVALID),
        *(Return.TEMPLATE_INCOMPLETE, Return.TEMPLATE_INCONSISTENT, Return.ACTION_PROHIBITED),
        *(Return.MECHANISM_INVALID, Return.MECHANISM_PARAM_INVALID, Return.KEY_SIZE_RANGE),
        *(Return.CURVE_NOT_SUPPORTED, Return.DOMAIN_PARAMS_INVALID, Return.FUNCTION_NOT_SUPPORTED),
        *(Return.SESSION_READ_ONLY, Return.TOKEN_WRITE_PROTECTED, Return.ARGUMENTS_BAD),
    }
)
"""Codes with which a module rejects a request without having created anything."""
_PAIR: Final = frozenset({ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY})
_SECRET: Final = frozenset({ObjectClass.SECRET_KEY})
_RSA_PARTS: Final = (
    *(Attribute.MODULUS, Attribute.PUBLIC_EXPONENT, Attribute.PRIVATE_EXPONENT, Attribute.PRIME_1, Attribute.PRIME_2),
    *(Attribute.EXPONENT_1, Attribute.EXPONENT_2, Attribute.COEFFICIENT),
)
"""RSAPrivateKey of RFC 8017, appendix A.1.2, after its version."""


def generate(device: TokenDevice, identifier: bytes, attributes: KeyAttributes) -> None:
    """Generate a key with an identifier.

    Raises:
        ServiceError: The token does not generate such keys, or fails.
    """
    device.capabilities.check_generate(attributes)
    how = mechanisms.plain(GENERATORS[attributes.type.kind])
    named = {Attribute.ID: identifier}
    cryptoki, objects = device.cryptoki, device.objects
    try:
        if attributes.type.kind in SECRET_TYPES:
            template = {
                **templates.secret(attributes, SECRET_TYPES[attributes.type.kind]),
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.VALUE_LEN: attributes.bits // 8,
                **named,
            }
            made = device.make(_SECRET, functools.partial(cryptoki.generate_key, how), template)
            objects.add(identifier, ObjectClass.SECRET_KEY, made)
            return
        public = {
            **templates.public(attributes),
            **templates.pair_parameters(attributes),
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            **named,
        }
        private = {**templates.private(attributes), Attribute.CLASS: ObjectClass.PRIVATE_KEY, **named}
        first, second = device.make(_PAIR, functools.partial(cryptoki.generate_pair, how), public, private)
    except CryptokiError as error:
        explained = device.explained(error, _GENERATE)
        if error.code in _REFUSALS or isinstance(explained, UnsettledError):
            raise explained from error
        # The module may have created the key before it failed.
        raise UnsettledError(explained.status, explained.detail) from error
    objects.add(identifier, ObjectClass.PUBLIC_KEY, first)
    objects.add(identifier, ObjectClass.PRIVATE_KEY, second)


def import_key(device: TokenDevice, identifier: bytes, attributes: KeyAttributes, data: bytes) -> int:
    """Import a key into the token, and return its size in bits.

    Modules do not check keys (SoftHSM stores points off the curve), so the key is read and checked here.

    Raises:
        ServiceError: The data is not such a key (`PSA_ERROR_INVALID_ARGUMENT`), or the token does not accept it.
    """
    device.capabilities.check_import(replace(attributes, bits=0))
    handle = read_key(attributes.type, attributes.bits, data, vouched=False)
    # Only the data tells the size: what is announced may be 0 or contradict it.
    device.capabilities.check_import(replace(attributes, bits=handle.bits))
    parts: list[tuple[ObjectClass, Template]]
    match handle:
        case RsaKey():
            parts = [(ObjectClass.PUBLIC_KEY, {**templates.public(attributes), **templates.rsa_public(handle)})]
            if handle.private is not None:
                parts.append(
                    (ObjectClass.PRIVATE_KEY, {**templates.private(attributes), **templates.rsa_private(handle)})
                )
        case EccKey():
            parts = _curve_parts(device, attributes, handle)
        case SecretKey():
            secret = templates.secret(attributes, SECRET_TYPES[handle.kind])
            parts = [(ObjectClass.SECRET_KEY, {**secret, Attribute.VALUE: handle.material})]
        case _:
            raise not_supported(f"keys of type {attributes.type.kind.name}")
    try:
        for kind, template in parts:
            create = functools.partial(device.objects.create, identifier, kind)
            device.make(frozenset({kind}), create, template)
    except CryptokiError as error:
        explained = device.explained(error, _IMPORT)
        try:
            device.destroy(identifier, main_class(attributes))
        except ServiceError as again:
            unsettled = DeviceLostError if DeviceLostError in {type(explained), type(again)} else UnsettledError
            raise unsettled(explained.status, f"{explained.detail}; then {again.detail}") from again
        raise explained from error
    return handle.bits


def export_public(device: TokenDevice, key: TokenKey) -> bytes:
    """Return the public part of a key.

    Raises:
        ServiceError: The key is symmetric and has none (`PSA_ERROR_INVALID_ARGUMENT`), or the token fails.
    """
    if key.kind not in PUBLIC_KINDS and not key.size:
        raise invalid_argument("a symmetric key has no public part")
    return device.export_public(key)


def export(device: TokenDevice, key: TokenKey) -> bytes:
    """Return a key in the format of import.

    Raises:
        ServiceError: The token does not reveal it (`PSA_ERROR_NOT_PERMITTED`).
    """
    if key.main is ObjectClass.PUBLIC_KEY:
        return device.export_public(key)
    wanted = _RSA_PARTS if key.kind in RSA_KINDS else (Attribute.VALUE,)
    found = device.use(key, key.main, None, device.cryptoki.attributes, wanted)
    parts = [found.get(attribute, b"") for attribute in wanted]
    if not all(parts):
        raise ServiceError(Status.PSA_ERROR_NOT_PERMITTED, "the token does not reveal the key")
    if key.kind in RSA_KINDS:
        return write_integers(0, *(int.from_bytes(part, "big") for part in parts))
    return parts[0].rjust(key.size, b"\0")


def _curve_parts(device: TokenDevice, attributes: KeyAttributes, key: EccKey) -> list[tuple[ObjectClass, Template]]:
    point = curves.point_to(public_in_memory(key), raw=device.quirks.raw_points)
    named: Template = {Attribute.KEY_TYPE: Type.EC, Attribute.EC_PARAMS: curves.OIDS[key.bits]}
    public = {**templates.public(attributes), **named, Attribute.EC_POINT: point}
    if key.private is None:
        return [(ObjectClass.PUBLIC_KEY, public)]
    private = {**templates.private(attributes), **named, Attribute.VALUE: key.material}
    return [(ObjectClass.PUBLIC_KEY, public), (ObjectClass.PRIVATE_KEY, private)]
