"""The command line: its requests to the service, its output and its errors."""

import base64
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from tests.cli.test_status import ROW, document
from tests.client.simulator import Simulator, hang_up_read, raise_status, respond, service
from tests.client.vault import ECC, RSA, Vault
from tests.contracts.golden import vector

from cofferdam_cli.cli import main, parser
from cofferdam_cli.commands import COMMANDS
from cofferdam_cli.status import parse, table
from cofferdam_client import (
    ANY_HASH,
    AsymmetricSignature,
    Hash,
    SignatureScheme,
    ecc_signing_key,
    ecdsa,
    public_key_of,
    rsa_encryption_key,
    rsa_signing_key,
)
from cofferdam_client.attributes import Curve
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.bodies import KeyInfo, Result


@dataclass(frozen=True, slots=True)
class Run:
    """What a command did."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()


Cli = Callable[..., Run]


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Cli:
    def call(*arguments: str, stdin: bytes = b"") -> Run:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main(arguments)
        captured = capfdbinary.readouterr()
        return Run(status, captured.out, captured.err.decode())

    return call


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    vault = Vault()
    with service(tmp_path / "s", vault.answers()) as simulator:
        monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", simulator.endpoint)
        yield vault


# Listings.

LISTINGS = {
    "ping": ("1.0\n", "Service wire protocol version\n"),
    "generate-random -n 4": ("00 01 02 03\n", "Random bytes:\n"),
    "generate-random -n 0": ("\n", "Random bytes:\n"),
    "list-opcodes": (
        "* 0x01 (Ping)\n* 0x08 (ListProviders)\n* 0x09 (ListOpcodes)\n",
        "Available opcodes for Core provider:\n",
    ),
    "list-opcodes -p 1": (
        "* 0x02 (PsaGenerateKey)\n* 0x20 (CanDoCrypto)\n* 0x63 (unknown)\n",
        "Available opcodes for Mbed Crypto provider:\n",
    ),
    "list-authenticators": (
        "ID: 0x01 (Direct authentication)\nDescription: names\nVersion: 0.1.0\n",
        "Available authenticators:\n",
    ),
    "list-providers": (
        (
            "ID: 0x01 (Mbed Crypto provider)\nDescription: software\\x07\nVersion: 0.1.0\nVendor: Arm\nUUID: 1c1139dc\n"
            "\n"
            "ID: 0x00 (Core provider)\nDescription: core\nVersion: 1.4.1\nVendor: Unspecified\nUUID: 47049873\n"
        ),
        "Available providers:\n",
    ),
    "list-keys": (
        (
            "* rsa (Mbed Crypto provider, RSA_KEY_PAIR, 2048 bits, "
            "permitted algorithm: RSA_PKCS1V15 signature with SHA_256)\n"
            "* enc (Mbed Crypto provider, RSA_KEY_PAIR, 2048 bits, permitted algorithm: RSA_PKCS1V15 encryption)\n"
            "* oaep (Mbed Crypto provider, RSA_KEY_PAIR, 2048 bits, "
            "permitted algorithm: RSA_OAEP encryption with SHA_256)\n"
            "* ecc (Mbed Crypto provider, ECC_KEY_PAIR SECP_R1, 256 bits, "
            "permitted algorithm: ECDSA signature with SHA_256)\n"
        ),
        "Available keys:\n",
    ),
    "list-clients": ("1000\nevil\\x1b[2J\n", "Parsec clients:\n"),
}


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("line", LISTINGS)
def test_listings_look_like_those_of_parsec_tool(run: Cli, line: str) -> None:
    ran = run(*line.split())
    assert (ran.status, ran.text, ran.err) == (0, *LISTINGS[line])


def test_empty_listings_have_a_message(run: Cli, vault: Vault) -> None:
    vault.keys.clear()
    vault.clients.clear()
    assert run("list-keys") == Run(0, b"", "No keys currently available.\n")
    assert run("list-clients") == Run(0, b"", "No clients in the service.\n")


def test_a_client_is_deleted_by_its_name(run: Cli, vault: Vault) -> None:
    assert run("delete-client", "-c", "1000").status == 0
    assert vault.clients == ["evil\x1b[2J"]
    missing = 'There was nothing to delete: "1000" has no keys.\n'
    assert run("delete-client", "-c", "1000") == Run(0, b"", missing)


# Keys.

CREATED: dict[str, KeyAttributes] = {
    "create-rsa-key": rsa_encryption_key(),
    "create-rsa-key --oaep": rsa_encryption_key(oaep=Hash.SHA_256),
    "create-rsa-key --for-signing -b 3072": rsa_signing_key(3072),
    "create-rsa-key -r": rsa_signing_key(pss=True),
    "create-rsa-key -s -r -o": rsa_signing_key(),
    "create-ecc-key": ecc_signing_key(),
    "create-ecc-key --curve p-384": ecc_signing_key(Curve.P_384),
}


@pytest.mark.parametrize("line", CREATED)
def test_a_key_is_created_as_asked(run: Cli, vault: Vault, line: str) -> None:
    ran = run(*line.split(), "-k", "new")
    assert ran == Run(0, b"", 'Key "new" created.\n')
    assert vault.keys["new"] == CREATED[line]


def test_a_key_is_deleted(run: Cli, vault: Vault) -> None:
    assert run("delete-key", "-k", "rsa").status == 0
    assert "rsa" not in vault.keys


@pytest.mark.usefixtures("vault")
def test_a_public_key_is_written_as_pem(run: Cli) -> None:
    expected = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert run("export-public-key", "-k", "rsa") == Run(0, expected, "")
    assert run("export-public-key", "-k", "rsa", "--pkcs1").out.startswith(b"-----BEGIN RSA PUBLIC KEY-----")
    expected = ECC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert run("export-public-key", "-k", "ecc").out == expected


def test_the_curve_of_a_key_that_is_listed_without_a_size_is_known_from_its_point(run: Cli, vault: Vault) -> None:
    vault.keys["ecc"] = KeyAttributes(vault.keys["ecc"].type, 0, vault.keys["ecc"].usage, vault.keys["ecc"].algorithm)
    assert load_pem_public_key(run("export-public-key", "-k", "ecc").out) == ECC.public_key()
    signature = run("sign", "-k", "ecc", "text").text.strip()
    assert run("verify", "-k", "ecc", "--signature", signature, "text").status == 0


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_keys_are_imported_in_the_form_of_the_protocol(run: Cli, vault: Vault, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(_pem(RSA))
    assert run("import", "-k", "a", "-s", "--file", str(file)).status == 0
    assert vault.keys["a"] == rsa_signing_key()
    traditional = RSA.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert vault.imported["a"] == traditional
    assert run("import", "-k", "b", "--file", "-", stdin=_pem(ECC)).status == 0
    assert vault.keys["b"] == ecc_signing_key()
    assert vault.imported["b"] == ECC.private_numbers().private_value.to_bytes(32, "big")
    public = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert run("import", "-k", "c", "--file", "-", stdin=public).status == 0
    assert vault.keys["c"] == public_key_of(rsa_encryption_key())
    point = ECC.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    pem = ECC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert run("import", "-k", "d", "--file", "-", stdin=pem).status == 0
    assert vault.imported["d"] == point


# Use of keys.


@pytest.mark.usefixtures("vault")
def test_an_rsa_signature_is_base64(run: Cli) -> None:
    signature = base64.b64decode(run("sign", "-k", "rsa", "some text").out, validate=False)
    RSA.public_key().verify(signature, b"some text", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.usefixtures("vault")
def test_an_ecdsa_signature_is_der_in_base64(run: Cli) -> None:
    signature = base64.b64decode(run("sign", "-k", "ecc", "--file", "-", stdin=b"\0binary").out)
    ECC.public_key().verify(signature, b"\0binary", ec.ECDSA(hashes.SHA256()))


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("key", ["rsa", "ecc"])
def test_a_signature_is_verified(run: Cli, key: str) -> None:
    signature = run("sign", "-k", key, "text").text.strip()
    assert run("verify", "-k", key, "--signature", signature, "text") == Run(0, b"", "The signature is valid.\n")
    wrong = run("verify", "-k", key, "--signature", signature, "test")
    assert wrong.status == 1
    assert "PSA_ERROR_INVALID_SIGNATURE (1149)" in wrong.err


def test_a_key_for_any_hash_signs_with_sha_256(run: Cli, vault: Vault) -> None:
    any_hash = AsymmetricSignature(SignatureScheme.ECDSA, ANY_HASH)
    vault.keys["ecc"] = KeyAttributes(vault.keys["ecc"].type, 256, vault.keys["ecc"].usage, any_hash)
    signature = base64.b64decode(run("sign", "-k", "ecc", "text").out)
    ECC.public_key().verify(signature, b"text", ec.ECDSA(hashes.SHA256()))


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("key", ["enc", "oaep"])
def test_what_is_encrypted_is_decrypted(run: Cli, key: str) -> None:
    ciphertext = run("encrypt", "-k", key, "some text").text.strip()
    assert run("decrypt", "-k", key, ciphertext).out == b"some text\n"
    assert run("decrypt", "-k", key, "--file", "-", stdin=ciphertext.encode()).out == b"some text"


@pytest.mark.usefixtures("vault")
def test_the_text_is_taken_byte_for_byte(run: Cli) -> None:
    ciphertext = run("encrypt", "-k", "enc", os.fsdecode(b"\xff\xfe")).text.strip()
    assert run("decrypt", "-k", "enc", ciphertext).out == b"\xff\xfe\n"


# Failures: one line with the command, the error and the advice.

FAILURES = {
    "create-rsa-key -k new -b 2047": "a value in the request: RSA keys have 1024, 2048, 3072, 4096 bits, not 2047",
    "create-ecc-key -k=": "create-ecc-key '': a key name is not empty",
    "create-ecc-key -k rsa": "create-ecc-key 'rsa': PSA_ERROR_ALREADY_EXISTS (1139): the Mbed Crypto provider has a",
    "delete-key -k nix": "delete-key 'nix': PSA_ERROR_DOES_NOT_EXIST (1140): no key has that name; list-keys",
    "sign -k nix text": "sign 'nix': PSA_ERROR_DOES_NOT_EXIST (1140)",
    "sign -k enc text": "sign 'enc': the key is not a signing key",
    "encrypt -k ecc text": "encrypt 'ecc': the key is not an asymmetric encryption key",
    "decrypt -k enc ä": "decrypt 'enc': the ciphertext is not base64",
    "verify -k rsa --signature ! text": "the signature is not base64",
    "verify -k ecc --signature AAAA text": "the signature is not an ECDSA signature in DER for this key",
    "export-public-key -k ecc --pkcs1": "only RSA keys have a PKCS#1 form; leave out --pkcs1",
    "sign -k rsa --file /nonexistent/file": "cannot read /nonexistent/file: No such file or directory",
    "import -k a --file -": "the file contains no key in PEM or DER",
    "delete-key -k \x1b[2J": "delete-key '\\x1b[2J'",
    "delete-key -k \udcff": "names must be UTF-8",
    "-p 0 generate-random -n 1": "the core provider (0) has no crypto operations",
}


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("line", FAILURES, ids=ascii)
def test_a_failure_is_one_line_and_status_1(run: Cli, line: str) -> None:
    ran = run(*line.split(" "))
    assert (ran.status, ran.out) == (1, b"")
    assert ran.err.startswith("cofferdam: ")
    assert FAILURES[line] in ran.err
    assert ran.err.endswith("\n")
    assert ran.err.count("\n") == 1


LISTED = {Status.PSA_ERROR_ALREADY_EXISTS: 1, Status.PSA_ERROR_DOES_NOT_EXIST: 1, Status.PSA_ERROR_NOT_PERMITTED: 0}


@pytest.mark.parametrize("status", LISTED, ids=str)
@pytest.mark.parametrize("opcode", [Opcode.PSA_GENERATE_KEY, Opcode.PSA_DESTROY_KEY], ids=str)
def test_the_keys_are_listed_once_and_only_if_the_name_is_wrong(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opcode: Opcode, status: Status
) -> None:
    listed = list[Opcode]()

    def list_keys(_operation: object) -> Result:
        listed.append(Opcode.LIST_KEYS)
        return [KeyInfo(1, "rsa", rsa_signing_key())]

    answers = {**Vault().answers(), Opcode.LIST_KEYS: list_keys, opcode: raise_status(status)}
    with service(tmp_path / "s", answers) as simulator:
        monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", simulator.endpoint)
        command = {Opcode.PSA_GENERATE_KEY: "create-ecc-key", Opcode.PSA_DESTROY_KEY: "delete-key"}[opcode]
        assert f"({int(status)})" in run(command, "-k", "rsa").err
    # Only a new key is refused because of another one; for any other operation 1139 means something else.
    expected = 0 if (opcode, status) == (Opcode.PSA_DESTROY_KEY, Status.PSA_ERROR_ALREADY_EXISTS) else LISTED[status]
    assert len(listed) == expected


def test_a_hash_that_the_command_line_cannot_compute_is_named(run: Cli, vault: Vault) -> None:
    vault.keys["ecc"] = KeyAttributes(vault.keys["ecc"].type, 256, vault.keys["ecc"].usage, ecdsa(Hash.MD5))
    assert "supports only keys with one of the hashes SHA_224" in run("sign", "-k", "ecc", "text").err


def test_without_a_service_the_socket_is_named(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", f"unix:{tmp_path}/none")
    assert run("ping").err == f"cofferdam: ping: no service at {tmp_path}/none: No such file or directory\n"
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", "tcp:somewhere")
    assert "PARSEC_SERVICE_ENDPOINT is 'tcp:somewhere'" in run("ping").err


def test_the_message_says_that_an_operation_may_have_run(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Simulator(tmp_path / "s", [[hang_up_read]]) as simulator:
        monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", simulator.endpoint)
        assert "the service may have carried out the request" in run("ping").err


def test_an_unknown_status_keeps_its_number(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = bytearray(vector("fallback error, e.g. wrong version"))
    unknown[32:34] = (4711).to_bytes(2, "little")
    with Simulator(tmp_path / "s", [[respond(bytes(unknown))]]) as simulator:
        monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", simulator.endpoint)
        assert "status 4711" in run("ping").err


# The command line itself.


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "sign -k a",
        "sign -k a text --file -",
        "sign text",
        "generate-random -n -1",
        "generate-random -n 99999999999999999999",
        "-p 256 ping",
        "-t -1 ping",
        "-t nan ping",
        "create-ecc-key -k a --curve p-1",
        "status -c a --socket b",
        "create-rsa-key --key a",
    ],
)
def test_a_wrong_command_line_is_status_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert "usage: cofferdam" in capsys.readouterr().err


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("line", ["-p 1 -t 5 ping", "ping -p 1 -t 5", "-t 0 ping", "--timeout=0.5 ping"])
def test_client_options_stand_before_or_after_the_command(run: Cli, line: str) -> None:
    assert run(*line.split()).out == b"1.0\n"


def test_an_option_before_the_command_is_not_lost() -> None:
    assert parser().parse_args(["-p", "3", "list-keys"]).provider == 3
    assert parser().parse_args(["-p", "3", "list-keys", "-p", "4"]).provider == 4
    assert parser().parse_args(["list-keys"]).provider is None


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in (*COMMANDS, "serve", "status", "store"):
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        assert f"usage: cofferdam {name}" in capsys.readouterr().out


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("cofferdam ")


@pytest.mark.usefixtures("vault")
def test_a_closed_pipe_causes_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        program = "import sys; from cofferdam_cli.cli import main; sys.exit(main(['list-keys']))"
        done = subprocess.run([sys.executable, "-c", program], check=False, stdout=output, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"Available keys:\n")


@pytest.mark.usefixtures("vault")
def test_cryptography_is_loaded_only_where_it_is_needed() -> None:
    program = (
        "import sys; from cofferdam_cli.cli import main; main(['ping']); main(['sign', '-k', 'rsa', 'x']);"
        "assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_status_is_shown_from_the_socket(run: Cli, tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    told = document(ROW)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def tell() -> None:
            for whole in (told, told, document(ROW, phase="starting")):
                connection, _address = listener.accept()
                with connection:
                    connection.sendall(whole)

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        assert run("status", "--json", "--socket", str(path)).out == told + b"\n"
        assert run("status", "--socket", str(path)).text == table(parse(told))
        assert run("status", "--socket", str(path)).status == 3
        teller.join()
    path.unlink()
    assert run("status", "--socket", str(path)).err == (
        f"cofferdam: status: no status at {path}: No such file or directory; is the service running?\n"
    )
