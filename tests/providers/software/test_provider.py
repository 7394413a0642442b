"""The provider through its interface, as the worker uses it: create, store, open, use."""

import threading

import pytest
from msgspec.structs import replace
from tests.providers.software.test_its import its_file
from tests.providers.support import IDENTITY, KEK, P256, RSA_1024, attributes, done, provider, refused, rsa_material

from cofferdam_contracts import operations
from cofferdam_contracts.identity import KeyIdentity
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
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.psa.policy import full_mac_length
from cofferdam_contracts.registry import PROVIDERS, ProviderId
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import OWN_FORM, REFERENCE_FORM, Key, StoredKey
from cofferdam_providers.pyca.curves import CURVES
from cofferdam_providers.pyca.keys import Handle
from cofferdam_providers.software.provider import SoftwareProvider

INVALID = Status.PSA_ERROR_INVALID_ARGUMENT
UNSUPPORTED = Status.PSA_ERROR_NOT_SUPPORTED
CORRUPT = Status.PSA_ERROR_CORRUPTION_DETECTED
ECDSA = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
ECDH = KeyAgreement(RawAgreement.ECDH)
P256_ATTRIBUTES = attributes(
    KeyKind.ECC_KEY_PAIR, 256, ECDSA, EccFamily.SECP_R1, Usage.SIGN_HASH | Usage.SIGN_MESSAGE | Usage.VERIFY_HASH
)
SIGNATURES = {
    KeyKind.RSA_KEY_PAIR: [
        AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256),
        AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA3_256),
    ],
    KeyKind.ECC_KEY_PAIR: [
        ECDSA,
        AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.SHA_512),
        AsymmetricSignature(SignatureScheme.ECDSA, Hash.RIPEMD160),
    ],
}


def _open(backend: SoftwareProvider, wanted: KeyAttributes, data: bytes | None = None) -> Key[Handle]:
    """Generate a key, or import it, and open the stored form."""
    if data is None:
        backend.check_generate(wanted)
        stored = backend.generate_key(IDENTITY, wanted, backend.plan_key_id())
    else:
        backend.check_import(wanted, data)
        stored = backend.import_key(IDENTITY, wanted, data, backend.plan_key_id())
    assert stored.version == OWN_FORM
    key = backend.open_key(IDENTITY, stored)
    assert key.attributes == stored.attributes == replace(wanted, bits=key.handle.bits)
    return key


def test_it_describes_itself_as_the_reference_does() -> None:
    backend = provider()
    assert backend.description is PROVIDERS[ProviderId.MBED_CRYPTO]
    assert backend.concurrent_generation
    assert backend.on_processor


def test_only_rsa_keys_are_slow_to_make() -> None:
    kinds = [(kind, EccFamily.SECP_R1 if kind.name.startswith("ECC") else None) for kind in KeyKind]
    kinds = [pair for pair in kinds if not pair[0].name.startswith("DH_")]
    slow = {kind for kind, of in kinds if provider().is_slow(replace(P256_ATTRIBUTES, type=KeyType(kind, of)))}
    assert slow == {KeyKind.RSA_KEY_PAIR}


@pytest.mark.parametrize(
    ("wanted", "data"),
    [
        (attributes(KeyKind.RSA_KEY_PAIR, 2048), rsa_material(2048)),
        *((attributes(KeyKind.ECC_KEY_PAIR, curve.bits, family=curve.family), None) for curve in CURVES.values()),
    ],
    ids=lambda value: str(value.type) if isinstance(value, KeyAttributes) else "",
)
def test_messages_are_signed_and_verified(wanted: KeyAttributes, data: bytes | None) -> None:
    backend = provider()
    key = _open(backend, wanted, data)
    public_kind = {KeyKind.RSA_KEY_PAIR: KeyKind.RSA_PUBLIC_KEY, KeyKind.ECC_KEY_PAIR: KeyKind.ECC_PUBLIC_KEY}
    public = _open(
        backend,
        replace(wanted, bits=0, type=KeyType(public_kind[wanted.type.kind], wanted.type.family)),
        done(backend, key, operations.ExportPublicKey("")),
    )
    exported = done(backend, public, operations.ExportPublicKey(""))
    assert exported == done(backend, public, operations.ExportKey(""))
    assert exported == done(backend, key, operations.ExportPublicKey(""))
    if wanted.type.family is EccFamily.MONTGOMERY:
        with refused(INVALID):
            done(backend, key, operations.SignHash("", ECDSA, bytes(32)))
        return
    for alg in SIGNATURES[wanted.type.kind]:
        signature = done(backend, key, operations.SignMessage("", alg, b"message"))
        assert isinstance(alg.hash, Hash)
        digest = done(backend, None, operations.HashCompute(alg.hash, b"message"))
        second = done(backend, key, operations.SignHash("", alg, digest))
        for good in (signature, second):
            for verifier in (key, public):
                done(backend, verifier, operations.VerifyMessage("", alg, b"message", good))
                done(backend, verifier, operations.VerifyHash("", alg, digest, good))
                with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                    done(backend, verifier, operations.VerifyMessage("", alg, b"other", good))
        with refused(INVALID):
            done(backend, public, operations.SignMessage("", alg, b"message"))


@pytest.mark.parametrize(
    ("kind", "bits", "algorithm"),
    [
        *((KeyKind.AES, bits, Aead(scheme)) for bits in (128, 192, 256) for scheme in (AeadScheme.GCM, AeadScheme.CCM)),
        (KeyKind.AES, 128, Aead(AeadScheme.GCM, 12)),
        (KeyKind.CHACHA20, 256, Aead(AeadScheme.CHACHA20_POLY1305)),
    ],
)
def test_texts_are_sealed_and_opened(kind: KeyKind, bits: int, algorithm: Aead) -> None:
    backend = provider()
    key = _open(backend, attributes(kind, bits, algorithm))
    sealed = done(backend, key, operations.AeadEncrypt("", algorithm, bytes(12), b"data", b"text"))
    operation = operations.AeadDecrypt("", algorithm, bytes(12), b"data", sealed)
    assert done(backend, key, operation) == b"text"
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        done(backend, key, replace(operation, additional_data=b""))
    with refused(INVALID):
        done(backend, key, replace(operation, ciphertext=b"abc"))


@pytest.mark.parametrize(
    ("kind", "bits", "mode"),
    [
        *((KeyKind.AES, bits, CipherMode.CTR) for bits in (128, 192, 256)),
        (KeyKind.CAMELLIA, 192, CipherMode.CBC_PKCS7),
        (KeyKind.CHACHA20, 256, CipherMode.STREAM_CIPHER),
    ],
)
def test_texts_are_encrypted_and_decrypted(kind: KeyKind, bits: int, mode: CipherMode) -> None:
    backend = provider()
    key = _open(backend, attributes(kind, bits, Cipher(mode)))
    sealed = done(backend, key, operations.CipherEncrypt("", Cipher(mode), b"text"))
    assert done(backend, key, operations.CipherDecrypt("", Cipher(mode), sealed)) == b"text"


@pytest.mark.parametrize(
    ("kind", "bits", "alg"),
    [
        (KeyKind.HMAC, 256, Mac(MacScheme.HMAC, Hash.SHA_256)),
        (KeyKind.HMAC, 8, Mac(MacScheme.HMAC, Hash.SHA3_512, 64)),
        (KeyKind.HMAC, 65528, Mac(MacScheme.HMAC, Hash.SHA_512, 63)),
        (KeyKind.AES, 192, Mac(MacScheme.CMAC)),
        (KeyKind.CAMELLIA, 256, Mac(MacScheme.CMAC, None, 4)),
    ],
)
def test_macs_are_computed_and_verified(kind: KeyKind, bits: int, alg: Mac) -> None:
    backend = provider()
    key = _open(backend, attributes(kind, bits, alg))
    mac = done(backend, key, operations.MacCompute("", alg, b"text"))
    assert len(mac) == (alg.length or full_mac_length(kind, alg))
    done(backend, key, operations.MacVerify("", alg, b"text", mac))
    for operation in (operations.MacVerify("", alg, b"test", mac), operations.MacVerify("", alg, b"text", mac[:-1])):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            done(backend, key, operation)


@pytest.mark.parametrize(
    ("alg", "salt"),
    [
        (AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15), b""),
        (AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_1), b"label"),
    ],
)
def test_secrets_are_encrypted_for_a_key_pair(alg: AsymmetricEncryption, salt: bytes) -> None:
    backend = provider()
    key = _open(backend, attributes(KeyKind.RSA_KEY_PAIR, 0, alg), RSA_1024)
    sealed = done(backend, key, operations.AsymmetricEncrypt("", alg, b"text", salt))
    operation = operations.AsymmetricDecrypt("", alg, sealed, salt)
    assert done(backend, key, operation) == b"text"
    with refused(Status.PSA_ERROR_INVALID_PADDING):
        done(backend, key, replace(operation, ciphertext=bytes(127) + b"\2"))


@pytest.mark.parametrize("curve", CURVES.values(), ids=lambda curve: f"{curve.family.name}-{curve.bits}")
def test_two_keys_agree(curve: object) -> None:
    backend = provider()
    assert isinstance(curve, type(CURVES[EccFamily.SECP_R1, 256]))
    wanted = attributes(KeyKind.ECC_KEY_PAIR, curve.bits, ECDH, curve.family, Usage.DERIVE)
    one, two = _open(backend, wanted), _open(backend, wanted)
    secrets = {
        done(backend, own, operations.RawKeyAgreement("", ECDH, done(backend, other, operations.ExportPublicKey(""))))
        for own, other in ((one, two), (two, one))
    }
    assert len(secrets) == 1


@pytest.mark.parametrize("kind", [KeyKind.RAW_DATA, KeyKind.HMAC, KeyKind.DERIVE, KeyKind.AES])
def test_symmetric_keys_come_out_as_they_went_in(kind: KeyKind) -> None:
    backend = provider()
    key = _open(backend, attributes(kind, 0), bytes(range(16)))
    assert done(backend, key, operations.ExportKey("")) == bytes(range(16))
    with refused(INVALID):
        done(backend, key, operations.ExportPublicKey(""))
    backend.close_key(key)


def test_hashes_and_random_bytes_need_no_key() -> None:
    backend = provider()
    digest = done(backend, None, operations.HashCompute(Hash.SHA_256, b"abc"))
    done(backend, None, operations.HashCompare(Hash.SHA_256, b"abc", digest))
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        done(backend, None, operations.HashCompare(Hash.SHA_256, b"abd", digest))
    assert len(done(backend, None, operations.GenerateRandom(100))) == 100
    assert done(backend, None, operations.GenerateRandom(0)) == b""


def test_a_stored_key_belongs_to_its_name_and_policy() -> None:
    backend = provider()
    stored = backend.import_key(IDENTITY, P256_ATTRIBUTES, P256, b"")
    assert P256 not in stored.key_id
    with refused(CORRUPT):
        backend.open_key(KeyIdentity(3, "1001", IDENTITY.key_name), stored)
    with refused(CORRUPT):
        backend.open_key(IDENTITY, replace(stored, attributes=replace(P256_ATTRIBUTES, usage=Usage.EXPORT)))
    with refused(CORRUPT):
        SoftwareProvider(bytes(32)).open_key(IDENTITY, stored)
    with refused(UNSUPPORTED):
        backend.open_key(IDENTITY, replace(stored, version=3))


def test_destroying_needs_nothing_of_the_device() -> None:
    backend = provider()
    stored = backend.import_key(IDENTITY, P256_ATTRIBUTES, P256, b"")
    backend.destroy_key(IDENTITY, stored)
    backend.destroy_key(IDENTITY, StoredKey(key_id=b"", version=OWN_FORM, attributes=P256_ATTRIBUTES))


def test_keys_of_the_reference_are_taken_over() -> None:
    backend = SoftwareProvider(KEK, its={2: its_file(0x7112, 256, P256), 3: its_file(0x7001, 1024, RSA_1024)})
    stored = StoredKey(key_id=b"\2\0\0\0", version=REFERENCE_FORM, attributes=P256_ATTRIBUTES)
    key = backend.open_key(IDENTITY, stored)
    assert done(backend, key, operations.ExportKey("")) == P256
    rsa_attributes = attributes(KeyKind.RSA_KEY_PAIR, 0)
    rsa_stored = StoredKey(key_id=b"\3\0\0\0", version=REFERENCE_FORM, attributes=rsa_attributes)
    assert backend.open_key(IDENTITY, rsa_stored).attributes.bits == 1024
    with refused(Status.PSA_ERROR_DOES_NOT_EXIST):
        provider().open_key(IDENTITY, stored)


def test_a_file_of_the_reference_that_holds_no_key_is_corrupt() -> None:
    files = {2: its_file(0x7112, 256, bytes(32)), 3: its_file(0x2301, 192, bytes(24))}
    backend = SoftwareProvider(KEK, its=files)
    with refused(Status.PSA_ERROR_DATA_CORRUPT):
        backend.open_key(IDENTITY, StoredKey(key_id=b"\2\0\0\0", version=REFERENCE_FORM, attributes=P256_ATTRIBUTES))
    with refused(UNSUPPORTED):
        backend.open_key(
            IDENTITY,
            StoredKey(key_id=b"\3\0\0\0", version=REFERENCE_FORM, attributes=attributes(KeyKind.DES, 192)),
        )


@pytest.mark.parametrize(
    ("wanted", "generate", "take", "use"),
    [
        (P256_ATTRIBUTES, True, True, True),
        (replace(P256_ATTRIBUTES, bits=384), True, True, True),
        (replace(P256_ATTRIBUTES, bits=0), False, True, True),
        (replace(P256_ATTRIBUTES, bits=284), False, False, False),
        (replace(P256_ATTRIBUTES, type=KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily.SECP_R1)), False, True, True),
        (replace(P256_ATTRIBUTES, type=KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.FRP)), False, False, False),
        (
            attributes(KeyKind.RSA_KEY_PAIR, 3072, AsymmetricSignature(SignatureScheme.RSA_PSS, ANY_HASH)),
            True,
            True,
            True,
        ),
        (attributes(KeyKind.RSA_KEY_PAIR, 0, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15_RAW)), False, True, True),
        (attributes(KeyKind.RSA_KEY_PAIR, 512), False, False, False),
        (attributes(KeyKind.HMAC, 256), True, True, False),
        (attributes(KeyKind.HMAC, 256, Mac(MacScheme.HMAC, Hash.SHA_256)), True, True, True),
        (attributes(KeyKind.AES, 128, Mac(MacScheme.CMAC, None, 8)), True, True, True),
        (attributes(KeyKind.AES, 128, Mac(MacScheme.CBC_MAC)), False, False, False),
        (attributes(KeyKind.DERIVE, 256), True, True, False),
        (attributes(KeyKind.RAW_DATA, 256), True, True, False),
        (attributes(KeyKind.AES, 256, Aead(AeadScheme.GCM)), True, True, True),
        (attributes(KeyKind.AES, 64, Aead(AeadScheme.GCM)), False, False, False),
        (attributes(KeyKind.DES, 64, Cipher(CipherMode.CBC_PKCS7)), False, False, False),
        (attributes(KeyKind.ARC4, 128, Cipher(CipherMode.STREAM_CIPHER)), False, False, False),
    ],
)
def test_can_do_crypto_tells_the_truth(
    wanted: KeyAttributes,
    generate: bool,
    take: bool,
    use: bool,
) -> None:
    backend = provider()
    for possible, ask in ((generate, backend.can_generate), (take, backend.can_import), (use, backend.check_use)):
        if possible:
            ask(wanted)
        else:
            # `checks.can_do_crypto` makes one status of all.
            with pytest.raises(ServiceError):
                ask(wanted)


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        (attributes(KeyKind.ECC_PUBLIC_KEY, 256, family=EccFamily.SECP_R1), INVALID),
        (attributes(KeyKind.RSA_KEY_PAIR, 1536), INVALID),
        (attributes(KeyKind.DES, 192), UNSUPPORTED),
    ],
)
def test_what_cannot_be_generated_is_refused_twice(wanted: KeyAttributes, status: Status) -> None:
    backend = provider()
    with refused(status):
        backend.check_generate(wanted)
    with refused(status):
        backend.generate_key(IDENTITY, wanted, b"")


@pytest.mark.parametrize("data", [b"", b"\0", bytes(32), bytes(33)])
def test_bad_key_data_is_refused_at_the_import(data: bytes) -> None:
    backend = provider()
    backend.check_import(P256_ATTRIBUTES, data)
    with refused(INVALID):
        backend.import_key(IDENTITY, P256_ATTRIBUTES, data, b"")


def test_keys_are_generated_while_others_are_used() -> None:
    backend = provider()
    key = _open(backend, P256_ATTRIBUTES, P256)
    made: list[StoredKey] = []

    def generate() -> None:
        for number in range(4):
            wanted = attributes(KeyKind.RSA_KEY_PAIR, 1024)
            made.append(backend.generate_key(replace(IDENTITY, key_name=str(number)), wanted, b""))

    thread = threading.Thread(target=generate)
    thread.start()
    digest = bytes(range(32))
    used = 0
    while thread.is_alive() or used < 100:
        signature = done(backend, key, operations.SignHash("", ECDSA, digest))
        done(backend, key, operations.VerifyHash("", ECDSA, digest, signature))
        used += 1
    thread.join()
    for number, stored in enumerate(made):
        opened = backend.open_key(replace(IDENTITY, key_name=str(number)), stored)
        assert opened.handle.bits == 1024
    assert len({stored.key_id for stored in made}) == 4


def test_every_algorithm_of_the_policy_is_stored_as_it_is() -> None:
    policies: list[Algorithm] = [ECDSA, ECDH, AsymmetricSignature(SignatureScheme.ECDSA, ANY_HASH)]
    for policy in policies:
        key = _open(provider(), replace(P256_ATTRIBUTES, algorithm=policy))
        assert key.attributes.algorithm == policy


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_encryption_key_has_one_length(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SoftwareProvider(bytes(length))
