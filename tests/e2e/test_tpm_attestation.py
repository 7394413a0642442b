"""Attestation of keys end to end, with tpm2-tools as the verifier, which has no TPM of its own."""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from tests.harness.answers import der_of, refused, rsa_public
from tests.harness.tpm.service import TpmService
from tests.harness.tpm.swtpm import SwtpmError, tool

from cofferdam_client import (
    Client,
    Curve,
    Hash,
    Status,
    ecc_signing_key,
    ecdsa,
    public_key_of,
    rsa_encryption_key,
    rsa_pkcs1v15,
    rsa_signing_key,
)

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
RSA = rsa_signing_key(2048, Hash.SHA_256)
KEYS = {"ecc": KEY, "rsa": RSA, "decrypting": rsa_encryption_key(2048, oaep=Hash.SHA_256)}
NAME_ALGORITHM = bytes.fromhex("000b")
MAGIC = bytes.fromhex("badcc0de00000001")
"""Of the file that tpm2_makecredential writes, with its version."""
WITHOUT_A_TPM = "none"
ATTRIBUTES = {"fixedtpm", "fixedparent", "sensitivedataorigin", "userwithauth", "sign"}
PASSWORD = "harbour master"


MESSAGE = b"message"
DIGEST = hashlib.sha256(MESSAGE).digest()
PEM = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
Change = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Credential:
    """What a verifier sends."""

    clear: bytes
    blob: bytes
    secret: bytes


class Verifier:
    """Somebody who has what PsaPrepareKeyAttestation returned, and tpm2-tools."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def challenge(self, name: bytes, endorsement_key: bytes) -> Credential:
        """Make a credential that only the TPM with this endorsement key and the key of this Name can open."""
        clear = secrets.token_bytes(32)
        (self._folder / "clear").write_bytes(clear)
        (self._folder / "ek.pem").write_bytes(_pem(endorsement_key))
        words = ["-T", "none", "-Q", "-G", "rsa", "-u", "ek.pem", "-n", name.hex(), "-s", "clear", "-o", "made"]
        tool(WITHOUT_A_TPM, "tpm2_makecredential", *words, folder=self._folder)
        magic, made = (whole := (self._folder / "made").read_bytes())[: len(MAGIC)], whole[len(MAGIC) :]
        assert magic == MAGIC
        blob, rest = _sized(made)
        secret, rest = _sized(rest)
        assert rest == b""
        return Credential(clear, blob, secret)

    def attributes(self, public: bytes) -> set[str]:
        """Return what a public area says of its key."""
        (self._folder / "public").write_bytes(public)
        printed = tool(WITHOUT_A_TPM, "tpm2_print", "-t", "TPMT_PUBLIC", "public", folder=self._folder)
        (line,) = [line for line in printed.partition("attributes:")[2].splitlines() if "value:" in line][:1]
        return set(line.partition(":")[2].strip().split("|"))


class Guest:
    """Another program at the service's TPM, whose objects nobody else takes out."""

    def __init__(self, service: TpmService, folder: Path) -> None:
        self._service = service
        self._folder = folder
        self._others: set[str] = set()

    def __enter__(self) -> Self:
        self._others, _ = in_the_tpm(self._service)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def run(self, *words: str) -> None:
        """Run one of tpm2-tools, and take out what it loaded."""
        try:
            tool(self._service.shim.tools_tcti, *words, folder=self._folder)
        finally:
            self._leave()

    def _leave(self) -> None:
        for handle in in_the_tpm(self._service)[0] - self._others:
            tool(self._service.shim.tools_tcti, "tpm2_flushcontext", handle)


def _pem(endorsement_key: bytes) -> bytes:
    return rsa_public(endorsement_key).public_bytes(*PEM)


def as_it_is(value: bytes) -> bytes:
    return value


def _sized(data: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(data[:2])
    assert end <= len(data)
    return data[2:end], data[end:]


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    return Verifier(tmp_path)


@pytest.fixture(scope="module")
def service() -> Iterator[TpmService]:
    with TpmService(shim=True) as running:
        with running.client() as client:
            for name, attributes in KEYS.items():
                client.generate_key(name, attributes)
        yield running


@pytest.fixture
def client(service: TpmService) -> Iterator[Client]:
    with service.client() as connected:
        yield connected


def in_the_tpm(service: TpmService) -> tuple[set[str], set[str]]:
    """Return the handles of the TPM's transient objects and of its sessions."""
    kinds = ("handles-transient", "handles-loaded-session")
    objects, sessions = (set(service.swtpm.getcap(kind).split()) - {"-"} for kind in kinds)
    return objects, sessions


def challenge(client: Client, verifier: Verifier, name: str) -> Credential:
    tpm_name, _, endorsement_key = client.prepare_key_attestation(name)
    return verifier.challenge(tpm_name, endorsement_key)


@pytest.mark.parametrize("name", KEYS)
def test_a_key_shows_that_it_is_in_the_tpm(client: Client, verifier: Verifier, name: str) -> None:
    made = challenge(client, verifier, name)
    for _ in range(2):
        assert client.attest_key(name, made.blob, made.secret) == made.clear


@pytest.mark.parametrize("name", KEYS)
def test_what_is_attested_is_the_key(client: Client, verifier: Verifier, name: str) -> None:
    tpm_name, public, _ = client.prepare_key_attestation(name)
    assert tpm_name == NAME_ALGORITHM + hashlib.sha256(public).digest()
    exported = client.export_public_key(name)
    if name == "ecc":
        assert public.endswith(b"\0\x20" + exported[1:33] + b"\0\x20" + exported[33:])
    else:
        modulus = rsa_public(exported).public_numbers().n.to_bytes(256)
        assert public.endswith(b"\x01\0" + modulus)
    assert verifier.attributes(public) == ATTRIBUTES | ({"decrypt"} if name == "decrypting" else set())


def test_the_endorsement_key_is_that_of_the_tpm(tmp_path: Path) -> None:
    service = TpmService()
    words = ["tpm2_createek", "-Q", "-c", "ek.ctx", "-u", "ek.pem", "-f", "pem"]
    tool(service.swtpm.tools_tcti, *words, folder=tmp_path)
    # The worker flushes what the tool leaves in the TPM.
    with service, service.client() as client:
        client.generate_key("ecc", KEY)
        _, _, endorsement_key = client.prepare_key_attestation("ecc")
        assert (tmp_path / "ek.pem").read_bytes() == _pem(endorsement_key)


def test_a_credential_for_another_key_is_not_opened(client: Client, verifier: Verifier) -> None:
    made = challenge(client, verifier, "rsa")
    with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
        client.attest_key("ecc", made.blob, made.secret)
    assert client.attest_key("rsa", made.blob, made.secret) == made.clear


def test_a_credential_for_another_tpm_is_not_opened(client: Client, verifier: Verifier) -> None:
    name, _, _ = client.prepare_key_attestation("ecc")
    another = rsa.generate_private_key(65537, 2048).public_key()
    made = verifier.challenge(name, another.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1))
    # The number is larger than the modulus, or its decryption has no padding.
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_COMMUNICATION_FAILURE):
        client.attest_key("ecc", made.blob, made.secret)


INVALID, FAILED = Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_COMMUNICATION_FAILURE
CHANGES: dict[str, tuple[Change, Change, Status]] = {
    "a changed credential": (lambda blob: blob[:-1] + bytes((blob[-1] ^ 1,)), as_it_is, FAILED),
    "a changed hmac": (lambda blob: blob[:2] + bytes((blob[2] ^ 1,)) + blob[3:], as_it_is, FAILED),
    "a short credential": (lambda blob: blob[:-1], as_it_is, FAILED),
    "only the hmac": (lambda blob: blob[:34], as_it_is, FAILED),
    "a part of the hmac": (lambda blob: blob[:10], as_it_is, FAILED),
    "no credential": (lambda _: b"", as_it_is, FAILED),
    "a long credential": (lambda blob: blob + b"\0", as_it_is, FAILED),
    "a credential beyond all bounds": (lambda _: bytes(3000), as_it_is, INVALID),
    # libtpms returns TPM_RC_FAILURE for wrong padding.
    "a changed secret": (as_it_is, lambda secret: secret[:-1] + bytes((secret[-1] ^ 1,)), FAILED),
    "a short secret": (as_it_is, lambda secret: secret[:-1], INVALID),
    "no secret": (as_it_is, lambda _: b"", INVALID),
    "a long secret": (as_it_is, lambda secret: secret + b"\0", INVALID),
    "a secret beyond all bounds": (as_it_is, lambda _: bytes(3000), INVALID),
}
"""What is done to the credential, to the secret, and the status for it."""


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_credential_is_not_opened(service: TpmService, client: Client, verifier: Verifier, what: str) -> None:
    of_blob, of_secret, status = CHANGES[what]
    made = challenge(client, verifier, "ecc")
    with refused(status):
        client.attest_key("ecc", of_blob(made.blob), of_secret(made.secret))
    assert "failure mode" not in service.service.log()
    assert client.attest_key("ecc", made.blob, made.secret) == made.clear


def test_only_the_default_key_attests(client: Client, verifier: Verifier) -> None:
    made = challenge(client, verifier, "ecc")
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        client.prepare_key_attestation("ecc", "rsa")
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        client.attest_key("ecc", made.blob, made.secret, "rsa")


def test_only_key_pairs_are_attested(client: Client, verifier: Verifier) -> None:
    made = challenge(client, verifier, "ecc")
    client.import_key("public", public_key_of(KEY), client.export_public_key("ecc"))
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.prepare_key_attestation("public")
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.attest_key("public", made.blob, made.secret)
    client.destroy_key("public")


def test_each_attestation_has_its_commands_and_leaves_nothing(
    service: TpmService, client: Client, verifier: Verifier
) -> None:
    made = challenge(client, verifier, "ecc")
    client.attest_key("ecc", made.blob, made.secret)
    before, mark = in_the_tpm(service), service.shim.mark()
    for _ in range(4):
        client.prepare_key_attestation("ecc")
        assert client.attest_key("ecc", made.blob, made.secret) == made.clear
    assert service.shim.commands(since=mark) == ["StartAuthSession", "PolicySecret", "ActivateCredential"] * 4
    mark = service.shim.mark()
    for _ in range(4):
        with refused(FAILED):
            client.attest_key("ecc", made.blob[:-1], made.secret)
    refusal = ["StartAuthSession", "PolicySecret", "ActivateCredential", "FlushContext"]
    assert service.shim.commands(since=mark) == refusal * 4
    assert in_the_tpm(service) == before
    assert len(before[1]) == 1


def test_no_credential_is_on_the_wire(service: TpmService, client: Client, verifier: Verifier) -> None:
    made = challenge(client, verifier, "ecc")
    mark = service.shim.mark()
    assert client.attest_key("ecc", made.blob, made.secret) == made.clear
    wire = service.shim.wire(since=mark)
    assert made.secret in wire
    assert made.clear not in wire


@pytest.mark.parametrize("configured", [PASSWORD, "wrong", None])
def test_the_endorsement_hierarchy_has_a_password(verifier: Verifier, configured: str | None) -> None:
    service = TpmService(shim=True, values={} if configured is None else {"endorsement_hierarchy_auth": configured})
    tool(service.swtpm.tools_tcti, "tpm2_changeauth", "-c", "e", PASSWORD)
    with service, service.client() as client:
        client.generate_key("ecc", KEY)
        if configured == PASSWORD:
            made = challenge(client, verifier, "ecc")
            assert client.attest_key("ecc", made.blob, made.secret) == made.clear
        else:
            for _ in range(5):
                with refused(Status.PSA_ERROR_GENERIC_ERROR):
                    client.prepare_key_attestation("ecc")
                with refused(Status.PSA_ERROR_GENERIC_ERROR):
                    client.attest_key("ecc", bytes(66), bytes(256))
        # It says nothing about the key, which nobody has used yet, and does not bring the TPM nearer to its lockout.
        client.sign_hash("ecc", DIGEST, ecdsa())
        assert service.swtpm.lockout_counter() == 0
        assert len(in_the_tpm(service)[1]) == 1


@pytest.mark.parametrize(("name", "form"), [("ecc", "ecdsa"), ("rsa", "rsassa")])
def test_another_program_verifies_signatures_with_the_tpm(tmp_path: Path, name: str, form: str) -> None:
    # A service of its own, as the other one has filled all slots of its TPM.
    with TpmService(shim=True) as service, service.client() as client:
        client.generate_key(name, KEYS[name])
        verify_as_another_program(service, client, tmp_path, name, form)


def verify_as_another_program(service: TpmService, client: Client, tmp_path: Path, name: str, form: str) -> None:
    exported = client.export_public_key(name)
    if name == "ecc":
        signature = der_of(client.sign_hash(name, DIGEST, ecdsa()))
        public = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), exported).public_bytes(*PEM)
    else:
        signature = client.sign_hash(name, DIGEST, rsa_pkcs1v15())
        public = _pem(exported)
    for file, content in (("public.pem", public), ("message", MESSAGE), ("signature", signature)):
        (tmp_path / file).write_bytes(content)
    verify = ["tpm2_verifysignature", "-c", "key.ctx", "-g", "sha256", "-m", "message", "-s", "signature", "-f", form]
    with Guest(service, tmp_path) as guest:
        guest.run("tpm2_loadexternal", "-Q", "-C", "o", "-G", name, "-u", "public.pem", "-c", "key.ctx")
        guest.run(*verify)
        (tmp_path / "message").write_bytes(b"another")
        with pytest.raises(SwtpmError):
            guest.run(*verify)
    client.sign_hash(name, DIGEST, ecdsa() if name == "ecc" else rsa_pkcs1v15())
