"""Errors of a module, stale handles, and impossible answers."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from pkcs11 import ObjectClass
from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.token import Token, softhsm
from tests.providers.pkcs11.child import Child, settings_for, shown
from tests.providers.support import attributes

from cofferdam_contracts.ipc.requests import WorkerOperation
from cofferdam_contracts.operations import (
    AeadDecrypt,
    AeadEncrypt,
    AsymmetricDecrypt,
    AsymmetricEncrypt,
    CipherDecrypt,
    CipherEncrypt,
    DestroyKey,
    ExportPublicKey,
    GenerateKey,
    GenerateRandom,
    MacCompute,
    SignHash,
    VerifyHash,
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
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind, Usage
from cofferdam_contracts.status import Status
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.errors import LOST, STALE, STATUSES, SUSPICIOUS

COMMUNICATION = Status.PSA_ERROR_COMMUNICATION_FAILURE
GONE = "C_GetSessionInfo return CKR_SESSION_HANDLE_INVALID"
PRIVATE, PUBLIC = int(ObjectClass.PRIVATE_KEY), int(ObjectClass.PUBLIC_KEY)
ECDSA = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
GCM = Aead(AeadScheme.GCM)
CBC = Cipher(CipherMode.CBC_PKCS7)
ECB = Cipher(CipherMode.ECB_NO_PADDING)
HMAC = Mac(MacScheme.HMAC, Hash.SHA_256)
CRYPT = AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15)
SIGNING = Usage.SIGN_HASH | Usage.VERIFY_HASH | Usage.EXPORT
SEALING = Usage.ENCRYPT | Usage.DECRYPT
EC_KEY = attributes(KeyKind.ECC_KEY_PAIR, 256, ECDSA, EccFamily.SECP_R1, SIGNING)
AES_KEY = attributes(KeyKind.AES, 256, GCM, usage=SEALING)
DIGEST = bytes(32)
SIGN = SignHash("ec", ECDSA, DIGEST)
SEAL = AeadEncrypt("gcm", GCM, bytes(12), b"", b"text")
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    """A token for tests that leave keys on it."""
    return softhsm(tmp_path_factory.mktemp("device"))


@pytest.fixture(scope="module")
def shim(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Shim:
    return Shim(tmp_path_factory.mktemp("shim"), token.library, token.environment)


@pytest.fixture(scope="module")
def provider(token: Token, shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """The provider with a key of each kind, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("provider")
    with Child(settings_for(token, folder, library_path=str(shim.library), allow_export=True)) as child:
        for name, made in (
            ("ec", EC_KEY),
            ("gcm", AES_KEY),
            ("cbc", attributes(KeyKind.AES, 128, CBC, usage=SEALING)),
            ("ecb", attributes(KeyKind.AES, 128, ECB, usage=SEALING)),
            ("hmac", attributes(KeyKind.HMAC, 256, HMAC, usage=SIGNING)),
            ("rsa", attributes(KeyKind.RSA_KEY_PAIR, 1024, CRYPT, usage=SEALING)),
        ):
            child.do(GenerateKey(name, made))
        for operation in (SIGN, VerifyHash("ec", ECDSA, DIGEST, child.do(SIGN)), SEAL):
            child.do(operation)
        yield child


@pytest.fixture
def child(provider: Child, shim: Shim) -> Iterator[Child]:
    """The same, with no rules of the shim before and after."""
    shim.clear()
    shim.forget()
    yield provider
    shim.clear()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Child, Token, Shim]]:
    """A provider, token and shim that a test may break."""
    mine = softhsm(tmp_path / "softhsm")
    before = Shim(tmp_path / "shim", mine.library, mine.environment)
    with Child(settings_for(mine, tmp_path, library_path=str(before.library), allow_export=True)) as made:
        made.do(GenerateKey("ec", EC_KEY))
        made.do(SIGN)
        yield made, mine, before


@pytest.mark.parametrize("code", sorted(STATUSES))
def test_every_row_of_the_table_reaches_the_client(child: Child, shim: Shim, code: int) -> None:
    # The module is called, so that its operation ends as well.
    shim.set(f"C_Sign then-return {code:#x}")
    child.refuses(SIGN, STATUSES[code], lost=code in LOST)


@pytest.mark.parametrize("code", [0x3, 0x50, 0x63, 0x68, 0x70, 0xB1, 0x105, 0x80000123])
def test_what_stands_in_no_table_is_a_communication_failure(child: Child, shim: Shim, code: int) -> None:
    shim.set(f"C_Sign then-return {code:#x}")
    child.refuses(SIGN, COMMUNICATION)


def under_a_new_name(operation: WorkerOperation) -> WorkerOperation:
    """Return a generation under a free name: a key that a lost session may have left keeps its name."""
    if isinstance(operation, GenerateKey):
        return replace(operation, key_name=f"new {next(NUMBERS)}")
    return operation


@pytest.mark.parametrize("code", sorted(LOST))
@pytest.mark.parametrize(
    ("function", "operation"),
    [
        ("C_SignInit", SIGN),
        ("C_EncryptInit", SEAL),
        ("C_GenerateRandom", GenerateRandom(8)),
        ("C_GenerateKey", GenerateKey("new", AES_KEY)),
        ("C_GetAttributeValue", ExportPublicKey("ec")),
    ],
)
def test_a_lost_session_ends_the_worker(
    child: Child, shim: Shim, code: int, function: str, operation: SignHash | GenerateKey
) -> None:
    shim.set(f"{function} return {code:#x}")
    child.refuses(under_a_new_name(operation), STATUSES.get(code, COMMUNICATION), lost=True)


@pytest.mark.parametrize("code", sorted(LOST))
def test_a_session_that_is_lost_while_a_key_is_looked_up_ends_the_worker(child: Child, shim: Shim, code: int) -> None:
    for function in ("C_GetAttributeValue", "C_FindObjectsInit"):
        child.ask("cool")
        child.ask("forget", 0)
        shim.set(f"{function} return {code:#x}")
        child.refuses(SIGN, STATUSES.get(code, COMMUNICATION), lost=True)
        shim.clear()
    child.do(SIGN)


SUSPECTS = [
    ("C_SignInit", SIGN, None),
    ("C_GenerateKey", GenerateKey("new", AES_KEY), None),
    ("C_GenerateKeyPair", GenerateKey("new", EC_KEY), None),
    ("C_GenerateRandom", GenerateRandom(8), None),
    # SoftHSM reports a wrong tag and wrong padding as a general error.
    ("C_DecryptInit", AeadDecrypt("gcm", GCM, bytes(12), b"", bytes(20)), Status.PSA_ERROR_INVALID_SIGNATURE),
    ("C_DecryptInit", AsymmetricDecrypt("rsa", CRYPT, bytes(128), b""), Status.PSA_ERROR_INVALID_PADDING),
    ("C_DecryptInit", CipherDecrypt("cbc", CBC, bytes(32)), Status.PSA_ERROR_INVALID_PADDING),
]


@pytest.mark.parametrize(("function", "operation", "general"), SUSPECTS)
def test_a_suspicious_code_has_the_session_asked(
    child: Child, shim: Shim, function: str, operation: SignHash | GenerateKey, general: Status | None
) -> None:
    for count, code in enumerate(sorted(SUSPICIOUS), 1):
        plain = STATUSES.get(code, COMMUNICATION)
        shim.set(f"{function} return {code:#x}")
        child.refuses(under_a_new_name(operation), general if general and code == Return.GENERAL_ERROR else plain)
        assert shim.count("C_GetSessionInfo") == 2 * count - 1
        shim.set(f"{function} return {code:#x}", GONE)
        child.refuses(under_a_new_name(operation), plain, lost=True)
    shim.clear()
    child.do(SIGN)


@pytest.mark.parametrize("code", sorted(SUSPICIOUS))
def test_a_suspicious_code_while_a_key_is_opened_has_the_session_asked(child: Child, shim: Shim, code: int) -> None:
    for rules, lost in (([], False), ([GONE], True)):
        child.ask("cool")
        shim.set(f"C_GetAttributeValue return {code:#x}", *rules)
        child.refuses(SIGN, STATUSES.get(code, COMMUNICATION), lost=lost)
        # So does one after the handle was searched for again.
        shim.set("C_GetAttributeValue@1 return CKR_OBJECT_HANDLE_INVALID", f"C_GetAttributeValue@4 return {code:#x}")
    shim.set("C_SignInit@1 return CKR_OBJECT_HANDLE_INVALID", f"C_SignInit@2 return {code:#x}", GONE)
    child.ask("cool")
    child.refuses(SIGN, STATUSES.get(code, COMMUNICATION), lost=True)


def test_a_healthy_request_asks_nothing_of_the_session(child: Child, shim: Shim) -> None:
    child.do(SIGN)
    assert shim.count("C_GetSessionInfo") == 0


def test_a_token_that_was_logged_out_ends_the_worker(own: tuple[Child, Token, Shim]) -> None:
    child, _, shim = own
    assert child.ask("log_out", str(shim.library))["code"] == 0
    # SoftHSM does not say that nobody is logged in: private objects are just not found.
    child.refuses(SIGN, COMMUNICATION, lost=True)
    child.refuses(GenerateKey("new", EC_KEY), COMMUNICATION, lost=True)


@pytest.mark.parametrize("known", [True, False])
def test_a_key_that_is_only_not_visible_is_not_taken_for_destroyed(own: tuple[Child, Token, Shim], known: bool) -> None:
    child, token, shim = own
    if not known:
        child.ask("cool")
        child.ask("forget", 10)
    child.ask("log_out", str(shim.library))
    if not known:
        child.ask("forget", 10)
    child.refuses(DestroyKey("ec"), COMMUNICATION, lost=True)
    # The row stays, marked, for a successor that is logged in.
    assert child.ask("row", "ec")
    child.end()
    assert {one["CLASS"] for one in shown(token)} == {"PRIVATE_KEY", "PUBLIC_KEY"}


@pytest.mark.parametrize(
    ("rule", "operation"),
    [
        ("C_Sign long 1", SIGN),
        ("C_Sign long 100000", SIGN),
        ("C_Sign short 1", SIGN),
        ("C_Encrypt long 1", SEAL),
        ("C_Encrypt short 1", SEAL),
        ("C_Encrypt long 1", CipherEncrypt("cbc", CBC, b"text")),
        ("C_Encrypt short 1", CipherEncrypt("cbc", CBC, b"text")),
        ("C_Encrypt short 16", CipherEncrypt("cbc", CBC, bytes(16))),
        ("C_Encrypt short 16", CipherEncrypt("ecb", ECB, bytes(16))),
        ("C_Encrypt long 1", AsymmetricEncrypt("rsa", CRYPT, b"text", b"")),
        ("C_Encrypt short 1", AsymmetricEncrypt("rsa", CRYPT, b"text", b"")),
        ("C_Sign long 1", MacCompute("hmac", HMAC, b"text")),
        ("C_Sign short 1", MacCompute("hmac", HMAC, b"text")),
    ],
)
def test_a_length_that_cannot_be_ends_the_worker(
    child: Child, shim: Shim, rule: str, operation: SignHash | AeadEncrypt
) -> None:
    shim.set(rule)
    assert "not trusted" in child.refuses(operation, COMMUNICATION, lost=True)
    shim.clear()
    child.do(operation)


@pytest.mark.parametrize("rule", ["C_GetAttributeValue long 1", "C_GetAttributeValue short 1"])
def test_an_attribute_of_a_length_that_cannot_be_ends_the_worker(child: Child, shim: Shim, rule: str) -> None:
    child.ask("cool")
    shim.set(rule)
    child.refuses(SIGN, COMMUNICATION, lost=True)


@pytest.mark.parametrize("kind", ["gcm", "cbc", "ecb"])
@pytest.mark.parametrize("rule", ["C_Decrypt long 1", "C_Decrypt short 13", "C_Decrypt long 100000"])
def test_a_plaintext_of_a_length_that_cannot_be_ends_the_worker(child: Child, shim: Shim, rule: str, kind: str) -> None:
    text = b"sixteen bytes..."
    opening: AeadDecrypt | CipherDecrypt
    if kind == "gcm":
        sealed = child.do(AeadEncrypt("gcm", GCM, bytes(12), b"", text))
        opening = AeadDecrypt("gcm", GCM, bytes(12), b"", sealed)
    else:
        algorithm = CBC if kind == "cbc" else ECB
        opening = CipherDecrypt(kind, algorithm, child.do(CipherEncrypt(kind, algorithm, text)))
    shim.set(rule)
    lost = kind != "cbc" or "long" in rule  # what the last byte decrypts to is up to the client
    child.refuses(opening, COMMUNICATION if lost else Status.PSA_ERROR_INVALID_PADDING, lost=lost)
    shim.clear()
    assert child.do(opening) == text


def test_room_is_given_when_it_is_asked_for(child: Child, shim: Shim) -> None:
    shim.set("C_Sign@1 return CKR_BUFFER_TOO_SMALL")
    assert len(child.do(SIGN)) == 64
    assert shim.count("C_Sign") == 2
    shim.set("C_Sign then-return CKR_BUFFER_TOO_SMALL")
    child.refuses(SIGN, COMMUNICATION)


@pytest.mark.parametrize("code", sorted(STALE))
def test_a_handle_that_the_module_forgot_is_searched_for_once(child: Child, shim: Shim, code: int) -> None:
    child.do(SIGN)
    shim.forget()
    shim.set(f"C_SignInit@1 return {code:#x}")
    child.do(SIGN)
    assert shim.count("C_FindObjectsInit") == 1
    assert shim.count("C_SignInit") == 2
    # What was found is remembered.
    shim.clear()
    shim.forget()
    child.do(SIGN)
    assert [call.function for call in shim.calls()] == ["C_SignInit", "C_Sign"]
    shim.set(f"C_SignInit return {code:#x}")
    child.refuses(SIGN, COMMUNICATION)
    assert shim.count("C_FindObjectsInit") == 1


@pytest.mark.parametrize("code", sorted(STALE))
def test_a_handle_forgotten_while_its_key_is_opened_is_searched_for_once(child: Child, shim: Shim, code: int) -> None:
    child.ask("cool")
    shim.set(f"C_GetAttributeValue@1 return {code:#x}")
    child.do(SIGN)
    assert shim.count("C_FindObjectsInit") == 1


def test_an_object_that_was_made_anew_is_found(own: tuple[Child, Token, Shim]) -> None:
    child, _, shim = own
    point = child.do(ExportPublicKey("ec"))
    for number in (PRIVATE, PUBLIC):
        assert child.ask("copy", number)["count"] == 1
    shim.forget()
    signature = child.do(SIGN)
    assert shim.count("C_FindObjectsInit") == 1
    child.do(VerifyHash("ec", ECDSA, DIGEST, signature))
    assert child.do(ExportPublicKey("ec")) == point
    assert shim.count("C_FindObjectsInit") == 1


def test_an_object_found_again_must_be_such_a_key_still(own: tuple[Child, Token, Shim]) -> None:
    child, _, _ = own
    child.do(GenerateKey("other", attributes(KeyKind.ECC_KEY_PAIR, 384, ECDSA, EccFamily.SECP_R1, SIGNING)))
    child.do(SIGN)
    child.ask("swap", PRIVATE)
    child.refuses(SIGN, Status.PSA_ERROR_DATA_CORRUPT)
    child.refuses(SIGN, Status.PSA_ERROR_DATA_CORRUPT)


def test_a_key_whose_objects_are_gone_does_not_exist(own: tuple[Child, Token, Shim]) -> None:
    child, _, shim = own
    signature = child.do(SIGN)
    child.ask("vanish", PRIVATE)
    shim.forget()
    child.refuses(SIGN, Status.PSA_ERROR_DOES_NOT_EXIST)
    assert shim.count("C_FindObjectsInit") == 1
    # Keys in use still work until they are opened again.
    child.do(VerifyHash("ec", ECDSA, DIGEST, signature))
    child.ask("cool")
    child.refuses(VerifyHash("ec", ECDSA, DIGEST, signature), Status.PSA_ERROR_DOES_NOT_EXIST)
    child.do(DestroyKey("ec"))


@pytest.mark.parametrize("number", [PRIVATE, PUBLIC])
def test_two_objects_with_one_identifier_are_refused_until_there_is_one(
    own: tuple[Child, Token, Shim], number: int
) -> None:
    child, token, _ = own
    child.ask("copy", number, keep=True)
    child.ask("cool")
    # The handles found at creation are still used; opened anew, it is unknown which object is meant.
    child.do(SIGN)
    for patience in (10, -1):
        child.ask("cool")
        child.ask("forget", patience)
        child.refuses(SIGN, Status.PSA_ERROR_CORRUPTION_DETECTED)
        child.refuses(ExportPublicKey("ec"), Status.PSA_ERROR_CORRUPTION_DETECTED)
    child.refuses(DestroyKey("ec"), Status.PSA_ERROR_CORRUPTION_DETECTED)
    assert child.ask("reconcile") == {"unresolved": True, "rows": 1}
    child.ask("destroy_one", number)
    assert child.ask("reconcile") == {"unresolved": False, "rows": 0}
    child.end()
    assert shown(token) == []


def test_a_listing_that_is_not_finished_knows_no_halves(own: tuple[Child, Token, Shim]) -> None:
    child, token, shim = own
    signature = child.do(SIGN)
    # Time is up after the first object.
    shim.set("C_GetAttributeValue slow 60")
    assert child.ask("forget", 0.05)["complete"] is False
    shim.clear()
    child.ask("cool")
    child.do(VerifyHash("ec", ECDSA, DIGEST, signature))
    assert len(child.do(ExportPublicKey("ec"))) == 65
    shim.set("C_GetAttributeValue slow 60")
    child.ask("forget", 0.05)
    shim.clear()
    child.do(DestroyKey("ec"))
    child.end()
    assert shown(token) == []


def test_a_listing_is_finished_while_nobody_asks_for_anything(own: tuple[Child, Token, Shim]) -> None:
    child, _, shim = own
    shim.set("C_GetAttributeValue slow 60")
    child.ask("forget", 0.05)
    shim.clear()
    child.do(GenerateKey("meanwhile", EC_KEY))
    for _ in range(20):
        if child.ask("go_on") == {"more": True, "complete": True}:
            break
    assert child.ask("go_on") == {"more": False, "complete": True}
    child.ask("cool")
    shim.forget()
    child.do(SIGN)
    child.do(SignHash("meanwhile", ECDSA, DIGEST))
    assert shim.count("C_FindObjectsInit") == 0


FUSSY = [
    "ATTRIBUTE_TYPE_INVALID",
    "ATTRIBUTE_VALUE_INVALID",
    "ATTRIBUTE_READ_ONLY",
    "TEMPLATE_INCONSISTENT",
]


@pytest.mark.parametrize("code", FUSSY)
def test_a_token_is_not_told_again_what_it_does_not_want_to_hear(own: tuple[Child, Token, Shim], code: str) -> None:
    child, token, shim = own
    shim.set(f"C_GenerateKeyPair@1 return CKR_{code}")
    shim.forget()
    child.do(GenerateKey("one", EC_KEY))
    assert shim.count("C_GenerateKeyPair") == 2
    child.do(GenerateKey("two", EC_KEY))
    child.do(GenerateKey("three", AES_KEY))
    assert shim.count("C_GenerateKeyPair") == 3
    assert shim.count("C_GenerateKey") == 1
    ids = [child.ask("row", name)["key_id"] for name in ("ec", "one", "two", "three")]
    child.do(SignHash("two", ECDSA, DIGEST))
    assert "rejects templates with some attributes" in child.end()
    found = {(one["ID"], one["CLASS"]): one for one in shown(token)}
    # SoftHSM's defaults, where nothing was said.
    assert found[ids[0], "PRIVATE_KEY"]["COPYABLE"] == "False"
    for key_id, kind in ((ids[1], "PRIVATE_KEY"), (ids[2], "PUBLIC_KEY")):
        assert found[key_id, kind]["COPYABLE"] == "True"
    # What a token says about pairs does not hold for secret keys.
    assert found[ids[3], "SECRET_KEY"]["COPYABLE"] == "False"
    assert all(found[key_id, "PRIVATE_KEY"]["PRIVATE"] == "True" for key_id in ids[:3])


def test_a_token_that_refuses_in_any_case_is_told_everything_next_time(own: tuple[Child, Token, Shim]) -> None:
    child, token, shim = own
    shim.forget()
    shim.set("C_GenerateKeyPair return CKR_ATTRIBUTE_VALUE_INVALID")
    for count in (2, 4):
        child.refuses(GenerateKey("one", EC_KEY), Status.PSA_ERROR_NOT_SUPPORTED)
        assert shim.count("C_GenerateKeyPair") == count
    shim.clear()
    child.do(GenerateKey("one", EC_KEY))
    assert shim.count("C_GenerateKeyPair") == 5
    child.end()
    assert {one["COPYABLE"] for one in shown(token)} == {"False"}


def test_a_quirk_saves_the_first_try(token: Token, shim: Shim, tmp_path: Path) -> None:
    quirks = ("omit-allowed-mechanisms", "omit-copyable", "omit-wrap", "omit-unwrap")
    settings = settings_for(token, tmp_path, library_path=str(shim.library), quirks=quirks)
    with Child(settings) as child:
        shim.forget()
        shim.set("C_GenerateKey return CKR_ATTRIBUTE_TYPE_INVALID")
        answer = child.try_(GenerateKey("one", AES_KEY))
        assert answer.status is COMMUNICATION
        assert shim.count("C_GenerateKey") == 1


def test_a_key_may_want_a_login_for_every_use(own: tuple[Child, Token, Shim]) -> None:
    child, _, shim = own
    child.ask("copy", PRIVATE, always_authenticate=True)
    child.ask("cool")
    child.ask("forget", 10)
    child.do(ExportPublicKey("ec"))
    shim.forget()
    child.do(VerifyHash("ec", ECDSA, DIGEST, child.do(SIGN)))
    assert [call.function for call in shim.calls()][:3] == ["C_SignInit", "C_Login", "C_Sign"]


@pytest.mark.parametrize("code", ["PIN_INCORRECT", "PIN_LOCKED", "PIN_EXPIRED"])
def test_such_a_login_does_not_use_up_the_tries_of_a_wrong_pin(own: tuple[Child, Token, Shim], code: str) -> None:
    child, _, shim = own
    child.ask("copy", PRIVATE, always_authenticate=True)
    child.ask("cool")
    child.ask("forget", 10)
    shim.set(f"C_Login return CKR_{code}")
    # The worker ends, and the next process that opens the token records that the PIN was refused.
    child.refuses(SIGN, COMMUNICATION, lost=True)


@pytest.mark.parametrize(("size", "calls"), [(0, 0), (1, 1), (1 << 16, 1), ((1 << 16) + 1, 2), (1 << 20, 16)])
def test_random_bytes_come_in_pieces(child: Child, shim: Shim, size: int, calls: int) -> None:
    found = child.do(GenerateRandom(size))
    assert len(found) == size
    assert shim.count("C_GenerateRandom") == calls
    if size > 1:
        assert len(set(found)) > 1
