"""What tokens with made-up lists of mechanisms can do."""

import pytest
from msgspec.structs import replace
from pkcs11 import Mechanism as Number
from pkcs11 import MechanismFlag
from tests.providers.support import attributes, refused

from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    EncryptionScheme,
    Hash,
    KeyAgreement,
    Mac,
    MacScheme,
    NoAlgorithm,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, Usage
from cofferdam_contracts.status import Status
from cofferdam_providers.pkcs11.capability_discovery import Offer, TokenCapabilities

SIGN, VERIFY = MechanismFlag.SIGN, MechanismFlag.VERIFY
ENCRYPT, DECRYPT = MechanismFlag.ENCRYPT, MechanismFlag.DECRYPT
ECDSA = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
PKCS1 = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256)
PSS = AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_256)
OAEP = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256)
CRYPT = AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15)
GCM = Aead(AeadScheme.GCM)
HMAC = Mac(MacScheme.HMAC, Hash.SHA_256)
SIGNING = Usage.SIGN_HASH | Usage.VERIFY_HASH
SEALING = Usage.ENCRYPT | Usage.DECRYPT
R1 = EccFamily.SECP_R1
BAD, UNSUPPORTED = Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_NOT_SUPPORTED


def offer(flags: MechanismFlag, least: int = 0, most: int = 0) -> Offer:
    return Offer(least=least, most=most, flags=flags)


OFFERS = {
    int(Number.RSA_PKCS_KEY_PAIR_GEN): offer(MechanismFlag.GENERATE_KEY_PAIR, 1024, 16384),
    int(Number.EC_KEY_PAIR_GEN): offer(MechanismFlag.GENERATE_KEY_PAIR, 224, 384),
    int(Number.AES_KEY_GEN): offer(MechanismFlag.GENERATE, 16, 32),
    int(Number.GENERIC_SECRET_KEY_GEN): offer(MechanismFlag.GENERATE, 1, 0x80000000),
    int(Number.RSA_PKCS): offer(SIGN | VERIFY | ENCRYPT | DECRYPT),
    int(Number.RSA_PKCS_PSS): offer(SIGN | VERIFY),
    int(Number.RSA_PKCS_OAEP): offer(ENCRYPT | DECRYPT),
    int(Number.ECDSA): offer(SIGN | VERIFY),
    int(Number.AES_GCM): offer(ENCRYPT | DECRYPT),
    int(Number.AES_CBC_PAD): offer(ENCRYPT | DECRYPT),
    int(Number.AES_CMAC): offer(SIGN | VERIFY),
    int(Number.SHA256_HMAC): offer(SIGN | VERIFY),
}
TOKEN = TokenCapabilities(offers=OFFERS)


def without(*numbers: Number) -> TokenCapabilities:
    return TokenCapabilities(offers={number: offer for number, offer in OFFERS.items() if number not in numbers})


def with_flags(number: Number, flags: MechanismFlag) -> TokenCapabilities:
    return TokenCapabilities(offers={**OFFERS, int(number): offer(flags)})


def rsa(bits: int, algorithm: Algorithm, usage: Usage = SIGNING) -> KeyAttributes:
    return attributes(KeyKind.RSA_KEY_PAIR, bits, algorithm, usage=usage)


def ecc(bits: int, algorithm: Algorithm = ECDSA, family: EccFamily = R1, usage: Usage = SIGNING) -> KeyAttributes:
    return attributes(KeyKind.ECC_KEY_PAIR, bits, algorithm, family, usage)


def aes(bits: int, algorithm: Algorithm = GCM, usage: Usage = SEALING) -> KeyAttributes:
    return attributes(KeyKind.AES, bits, algorithm, usage=usage)


def hmac(bits: int, algorithm: Algorithm = HMAC, usage: Usage = SIGNING) -> KeyAttributes:
    return attributes(KeyKind.HMAC, bits, algorithm, usage=usage)


MADE = [
    rsa(1024, PKCS1),
    rsa(2048, PSS),
    rsa(4096, OAEP, SEALING),
    rsa(2048, CRYPT, SEALING),
    rsa(2048, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, ANY_HASH)),
    rsa(2048, AsymmetricSignature(SignatureScheme.RSA_PSS, ANY_HASH)),
    rsa(2048, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15_RAW)),
    # A flag that is irrelevant for the algorithm requires nothing of the token.
    rsa(2048, PSS, SIGNING | SEALING),
    ecc(224),
    ecc(256),
    ecc(384, AsymmetricSignature(SignatureScheme.ECDSA_ANY)),
    aes(128),
    aes(192, Cipher(CipherMode.CBC_PKCS7)),
    aes(256, Mac(MacScheme.CMAC), SIGNING),
    hmac(256),
    hmac(8),
    # Permits nothing, and requires nothing.
    ecc(256, NoAlgorithm()),
    rsa(2048, NoAlgorithm()),
]
REFUSED = [
    (rsa(512, PKCS1), BAD),
    (rsa(1023, PKCS1), BAD),
    (rsa(4097, PKCS1), BAD),
    (rsa(16384, PKCS1), BAD),
    (rsa(0, PKCS1), BAD),
    (ecc(192), UNSUPPORTED),
    (ecc(521), UNSUPPORTED),
    (ecc(255), BAD),
    (ecc(0), BAD),
    (ecc(256, family=EccFamily.SECP_K1), UNSUPPORTED),
    (ecc(255, KeyAgreement(RawAgreement.ECDH), EccFamily.MONTGOMERY, Usage.DERIVE), UNSUPPORTED),
    (ecc(256, KeyAgreement(RawAgreement.ECDH), usage=Usage.DERIVE), UNSUPPORTED),
    (ecc(256, AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.SHA_256)), UNSUPPORTED),
    (ecc(256, PKCS1), UNSUPPORTED),
    (aes(64), BAD),
    (aes(129), BAD),
    (aes(0), BAD),
    (aes(128, Aead(AeadScheme.CCM)), UNSUPPORTED),
    (aes(128, Cipher(CipherMode.CTR)), UNSUPPORTED),
    (aes(128, Cipher(CipherMode.XTS)), UNSUPPORTED),
    (aes(128, HMAC, SIGNING), UNSUPPORTED),
    (hmac(0), BAD),
    (hmac(7), BAD),
    (hmac(0xFFF8 + 8), BAD),
    (hmac(256, Mac(MacScheme.HMAC, Hash.SHA_512)), UNSUPPORTED),
    (hmac(256, Mac(MacScheme.CMAC)), UNSUPPORTED),
    (attributes(KeyKind.CHACHA20, 256, Aead(AeadScheme.CHACHA20_POLY1305), usage=SEALING), UNSUPPORTED),
    (attributes(KeyKind.RAW_DATA, 256), UNSUPPORTED),
    (attributes(KeyKind.RSA_PUBLIC_KEY, 2048, PKCS1), UNSUPPORTED),
]


@pytest.mark.parametrize("wanted", MADE, ids=str)
def test_what_the_list_has_is_made_imported_and_used(wanted: KeyAttributes) -> None:
    TOKEN.check_generate(wanted)
    TOKEN.check_import(wanted)
    TOKEN.check_import(replace(wanted, bits=0))
    TOKEN.check_use(wanted)


@pytest.mark.parametrize(("wanted", "status"), REFUSED, ids=str)
def test_what_the_list_does_not_have_is_not_made(wanted: KeyAttributes, status: Status) -> None:
    with refused(status):
        TOKEN.check_generate(wanted)


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [
        (Number.RSA_PKCS_KEY_PAIR_GEN, rsa(2048, PKCS1)),
        (Number.EC_KEY_PAIR_GEN, ecc(256)),
        (Number.AES_KEY_GEN, aes(128)),
        (Number.GENERIC_SECRET_KEY_GEN, hmac(256)),
    ],
)
def test_what_is_not_generated_can_be_imported_all_the_same(missing: Number, wanted: KeyAttributes) -> None:
    with refused(UNSUPPORTED):
        without(missing).check_generate(wanted)
    without(missing).check_import(wanted)
    without(missing).check_use(wanted)


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [
        (Number.RSA_PKCS, rsa(2048, PKCS1)),
        (Number.RSA_PKCS_PSS, rsa(2048, PSS)),
        (Number.RSA_PKCS_OAEP, rsa(2048, OAEP, SEALING)),
        (Number.ECDSA, ecc(256)),
        (Number.AES_GCM, aes(128)),
        (Number.SHA256_HMAC, hmac(256)),
        (Number.AES_CMAC, aes(128, Mac(MacScheme.CMAC), SIGNING)),
    ],
)
def test_keys_without_their_mechanism_are_of_no_use(missing: Number, wanted: KeyAttributes) -> None:
    for check in (without(missing).check_generate, without(missing).check_import, without(missing).check_use):
        with refused(UNSUPPORTED):
            check(wanted)


FLAGS: list[tuple[Number, MechanismFlag, KeyAttributes, bool]] = [
    # The omitted flag, and whether the key is usable without it.
    (Number.ECDSA, VERIFY, ecc(256), False),
    (Number.ECDSA, VERIFY, ecc(256, usage=Usage.VERIFY_HASH), True),
    (Number.ECDSA, SIGN, ecc(256), True),
    (Number.RSA_PKCS, SIGN | VERIFY, rsa(2048, CRYPT, SEALING), False),
    (Number.RSA_PKCS, SIGN | VERIFY, rsa(2048, CRYPT, Usage.ENCRYPT), True),
    (Number.RSA_PKCS_OAEP, DECRYPT, rsa(2048, OAEP, SEALING), True),
    (Number.AES_GCM, ENCRYPT, aes(128), False),
    (Number.AES_GCM, DECRYPT, aes(128), False),
    (Number.AES_GCM, ENCRYPT, aes(128, usage=Usage.ENCRYPT), True),
    # Secret keys compute MACs to verify them.
    (Number.SHA256_HMAC, SIGN, hmac(256), True),
    (Number.SHA256_HMAC, SIGN, hmac(256, usage=Usage.VERIFY_MESSAGE), True),
    (Number.SHA256_HMAC, VERIFY, hmac(256, usage=Usage.VERIFY_MESSAGE), False),
]


@pytest.mark.parametrize(("number", "flags", "wanted", "works"), FLAGS, ids=str)
def test_flags_of_the_list_count(number: Number, flags: MechanismFlag, wanted: KeyAttributes, works: bool) -> None:
    token = with_flags(number, flags)
    for check in (token.check_generate, token.check_import, token.check_use):
        if works:
            check(wanted)
        else:
            with refused(UNSUPPORTED):
                check(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        attributes(KeyKind.RSA_PUBLIC_KEY, 2048, PKCS1, usage=Usage.VERIFY_HASH),
        attributes(KeyKind.RSA_PUBLIC_KEY, 0, OAEP, usage=Usage.ENCRYPT),
        attributes(KeyKind.ECC_PUBLIC_KEY, 521, ECDSA, R1, Usage.VERIFY_HASH),
    ],
    ids=str,
)
def test_public_keys_are_used_here_if_the_token_does_not(wanted: KeyAttributes) -> None:
    for token in (TOKEN, without(Number.RSA_PKCS, Number.ECDSA, Number.RSA_PKCS_OAEP)):
        token.check_import(wanted)
        token.check_use(wanted)


@pytest.mark.parametrize(
    ("number", "flags", "flag", "here"),
    [
        (Number.ECDSA, SIGN | VERIFY, VERIFY, False),
        (Number.ECDSA, SIGN, VERIFY, True),
        (Number.RSA_PKCS_OAEP, DECRYPT, ENCRYPT, True),
        (Number.RSA_PKCS_OAEP, ENCRYPT | DECRYPT, ENCRYPT, False),
    ],
)
def test_where_public_keys_are_used(number: Number, flags: MechanismFlag, flag: MechanismFlag, here: bool) -> None:
    assert with_flags(number, flags).in_software(number, flag) is here
    assert without(number).in_software(number, flag)
    assert replace(with_flags(number, flags), public_in_software=True).in_software(number, flag)


def test_paddings_that_were_tried_in_vain_are_refused() -> None:
    tried = replace(
        TOKEN, refused=frozenset({(Number.RSA_PKCS_OAEP, Hash.SHA_256), (Number.RSA_PKCS_PSS, Hash.SHA_384)})
    )
    sha1, sha384 = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_1), replace(PSS, hash=Hash.SHA_384)
    for good in (rsa(2048, sha1, SEALING), rsa(2048, PSS), rsa(2048, replace(PSS, hash=ANY_HASH))):
        tried.check_generate(good)
    for bad in (rsa(2048, OAEP, SEALING), rsa(2048, sha384)):
        for check in (tried.check_generate, tried.check_import, tried.check_use):
            with refused(UNSUPPORTED):
                check(bad)
        with refused(UNSUPPORTED):
            tried.check_parameters(bad.algorithm)


@pytest.mark.parametrize("hash_alg", [Hash.MD5, Hash.SHA_512_256, Hash.SHA3_256, Hash.RIPEMD160])
def test_hashes_that_paddings_do_not_have_are_refused(hash_alg: Hash) -> None:
    for algorithm in (replace(PSS, hash=hash_alg), replace(OAEP, hash=hash_alg)):
        with refused(UNSUPPORTED):
            TOKEN.check_parameters(algorithm)


@pytest.mark.parametrize("tag", range(18))
def test_only_tags_that_gcm_has_can_be_used(tag: int) -> None:
    # NIST SP 800-38D section 5.2.1.2.
    wanted = aes(128, Aead(AeadScheme.GCM, tag))
    if tag in {4, 8, 12, 13, 14, 15, 16}:
        TOKEN.check_use(wanted)
    else:
        with refused(UNSUPPORTED):
            TOKEN.check_use(wanted)


def test_sizes_that_the_list_does_not_know_are_not_looked_at() -> None:
    offers = {**OFFERS, int(Number.EC_KEY_PAIR_GEN): offer(MechanismFlag.GENERATE_KEY_PAIR)}
    TokenCapabilities(offers=offers).check_generate(ecc(521))
    with refused(BAD):
        TokenCapabilities(offers=offers).check_generate(ecc(0))
