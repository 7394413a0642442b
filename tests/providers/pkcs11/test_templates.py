"""Templates of new objects, for every combination of usage flags."""

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11 import Attribute, KeyType
from pkcs11 import Mechanism as Number
from tests.providers.support import attributes, handle, rsa_material

from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    AsymmetricEncryption,
    AsymmetricSignature,
    EncryptionScheme,
    Hash,
    Mac,
    MacScheme,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind, Usage
from cofferdam_providers.pkcs11 import templates
from cofferdam_providers.pkcs11.curves import OIDS
from cofferdam_providers.pyca.keys import RsaKey

ECDSA = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
PSS = AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_256)
GCM = Aead(AeadScheme.GCM)
HMAC = Mac(MacScheme.HMAC, Hash.SHA_256)
FLAGS = (
    *(Usage.SIGN_HASH, Usage.SIGN_MESSAGE, Usage.VERIFY_HASH, Usage.VERIFY_MESSAGE, Usage.ENCRYPT),
    *(Usage.DECRYPT, Usage.DERIVE, Usage.EXPORT, Usage.COPY),
)
USAGES = [
    Usage.NONE,
    *FLAGS,
    *(one | other for one, other in itertools.combinations(FLAGS, 2)),
    Usage((1 << 10) - 1),
]
SIGNS = Usage.SIGN_HASH | Usage.SIGN_MESSAGE
VERIFIES = Usage.VERIFY_HASH | Usage.VERIFY_MESSAGE


@pytest.mark.parametrize("usage", USAGES, ids=repr)
def test_a_public_key(usage: Usage) -> None:
    template = templates.public(attributes(KeyKind.RSA_KEY_PAIR, 2048, PSS, usage=usage))
    assert template == {
        Attribute.TOKEN: True,
        Attribute.PRIVATE: False,
        Attribute.COPYABLE: bool(usage & Usage.COPY),
        Attribute.ALLOWED_MECHANISMS: (Number.RSA_PKCS_PSS,),
        Attribute.VERIFY: bool(usage & VERIFIES),
        Attribute.ENCRYPT: bool(usage & Usage.ENCRYPT),
        Attribute.WRAP: False,
    }


@pytest.mark.parametrize("usage", USAGES, ids=repr)
def test_a_private_key(usage: Usage) -> None:
    template = templates.private(attributes(KeyKind.RSA_KEY_PAIR, 2048, PSS, usage=usage))
    assert template == {
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: not usage & Usage.EXPORT,
        Attribute.EXTRACTABLE: bool(usage & Usage.EXPORT),
        Attribute.COPYABLE: bool(usage & Usage.COPY),
        Attribute.ALLOWED_MECHANISMS: (Number.RSA_PKCS_PSS,),
        Attribute.SIGN: bool(usage & SIGNS),
        Attribute.DECRYPT: bool(usage & Usage.DECRYPT),
        Attribute.DERIVE: bool(usage & Usage.DERIVE),
        Attribute.UNWRAP: False,
    }


@pytest.mark.parametrize("usage", USAGES, ids=repr)
def test_a_secret_key(usage: Usage) -> None:
    template = templates.secret(attributes(KeyKind.HMAC, 256, HMAC, usage=usage), KeyType.GENERIC_SECRET)
    assert template == {
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: not usage & Usage.EXPORT,
        Attribute.EXTRACTABLE: bool(usage & Usage.EXPORT),
        Attribute.COPYABLE: bool(usage & Usage.COPY),
        Attribute.ALLOWED_MECHANISMS: (Number.SHA256_HMAC,),
        Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.ENCRYPT: bool(usage & Usage.ENCRYPT),
        Attribute.DECRYPT: bool(usage & Usage.DECRYPT),
        # A MAC is verified by computing it.
        Attribute.SIGN: bool(usage & (SIGNS | VERIFIES)),
        Attribute.VERIFY: bool(usage & VERIFIES),
        Attribute.DERIVE: False,
        Attribute.WRAP: False,
        Attribute.UNWRAP: False,
    }


def test_the_size_of_a_new_pair() -> None:
    assert templates.pair_parameters(attributes(KeyKind.ECC_KEY_PAIR, 384, ECDSA, EccFamily.SECP_R1)) == {
        Attribute.EC_PARAMS: OIDS[384]
    }
    assert templates.pair_parameters(
        attributes(KeyKind.RSA_KEY_PAIR, 3072, AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15))
    ) == {Attribute.MODULUS_BITS: 3072, Attribute.PUBLIC_EXPONENT: b"\1\0\1"}


def test_an_rsa_key_by_its_numbers() -> None:
    pair = handle(KeyKind.RSA_KEY_PAIR, rsa_material(1024))
    assert isinstance(pair, RsaKey)
    template = templates.rsa_private(pair)
    assert template.pop(Attribute.KEY_TYPE) == KeyType.RSA
    found = {
        attribute: int.from_bytes(value, "big") for attribute, value in template.items() if isinstance(value, bytes)
    }
    assert len(found) == len(template) == 8
    p, q, d = found[Attribute.PRIME_1], found[Attribute.PRIME_2], found[Attribute.PRIVATE_EXPONENT]
    assert p * q == found[Attribute.MODULUS]
    assert (found[Attribute.EXPONENT_1], found[Attribute.EXPONENT_2]) == (
        rsa.rsa_crt_dmp1(d, p),
        rsa.rsa_crt_dmq1(d, q),
    )
    assert found[Attribute.COEFFICIENT] == rsa.rsa_crt_iqmp(p, q)
    assert templates.rsa_public(pair) == {
        Attribute.KEY_TYPE: KeyType.RSA,
        Attribute.MODULUS: template[Attribute.MODULUS],
        Attribute.PUBLIC_EXPONENT: b"\1\0\1",
    }
    public = RsaKey(None, pair.public, pair.modulus, b"")
    with pytest.raises(TypeError):
        templates.rsa_private(public)


@pytest.mark.parametrize(("number", "data"), [(0, b""), (1, b"\1"), (0x80, b"\x80"), (0x1_00, b"\1\0")])
def test_a_big_integer_has_no_sign_and_no_zeros_before_it(number: int, data: bytes) -> None:
    assert templates.big_integer(number) == data


def test_what_a_token_does_not_want_to_see_is_left_out() -> None:
    template = templates.secret(attributes(KeyKind.AES, 128, GCM), KeyType.AES)
    less = templates.without(template, templates.OPTIONAL)
    assert template.keys() - less.keys() == templates.OPTIONAL
    assert templates.without(template, frozenset()) == template
