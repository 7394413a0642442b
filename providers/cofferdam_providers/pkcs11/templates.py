"""Templates of new objects: attributes of PKCS#11 from attributes of PSA.

Source: docs/reference/parsec-behaviour.md, "Templates of PKCS#11". Beyond the reference, private and secret keys are
CKA_PRIVATE whatever the token's default is, and no other program that has the PIN may wrap other keys with them.
"""

from collections.abc import Mapping
from typing import Final

from pkcs11 import Attribute, KeyType

from cofferdam_contracts.psa.algorithm import NoAlgorithm
from cofferdam_contracts.psa.attributes import ECC_KINDS, RSA_KINDS, KeyAttributes, Usage
from cofferdam_providers.pkcs11.cryptoki import Template, Value
from cofferdam_providers.pkcs11.curves import OIDS
from cofferdam_providers.pkcs11.mechanisms import mechanism_of
from cofferdam_providers.pyca.keys import RsaKey

EXPONENT: Final = b"\1\0\1"
OPTIONAL: Final = frozenset({Attribute.ALLOWED_MECHANISMS, Attribute.COPYABLE})
"""Attributes that a token may reject: the key works without them, and the token just enforces less of its policy, which
the worker enforces in any case."""
_SIGNS: Final = Usage.SIGN_HASH | Usage.SIGN_MESSAGE
_VERIFIES: Final = Usage.VERIFY_HASH | Usage.VERIFY_MESSAGE


def public(attributes: KeyAttributes) -> dict[Attribute, Value]:
    """Return the attributes of a public key object except the key itself."""
    usage = _uses(attributes)
    return {
        **_common(attributes),
        Attribute.PRIVATE: False,
        Attribute.VERIFY: bool(usage & _VERIFIES),
        Attribute.ENCRYPT: _is_rsa(attributes) and bool(usage & Usage.ENCRYPT),
        Attribute.WRAP: False,
    }


def private(attributes: KeyAttributes) -> dict[Attribute, Value]:
    """Return the attributes of a private key object except the key itself."""
    usage = _uses(attributes)
    return {
        **_common(attributes),
        **_secrecy(attributes),
        Attribute.SIGN: bool(usage & _SIGNS),
        # With a decrypting key on a curve, NSS reports a device error.
        Attribute.DECRYPT: _is_rsa(attributes) and bool(usage & Usage.DECRYPT),
        Attribute.DERIVE: bool(usage & Usage.DERIVE),
        Attribute.UNWRAP: False,
    }


def secret(attributes: KeyAttributes, key_type: KeyType) -> dict[Attribute, Value]:
    """Return the attributes of a secret key object except the key itself."""
    usage = _uses(attributes)
    return {
        **_common(attributes),
        **_secrecy(attributes),
        Attribute.KEY_TYPE: key_type,
        Attribute.ENCRYPT: bool(usage & Usage.ENCRYPT),
        Attribute.DECRYPT: bool(usage & Usage.DECRYPT),
        # A MAC is verified by computing it, as truncated ones have to be.
        Attribute.SIGN: bool(usage & (_SIGNS | _VERIFIES)),
        Attribute.VERIFY: bool(usage & _VERIFIES),
        Attribute.DERIVE: False,
        Attribute.UNWRAP: False,
        Attribute.WRAP: False,
    }


def pair_parameters(attributes: KeyAttributes) -> dict[Attribute, Value]:
    """Return the attributes for the size of a new key pair, which belong to its public half."""
    if attributes.type.kind in ECC_KINDS:
        return {Attribute.EC_PARAMS: OIDS[attributes.bits]}
    return {Attribute.MODULUS_BITS: attributes.bits, Attribute.PUBLIC_EXPONENT: EXPONENT}


def rsa_public(key: RsaKey) -> dict[Attribute, Value]:
    """Return the key itself, for an RSA public key object."""
    numbers = key.public.public_numbers()
    return {
        Attribute.KEY_TYPE: KeyType.RSA,
        Attribute.MODULUS: big_integer(numbers.n),
        Attribute.PUBLIC_EXPONENT: big_integer(numbers.e),
    }


def rsa_private(key: RsaKey) -> dict[Attribute, Value]:
    """Return the key itself, for an RSA private key object."""
    if key.private is None:
        raise TypeError("a public key has no private half")
    numbers = key.private.private_numbers()
    return {
        **rsa_public(key),
        Attribute.PRIVATE_EXPONENT: big_integer(numbers.d),
        Attribute.PRIME_1: big_integer(numbers.p),
        Attribute.PRIME_2: big_integer(numbers.q),
        Attribute.EXPONENT_1: big_integer(numbers.dmp1),
        Attribute.EXPONENT_2: big_integer(numbers.dmq1),
        Attribute.COEFFICIENT: big_integer(numbers.iqmp),
    }


def without(template: Template, omitted: frozenset[Attribute]) -> dict[Attribute, Value]:
    """Return a template without the attributes that the token does not accept."""
    return {attribute: value for attribute, value in template.items() if attribute not in omitted}


def big_integer(number: int) -> bytes:
    """Return a Big integer of PKCS#11: most significant byte first, no sign."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _is_rsa(attributes: KeyAttributes) -> bool:
    return attributes.type.kind in RSA_KINDS


def _uses(attributes: KeyAttributes) -> Usage:
    """Return the flags that a token gets: without an algorithm, a key permits nothing."""
    return Usage(0) if isinstance(attributes.algorithm, NoAlgorithm) else attributes.usage


def _common(attributes: KeyAttributes) -> Mapping[Attribute, Value]:
    allowed = mechanism_of(attributes.algorithm)
    return {
        Attribute.TOKEN: True,
        Attribute.COPYABLE: bool(attributes.usage & Usage.COPY),
        **({} if allowed is None else {Attribute.ALLOWED_MECHANISMS: (allowed,)}),
    }


def _secrecy(attributes: KeyAttributes) -> Mapping[Attribute, Value]:
    export = bool(attributes.usage & Usage.EXPORT)
    return {Attribute.PRIVATE: True, Attribute.EXTRACTABLE: export, Attribute.SENSITIVE: not export}
