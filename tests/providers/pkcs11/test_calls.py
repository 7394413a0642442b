"""How many functions of the module a request calls, counted by OpenSC's spy.

The reference opens a session, logs in and searches for the key in every request, and asks for the length of every
output. What it needs stands beside each row (docs/reference/parsec-behaviour.md, "Calls per operation").
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.spy import Spy
from tests.harness.pkcs11.token import Token, softhsm
from tests.providers.pkcs11.child import Child, settings_for
from tests.providers.support import attributes, rsa_material

from cofferdam_contracts.operations import (
    AeadDecrypt,
    AeadEncrypt,
    AsymmetricDecrypt,
    AsymmetricEncrypt,
    CanDoCrypto,
    CheckType,
    CipherDecrypt,
    CipherEncrypt,
    CryptoOperation,
    DestroyKey,
    ExportKey,
    ExportPublicKey,
    GenerateKey,
    GenerateRandom,
    ImportKey,
    MacCompute,
    MacVerify,
    SignHash,
    SignMessage,
    VerifyHash,
    VerifyMessage,
)
from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    EncryptionScheme,
    Hash,
    Mac,
    MacScheme,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, Usage

ECDSA = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
PSS = AsymmetricSignature(SignatureScheme.RSA_PSS, Hash.SHA_256)
CRYPT = AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15)
GCM, CBC, HMAC = Aead(AeadScheme.GCM), Cipher(CipherMode.CBC_PKCS7), Mac(MacScheme.HMAC, Hash.SHA_256)
CMAC = Mac(MacScheme.CMAC, None, 8)
EXPORT = Usage.EXPORT
SIGNING, SEALING = Usage.SIGN_HASH | Usage.VERIFY_HASH | EXPORT, Usage.ENCRYPT | Usage.DECRYPT | EXPORT
KEYS = {
    "ec": attributes(KeyKind.ECC_KEY_PAIR, 256, ECDSA, EccFamily.SECP_R1, SIGNING),
    "pss": attributes(KeyKind.RSA_KEY_PAIR, 1024, PSS, usage=SIGNING),
    "rsa": attributes(KeyKind.RSA_KEY_PAIR, 1024, CRYPT, usage=SEALING),
    "gcm": attributes(KeyKind.AES, 128, GCM, usage=SEALING),
    "cbc": attributes(KeyKind.AES, 128, CBC, usage=SEALING),
    "cmac": attributes(KeyKind.AES, 128, CMAC, usage=SIGNING),
    "hmac": attributes(KeyKind.HMAC, 256, HMAC, usage=SIGNING),
}
DIGEST, NONCE, TEXT = bytes(32), bytes(12), b"sixteen bytes..."
SCALAR = bytes(31) + b"\7"
# Calls in every request of the reference: this service makes them once, when it opens the token.
ONCE = {
    *("C_Initialize", "C_GetSlotList", "C_OpenSession", "C_CloseSession", "C_Login", "C_Logout"),
    *("C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal", "C_GetMechanismList", "C_GetMechanismInfo"),
    "C_GetSessionInfo",
}
SIGN = ["C_SignInit", "C_Sign"]
VERIFY = ["C_VerifyInit", "C_Verify"]
ENCRYPT = ["C_EncryptInit", "C_Encrypt"]
DECRYPT = ["C_DecryptInit", "C_Decrypt"]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    return softhsm(tmp_path_factory.mktemp("calls"))


@pytest.fixture(scope="module")
def spy(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Spy:
    return Spy(tmp_path_factory.mktemp("spy") / "calls.txt", token.library, token.environment)


@pytest.fixture(scope="module")
def child(token: Token, spy: Spy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """The provider behind the spy, with keys that were used once."""
    environment = tuple(f"{name}={value}" for name, value in spy.environment.items())
    folder = tmp_path_factory.mktemp("state")
    settings = settings_for(token, folder, library_path=str(spy.library), environment=environment, allow_export=True)
    with Child(settings) as made:
        assert made.about["open"]
        assert spy.calls().count("C_Login") == 1
        for name, wanted in KEYS.items():
            made.do(GenerateKey(name, wanted))
        used: tuple[CryptoOperation, ...] = (
            SignHash("ec", ECDSA, DIGEST),
            SignHash("pss", PSS, DIGEST),
            AsymmetricEncrypt("rsa", CRYPT, TEXT, b""),
            AeadEncrypt("gcm", GCM, NONCE, b"", TEXT),
            CipherEncrypt("cbc", CBC, TEXT),
            MacCompute("cmac", CMAC, TEXT),
            MacCompute("hmac", HMAC, TEXT),
        )
        for operation in used:
            made.do(operation)
        yield made


ROWS: list[tuple[str, Callable[[Child], CryptoOperation], list[str]]] = [
    ("sign, EC", lambda _: SignHash("ec", ECDSA, DIGEST), SIGN),  # the reference: 9
    ("sign, RSA", lambda _: SignHash("pss", PSS, DIGEST), SIGN),  # 1134 there
    ("sign a message", lambda _: SignMessage("ec", ECDSA, TEXT), SIGN),  # not there
    ("verify, EC", lambda c: VerifyHash("ec", ECDSA, DIGEST, c.do(SignHash("ec", ECDSA, DIGEST))), VERIFY),  # 8
    ("verify, RSA", lambda c: VerifyHash("pss", PSS, DIGEST, c.do(SignHash("pss", PSS, DIGEST))), VERIFY),  # 1134 there
    (
        "verify a message",
        lambda c: VerifyMessage("ec", ECDSA, TEXT, c.do(SignMessage("ec", ECDSA, TEXT))),
        VERIFY,
    ),  # not there
    ("encrypt", lambda _: AsymmetricEncrypt("rsa", CRYPT, TEXT, b""), ENCRYPT),  # 9
    (
        "decrypt",
        lambda c: AsymmetricDecrypt("rsa", CRYPT, c.do(AsymmetricEncrypt("rsa", CRYPT, TEXT, b"")), b""),
        DECRYPT,
    ),  # 9
    # No AEAD, ciphers or MACs there.
    ("seal", lambda _: AeadEncrypt("gcm", GCM, NONCE, b"more", TEXT), ENCRYPT),
    (
        "open",
        lambda c: AeadDecrypt("gcm", GCM, NONCE, b"", c.do(AeadEncrypt("gcm", GCM, NONCE, b"", TEXT))),
        DECRYPT,
    ),
    ("cipher", lambda _: CipherEncrypt("cbc", CBC, TEXT), ENCRYPT),
    ("decipher", lambda c: CipherDecrypt("cbc", CBC, c.do(CipherEncrypt("cbc", CBC, TEXT))), DECRYPT),
    ("MAC", lambda _: MacCompute("hmac", HMAC, TEXT), SIGN),
    ("verify a MAC", lambda c: MacVerify("hmac", HMAC, TEXT, c.do(MacCompute("hmac", HMAC, TEXT))), SIGN),
    ("verify a short MAC", lambda c: MacVerify("cmac", CMAC, TEXT, c.do(MacCompute("cmac", CMAC, TEXT))), SIGN),
    ("random", lambda _: GenerateRandom(32), ["C_GenerateRandom"]),  # 4
    ("export public, EC", lambda _: ExportPublicKey("ec"), ["C_GetAttributeValue"]),  # 8
    ("export public, RSA", lambda _: ExportPublicKey("rsa"), ["C_GetAttributeValue"]),  # 8
    ("export, RSA", lambda _: ExportKey("rsa"), ["C_GetAttributeValue"]),  # not there
    ("export, AES", lambda _: ExportKey("gcm"), ["C_GetAttributeValue"]),  # not there
    ("generate a pair", lambda _: GenerateKey("new", KEYS["ec"]), ["C_GenerateKeyPair"]),  # 4
    ("generate a secret", lambda _: GenerateKey("new", KEYS["gcm"]), ["C_GenerateKey"]),  # not there
    ("import a pair", lambda _: ImportKey("new", KEYS["ec"], SCALAR), ["C_CreateObject"] * 2),  # not there
    (
        "import an RSA pair",
        lambda _: ImportKey("new", KEYS["rsa"], rsa_material(1024)),
        ["C_CreateObject"] * 2,
    ),  # not there
    (
        "import a public key",
        lambda c: ImportKey(
            "new",
            attributes(KeyKind.ECC_PUBLIC_KEY, 256, ECDSA, EccFamily.SECP_R1, Usage.VERIFY_HASH),
            c.do(ExportPublicKey("ec")),
        ),
        ["C_CreateObject"],
    ),  # 4
    ("import a secret", lambda _: ImportKey("new", KEYS["gcm"], bytes(16)), ["C_CreateObject"]),  # not there
    ("can be used", lambda _: CanDoCrypto(CheckType.USE, KEYS["ec"]), []),  # 3
    ("can be generated", lambda _: CanDoCrypto(CheckType.GENERATE, KEYS["rsa"]), []),  # 3
    ("can be imported", lambda _: CanDoCrypto(CheckType.IMPORT, KEYS["gcm"]), []),  # 3
]


@pytest.mark.parametrize(("prepare", "calls"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_calls_of_a_request(
    child: Child, spy: Spy, prepare: Callable[[Child], CryptoOperation], calls: list[str]
) -> None:
    operation = prepare(child)
    mark = spy.mark()
    child.do(operation)
    made = spy.since(mark)
    if child.ask("row", "new")["version"]:
        child.do(DestroyKey("new"))
    assert made == calls
    assert not ONCE & set(made)


@pytest.mark.parametrize(("name", "count"), [("ec", 2), ("rsa", 2), ("gcm", 1)])
def test_destroying_is_one_call_for_each_object(child: Child, spy: Spy, name: str, count: int) -> None:
    child.do(GenerateKey("gone", KEYS[name]))
    mark = spy.mark()
    child.do(DestroyKey("gone"))
    assert spy.since(mark) == ["C_DestroyObject"] * count  # 11 for a pair


@pytest.mark.parametrize(
    ("operation", "calls"),
    [
        (SignHash("ec", ECDSA, DIGEST), SIGN),
        (AeadEncrypt("gcm", GCM, NONCE, b"", TEXT), ENCRYPT),
        (ExportPublicKey("rsa"), ["C_GetAttributeValue"]),
    ],
)
def test_opening_a_key_is_one_call_more(child: Child, spy: Spy, operation: CryptoOperation, calls: list[str]) -> None:
    child.ask("cool")
    mark = spy.mark()
    child.do(operation)
    assert spy.since(mark) == ["C_GetAttributeValue", *calls]


def test_a_key_that_the_listing_did_not_reach_is_searched_for_once(child: Child, spy: Spy) -> None:
    child.ask("cool")
    child.ask("forget", -1)
    mark = spy.mark()
    child.do(SignHash("ec", ECDSA, DIGEST))
    searching = spy.since(mark)
    assert searching[:2] == ["C_FindObjectsInit", "C_FindObjects"]
    assert searching.count("C_FindObjectsInit") == 1
    child.ask("cool")
    mark = spy.mark()
    child.do(SignHash("ec", ECDSA, DIGEST))
    assert spy.since(mark) == ["C_GetAttributeValue", *SIGN]


def test_public_keys_in_software_cost_the_token_nothing_once_they_were_read(token: Token, tmp_path: Path) -> None:
    shim = Shim(tmp_path / "shim", token.library, token.environment)
    settings = settings_for(token, tmp_path, library_path=str(shim.library), software_public_operations=True)
    with Child(settings) as child:
        for name in ("ec", "pss", "rsa"):
            child.do(GenerateKey(f"soft-{name}", attributes_without_export(name)))
        signatures = {
            "ec": child.do(SignHash("soft-ec", ECDSA, DIGEST)),
            "pss": child.do(SignHash("soft-pss", PSS, DIGEST)),
        }
        encryption = AsymmetricEncrypt("soft-rsa", CRYPT, TEXT, b"")
        for expected in (4, 0):
            shim.forget()
            child.do(VerifyHash("soft-ec", ECDSA, DIGEST, signatures["ec"]))
            child.do(VerifyHash("soft-pss", PSS, DIGEST, signatures["pss"]))
            child.do(encryption)
            # The first time each public part is read, and the key for encryption is opened as well.
            assert [call.function for call in shim.calls()] == ["C_GetAttributeValue"] * expected
        assert child.do(AsymmetricDecrypt("soft-rsa", CRYPT, child.do(encryption), b"")) == TEXT
        for name in ("ec", "pss", "rsa"):
            child.do(DestroyKey(f"soft-{name}"))


def attributes_without_export(name: str) -> KeyAttributes:
    return replace(KEYS[name], usage=KEYS[name].usage & ~EXPORT)
