"""A session of every parsec-tool subcommand with the software provider, judged by openssl."""

import base64
import re
from typing import Final

from tests.interop import openssl
from tests.interop.parsec_tool import ParsecTool
from tests.interop.report import Report

MESSAGE: Final = "a message, signed and encrypted"
RSA_SIZES: Final = (1024, 2048, 3072, 4096)
_P: Final = ("-p", "1")
_ALREADY_EXISTS: Final = "ParsecClientError(Service(PsaErrorAlreadyExists))"
_DOES_NOT_EXIST: Final = "ParsecClientError(Service(PsaErrorDoesNotExist))"
_INVALID_ARGUMENT: Final = "ParsecClientError(Service(PsaErrorInvalidArgument))"
_INVALID_PADDING: Final = "ParsecClientError(Service(PsaErrorInvalidPadding))"
_ADMIN_OPERATION: Final = "ParsecClientError(Service(AdminOperation))"
_NOT_REGISTERED: Final = "ParsecClientError(Service(ProviderNotRegistered))"
_NOT_LISTED: Final = "ParsecClientError(Client(NotFound))"
_WRONG_ALGORITHM: Final = "ParsecToolError(WrongKeyAlgorithm)"

# Facts on the wire, section 2.4.
_PROVIDERS: Final = re.compile(
    r"ID: 0x01 \(Mbed Crypto provider\)\n"
    r"Description: User space software provider, based on Mbed Crypto - the reference implementation of the PSA "
    r"crypto API\nVersion: 0\.1\.0\nVendor: Arm\nUUID: 1c1139dc-ad7c-47dc-ad6b-db6fdb466552\n\n"
    r"ID: 0x00 \(Core provider\)\nDescription: Software provider that implements only administrative \(i\.e\. no "
    r"cryptographic\) operations\nVersion: \d+\.\d+\.\d+\nVendor: Unspecified\n"
    r"UUID: 47049873-2a43-4845-9d72-831eab668784\n\n"
)
_AUTHENTICATORS: Final = (
    "ID: 0x03 (Unix Peer Credentials authentication)\nDescription: Uses Unix peer credentials to authenticate the "
    "client. Verifies that the self-declared Unix user identifier (UID) in the request's authentication header "
    "matches that which is found from the peer credentials.\nVersion: 0.1.0\n\n"
)
_OPCODES: Final = {
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
}  # fmt: skip

_LISTED: Final = {
    "ecc (EccKeyPair { curve_family: SecpR1 }, 256 bits": "AsymmetricSignature(Ecdsa { hash_alg: Specific(Sha256) }))",
    "rsa-1024 (RsaKeyPair, 1024 bits": "AsymmetricEncryption(RsaPkcs1v15Crypt))",
    "oaep-2048 (RsaKeyPair, 2048 bits": "AsymmetricEncryption(RsaOaep { hash_alg: Sha256 }))",
    "rsa-sign-4096 (RsaKeyPair, 4096 bits": "AsymmetricSignature(RsaPkcs1v15Sign { hash_alg: Specific(Sha256) }))",
}
"""Some lines of list-keys: the key, without its provider, and its algorithm."""


def hold(tool: ParsecTool, admin_tool: ParsecTool, uid: int, report: Report) -> None:
    """Hold the session.

    Args:
        tool: The tool at a service without administrators.
        admin_tool: The tool at another service, whose administrator it is.
        uid: The uid that the tool runs as.
        report: Where to count.
    """
    _listings(tool, report)
    _random(tool, report)
    _ecc(tool, report)
    _rsa_encryption(tool, report)
    _rsa_signing(tool, report)
    _refusals(tool, report)
    _keys(tool, report)
    _administration(tool, admin_tool, str(uid), report)


def _listings(tool: ParsecTool, report: Report) -> None:
    with report.check("ping"):
        assert tool.succeed("ping").strip() == "1.0"
        assert tool.succeed("-t", "5", "ping").strip() == "1.0"
    with report.check("list-providers"):
        listing = tool.succeed("list-providers")
        assert _PROVIDERS.fullmatch(listing), listing
    with report.check("list-authenticators"):
        assert tool.succeed("list-authenticators") == _AUTHENTICATORS
    for provider, opcodes in _OPCODES.items():
        with report.check(f"list-opcodes of provider {provider}"):
            lines = tool.succeed("list-opcodes", "-p", provider).splitlines()
            assert len(lines) == len(opcodes)
            assert {line.removeprefix("* ") for line in lines} == opcodes
    with report.check("list-keys and list-opcodes where there is nothing"):
        result = tool.run("list-keys")
        assert (result.code, result.out) == (0, "")
        assert "No keys currently available." in result.err
        tool.fail(_NOT_REGISTERED, "list-opcodes", "-p", "2")


def _random(tool: ParsecTool, report: Report) -> None:
    for size in (0, 1, 32, 65536):
        with report.check(f"generate-random of {size} bytes"):
            numbers = bytes.fromhex(tool.succeed(*_P, "generate-random", "-n", str(size)))
            assert len(numbers) == size
            if size > 16:
                assert len(set(numbers)) > size // 4 % 256
                assert numbers != bytes.fromhex(tool.succeed(*_P, "generate-random", "-n", str(size)))


def _ecc(tool: ParsecTool, report: Report) -> None:
    pem = ""
    with report.check("create-ecc-key, export-public-key"):
        tool.succeed(*_P, "create-ecc-key", "-k", "ecc")
        pem = tool.succeed(*_P, "export-public-key", "-k", "ecc")
        assert "ASN1 OID: prime256v1" in openssl.public_key_text(pem)
    with report.check("create-ecc-key under a name that is taken (1139)"):
        tool.fail(_ALREADY_EXISTS, *_P, "create-ecc-key", "-k", "ecc")
        assert tool.succeed(*_P, "export-public-key", "-k", "ecc") == pem
    with report.check("sign with ECDSA, verified by openssl"):
        signature = base64.b64decode(tool.succeed(*_P, "sign", "-k", "ecc", MESSAGE), validate=False)
        assert openssl.is_signature(pem, MESSAGE.encode(), signature)
        assert not openssl.is_signature(pem, b"another message", signature)
    with report.check("create-csr with an ECC key, verified by openssl"):
        names = {"--cn": "device", "--o": "Harbour", "--ou": "Dock", "--c": "GB", "--l": "Hull", "--st": "York"}
        options = [word for pair in names.items() for word in pair]
        csr = tool.succeed(
            *_P, "create-csr", "-k", "ecc", *options, "--serialNumber", "42", "--san", "localhost", "--san", "a.example"
        )
        text = openssl.request_text(csr)
        for part in ("CN=device", "O=Harbour", "OU=Dock", "C=GB", "L=Hull", "ST=York", "serialNumber=42"):
            assert part in text, text
        assert "DNS:localhost, DNS:a.example" in text, text
        assert "ecdsa-with-SHA256" in text, text
        assert openssl.request_key(csr) == pem
    with report.check("encrypt with a key that signs"):
        tool.fail(_WRONG_ALGORITHM, *_P, "encrypt", "-k", "ecc", MESSAGE)


def _rsa_encryption(tool: ParsecTool, report: Report) -> None:
    for bits in RSA_SIZES:
        with report.check(f"create-rsa-key of {bits} bits, PKCS #1 v1.5 encryption both ways"):
            _encrypt(tool, f"rsa-{bits}", bits, [], [])
    oaep = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
    for bits in RSA_SIZES:
        with report.check(f"create-rsa-key --oaep of {bits} bits, OAEP encryption both ways"):
            _encrypt(tool, f"oaep-{bits}", bits, ["--oaep"], list(oaep))
    with report.check("create-rsa-key without a size makes 2048 bits"):
        tool.succeed(*_P, "create-rsa-key", "-k", "rsa-default")
        pem = tool.succeed(*_P, "export-public-key", "-k", "rsa-default")
        assert "Public-Key: (2048 bit)" in openssl.public_key_text(pem)
        tool.succeed(*_P, "delete-key", "-k", "rsa-default")


def _encrypt(tool: ParsecTool, name: str, bits: int, flags: list[str], padding: list[str]) -> None:
    tool.succeed(*_P, "create-rsa-key", "-k", name, "-b", str(bits), *flags)
    pem = tool.succeed(*_P, "export-public-key", "-k", name)
    text = openssl.public_key_text(pem)
    assert f"Public-Key: ({bits} bit)" in text, text
    assert "Exponent: 65537" in text, text
    pkcs1 = tool.succeed(*_P, "export-public-key", "-k", name, "--pkcs1")
    assert openssl.openssl("rsa", "-RSAPublicKey_in", "-pubout", data=pkcs1.encode()).startswith(pem.strip())
    ciphertext = tool.succeed(*_P, "encrypt", "-k", name, MESSAGE).strip()
    assert len(base64.b64decode(ciphertext)) == bits // 8
    assert tool.succeed(*_P, "encrypt", "-k", name, MESSAGE).strip() != ciphertext, "encryption has to be randomised"
    assert tool.succeed(*_P, "decrypt", "-k", name, ciphertext).strip() == MESSAGE
    foreign = base64.b64encode(openssl.encrypt(pem, MESSAGE.encode(), *padding)).decode()
    assert tool.succeed(*_P, "decrypt", "-k", name, foreign).strip() == MESSAGE


def _rsa_signing(tool: ParsecTool, report: Report) -> None:
    for bits in RSA_SIZES:
        with report.check(f"sign and create-csr with RSA of {bits} bits, verified by openssl"):
            name = f"rsa-sign-{bits}"
            tool.succeed(*_P, "create-rsa-key", "-k", name, "-b", str(bits), "--for-signing")
            pem = tool.succeed(*_P, "export-public-key", "-k", name)
            assert f"Public-Key: ({bits} bit)" in openssl.public_key_text(pem)
            signature = base64.b64decode(tool.succeed(*_P, "sign", "-k", name, MESSAGE))
            assert len(signature) == bits // 8
            assert openssl.is_signature(pem, MESSAGE.encode(), signature)
            assert not openssl.is_signature(pem, b"another message", signature)
            csr = tool.succeed(*_P, "create-csr", "-k", name, "--cn", "device")
            text = openssl.request_text(csr)
            assert "CN=device" in text, text
            assert "sha256WithRSAEncryption" in text, text
            assert openssl.request_key(csr) == pem


def _refusals(tool: ParsecTool, report: Report) -> None:
    with report.check("create-rsa-key of 1000 bits (1135)"):
        tool.fail(_INVALID_ARGUMENT, *_P, "create-rsa-key", "-k", "rsa-1000", "-b", "1000")
        tool.fail(_DOES_NOT_EXIST, *_P, "delete-key", "-k", "rsa-1000")
    with report.check("a key that is not there (1140)"):
        tool.fail(_DOES_NOT_EXIST, *_P, "export-public-key", "-k", "none")
        tool.fail(_DOES_NOT_EXIST, *_P, "create-csr", "-k", "none", "--cn", "device")
        tool.fail(_DOES_NOT_EXIST, *_P, "delete-key", "-k", "none")
    with report.check("a key that the tool does not find in the listing"):
        tool.fail(_NOT_LISTED, *_P, "sign", "-k", "none", MESSAGE)
        tool.fail(_NOT_LISTED, *_P, "encrypt", "-k", "none", MESSAGE)
        tool.fail(_NOT_LISTED, *_P, "decrypt", "-k", "none", "AAAA")
    with report.check("sign with a key that encrypts"):
        tool.fail(_WRONG_ALGORITHM, *_P, "sign", "-k", "rsa-2048", MESSAGE)
    with report.check("decrypt what is no ciphertext (1150), and what has no key's length (1135)"):
        damaged = base64.b64encode(bytes([1]) * 256).decode()
        tool.fail(_INVALID_PADDING, *_P, "decrypt", "-k", "oaep-2048", damaged)
        tool.fail(_INVALID_ARGUMENT, *_P, "decrypt", "-k", "oaep-2048", "AAAA")
        tool.fail(_INVALID_ARGUMENT, *_P, "decrypt", "-k", "rsa-2048", "AAAA")
    with report.check("encrypt more than fits (1135)"):
        tool.fail(_INVALID_ARGUMENT, *_P, "encrypt", "-k", "rsa-2048", "x" * 246)
        tool.succeed(*_P, "encrypt", "-k", "rsa-2048", "x" * 245)
    with report.check("a provider that is not configured (5)"):
        tool.fail(_NOT_REGISTERED, "-p", "2", "create-ecc-key", "-k", "ecc")


def _keys(tool: ParsecTool, report: Report) -> None:
    with report.check("list-keys"):
        lines = tool.succeed("list-keys").splitlines()
        assert len(lines) == 1 + 3 * len(RSA_SIZES)
        for start, algorithm in _LISTED.items():
            line = f"* {start}, permitted algorithm: {algorithm}".replace("(", "(Mbed Crypto provider, ", 1)
            assert line in lines, lines
    with report.check("delete-key"):
        names = ["ecc", *(f"{kind}-{bits}" for kind in ("rsa", "oaep", "rsa-sign") for bits in RSA_SIZES)]
        for name in names:
            tool.succeed(*_P, "delete-key", "-k", name)
            tool.fail(_DOES_NOT_EXIST, *_P, "export-public-key", "-k", name)
        assert tool.succeed("list-keys") == ""


def _administration(tool: ParsecTool, admin_tool: ParsecTool, name: str, report: Report) -> None:
    with report.check("list-clients and delete-client without administrator's rights (21)"):
        tool.succeed(*_P, "create-ecc-key", "-k", "kept")
        tool.fail(_ADMIN_OPERATION, "list-clients")
        tool.fail(_ADMIN_OPERATION, "delete-client", "-c", name)
        assert "* kept (" in tool.succeed("list-keys")
    with report.check("list-clients and delete-client by an administrator"):
        assert admin_tool.succeed("list-clients") == ""
        admin_tool.succeed("delete-client", "-c", "nobody")
        admin_tool.succeed(*_P, "create-ecc-key", "-k", "one")
        admin_tool.succeed(*_P, "create-rsa-key", "-k", "two", "-b", "1024")
        assert admin_tool.succeed("list-clients").split() == [name]
        admin_tool.succeed("delete-client", "-c", name)
        assert admin_tool.succeed("list-keys") == ""
        assert admin_tool.succeed("list-clients") == ""
        admin_tool.fail(_DOES_NOT_EXIST, *_P, "export-public-key", "-k", "one")
