"""RSA encryption, against published vectors, and the handling of wrong padding."""

import contextlib
import hashlib
import os

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from tests.providers.support import P256, RSA_1024, handle, refused, rsa_material
from tests.providers.vectors import blocks, records, rsa_private

from cofferdam_contracts.psa.algorithm import HASH_LENGTH, AsymmetricEncryption, EncryptionScheme, Hash
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.asym_encryption import OAEP_HASHES, _decrypter, decrypt, encrypt
from cofferdam_providers.pyca.implicit_rejection import RejectionPredictor
from cofferdam_providers.pyca.keys import Handle, RsaKey, export_public

PKCS = AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15)
OAEP = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256)
PAIR = handle(KeyKind.RSA_KEY_PAIR, rsa_material(2048))
SMALL = handle(KeyKind.RSA_KEY_PAIR, RSA_1024)
SIZES = {1024, 2048}
PARTS = ("Modulus", "Public exponent", "Exponent", "Prime 1", "Prime 2")


def _rsa(key: Handle) -> RsaKey:
    assert isinstance(key, RsaKey)
    return key


def _examples(path: str) -> list[tuple[Handle, bytes, bytes]]:
    """Return key, message and ciphertext of a file of RSA Laboratories' form."""
    seen: dict[str, bytes] = {}
    key: Handle | None = None
    found = []
    for name, value in blocks(path):
        if name == "Modulus":
            key = None
        seen[name] = value
        if name == "Encryption" and len(seen["Modulus"]) * 8 in SIZES and seen["Modulus"][0] & 0x80:
            if key is None:
                key = handle(KeyKind.RSA_KEY_PAIR, rsa_private(*(int.from_bytes(seen[part]) for part in PARTS)))
            found.append((key, seen["Message"], value))
    return found


def _raw_encrypt(key: Handle, block: bytes) -> bytes:
    """Encrypt a block that the caller has padded, correctly or not."""
    numbers = _rsa(key).public.public_numbers()
    return pow(int.from_bytes(block), numbers.e, numbers.n).to_bytes(_rsa(key).size)


@pytest.mark.parametrize(
    ("path", "algorithm", "count"),
    [
        ("pkcs1v15crypt-vectors.txt", PKCS, 140),
        ("pkcs-1v2-1d2-vec/oaep-vect.txt", AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_1), 12),
        *(
            (
                f"oaep-custom/oaep-sha{size}-sha{size}.txt",
                AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash[f"SHA_{size}"]),
                60,
            )
            for size in (224, 256, 384, 512)
        ),
    ],
)
def test_published_ciphertexts_decrypt(path: str, algorithm: AsymmetricEncryption, count: int) -> None:
    found = _examples(f"asymmetric/RSA/{path}")
    assert len(found) >= min(count, 6)
    for key, message, ciphertext in found[:40]:
        assert decrypt(key, algorithm, ciphertext, b"") == message


def test_a_published_ciphertext_with_a_label_decrypts() -> None:
    (record,) = records("asymmetric/RSA/oaep-label.txt", last="output")
    # PKCS#8: the PKCS#1 form follows a header of 26 bytes.
    key = handle(KeyKind.RSA_KEY_PAIR, bytes.fromhex(record["key"])[26:])
    algorithm = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash[record["oaepdigest"].replace("SHA", "SHA_")])
    label = bytes.fromhex(record["oaeplabel"])
    ciphertext = bytes.fromhex(record["input"])
    assert decrypt(key, algorithm, ciphertext, label) == record["output"].strip('"').encode()
    for wrong in (b"", label[:-1], label + b"\0"):
        with refused(Status.PSA_ERROR_INVALID_PADDING):
            decrypt(key, algorithm, ciphertext, wrong)


@pytest.mark.parametrize(
    "algorithm",
    [PKCS, *(AsymmetricEncryption(EncryptionScheme.RSA_OAEP, hash_alg) for hash_alg in sorted(OAEP_HASHES))],
)
@pytest.mark.parametrize("label", [b"", b"label"])
def test_every_scheme_comes_back(algorithm: AsymmetricEncryption, label: bytes) -> None:
    if algorithm is PKCS:
        label = b""
        longest = 256 - 11
    else:
        assert algorithm.hash is not None
        longest = 256 - 2 * HASH_LENGTH[algorithm.hash] - 2
    public = handle(KeyKind.RSA_PUBLIC_KEY, export_public(PAIR))
    for length in (1, 20, longest):
        plaintext = os.urandom(length)
        for key in (PAIR, public):
            assert decrypt(PAIR, algorithm, encrypt(key, algorithm, plaintext, label), label) == plaintext
    for key in (PAIR, public):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            encrypt(key, algorithm, bytes(longest + 1), label)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        decrypt(public, algorithm, bytes(256), label)


@pytest.mark.parametrize("key", [PAIR, SMALL], ids=["2048", "1024"])
def test_bad_padding_has_its_own_status(key: Handle) -> None:
    size = _rsa(key).size
    good = b"\0\2" + b"\xaa" * (size - 13) + b"\0" + bytes(10)
    assert decrypt(key, PKCS, _raw_encrypt(key, good), b"") == bytes(10)
    wrong = [
        b"\0\1" + good[2:],
        b"\0\0" + good[2:],
        b"\0\3" + good[2:],
        b"\1\2" + good[2:],
        b"\0\2" + b"\xaa" * (size - 2),
        b"\0\2" + b"\xaa" * 7 + b"\0" + b"\xaa" * (size - 10),
        b"\0\2\0" + b"\xaa" * (size - 3),
        b"\0\4" + os.urandom(size - 2),
    ]
    for block in wrong:
        with refused(Status.PSA_ERROR_INVALID_PADDING):
            decrypt(key, PKCS, _raw_encrypt(key, block), b"")


def _arbitrary(number: int) -> bytes:
    """Return a ciphertext for the small key, the same in each run: one in some 100 000 has good padding by chance."""
    return b"\0" + hashlib.shake_256(bytes((number,))).digest(127)


def test_arbitrary_ciphertexts_have_bad_padding() -> None:
    for number in range(150):
        for algorithm in (PKCS, AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256)):
            with refused(Status.PSA_ERROR_INVALID_PADDING):
                decrypt(SMALL, algorithm, _arbitrary(number), b"")


def test_short_messages_are_not_taken_for_substitutes() -> None:
    """An empty message equals one substitute once in 118 ciphertexts, both once in some 14 000."""
    failed = 0
    for length in (0, 1):
        for _ in range(300):
            try:
                assert decrypt(SMALL, PKCS, encrypt(SMALL, PKCS, bytes(length), b""), b"") == bytes(length)
            except ServiceError:
                failed += 1
    assert failed <= 2


def test_the_second_exponent_decides_when_the_first_is_ambiguous() -> None:
    """Search empty messages that equal the substitute of the unchanged exponent."""
    key = _rsa(SMALL)
    assert key.private is not None
    predictor = RejectionPredictor(key.private.private_numbers().d, key.size)
    ambiguous: list[bytes] = []
    while len(ambiguous) < 4:
        ciphertext = encrypt(key, PKCS, b"", b"")
        if predictor.substitute(ciphertext) == b"":
            ambiguous.append(ciphertext)
    plaintexts = []
    for ciphertext in ambiguous:
        with contextlib.suppress(ServiceError):
            plaintexts.append(decrypt(key, PKCS, ciphertext, b""))
    assert set(plaintexts) == {b""}


def test_the_substitute_is_what_the_library_returns() -> None:
    for key in (_rsa(PAIR), _rsa(SMALL)):
        assert key.private is not None
        predictor = RejectionPredictor(key.private.private_numbers().d, key.size)
        for _ in range(20):
            ciphertext = _raw_encrypt(key, b"\0\1" + os.urandom(key.size - 2))
            assert key.private.decrypt(ciphertext, padding.PKCS1v15()) == predictor.substitute(ciphertext)


def test_a_library_that_refuses_bad_padding_is_believed() -> None:
    """Without implicit rejection the library raises the error that it raises here for another reason."""
    private = _rsa(SMALL).private
    assert private is not None
    assert _decrypter(private, private.private_numbers().d, 128)(b"too short") is None


@pytest.mark.parametrize("algorithm", [PKCS, OAEP])
@pytest.mark.parametrize("length", [0, 1, 128, 255, 257, 512])
def test_a_ciphertext_of_another_length_is_refused(algorithm: AsymmetricEncryption, length: int) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        decrypt(PAIR, algorithm, bytes(length), b"")


@pytest.mark.parametrize("algorithm", [PKCS, OAEP])
def test_a_ciphertext_above_the_modulus_is_refused(algorithm: AsymmetricEncryption) -> None:
    for number in (_rsa(PAIR).modulus, 2**2048 - 1):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            decrypt(PAIR, algorithm, number.to_bytes(256), b"")


@pytest.mark.parametrize("hash_alg", sorted(set(Hash) - OAEP_HASHES))
def test_oaep_with_other_hashes_is_not_supported(hash_alg: Hash) -> None:
    algorithm = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, hash_alg)
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        encrypt(PAIR, algorithm, b"text", b"")
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        decrypt(PAIR, algorithm, bytes(256), b"")


def test_oaep_with_a_hash_too_large_for_the_key_is_refused() -> None:
    algorithm = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_512)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        encrypt(SMALL, algorithm, b"text", b"")
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        decrypt(SMALL, algorithm, bytes(128), b"")


def test_other_keys_are_refused() -> None:
    key = handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.SECP_R1)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        encrypt(key, PKCS, b"text", b"")
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        decrypt(key, PKCS, bytes(64), b"")
