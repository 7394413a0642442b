"""A session of every parsec-tool subcommand with one provider, judged by openssl."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.interop import openssl
from tests.interop.parsec_tool import ParsecTool
from tests.interop.report import Report

MESSAGE: Final = "a message, signed and encrypted"
_ALREADY_EXISTS: Final = "ParsecClientError(Service(PsaErrorAlreadyExists))"
_DOES_NOT_EXIST: Final = "ParsecClientError(Service(PsaErrorDoesNotExist))"
_INVALID_ARGUMENT: Final = "ParsecClientError(Service(PsaErrorInvalidArgument))"
_INVALID_PADDING: Final = "ParsecClientError(Service(PsaErrorInvalidPadding))"
_ADMIN_OPERATION: Final = "ParsecClientError(Service(AdminOperation))"
_NOT_REGISTERED: Final = "ParsecClientError(Service(ProviderNotRegistered))"
_NOT_LISTED: Final = "ParsecClientError(Client(NotFound))"
_NOT_SUPPORTED: Final = "ParsecClientError(Service(PsaErrorNotSupported))"
_WRONG_ALGORITHM: Final = "ParsecToolError(WrongKeyAlgorithm)"

# docs/reference/parsec-protocol.md, "Providers".
_MBED_CRYPTO: Final = (
    r"ID: 0x01 \(Mbed Crypto provider\)\n"
    r"Description: User space software provider, based on Mbed Crypto - the reference implementation of the PSA "
    r"crypto API\nVersion: 0\.1\.0\nVendor: Arm\nUUID: 1c1139dc-ad7c-47dc-ad6b-db6fdb466552\n\n"
)
_PKCS11: Final = (
    r"ID: 0x02 \(PKCS #11 provider\)\nDescription: PKCS #11 provider, interfacing with a PKCS #11 library\.\n"
    r"Version: 0\.1\.0\nVendor: OASIS Standard\.\nUUID: 30e39502-eba6-4d60-a4af-c518b7f5e38f\n\n"
)
_TPM: Final = (
    r"ID: 0x03 \(TPM provider\)\nDescription: TPM provider, interfacing with a library implementing the TCG TSS 2\.0 "
    r"Enhanced System API specification\.\nVersion: 0\.1\.0\nVendor: Trusted Computing Group \(TCG\)\n"
    r"UUID: 1e4954a4-ff21-46d3-ab0c-661eeb667e1d\n\n"
)
_CORE: Final = (
    r"ID: 0x00 \(Core provider\)\nDescription: Software provider that implements only administrative \(i\.e\. no "
    r"cryptographic\) operations\nVersion: \d+\.\d+\.\d+\nVendor: Unspecified\n"
    r"UUID: 47049873-2a43-4845-9d72-831eab668784\n\n"
)
_AUTHENTICATORS: Final = (
    "ID: 0x03 (Unix Peer Credentials authentication)\nDescription: Uses Unix peer credentials to authenticate the "
    "client. Verifies that the self-declared Unix user identifier (UID) in the request's authentication header "
    "matches that which is found from the peer credentials.\nVersion: 0.1.0\n\n"
)
_OPCODES: Final[Mapping[str, set[str]]] = {
    "0": {
        "0x01 (Ping)", "0x08 (ListProviders)", "0x09 (ListOpcodes)", "0x0e (ListAuthenticators)", "0x1a (ListKeys)",
    },
    "1": {
        "0x02 (PsaGenerateKey)", "0x03 (PsaDestroyKey)", "0x04 (PsaSignHash)", "0x05 (PsaVerifyHash)",
        "0x06 (PsaImportKey)", "0x07 (PsaExportPublicKey)", "0x0a (PsaAsymmetricEncrypt)",
        "0x0b (PsaAsymmetricDecrypt)", "0x0c (PsaExportKey)", "0x0d (PsaGenerateRandom)", "0x0f (PsaHashCompute)",
        "0x10 (PsaHashCompare)", "0x11 (PsaAeadEncrypt)", "0x12 (PsaAeadDecrypt)", "0x13 (PsaRawKeyAgreement)",
        "0x20 (CanDoCrypto)",
    },
    "2": {
        "0x02 (PsaGenerateKey)", "0x03 (PsaDestroyKey)", "0x04 (PsaSignHash)", "0x05 (PsaVerifyHash)",
        "0x06 (PsaImportKey)", "0x07 (PsaExportPublicKey)", "0x0a (PsaAsymmetricEncrypt)",
        "0x0b (PsaAsymmetricDecrypt)", "0x0d (PsaGenerateRandom)", "0x20 (CanDoCrypto)",
    },
    "3": {
        "0x02 (PsaGenerateKey)", "0x03 (PsaDestroyKey)", "0x04 (PsaSignHash)", "0x05 (PsaVerifyHash)",
        "0x06 (PsaImportKey)", "0x07 (PsaExportPublicKey)", "0x0a (PsaAsymmetricEncrypt)",
        "0x0b (PsaAsymmetricDecrypt)", "0x0d (PsaGenerateRandom)", "0x1e (AttestKey)",
        "0x1f (PrepareKeyAttestation)", "0x20 (CanDoCrypto)",
    },
}  # fmt: skip

_LISTED: Final = {
    "ecc (EccKeyPair { curve_family: SecpR1 }, 256 bits": "AsymmetricSignature(Ecdsa { hash_alg: Specific(Sha256) }))",
    "rsa-1024 (RsaKeyPair, 1024 bits": "AsymmetricEncryption(RsaPkcs1v15Crypt))",
    "oaep-2048 (RsaKeyPair, 2048 bits": "AsymmetricEncryption(RsaOaep { hash_alg: Sha256 }))",
    "rsa-sign-3072 (RsaKeyPair, 3072 bits": "AsymmetricSignature(RsaPkcs1v15Sign { hash_alg: Specific(Sha256) }))",
}
"""Some lines of list-keys: the key, without its provider, and its algorithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A provider as the tool sees it, in the service that the session is held with."""

    number: int
    name: str
    listing: str
    """What list-providers prints, as a pattern."""
    opcodes: tuple[str, ...]
    """Providers whose opcodes are listed."""
    absent: str
    """A provider that the service does not have."""
    oaep: bool
    """Whether there is OAEP with SHA-256, which is the only one that the tool asks for."""
    rsa_sizes: tuple[int, ...] = (1024, 2048, 3072, 4096)
    refused_rsa: tuple[tuple[int, str], ...] = ((1000, _INVALID_ARGUMENT),)
    """Sizes that there are not, and how they are refused."""

    @property
    def words(self) -> tuple[str, str]:
        """Return how the tool is told which provider to use."""
        return "-p", str(self.number)


SOFTWARE: Final = Subject(
    number=1,
    name="Mbed Crypto provider",
    listing=_MBED_CRYPTO + _CORE,
    opcodes=("0", "1"),
    absent="2",
    oaep=True,
)
SOFTHSM: Final = Subject(
    number=2,
    name="PKCS #11 provider",
    listing=_MBED_CRYPTO + _PKCS11 + _CORE,
    opcodes=("0", "1", "2"),
    absent="3",
    oaep=False,
)
"""SoftHSM has OAEP with SHA-1 alone. The software provider is in the same service."""
SWTPM: Final = Subject(
    number=3,
    name="TPM provider",
    listing=_MBED_CRYPTO + _TPM + _CORE,
    opcodes=("0", "1", "3"),
    absent="2",
    oaep=True,
    rsa_sizes=(1024, 2048, 3072),
    refused_rsa=((1000, _NOT_SUPPORTED), (4096, _NOT_SUPPORTED)),
)
"""libtpms has no RSA keys of 4096 bits. The software provider is in the same service."""


def hold(subject: Subject, tool: ParsecTool, admin_tool: ParsecTool, uid: int, report: Report) -> None:
    """Run the session.

    Args:
        subject: The provider.
        tool: The tool at a service without administrators.
        admin_tool: The tool at another service, whose administrator it is.
        uid: The uid that the tool runs as.
        report: Where to count.
    """
    _listings(subject, tool, report)
    _random(subject, tool, report)
    _ecc(subject, tool, report)
    _rsa_encryption(subject, tool, report)
    _rsa_signing(subject, tool, report)
    _refusals(subject, tool, report)
    _keys(subject, tool, report)
    _administration(subject, tool, admin_tool, str(uid), report)


def _listings(subject: Subject, tool: ParsecTool, report: Report) -> None:
    with report.check("ping"):
        assert tool.succeed("ping").strip() == "1.0"
        assert tool.succeed("-t", "5", "ping").strip() == "1.0"
    with report.check("list-providers"):
        listing = tool.succeed("list-providers")
        assert re.fullmatch(subject.listing, listing), listing
    with report.check("list-authenticators"):
        assert tool.succeed("list-authenticators") == _AUTHENTICATORS
    for provider in subject.opcodes:
        with report.check(f"list-opcodes of provider {provider}"):
            opcodes = _OPCODES[provider]
            lines = tool.succeed("list-opcodes", "-p", provider).splitlines()
            assert len(lines) == len(opcodes)
            assert {line.removeprefix("* ") for line in lines} == opcodes
    with report.check("list-keys and list-opcodes where there is nothing"):
        result = tool.run("list-keys")
        assert (result.code, result.out) == (0, "")
        assert "No keys currently available." in result.err
        tool.fail(_NOT_REGISTERED, "list-opcodes", "-p", subject.absent)


def _random(subject: Subject, tool: ParsecTool, report: Report) -> None:
    for size in (0, 1, 32, 65536):
        with report.check(f"generate-random of {size} bytes"):
            numbers = bytes.fromhex(tool.succeed(*subject.words, "generate-random", "-n", str(size)))
            assert len(numbers) == size
            if size > 16:
                assert len(set(numbers)) > size // 4 % 256
                assert numbers != bytes.fromhex(tool.succeed(*subject.words, "generate-random", "-n", str(size)))


def _ecc(subject: Subject, tool: ParsecTool, report: Report) -> None:
    pem = ""
    with report.check("create-ecc-key, export-public-key"):
        tool.succeed(*subject.words, "create-ecc-key", "-k", "ecc")
        pem = tool.succeed(*subject.words, "export-public-key", "-k", "ecc")
        assert "ASN1 OID: prime256v1" in openssl.public_key_text(pem)
    with report.check("create-ecc-key under a name that is taken (1139)"):
        tool.fail(_ALREADY_EXISTS, *subject.words, "create-ecc-key", "-k", "ecc")
        assert tool.succeed(*subject.words, "export-public-key", "-k", "ecc") == pem
    with report.check("sign with ECDSA, verified by openssl"):
        signature = base64.b64decode(tool.succeed(*subject.words, "sign", "-k", "ecc", MESSAGE), validate=False)
        assert openssl.is_signature(pem, MESSAGE.encode(), signature)
        assert not openssl.is_signature(pem, b"another message", signature)
    with report.check("create-csr with an ECC key, verified by openssl"):
        names = {"--cn": "device", "--o": "Harbour", "--ou": "Dock", "--c": "GB", "--l": "Hull", "--st": "York"}
        options = [word for pair in names.items() for word in pair]
        csr = tool.succeed(
            *subject.words,
            "create-csr",
            "-k",
            "ecc",
            *options,
            "--serialNumber",
            "42",
            "--san",
            "localhost",
            "--san",
            "a.example",
        )
        text = openssl.request_text(csr)
        for part in ("CN=device", "O=Harbour", "OU=Dock", "C=GB", "L=Hull", "ST=York", "serialNumber=42"):
            assert part in text, text
        assert "DNS:localhost, DNS:a.example" in text, text
        assert "ecdsa-with-SHA256" in text, text
        assert openssl.request_key(csr) == pem
    with report.check("encrypt with a key that signs"):
        tool.fail(_WRONG_ALGORITHM, *subject.words, "encrypt", "-k", "ecc", MESSAGE)


def _rsa_encryption(subject: Subject, tool: ParsecTool, report: Report) -> None:
    for bits in subject.rsa_sizes:
        with report.check(f"create-rsa-key of {bits} bits, PKCS #1 v1.5 encryption both ways"):
            _encrypt(subject, tool, f"rsa-{bits}", bits, [], [])
    oaep = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
    for bits in subject.rsa_sizes if subject.oaep else ():
        with report.check(f"create-rsa-key --oaep of {bits} bits, OAEP encryption both ways"):
            _encrypt(subject, tool, f"oaep-{bits}", bits, ["--oaep"], list(oaep))
    if not subject.oaep:
        with report.check("create-rsa-key --oaep where there is no OAEP with SHA-256 (1134)"):
            tool.fail(_NOT_SUPPORTED, *subject.words, "create-rsa-key", "-k", "oaep-2048", "--oaep")
            tool.fail(_DOES_NOT_EXIST, *subject.words, "delete-key", "-k", "oaep-2048")
    with report.check("create-rsa-key without a size makes 2048 bits"):
        tool.succeed(*subject.words, "create-rsa-key", "-k", "rsa-default")
        pem = tool.succeed(*subject.words, "export-public-key", "-k", "rsa-default")
        assert "Public-Key: (2048 bit)" in openssl.public_key_text(pem)
        tool.succeed(*subject.words, "delete-key", "-k", "rsa-default")


def _encrypt(  # noqa: PLR0913, PLR0917  what is asked of the tool
    subject: Subject, tool: ParsecTool, name: str, bits: int, flags: list[str], padding: list[str]
) -> None:
    tool.succeed(*subject.words, "create-rsa-key", "-k", name, "-b", str(bits), *flags)
    pem = tool.succeed(*subject.words, "export-public-key", "-k", name)
    text = openssl.public_key_text(pem)
    assert f"Public-Key: ({bits} bit)" in text, text
    assert "Exponent: 65537" in text, text
    pkcs1 = tool.succeed(*subject.words, "export-public-key", "-k", name, "--pkcs1")
    assert openssl.openssl("rsa", "-RSAPublicKey_in", "-pubout", data=pkcs1.encode()).startswith(pem.strip())
    ciphertext = tool.succeed(*subject.words, "encrypt", "-k", name, MESSAGE).strip()
    assert len(base64.b64decode(ciphertext)) == bits // 8
    assert tool.succeed(*subject.words, "encrypt", "-k", name, MESSAGE).strip() != ciphertext, (
        "encryption has to be randomised"
    )
    assert tool.succeed(*subject.words, "decrypt", "-k", name, ciphertext).strip() == MESSAGE
    foreign = base64.b64encode(openssl.encrypt(pem, MESSAGE.encode(), *padding)).decode()
    assert tool.succeed(*subject.words, "decrypt", "-k", name, foreign).strip() == MESSAGE


def _rsa_signing(subject: Subject, tool: ParsecTool, report: Report) -> None:
    for bits in subject.rsa_sizes:
        with report.check(f"sign and create-csr with RSA of {bits} bits, verified by openssl"):
            name = f"rsa-sign-{bits}"
            tool.succeed(*subject.words, "create-rsa-key", "-k", name, "-b", str(bits), "--for-signing")
            pem = tool.succeed(*subject.words, "export-public-key", "-k", name)
            assert f"Public-Key: ({bits} bit)" in openssl.public_key_text(pem)
            signature = base64.b64decode(tool.succeed(*subject.words, "sign", "-k", name, MESSAGE))
            assert len(signature) == bits // 8
            assert openssl.is_signature(pem, MESSAGE.encode(), signature)
            assert not openssl.is_signature(pem, b"another message", signature)
            csr = tool.succeed(*subject.words, "create-csr", "-k", name, "--cn", "device")
            text = openssl.request_text(csr)
            assert "CN=device" in text, text
            assert "sha256WithRSAEncryption" in text, text
            assert openssl.request_key(csr) == pem


def _refusals(subject: Subject, tool: ParsecTool, report: Report) -> None:
    for bits, error in subject.refused_rsa:
        with report.check(f"create-rsa-key of {bits} bits, which is refused"):
            tool.fail(error, *subject.words, "create-rsa-key", "-k", f"rsa-{bits}", "-b", str(bits))
            tool.fail(_DOES_NOT_EXIST, *subject.words, "delete-key", "-k", f"rsa-{bits}")
    with report.check("a key that is not there (1140)"):
        tool.fail(_DOES_NOT_EXIST, *subject.words, "export-public-key", "-k", "none")
        tool.fail(_DOES_NOT_EXIST, *subject.words, "create-csr", "-k", "none", "--cn", "device")
        tool.fail(_DOES_NOT_EXIST, *subject.words, "delete-key", "-k", "none")
    with report.check("a key that the tool does not find in the listing"):
        tool.fail(_NOT_LISTED, *subject.words, "sign", "-k", "none", MESSAGE)
        tool.fail(_NOT_LISTED, *subject.words, "encrypt", "-k", "none", MESSAGE)
        tool.fail(_NOT_LISTED, *subject.words, "decrypt", "-k", "none", "AAAA")
    with report.check("sign with a key that encrypts"):
        tool.fail(_WRONG_ALGORITHM, *subject.words, "sign", "-k", "rsa-2048", MESSAGE)
    with report.check("decrypt what is no ciphertext (1150), and what has no key's length (1135)"):
        damaged = base64.b64encode(bytes([1]) * 256).decode()
        key = "oaep-2048" if subject.oaep else "rsa-2048"
        tool.fail(_INVALID_PADDING, *subject.words, "decrypt", "-k", key, damaged)
        tool.fail(_INVALID_ARGUMENT, *subject.words, "decrypt", "-k", key, "AAAA")
        tool.fail(_INVALID_ARGUMENT, *subject.words, "decrypt", "-k", "rsa-2048", "AAAA")
    with report.check("encrypt more than fits (1135)"):
        tool.fail(_INVALID_ARGUMENT, *subject.words, "encrypt", "-k", "rsa-2048", "x" * 246)
        tool.succeed(*subject.words, "encrypt", "-k", "rsa-2048", "x" * 245)
    with report.check("a provider that is not configured (5)"):
        tool.fail(_NOT_REGISTERED, "-p", subject.absent, "create-ecc-key", "-k", "ecc")


def _keys(subject: Subject, tool: ParsecTool, report: Report) -> None:
    kinds = ("rsa", "oaep", "rsa-sign") if subject.oaep else ("rsa", "rsa-sign")
    with report.check("list-keys"):
        lines = tool.succeed("list-keys").splitlines()
        assert len(lines) == 1 + len(kinds) * len(subject.rsa_sizes)
        for start, algorithm in _LISTED.items():
            line = f"* {start}, permitted algorithm: {algorithm}".replace("(", f"({subject.name}, ", 1)
            assert line in lines or (start.startswith("oaep") and not subject.oaep), lines
    with report.check("delete-key"):
        names = ["ecc", *(f"{kind}-{bits}" for kind in kinds for bits in subject.rsa_sizes)]
        for name in names:
            tool.succeed(*subject.words, "delete-key", "-k", name)
            tool.fail(_DOES_NOT_EXIST, *subject.words, "export-public-key", "-k", name)
        assert tool.succeed("list-keys") == ""


def _administration(subject: Subject, tool: ParsecTool, admin_tool: ParsecTool, name: str, report: Report) -> None:
    with report.check("list-clients and delete-client without administrator's rights (21)"):
        tool.succeed(*subject.words, "create-ecc-key", "-k", "kept")
        tool.fail(_ADMIN_OPERATION, "list-clients")
        tool.fail(_ADMIN_OPERATION, "delete-client", "-c", name)
        assert "* kept (" in tool.succeed("list-keys")
    with report.check("list-clients and delete-client by an administrator"):
        assert admin_tool.succeed("list-clients") == ""
        admin_tool.succeed("delete-client", "-c", "nobody")
        admin_tool.succeed(*subject.words, "create-ecc-key", "-k", "one")
        admin_tool.succeed(*subject.words, "create-rsa-key", "-k", "two", "-b", "1024")
        assert admin_tool.succeed("list-clients").split() == [name]
        admin_tool.succeed("delete-client", "-c", name)
        assert admin_tool.succeed("list-keys") == ""
        assert admin_tool.succeed("list-clients") == ""
        admin_tool.fail(_DOES_NOT_EXIST, *subject.words, "export-public-key", "-k", "one")
