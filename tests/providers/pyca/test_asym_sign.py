"""Signatures, against published vectors and for every scheme, hash and curve."""

import itertools

import pytest
from cryptography.hazmat.primitives import hashes as pyca_hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.providers.support import P256, RSA_1024, handle, refused, rsa_material
from tests.providers.vectors import Record, blocks, number, read, records, rsa_public, spread

from cofferdam_contracts.operations import SignMessage
from cofferdam_contracts.psa.algorithm import ANY_HASH, HASH_LENGTH, AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind
from cofferdam_contracts.status import Status
from cofferdam_providers.pyca.asym_sign import (
    DETERMINISTIC_HASHES,
    ECDSA_HASHES,
    PKCS1V15_HASHES,
    PSS_HASHES,
    hashed,
    sign_hash,
    verify_hash,
)
from cofferdam_providers.pyca.curves import CURVES, CurveParameters
from cofferdam_providers.pyca.hashes import PRIMITIVES, digest_of
from cofferdam_providers.pyca.keys import EccKey, Handle, RsaKey, export_public

ECDSA_256 = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
ECDSA_ANY = AsymmetricSignature(SignatureScheme.ECDSA_ANY)
PSS_256 = AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_256)
PKCS_256 = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256)
RAW = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15_RAW)
NAMED = {
    "P-192": (EccFamily.SECP_R1, 192),
    "P-224": (EccFamily.SECP_R1, 224),
    "P-256": (EccFamily.SECP_R1, 256),
    "P-384": (EccFamily.SECP_R1, 384),
    "P-521": (EccFamily.SECP_R1, 521),
    "K-256": (EccFamily.SECP_K1, 256),
}
SHA = {
    "SHA1": Hash.SHA_1,
    "SHA224": Hash.SHA_224,
    "SHA256": Hash.SHA_256,
    "SHA384": Hash.SHA_384,
    "SHA512": Hash.SHA_512,
}
SIGNING_CURVES = [curve for curve in CURVES.values() if curve.group is not None]
RSA_PAIR = handle(KeyKind.RSA_KEY_PAIR, rsa_material(2048))
ECC_PAIR = handle(KeyKind.ECC_KEY_PAIR, P256, EccFamily.SECP_R1)


def _public(pair: Handle) -> Handle:
    if isinstance(pair, EccKey):
        return handle(KeyKind.ECC_PUBLIC_KEY, export_public(pair), pair.curve.family)
    return handle(KeyKind.RSA_PUBLIC_KEY, export_public(pair))


def _point(record: Record, size: int) -> bytes:
    return b"\x04" + b"".join(number(record[name]).rjust(size, b"\0") for name in ("qx", "qy"))


def _ecdsa_case(record: Record) -> tuple[EccKey, AsymmetricSignature, bytes, bytes]:
    curve_name, hash_name = record["section"].split(",")
    family, bits = NAMED[curve_name]
    size = (bits + 7) // 8
    key = handle(KeyKind.ECC_PUBLIC_KEY, _point(record, size), family)
    assert isinstance(key, EccKey)
    algorithm = AsymmetricSignature(SignatureScheme.ECDSA, SHA[hash_name.replace("-", "")])
    signature = b"".join(number(record[name]).rjust(size, b"\0") for name in ("r", "s"))
    return key, algorithm, bytes.fromhex(record["msg"]), signature


def _check(key: Handle, algorithm: AsymmetricSignature, message: bytes, signature: bytes, *, good: bool) -> None:
    digest = hashed(SignMessage("", algorithm, message))
    if good:
        verify_hash(key, algorithm, digest, signature)
    else:
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            verify_hash(key, algorithm, digest, signature)


def test_ecdsa_takes_and_refuses_the_published_signatures() -> None:
    """NIST CAVS 11.0 SigVer; public keys that were changed may be off the curve, which is not tested here."""
    found = [
        record
        for record in records("asymmetric/ECDSA/FIPS_186-3/SigVer.rsp", last="result")
        if record["section"].split(",")[0] in NAMED and "Q changed" not in record["result"]
    ]
    outcomes = []
    for record in spread(found, 120):
        key, algorithm, message, signature = _ecdsa_case(record)
        good = record["result"].startswith("P")
        outcomes.append(good)
        _check(key, algorithm, message, signature, good=good)
    assert set(outcomes) == {True, False}


@pytest.mark.parametrize("path", ["FIPS_186-3/SigGen.txt", "SECP256K1/SigGen.txt"])
def test_ecdsa_takes_the_published_signatures(path: str) -> None:
    found = [
        record
        for record in records(f"asymmetric/ECDSA/{path}", last="s")
        if record["section"].split(",")[0] in NAMED and record["section"].split(",")[1].replace("-", "") in SHA
    ]
    assert len(found) > 10
    for record in spread(found, 60):
        _check(*_ecdsa_case(record), good=True)


def _rfc6979() -> list[tuple[str, Hash, bytes, bytes, bytes]]:
    """Return curve name, hash, scalar, message and signature (DER) of RFC 6979 appendix A.2."""
    keys: dict[str, bytes] = {}
    cases = []
    name, pem, hash_alg = "", "", None
    message = b""
    for line in read("asymmetric/ECDSA/RFC6979/evppkey_ecdsa_rfc6979.txt"):
        if line.startswith("PrivateKey="):
            name, pem = line.partition("=")[2], ""
        elif line.startswith("-----") or (pem and line):
            pem += line + "\n"
            if line == "-----END PRIVATE KEY-----":
                keys[name] = pem.encode()
                pem = ""
            if line == "-----END PUBLIC KEY-----":
                pem = ""
        elif line.startswith("Digest"):
            hash_alg = SHA[line.partition("= ")[2]] if line.startswith("DigestSign") else None
        elif line.startswith("Key ="):
            name = line.partition("= ")[2]
        elif line.startswith("Input"):
            message = line.partition('"')[2][:-1].encode()
        elif line.startswith("Output") and hash_alg is not None:
            cases.append((name.removesuffix("_PRIV"), hash_alg, keys[name], message, bytes.fromhex(line[9:])))
    return cases


def test_deterministic_ecdsa_gives_the_published_signatures() -> None:
    cases = [case for case in _rfc6979() if case[0] in NAMED]
    assert {case[0] for case in cases} >= {"P-192", "P-224", "P-256", "P-384", "P-521"}
    for name, hash_alg, pem, message, der in cases:
        family, bits = NAMED[name]
        size = (bits + 7) // 8
        private = load_pem_private_key(pem, None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        scalar = private.private_numbers().private_value.to_bytes(size, "big")
        key = handle(KeyKind.ECC_KEY_PAIR, scalar, family)
        algorithm = AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, hash_alg)
        digest = digest_of(hash_alg, message)
        signature = b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(der))
        assert sign_hash(key, algorithm, digest) == signature
        verify_hash(key, algorithm, digest, signature)
        verify_hash(key, AsymmetricSignature(SignatureScheme.ECDSA, hash_alg), digest, signature)


def test_rsa_takes_and_refuses_the_published_signatures() -> None:
    found = [
        record
        for record in records("asymmetric/RSA/FIPS_186-2/SigVer15_186-3.rsp", last="result")
        if int(record["n"], 16).bit_length() in {1024, 2048, 3072, 4096} and record["shaalg"] in SHA
    ]
    outcomes = []
    for record in spread(found, 60):
        if int(record["e"], 16).bit_length() > 64:
            continue
        key = handle(KeyKind.RSA_PUBLIC_KEY, rsa_public(record["n"], record["e"]))
        good = record["result"].startswith("P")
        outcomes.append(good)
        algorithm = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, SHA[record["shaalg"]])
        _check(key, algorithm, bytes.fromhex(record["msg"]), number(record["s"]), good=good)
    assert set(outcomes) == {True, False}


def test_pss_takes_the_published_signatures() -> None:
    """RSA Laboratories' vectors have the salt length that this contract fixes: that of the digest."""
    algorithm = AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_1)
    modulus, exponent, message = "", "", b""
    tried = 0
    for name, value in blocks("asymmetric/RSA/pkcs-1v2-1d2-vec/pss-vect.txt"):
        if name == "Modulus":
            modulus = value.hex()
        elif name == "Exponent" and len(value) < 8:
            exponent = value.hex()
        elif name == "Message to be signed":
            message = value
        elif name == "Signature" and int(modulus, 16).bit_length() in {1024, 2048}:
            tried += 1
            key = handle(KeyKind.RSA_PUBLIC_KEY, rsa_public(modulus, exponent))
            _check(key, algorithm, message, value, good=True)
            _check(key, algorithm, message + b"x", value, good=False)
    assert tried == 12


def test_a_signature_with_another_salt_length_is_refused() -> None:
    assert isinstance(RSA_PAIR, RsaKey)
    assert RSA_PAIR.private is not None
    for salt in (0, 31, 33):
        pad = padding.PSS(padding.MGF1(pyca_hashes.SHA256()), salt)
        signature = RSA_PAIR.private.sign(b"message", pad, pyca_hashes.SHA256())
        _check(RSA_PAIR, PSS_256, b"message", signature, good=False)


@pytest.mark.parametrize(
    ("pair", "algorithm"),
    [
        *((RSA_PAIR, AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, hash_alg)) for hash_alg in PKCS1V15_HASHES),
        *((RSA_PAIR, AsymmetricSignature(SignatureScheme.RSA_PSS, hash_alg)) for hash_alg in PSS_HASHES),
        *((ECC_PAIR, AsymmetricSignature(SignatureScheme.ECDSA, hash_alg)) for hash_alg in ECDSA_HASHES),
        *(
            (ECC_PAIR, AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, hash_alg))
            for hash_alg in DETERMINISTIC_HASHES
        ),
        (RSA_PAIR, RAW),
        (ECC_PAIR, ECDSA_ANY),
    ],
)
def test_every_scheme_and_hash_comes_back(pair: Handle, algorithm: AsymmetricSignature) -> None:
    digest = bytes(range(HASH_LENGTH[algorithm.hash] if isinstance(algorithm.hash, Hash) else 20))
    signature = sign_hash(pair, algorithm, digest)
    assert len(signature) == (256 if pair is RSA_PAIR else 64)
    for key in (pair, _public(pair)):
        verify_hash(key, algorithm, digest, signature)
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            verify_hash(key, algorithm, b"\xff" + digest[1:], signature)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        sign_hash(_public(pair), algorithm, digest)


@pytest.mark.parametrize("curve", SIGNING_CURVES, ids=lambda curve: f"{curve.family.name}-{curve.bits}")
def test_every_curve_signs_with_signatures_of_fixed_length(curve: CurveParameters) -> None:
    key = handle(KeyKind.ECC_KEY_PAIR, bytes(curve.size - 1) + b"\x03", curve.family, curve.bits)
    for number_of_digest in range(12):
        digest = digest_of(Hash.SHA_256, bytes((number_of_digest,)))
        signature = sign_hash(key, ECDSA_256, digest)
        assert len(signature) == 2 * curve.size
        verify_hash(key, ECDSA_256, digest, signature)


def test_short_numbers_are_padded() -> None:
    """About one signature in 128 has a number with a leading zero byte."""
    shorter = 0
    for counter in range(1500):
        digest = digest_of(Hash.SHA_256, counter.to_bytes(2, "big"))
        signature = sign_hash(ECC_PAIR, ECDSA_256, digest)
        assert len(signature) == 64
        if 0 in (signature[0], signature[32]):
            shorter += 1
            verify_hash(ECC_PAIR, ECDSA_256, digest, signature)
    assert shorter


@pytest.mark.parametrize(
    ("curve", "length"),
    [
        (curve, length)
        for curve in SIGNING_CURVES
        if curve.bits in {192, 256, 521}
        for length in (1, 20, 31, 32, 33, 64, 65, 66, 67, 200)
    ],
    ids=lambda value: f"{value.family.name}-{value.bits}" if isinstance(value, CurveParameters) else str(value),
)
def test_ecdsa_any_uses_the_leftmost_bits(curve: CurveParameters, length: int) -> None:
    key = handle(KeyKind.ECC_KEY_PAIR, bytes(curve.size - 1) + b"\x03", curve.family, curve.bits)
    digest = bytes(range(1, length + 1))
    signature = sign_hash(key, ECDSA_ANY, digest)
    verify_hash(key, ECDSA_ANY, digest, signature)
    verify_hash(key, ECDSA_ANY, digest[: curve.size] + bytes(len(digest[curve.size :])), signature)
    if (length + 1) * 8 <= curve.bits:
        verify_hash(key, ECDSA_ANY, b"\0" + digest, signature)
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        verify_hash(key, ECDSA_ANY, bytes((digest[0] ^ 0x80,)) + digest[1:], signature)


def test_ecdsa_any_agrees_with_ecdsa() -> None:
    digest = digest_of(Hash.SHA_384, b"message")
    algorithm = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_384)
    verify_hash(ECC_PAIR, algorithm, digest, sign_hash(ECC_PAIR, ECDSA_ANY, digest))
    verify_hash(ECC_PAIR, ECDSA_ANY, digest, sign_hash(ECC_PAIR, algorithm, digest))


def test_an_empty_digest_is_refused() -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        sign_hash(ECC_PAIR, ECDSA_ANY, b"")
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        verify_hash(ECC_PAIR, ECDSA_ANY, b"", bytes(64))


def test_deterministic_signatures_repeat_and_others_do_not() -> None:
    digest = bytes(32)
    fixed = AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.SHA_256)
    assert len({sign_hash(ECC_PAIR, fixed, digest) for _ in range(4)}) == 1
    assert len({sign_hash(ECC_PAIR, ECDSA_256, digest) for _ in range(4)}) == 4
    assert len({sign_hash(RSA_PAIR, PSS_256, digest) for _ in range(4)}) == 4
    assert len({sign_hash(RSA_PAIR, PKCS_256, digest) for _ in range(4)}) == 1


@pytest.mark.parametrize("length", [0, 1, 19, 117, 245])
def test_a_raw_input_is_used_as_it_is(length: int) -> None:
    data = bytes(range(1, length + 1))
    signature = sign_hash(RSA_PAIR, RAW, data)
    verify_hash(RSA_PAIR, RAW, data, signature)
    assert isinstance(RSA_PAIR, RsaKey)
    assert RSA_PAIR.public.recover_data_from_signature(signature, padding.PKCS1v15(), None) == data
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        verify_hash(RSA_PAIR, RAW, data + b"\0", signature)


def test_a_raw_digest_info_is_an_ordinary_signature() -> None:
    digest = digest_of(Hash.SHA_256, b"message")
    info = bytes.fromhex("3031300d060960864801650304020105000420") + digest
    assert sign_hash(RSA_PAIR, RAW, info) == sign_hash(RSA_PAIR, PKCS_256, digest)


@pytest.mark.parametrize("length", [246, 256, 257, 1000])
def test_a_raw_input_longer_than_the_modulus_holds_is_refused(length: int) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        sign_hash(RSA_PAIR, RAW, bytes(length))
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        verify_hash(RSA_PAIR, RAW, bytes(length), bytes(256))


@pytest.mark.parametrize("hash_alg", [Hash.SHA_512, Hash.SHA3_512])
def test_a_salt_is_shortened_to_what_the_modulus_holds(hash_alg: Hash) -> None:
    key = handle(KeyKind.RSA_KEY_PAIR, RSA_1024)
    assert isinstance(key, RsaKey)
    assert key.private is not None
    algorithm = AsymmetricSignature(SignatureScheme.RSA_PSS, hash_alg)
    hashed = PRIMITIVES[hash_alg]
    signature = sign_hash(key, algorithm, bytes(64))
    # 128 bytes hold 64 of digest, 2 of padding, 62 of salt.
    key.public.verify(signature, bytes(64), padding.PSS(padding.MGF1(hashed), 62), Prehashed(hashed))
    for salt in (62, 61):
        made = key.private.sign(bytes(64), padding.PSS(padding.MGF1(hashed), salt), Prehashed(hashed))
        if salt == 62:
            verify_hash(key, algorithm, bytes(64), made)
        else:
            with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
                verify_hash(key, algorithm, bytes(64), made)


@pytest.mark.parametrize("key", [RSA_PAIR, ECC_PAIR], ids=["rsa", "ecc"])
@pytest.mark.parametrize("fill", [b"\0", b"\1", b"\xff"])
def test_malformed_signatures_are_bad_signatures(key: Handle, fill: bytes) -> None:
    algorithms = [PKCS_256, PSS_256, RAW] if key is RSA_PAIR else [ECDSA_256, ECDSA_ANY]
    for algorithm, length in itertools.product(algorithms, [0, 1, 4, 63, 64, 65, 70, 255, 256, 257, 5000]):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            verify_hash(key, algorithm, bytes(32), fill * length)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        *(
            (RSA_PAIR, AsymmetricSignature(scheme, hash_alg))
            for scheme in (SignatureScheme.RSA_PKCS1V15, SignatureScheme.RSA_PSS)
            for hash_alg in (Hash.MD2, Hash.MD4)
        ),
        (RSA_PAIR, AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.RIPEMD160)),
        (ECC_PAIR, AsymmetricSignature(SignatureScheme.ECDSA, Hash.MD2)),
        (ECC_PAIR, AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, Hash.RIPEMD160)),
    ],
)
def test_hashes_that_the_library_lacks_are_not_supported(key: Handle, algorithm: AsymmetricSignature) -> None:
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        sign_hash(key, algorithm, bytes(16))
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        verify_hash(key, algorithm, bytes(16), bytes(256))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSA_PAIR, ECDSA_256),
        (ECC_PAIR, PKCS_256),
        (ECC_PAIR, AsymmetricSignature(SignatureScheme.ECDSA, ANY_HASH)),
        (RSA_PAIR, AsymmetricSignature(SignatureScheme.RSA_PSS)),
        (handle(KeyKind.AES, bytes(16)), ECDSA_256),
        (handle(KeyKind.ECC_KEY_PAIR, bytes(32), EccFamily.MONTGOMERY), ECDSA_256),
    ],
)
def test_keys_and_algorithms_that_do_not_belong_together_are_refused(
    key: Handle, algorithm: AsymmetricSignature
) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        sign_hash(key, algorithm, bytes(32))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        verify_hash(key, algorithm, bytes(32), bytes(64))


@pytest.mark.parametrize("algorithm", [ECDSA_256, PKCS_256])
def test_a_digest_of_the_wrong_length_is_refused(algorithm: AsymmetricSignature) -> None:
    key = ECC_PAIR if algorithm is ECDSA_256 else RSA_PAIR
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        sign_hash(key, algorithm, bytes(31))


@pytest.mark.parametrize("algorithm", [RAW, ECDSA_ANY, AsymmetricSignature(SignatureScheme.ECDSA, ANY_HASH)])
def test_only_schemes_with_a_hash_sign_messages(algorithm: AsymmetricSignature) -> None:
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        hashed(SignMessage("", algorithm, b"message"))
