"""Signatures go from each provider to all others, and to and from OpenSSL, for every hash and for short moduli.

The length of a salt is the same everywhere: `pss_salt_length`, which test_psa_policy.py has figures for.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_private_key
from tests.harness.answers import rsa_public
from tests.harness.pkcs11.second import second
from tests.harness.pkcs11.token import softhsm
from tests.harness.tpm.channel import LOOPBACK
from tests.harness.tpm.swtpm import Swtpm
from tests.providers.forgeries import known_point, odd_signatures
from tests.providers.pkcs11.child import Child, settings_for
from tests.providers.support import attributes, refused, rsa_material
from tests.providers.tpm.test_device import opened, way

from cofferdam_contracts.operations import AsymmetricDecrypt, AsymmetricEncrypt, ImportKey, SignHash, VerifyHash
from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    HASH_LENGTH,
    AsymmetricEncryption,
    AsymmetricSignature,
    EncryptionScheme,
    Hash,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca import asym_encryption as software_encryption
from cofferdam_providers.pyca import asym_sign as software
from cofferdam_providers.pyca.keys import export_public, read_key
from cofferdam_providers.software import key_management as software_keys
from cofferdam_providers.tpm import asym_encryption as tpm_encryption
from cofferdam_providers.tpm import asym_sign, blobs, capability_discovery, key_management, public
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.keys import TpmKey

HASHES = {
    Hash.SHA_1: hashes.SHA1(),  # noqa: S303
    Hash.SHA_224: hashes.SHA224(),
    Hash.SHA_256: hashes.SHA256(),
    Hash.SHA_384: hashes.SHA384(),
    Hash.SHA_512: hashes.SHA512(),
}
OF_TPM = (Hash.SHA_256, Hash.SHA_384, Hash.SHA_512)
SALTS = {(1024, Hash.SHA_512): 62}
"""Where the digest's own length does not fit: PSA Crypto API 1.1, PSA_ALG_RSA_PSS."""
SIZES = (1024, 2048)
SCHEMES = (SignatureScheme.RSA_PKCS1V15, SignatureScheme.RSA_PSS)
SIGNING, SEALING = Usage.SIGN_HASH | Usage.VERIFY_HASH, Usage.ENCRYPT | Usage.DECRYPT
OAEP_512 = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_512)
BAD, UNSUPPORTED = Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_NOT_SUPPORTED
Sign = Callable[[int, AsymmetricSignature, bytes], tuple[bytes, bytes]]
Verify = Callable[[bytes, AsymmetricSignature, bytes, bytes], None]


def padding_of(bits: int, algorithm: AsymmetricSignature) -> padding.PSS | padding.PKCS1v15:
    assert isinstance(algorithm.hash, Hash)
    if algorithm.scheme is SignatureScheme.RSA_PKCS1V15:
        return padding.PKCS1v15()
    salt = SALTS.get((bits, algorithm.hash), HASH_LENGTH[algorithm.hash])
    return padding.PSS(padding.MGF1(HASHES[algorithm.hash]), salt)


def hash_of(algorithm: AsymmetricSignature) -> Prehashed:
    assert isinstance(algorithm.hash, Hash)
    return Prehashed(HASHES[algorithm.hash])


def private_key(bits: int) -> rsa.RSAPrivateKey:
    key = load_der_private_key(rsa_material(bits), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def public_part(bits: int) -> bytes:
    return export_public(read_key(KeyType(KeyKind.RSA_KEY_PAIR), bits, rsa_material(bits), vouched=True))


def public_attributes(algorithm: AsymmetricSignature) -> KeyAttributes:
    return attributes(KeyKind.RSA_PUBLIC_KEY, 0, algorithm, usage=Usage.VERIFY_HASH)


class Openssl:
    """OpenSSL, told which salt length to use."""

    def sign(self, bits: int, algorithm: AsymmetricSignature, digest: bytes) -> tuple[bytes, bytes]:
        signature = private_key(bits).sign(digest, padding_of(bits, algorithm), hash_of(algorithm))
        return public_part(bits), signature

    def verify(self, exported: bytes, algorithm: AsymmetricSignature, digest: bytes, signature: bytes) -> None:
        key = rsa_public(exported)
        key.verify(signature, digest, padding_of(key.key_size, algorithm), hash_of(algorithm))


class Software:
    """The software provider's own functions."""

    def sign(self, bits: int, algorithm: AsymmetricSignature, digest: bytes) -> tuple[bytes, bytes]:
        pair = read_key(KeyType(KeyKind.RSA_KEY_PAIR), bits, rsa_material(bits), vouched=True)
        return public_part(bits), software.sign_hash(pair, algorithm, digest)

    def verify(self, exported: bytes, algorithm: AsymmetricSignature, digest: bytes, signature: bytes) -> None:
        key = read_key(KeyType(KeyKind.RSA_PUBLIC_KEY), 0, exported, vouched=False)
        software.verify_hash(key, algorithm, digest, signature)


class OfToken:
    """A PKCS#11 token, with the key pairs of `rsa_material`."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._verifiers: dict[tuple[bytes, SignatureScheme], str] = {}
        for bits, scheme in product(SIZES, SCHEMES):
            wanted = attributes(KeyKind.RSA_KEY_PAIR, bits, AsymmetricSignature(scheme, ANY_HASH), usage=SIGNING)
            child.do(ImportKey(f"{bits} {scheme}", wanted, rsa_material(bits)))

    def sign(self, bits: int, algorithm: AsymmetricSignature, digest: bytes) -> tuple[bytes, bytes]:
        return public_part(bits), self.child.do(SignHash(f"{bits} {algorithm.scheme}", algorithm, digest))

    def verify(self, exported: bytes, algorithm: AsymmetricSignature, digest: bytes, signature: bytes) -> None:
        known = self._verifiers.get((exported, algorithm.scheme))
        if known is None:
            known = self._verifiers[exported, algorithm.scheme] = f"public {len(self._verifiers)}"
            policy = AsymmetricSignature(algorithm.scheme, ANY_HASH)
            self.child.do(ImportKey(known, public_attributes(policy), exported))
        answer = self.child.try_(VerifyHash(known, algorithm, digest, signature))
        if answer.status is not Status.SUCCESS:
            raise ServiceError(answer.status, answer.detail)


class OfTpm:
    """A TPM, which generates its keys itself."""

    def __init__(self, device: TpmDevice) -> None:
        self.device = device
        self.capabilities = capability_discovery.discover(device.connection)

    def sign(self, bits: int, algorithm: AsymmetricSignature, digest: bytes) -> tuple[bytes, bytes]:
        wanted = attributes(KeyKind.RSA_KEY_PAIR, bits, algorithm, usage=SIGNING)
        self.capabilities.check_use(wanted)
        blob = key_management.generate(self.device, self.device.root, blobs.ROOT_PARENT, wanted)
        key = TpmKey(self.device, wanted, blob, self.device.root)
        return public.exported(key.part, key.size), asym_sign.sign_hash(self.device, key, algorithm, digest)

    def verify(self, exported: bytes, algorithm: AsymmetricSignature, digest: bytes, signature: bytes) -> None:
        check = self.capabilities.check_use
        blob, found = key_management.import_key(self.device, public_attributes(algorithm), exported, check)
        key = TpmKey(self.device, found, blob, self.device.root)
        asym_sign.verify_hash(self.device, key, algorithm, digest, signature)


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Openssl | Software | OfToken | OfTpm]]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("across")
        token = softhsm(folder / "softhsm")
        other, shim = second(folder / "nss")
        first = stack.enter_context(Child(settings_for(token, folder / "one")))
        nss = stack.enter_context(Child(settings_for(other, folder / "other", library_path=str(shim.library))))
        tpm = stack.enter_context(Swtpm())
        device = stack.enter_context(opened(way("swtpm", host=LOOPBACK, port=tpm.address)))
        yield {
            "openssl": Openssl(),
            "software": Software(),
            "softhsm": OfToken(first),
            "nss": OfToken(nss),
            "tpm": OfTpm(device),
        }


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("bits", SIZES)
@pytest.mark.parametrize("signer", ["openssl", "software", "softhsm", "nss", "tpm"])
def test_all_verify_what_one_signs(
    everybody: dict[str, Openssl | Software | OfToken | OfTpm], signer: str, bits: int, scheme: SignatureScheme
) -> None:
    for hash_alg in OF_TPM if signer == "tpm" else HASHES:
        algorithm = AsymmetricSignature(scheme, hash_alg)
        digest = hashlib.new(HASHES[hash_alg].name, b"message").digest()
        exported, signature = everybody[signer].sign(bits, algorithm, digest)
        for name, verifier in everybody.items():
            if name == "tpm" and hash_alg not in OF_TPM:
                continue
            verifier.verify(exported, algorithm, digest, signature)
            if name != "openssl":
                with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                    verifier.verify(exported, algorithm, digest[::-1], signature)


@pytest.mark.parametrize(("bits", "hash_alg", "salt"), [(1024, Hash.SHA_512, 61), (2048, Hash.SHA_256, 222)])
def test_all_refuse_a_salt_of_another_length(
    everybody: dict[str, Openssl | Software | OfToken | OfTpm], bits: int, hash_alg: Hash, salt: int
) -> None:
    digest = hashlib.new(HASHES[hash_alg].name, b"message").digest()
    algorithm = AsymmetricSignature(SignatureScheme.RSA_PSS, hash_alg)
    pad = padding.PSS(padding.MGF1(HASHES[hash_alg]), salt)
    signature = private_key(bits).sign(digest, pad, Prehashed(HASHES[hash_alg]))
    for name, verifier in everybody.items():
        if name != "openssl":
            with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                verifier.verify(public_part(bits), algorithm, digest, signature)


@pytest.mark.parametrize(("bits", "hash_alg"), [(256, Hash.SHA_256), (384, Hash.SHA_384), (521, Hash.SHA_512)])
def test_odd_signatures_of_a_curve_are_bad_ones(
    everybody: dict[str, Openssl | Software | OfToken | OfTpm], bits: int, hash_alg: Hash
) -> None:
    # Those of a TPM are in test_failure.py.
    algorithm, digest = AsymmetricSignature(SignatureScheme.ECDSA, hash_alg), bytes(range(HASH_LENGTH[hash_alg]))
    wanted = attributes(KeyKind.ECC_PUBLIC_KEY, bits, algorithm, EccFamily.SECP_R1, Usage.VERIFY_HASH)
    key = read_key(wanted.type, bits, known_point(bits), vouched=False)
    tokens = [one.child for one in everybody.values() if isinstance(one, OfToken)]
    for child in tokens:
        child.do(ImportKey(f"known {bits}", wanted, known_point(bits)))
    for signature in odd_signatures(bits, digest).values():
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            software.verify_hash(key, algorithm, digest, signature)
        for child in tokens:
            child.refuses(VerifyHash(f"known {bits}", algorithm, digest, signature), Status.PSA_ERROR_INVALID_SIGNATURE)


def test_a_padding_that_never_fits_is_not_made_taken_or_promised(
    everybody: dict[str, Openssl | Software | OfToken | OfTpm],
) -> None:
    tpm, token = everybody["tpm"], everybody["nss"]
    assert isinstance(tpm, OfTpm)
    assert isinstance(token, OfToken)
    pair = attributes(KeyKind.RSA_KEY_PAIR, 1024, OAEP_512, usage=SEALING)
    any_size = attributes(KeyKind.RSA_KEY_PAIR, 0, OAEP_512, usage=SEALING)
    published = attributes(KeyKind.RSA_PUBLIC_KEY, 0, OAEP_512, usage=Usage.ENCRYPT)
    for check in (software_keys.check_generate, software_keys.check_import, software_keys.check_use):
        with refused(UNSUPPORTED):
            check(pair)
    for wanted in (pair, any_size):
        with refused(UNSUPPORTED):
            software_keys.import_key(wanted, rsa_material(1024))
        token.child.refuses(ImportKey("never", wanted, rsa_material(1024)), UNSUPPORTED)
    with refused(UNSUPPORTED):
        tpm.capabilities.check_use(pair)
    with refused(UNSUPPORTED):
        key_management.import_key(tpm.device, published, public_part(1024), tpm.capabilities.check_use)
    with refused(UNSUPPORTED):
        software_keys.import_key(published, public_part(1024))


def test_a_key_that_parsec_made_for_a_padding_that_never_fits_is_refused_alike(
    everybody: dict[str, Openssl | Software | OfToken | OfTpm],
) -> None:
    tpm, token = everybody["tpm"], everybody["nss"]
    assert isinstance(tpm, OfTpm)
    assert isinstance(token, OfToken)
    wanted = attributes(KeyKind.RSA_KEY_PAIR, 1024, OAEP_512, usage=SEALING)
    pair = read_key(wanted.type, 1024, rsa_material(1024), vouched=True)
    blob = key_management.generate(tpm.device, tpm.device.root, blobs.ROOT_PARENT, wanted)
    key = TpmKey(tpm.device, wanted, blob, tpm.device.root)
    row = token.child.ask("row", f"1024 {SignatureScheme.RSA_PSS}")
    token.child.put_row("of Parsec", bytes.fromhex(row["key_id"]), row["version"], wanted)
    for text in (b"t", bytes(128)):
        with refused(BAD):
            software_encryption.encrypt(pair, OAEP_512, text, b"")
        with refused(BAD):
            software_encryption.decrypt(pair, OAEP_512, text, b"")
        with refused(BAD):
            tpm_encryption.encrypt(tpm.device, key, OAEP_512, text, b"")
        with refused(BAD):
            tpm_encryption.decrypt(tpm.device, key, OAEP_512, text, b"")
        token.child.refuses(AsymmetricEncrypt("of Parsec", OAEP_512, text, b""), BAD)
        token.child.refuses(AsymmetricDecrypt("of Parsec", OAEP_512, text, b""), BAD)
