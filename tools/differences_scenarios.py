"""Requests whose answers a client can tell apart, for any provider: what `differences.py` sends to two services.

A scenario is a function of a `Probe`. It sends requests through `Probe.ask`, which keeps each outcome under a label.
Both services get the same labels and the same key material, so that outcomes can be compared label by label.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cofferdam_client import ServiceStatusError
from cofferdam_client.session import Session
from cofferdam_contracts import operations as op
from cofferdam_contracts.operations import CheckType, Operation
from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    HASHED_SIGNATURES,
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
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.registry import Opcode

NAME: Final = "differences"
DIGEST: Final = hashlib.sha256(b"message").digest()
ALL: Final = Usage((1 << 10) - 1)
_SIGNING: Final = Usage.SIGN_HASH | Usage.VERIFY_HASH | Usage.SIGN_MESSAGE | Usage.VERIFY_MESSAGE
_CRYPTING: Final = Usage.ENCRYPT | Usage.DECRYPT
_SHA256, _SHA1, _SHA512 = Hash.SHA_256, Hash.SHA_1, Hash.SHA_512

SIGNATURES: Final = (
    AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, _SHA256),
    AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, _SHA512),
    AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, ANY_HASH),
    AsymmetricSignature(SignatureScheme.RSA_PKCS1V15_RAW),
    AsymmetricSignature(SignatureScheme.RSA_PSS, _SHA256),
    AsymmetricSignature(SignatureScheme.ECDSA, _SHA256),
    AsymmetricSignature(SignatureScheme.ECDSA, ANY_HASH),
    AsymmetricSignature(SignatureScheme.ECDSA_ANY),
    AsymmetricSignature(SignatureScheme.DETERMINISTIC_ECDSA, _SHA256),
)
ENCRYPTIONS: Final = (
    AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15),
    AsymmetricEncryption(EncryptionScheme.RSA_OAEP, _SHA256),
    AsymmetricEncryption(EncryptionScheme.RSA_OAEP, _SHA1),
)
AEADS: Final = (Aead(AeadScheme.GCM), Aead(AeadScheme.CCM), Aead(AeadScheme.CCM, 8), Aead(AeadScheme.CHACHA20_POLY1305))
CIPHERS: Final = (Cipher(CipherMode.CTR), Cipher(CipherMode.CBC_PKCS7), Cipher(CipherMode.ECB_NO_PADDING))
MACS: Final = (Mac(MacScheme.HMAC, _SHA256), Mac(MacScheme.CMAC))
ECDH: Final = KeyAgreement(RawAgreement.ECDH)

RSA_PAIR, RSA_PUBLIC = KeyType(KeyKind.RSA_KEY_PAIR), KeyType(KeyKind.RSA_PUBLIC_KEY)
AES: Final = KeyType(KeyKind.AES)


def pair(family: EccFamily) -> KeyType:
    """Return the type of key pairs on a family of curves."""
    return KeyType(KeyKind.ECC_KEY_PAIR, family)


def public(family: EccFamily) -> KeyType:
    """Return the type of public keys on a family of curves."""
    return KeyType(KeyKind.ECC_PUBLIC_KEY, family)


class Material:
    """Key material that both services get: made once, so that deterministic answers have to be equal."""

    def __init__(self) -> None:
        self.rsa = {bits: rsa.generate_private_key(65537, bits) for bits in (1024, 2048)}
        self.curve = ec.generate_private_key(ec.SECP256R1())
        self.peer = _point(ec.generate_private_key(ec.SECP256R1()))

    def private(self, kind: KeyType, bits: int) -> bytes:
        """Return a private key as clients import it."""
        if kind.kind == KeyKind.RSA_KEY_PAIR:
            der = serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL
            return self.rsa[bits].private_bytes(*der, serialization.NoEncryption())
        return self.curve.private_numbers().private_value.to_bytes(32, "big")

    def public(self, kind: KeyType, bits: int) -> bytes:
        """Return a public key as clients import it."""
        if kind.kind == KeyKind.RSA_PUBLIC_KEY:
            key = self.rsa[bits].public_key()
            return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
        return _point(self.curve)


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(*form)


class Probe:
    """One provider of one service, and the outcomes of what it was asked."""

    def __init__(self, session: Session, material: Material) -> None:
        self.session, self.material = session, material
        self.outcomes: dict[str, str] = {}

    def ask(self, label: str, operation: Operation, *, exact: bool = False) -> bytes | None:
        """Send a request and keep its outcome: the status, or the lengths or (if exact) a digest of what came back.

        Returns:
            The first value of the answer, or None if there is none.
        """
        try:
            result = self.session.run(operation)
        except ServiceStatusError as error:
            self.keep(label, operation, str(int(error.status)))
            return None
        values = [each for each in result if isinstance(each, bytes)]
        # The DER of an RSA pair is sometimes a byte longer, sometimes shorter.
        shown = [] if operation.opcode == Opcode.PSA_EXPORT_KEY else [_shown(each, exact=exact) for each in values]
        self.keep(label, operation, " ".join(["0", *shown]))
        return values[0] if values else None

    def keep(self, label: str, operation: Operation, outcome: str) -> None:
        """Keep an outcome under the name of the operation and a label that is not in use yet."""
        key = f"{operation.opcode.name} {label}"
        number = 2
        while key in self.outcomes:
            key, number = f"{operation.opcode.name} {label} ({number})", number + 1
        self.outcomes[key] = outcome

    def attributes(self, label: str) -> None:
        """Keep what the list of keys says of the key."""
        for key in self.session.run(op.ListKeys()):
            if getattr(key, "name", None) == NAME:
                self.keep(label, op.ListKeys(), str(getattr(key, "attributes", None)))


def _shown(value: bytes, *, exact: bool) -> str:
    return hashlib.sha256(value).hexdigest()[:8] if exact else str(len(value))


class Case(NamedTuple):
    """A key that somebody could want."""

    label: str
    attributes: KeyAttributes


def _case(kind: KeyType, bits: int, usage: Usage, algorithm: Algorithm) -> Case:
    family = f" {kind.family.name}" if kind.family is not None else ""
    return Case(f"{kind.kind.name}{family} {bits} {short(algorithm)}", KeyAttributes(kind, bits, usage, algorithm))


def short(algorithm: Algorithm) -> str:
    """Return an algorithm in a few words."""
    parts = re.findall(r"(?:<\w+\.(\w+): |_length=(\d+)|length=(\d+))", str(algorithm))
    return "-".join("".join(each) for each in parts) or type(algorithm).__name__


def cases() -> Iterator[Case]:
    """Yield keys of every type, size and algorithm in which providers differ."""
    for algorithm in (*SIGNATURES, *ENCRYPTIONS, ECDH, NoAlgorithm()):
        yield _case(RSA_PAIR, 1024, ALL, algorithm)
    for bits in (0, 512, 1023, 1280, 2048, 2049, 8192):
        yield _case(RSA_PAIR, bits, _SIGNING, SIGNATURES[0])
    for algorithm in (*SIGNATURES, *ENCRYPTIONS, ECDH, NoAlgorithm()):
        yield _case(pair(EccFamily.SECP_R1), 256, ALL, algorithm)
    for bits in (0, 160, 192, 224, 255, 384, 521):
        yield _case(pair(EccFamily.SECP_R1), bits, _SIGNING, SIGNATURES[5])
    for family, bits in (
        (EccFamily.SECP_K1, 256),
        (EccFamily.BRAINPOOL_P_R1, 256),
        (EccFamily.MONTGOMERY, 255),
        (EccFamily.SECT_R1, 233),
        (EccFamily.FRP, 256),
    ):
        yield _case(pair(family), bits, _SIGNING, SIGNATURES[5])
        yield _case(pair(family), bits, Usage.DERIVE, ECDH)
    yield _case(RSA_PUBLIC, 1024, _SIGNING, SIGNATURES[0])
    yield _case(public(EccFamily.SECP_R1), 256, _SIGNING, SIGNATURES[5])
    yield from _symmetric_cases()


def _symmetric_cases() -> Iterator[Case]:
    for algorithm in (*AEADS, *CIPHERS, *MACS, NoAlgorithm()):
        yield _case(AES, 128, ALL, algorithm)
    for bits in (0, 127, 192, 256):
        yield _case(AES, bits, _CRYPTING, AEADS[0])
    for kind in (KeyKind.HMAC, KeyKind.RAW_DATA, KeyKind.DERIVE, KeyKind.DES, KeyKind.CHACHA20, KeyKind.CAMELLIA):
        for algorithm in (MACS[0], NoAlgorithm()):
            yield _case(KeyType(kind), 256 if kind != KeyKind.DES else 64, ALL, algorithm)


def generated(probe: Probe) -> None:
    """Ask about, generate and use a key of every case."""
    for label, attributes in cases():
        capabilities(probe, label, attributes)
        made = _made(probe, label, op.GenerateKey(NAME, attributes))
        if made:
            probe.attributes(label)
            use(probe, label)
            probe.ask(label, op.DestroyKey(NAME))


def _made(probe: Probe, label: str, operation: op.GenerateKey | op.ImportKey) -> bool:
    before = len(probe.outcomes)
    probe.ask(label, operation)
    return list(probe.outcomes.values())[before:] == ["0"]


def capabilities(probe: Probe, label: str, attributes: KeyAttributes) -> None:
    """Ask whether such a key can be used, generated and imported."""
    for check in CheckType:
        probe.ask(f"{check.name} {label}", op.CanDoCrypto(check, attributes))


def use(probe: Probe, label: str) -> None:
    """Do with the key all that can be done with any."""
    probe.ask(label, op.ExportPublicKey(NAME))
    probe.ask(label, op.ExportKey(NAME))
    for step in (_sign, _encrypt, _symmetric):
        step(probe, label)
    probe.ask(label, op.RawKeyAgreement(NAME, ECDH, probe.material.peer))
    probe.ask(f"bad point {label}", op.RawKeyAgreement(NAME, ECDH, bytes(65)))
    probe.ask(label, op.PrepareKeyAttestation(NAME, ""))
    probe.ask(label, op.AttestKey(NAME, "", b"blob", b"secret"))


def _sign(probe: Probe, label: str) -> None:
    for algorithm in SIGNATURES:
        what = f"{short(algorithm)} with {label}"
        hashed = algorithm.scheme in HASHED_SIGNATURES
        signature = probe.ask(what, op.SignHash(NAME, algorithm, DIGEST))
        for size in (0, 31, 33, 64, 300):
            probe.ask(f"digest of {size} {what}", op.SignHash(NAME, algorithm, bytes(size)))
        probe.ask(f"garbage {what}", op.VerifyHash(NAME, algorithm, DIGEST, b"\xff" * 128))
        probe.ask(f"empty {what}", op.VerifyHash(NAME, algorithm, DIGEST, b""))
        if signature is not None:
            flipped = signature[:4] + bytes([signature[4] ^ 1]) + signature[5:]
            probe.ask(what, op.VerifyHash(NAME, algorithm, DIGEST, signature))
            probe.ask(f"flipped {what}", op.VerifyHash(NAME, algorithm, DIGEST, flipped))
            probe.ask(f"short {what}", op.VerifyHash(NAME, algorithm, DIGEST, signature[:-1]))
            for size in (31, 33, 255, 257):
                probe.ask(f"digest of {size} {what}", op.VerifyHash(NAME, algorithm, bytes(size), signature))
        if hashed:
            message = probe.ask(what, op.SignMessage(NAME, algorithm, b"message"))
            probe.ask(what, op.VerifyMessage(NAME, algorithm, b"message", message or b"\xff" * 64))


def _encrypt(probe: Probe, label: str) -> None:
    for algorithm in ENCRYPTIONS:
        what = f"{short(algorithm)} with {label}"
        sealed = probe.ask(what, op.AsymmetricEncrypt(NAME, algorithm, b"text", b""))
        probe.ask(f"label {what}", op.AsymmetricEncrypt(NAME, algorithm, b"text", b"label"))
        probe.ask(f"empty {what}", op.AsymmetricEncrypt(NAME, algorithm, b"", b""))
        probe.ask(f"long {what}", op.AsymmetricEncrypt(NAME, algorithm, bytes(300), b""))
        probe.ask(f"zeros {what}", op.AsymmetricDecrypt(NAME, algorithm, bytes(128), b""))
        probe.ask(f"short {what}", op.AsymmetricDecrypt(NAME, algorithm, b"\x01", b""))
        if sealed is not None:
            probe.ask(what, op.AsymmetricDecrypt(NAME, algorithm, sealed, b""), exact=True)
            probe.ask(f"label {what}", op.AsymmetricDecrypt(NAME, algorithm, sealed, b"label"))


def _symmetric(probe: Probe, label: str) -> None:
    for aead in AEADS:
        what = f"{short(aead)} with {label}"
        sealed = probe.ask(what, op.AeadEncrypt(NAME, aead, bytes(12), b"more", b"text"))
        probe.ask(f"nonce of 0 {what}", op.AeadEncrypt(NAME, aead, b"", b"", b"text"))
        probe.ask(f"nonce of 20 {what}", op.AeadEncrypt(NAME, aead, bytes(20), b"", b"text"))
        probe.ask(f"garbage {what}", op.AeadDecrypt(NAME, aead, bytes(12), b"", bytes(20)))
        probe.ask(f"short {what}", op.AeadDecrypt(NAME, aead, bytes(12), b"", b"x"))
        if sealed is not None:
            probe.ask(what, op.AeadDecrypt(NAME, aead, bytes(12), b"more", sealed), exact=True)
    for cipher in CIPHERS:
        probe.ask(f"{short(cipher)} with {label}", op.CipherEncrypt(NAME, cipher, bytes(16)))
        probe.ask(f"{short(cipher)} with {label}", op.CipherDecrypt(NAME, cipher, bytes(32)))
    for mac in MACS:
        probe.ask(f"{short(mac)} with {label}", op.MacCompute(NAME, mac, b"message"))
        probe.ask(f"{short(mac)} with {label}", op.MacVerify(NAME, mac, b"message", bytes(32)))


def imported(probe: Probe) -> None:
    """Import keys with right and wrong data and sizes, and use them."""
    everything = probe.material
    for kind, bits, algorithm in (
        (RSA_PAIR, 1024, SIGNATURES[0]),
        (RSA_PAIR, 2048, ENCRYPTIONS[0]),
        (RSA_PUBLIC, 1024, SIGNATURES[0]),
        (RSA_PUBLIC, 2048, ENCRYPTIONS[1]),
        (RSA_PUBLIC, 1024, NoAlgorithm()),
        (pair(EccFamily.SECP_R1), 256, SIGNATURES[5]),
        (pair(EccFamily.SECP_R1), 256, ECDH),
        (public(EccFamily.SECP_R1), 256, SIGNATURES[5]),
        (AES, 128, AEADS[0]),
        (AES, 128, AEADS[1]),
        (KeyType(KeyKind.HMAC), 256, MACS[0]),
    ):
        label = _case(kind, bits, ALL, algorithm).label
        data = bytes(range(bits // 8))
        if kind.kind in {KeyKind.RSA_PUBLIC_KEY, KeyKind.ECC_PUBLIC_KEY}:
            data = everything.public(kind, bits)
        elif kind.kind in {KeyKind.RSA_KEY_PAIR, KeyKind.ECC_KEY_PAIR}:
            data = everything.private(kind, bits)
        for declared in (bits, 0, bits - 1, bits + 8, bits * 2):
            _import(probe, f"as {declared} {label}", KeyAttributes(kind, declared, ALL, algorithm), data)
        for name, wrong in (("nothing", b""), ("a byte", b"0"), ("more", data + b"\0"), ("less", data[:-1])):
            _import(probe, f"{name} {label}", KeyAttributes(kind, bits, ALL, algorithm), wrong)


def _import(probe: Probe, label: str, attributes: KeyAttributes, data: bytes) -> None:
    if _made(probe, label, op.ImportKey(NAME, attributes, data)):
        probe.attributes(label)
        use(probe, label)
        probe.ask(label, op.DestroyKey(NAME))


def permitted(probe: Probe) -> None:
    """Use keys that lack one usage flag each, and keys that have none."""
    for kind, bits, algorithm in (
        (RSA_PAIR, 1024, SIGNATURES[0]),
        (RSA_PAIR, 1024, ENCRYPTIONS[0]),
        (pair(EccFamily.SECP_R1), 256, SIGNATURES[5]),
        (RSA_PUBLIC, 1024, SIGNATURES[0]),
        (RSA_PUBLIC, 1024, NoAlgorithm()),
        (public(EccFamily.SECP_R1), 256, SIGNATURES[5]),
        (public(EccFamily.SECP_R1), 256, NoAlgorithm()),
        (pair(EccFamily.SECP_R1), 256, NoAlgorithm()),
        (AES, 128, AEADS[0]),
    ):
        for flags in (Usage.NONE, *Usage, *(ALL & ~flag for flag in Usage)):
            attributes = KeyAttributes(kind, bits, flags, algorithm)
            label = f"for {_flags(flags)} {_case(kind, bits, flags, algorithm).label}"
            capabilities(probe, label, attributes)
            if _made(probe, label, op.GenerateKey(NAME, attributes)):
                probe.attributes(label)
                use(probe, label)
                probe.ask(label, op.DestroyKey(NAME))


def _flags(flags: Usage) -> str:
    left_out = [each.name or "" for each in ALL & ~flags]
    return f"all but {left_out[0]}" if len(left_out) == 1 else flags.name or "nothing"


def capable(probe: Probe) -> None:
    """Ask for keys with every curve and hash, and use a key for an attestation that cannot succeed."""
    sizes = (160, 192, 224, 233, 255, 256, 320, 384, 409, 448, 512, 521, 560, 571)
    for family, bits in product(EccFamily, sizes):
        for usage, algorithm in ((_SIGNING, SIGNATURES[5]), (Usage.DERIVE, ECDH)):
            case = _case(pair(family), bits, usage, algorithm)
            capabilities(probe, *case)
    for hashed in Hash:
        for scheme, kind, bits in (
            (SignatureScheme.RSA_PKCS1V15, RSA_PAIR, 1024),
            (SignatureScheme.RSA_PSS, RSA_PAIR, 2048),
            (SignatureScheme.ECDSA, pair(EccFamily.SECP_R1), 256),
        ):
            capabilities(probe, *_case(kind, bits, Usage.SIGN_HASH, AsymmetricSignature(scheme, hashed)))
        oaep = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, hashed)
        capabilities(probe, *_case(RSA_PAIR, 2048, Usage.ENCRYPT, oaep))
    label, attributes = _case(RSA_PAIR, 1024, _SIGNING, SIGNATURES[0])
    if _made(probe, label, op.GenerateKey(NAME, attributes)):
        for size in (16, 52, 256):
            probe.ask(f"{size} {label}", op.AttestKey(NAME, "", bytes([0xDE]) * 52, bytes([0xAD]) * size))
        probe.ask(f"other {label}", op.PrepareKeyAttestation(NAME, "other"))
        probe.ask(f"other {label}", op.AttestKey(NAME, "other", bytes(16), bytes(16)))
        probe.ask(label, op.DestroyKey(NAME))


def named(probe: Probe) -> None:
    """Use names of all kinds, names that exist already and names that do not exist."""
    use(probe, "no key")
    probe.ask("no key, other", op.PrepareKeyAttestation(NAME, "other"))
    probe.ask("no key, other", op.AttestKey(NAME, "other", bytes(16), bytes(16)))
    probe.ask("no key", op.DestroyKey(NAME))
    attributes = KeyAttributes(pair(EccFamily.SECP_R1), 256, _SIGNING, SIGNATURES[5])
    names = {"empty": "", "NUL": "a\0b", "path": "../../x", "newline": "a\nb", "umlaut": "ü\U0001f511", "dot": "."}
    for label, name in {**names, "4096": "n" * 4096, "4097": "n" * 4097}.items():
        probe.ask(f"name {label}", op.GenerateKey(name, attributes))
        probe.ask(f"name {label} twice", op.GenerateKey(name, attributes))
        probe.ask(f"name {label} twice", op.ImportKey(name, attributes, b""))
        probe.ask(f"name {label}", op.SignHash(name, SIGNATURES[5], DIGEST))
        probe.ask(f"name {label}", op.DestroyKey(name))
        probe.ask(f"name {label} twice", op.DestroyKey(name))


def keyless(probe: Probe) -> None:
    """Ask for what needs no key: digests and random bytes."""
    for each in Hash:
        digest = probe.ask(each.name, op.HashCompute(each, b"message"), exact=True)
        probe.ask(each.name, op.HashCompare(each, b"message", digest or bytes(32)))
        probe.ask(f"other {each.name}", op.HashCompare(each, b"message", bytes(len(digest or bytes(32)))))
        probe.ask(f"short {each.name}", op.HashCompare(each, b"message", b"x"))
    for size in (0, 1, 1024, 65536, 1048576, 1048577):
        probe.ask(str(size), op.GenerateRandom(size))
    for size in (1000, 1048000, 1048560, 1048570, 1048571, 1048572, 1048576, 1048577, 2000000):
        probe.ask(f"{size} bytes", op.HashCompute(Hash.SHA_256, bytes(size)), exact=True)


def listed(probe: Probe) -> None:
    """Ask what there is."""
    for provider in range(8):
        try:
            known = probe.session.run(op.ListOpcodes(provider))
        except ServiceStatusError as error:
            probe.keep(str(provider), op.ListOpcodes(provider), str(int(error.status)))
        else:
            probe.keep(str(provider), op.ListOpcodes(provider), str(sorted(int(str(each)) for each in known)))
    for entry in probe.session.providers():
        probe.keep(f"{entry.id}", op.ListProviders(), f"{entry.uuid} {entry.id}")
    probe.keep("", op.ListAuthenticators(), str([each.id for each in probe.session.authenticators()]))
    for operation in (op.ListClients(), op.DeleteClient("nobody")):
        probe.ask("without being an administrator", operation)


SCENARIOS: Final[tuple[Callable[[Probe], None], ...]] = (
    listed,
    keyless,
    named,
    capable,
    imported,
    permitted,
    generated,
)
