"""Finding the token and logging in."""

import os
from pathlib import Path

import pytest
from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.token import Token, softhsm
from tests.providers.pkcs11.child import NOTHING, Child, ChildEndedError, SetupFailedError, settings_for
from tests.providers.support import attributes

from cofferdam_contracts.operations import DestroyKey, GenerateKey, GenerateRandom
from cofferdam_contracts.psa.algorithm import Aead, AeadScheme
from cofferdam_contracts.psa.attributes import KeyKind, Usage
from cofferdam_contracts.status import Status
from cofferdam_providers.base.device_provider import RETRY_S
from cofferdam_providers.pkcs11.pin import UNCERTAIN

FAILED, COMMUNICATION = Status.PSA_ERROR_HARDWARE_FAILURE, Status.PSA_ERROR_COMMUNICATION_FAILURE
WRONG = b"0000".hex()
AES = attributes(KeyKind.AES, 128, Aead(AeadScheme.GCM), usage=Usage.ENCRYPT)
RANDOM = GenerateRandom(16)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> list[Token]:
    """Three tokens of one module, two of which have the same label; tests must not change them."""
    folder = tmp_path_factory.mktemp("tokens")
    return [softhsm(folder, label="first"), softhsm(folder, label="twin"), softhsm(folder, label="twin")]


@pytest.fixture
def shim(tokens: list[Token], tmp_path: Path) -> Shim:
    return Shim(tmp_path / "shim", tokens[0].library, tokens[0].environment)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_token_is_found_by_its_serial_number_or_its_slot(tokens: list[Token], tmp_path: Path, index: int) -> None:
    token = tokens[index]
    for match in (
        NOTHING._replace(serial=token.serial),
        NOTHING._replace(slot_id=token.slot),
        NOTHING._replace(serial=token.serial, label=token.label, slot_id=token.slot),
    ):
        with Child(settings_for(token, tmp_path, token=match)) as child:
            assert child.about["open"]
            assert f"serial={token.serial} " in child.end()


@pytest.mark.parametrize(
    "match",
    [
        {"label": "first"},
        {"label": "first   "},
        {"label": "first", "manufacturer": "SoftHSM project", "model": "SoftHSM v2"},
        {"label": "first", "library_manufacturer": "SoftHSM", "library_version": "2.6"},
    ],
)
def test_a_token_is_found_by_what_it_says_of_itself(tokens: list[Token], tmp_path: Path, match: dict[str, str]) -> None:
    settings = settings_for(tokens[0], tmp_path, token=NOTHING._replace(**match))  # type: ignore[arg-type]
    with Child(settings) as child:
        assert child.about["open"]
        assert f"serial={tokens[0].serial} " in child.end()


def test_of_two_tokens_that_fit_none_is_used(tokens: list[Token], shim: Shim, tmp_path: Path) -> None:
    with Child(settings_for(tokens[1], tmp_path, library_path=str(shim.library))) as child:
        assert (child.about["open"], child.about["retry"]) == (False, True)
        text = child.about["refusal"]
        child.refuses(RANDOM, Status.PSA_ERROR_HARDWARE_FAILURE)
    assert shim.count("C_Login") == 0
    assert "2 tokens fit" in text
    for token in tokens:
        assert (token.serial in text) is (token.label == "twin")
    assert "provider.serial_number" in text


@pytest.mark.parametrize(
    "match",
    [
        {"label": "no such"},
        {"label": "firs"},
        {"label": ""},
        {"label": "first", "serial": "0"},
        {"label": "first", "slot_id": 4711},
        {"label": "first", "model": "another"},
        {"label": "first", "library_version": "9.9"},
    ],
    ids=str,
)
def test_a_token_that_is_not_there_may_come(tokens: list[Token], tmp_path: Path, match: dict[str, object]) -> None:
    wanted = NOTHING._replace(**match)  # type: ignore[arg-type]
    with Child(settings_for(tokens[0], tmp_path, token=wanted)) as child:
        assert not child.about["open"]
        for token in tokens:
            assert f"label {token.label!r}, serial {token.serial!r}, slot {token.slot}" in child.about["refusal"]
        assert 0 < child.ask("wait")["seconds"] <= RETRY_S
        assert "no token fits" in child.refuses(RANDOM, FAILED)
        child.refuses(GenerateKey("k", AES), FAILED)
        assert child.ask("row", "k")["version"] == 0
        assert not (tmp_path / "state" / "login").exists()


def test_a_module_without_tokens_says_so(tmp_path: Path) -> None:
    token = softhsm(tmp_path / "one")
    (tmp_path / "one" / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'empty'}\n")
    (tmp_path / "empty").mkdir()
    with Child(settings_for(token, tmp_path)) as child:
        assert "initialised tokens: none" in child.about["refusal"]


def test_a_slot_that_changed_its_number_is_worth_a_warning(tokens: list[Token], tmp_path: Path) -> None:
    with Child(settings_for(tokens[0], tmp_path, slot_number=7)) as child:
        assert child.about["open"]
        assert "level=warning" in child.end()


@pytest.mark.parametrize("content", [None, b"", b"no library"])
def test_what_cannot_be_loaded_is_a_mistake_in_the_configuration(
    tokens: list[Token], tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "module.so").write_bytes(content)
    with pytest.raises(SetupFailedError, match=r"SetupError: .*; .*provider\.library_path"):
        Child(settings_for(tokens[0], tmp_path, library_path=str(tmp_path / "module.so")))


def test_a_library_that_is_no_module_is_a_mistake_in_the_configuration(tokens: list[Token], tmp_path: Path) -> None:
    with open("/proc/self/maps") as maps:
        libc = next(line.split()[-1] for line in maps if "/libc" in line)
    with pytest.raises(SetupFailedError, match=r"SetupError: .*; .*provider\.library_path"):
        Child(settings_for(tokens[0], tmp_path, library_path=libc))


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ("C_Initialize return CKR_GENERAL_ERROR", COMMUNICATION),
        ("C_Initialize return CKR_DEVICE_ERROR", FAILED),
        ("C_GetSlotList return CKR_FUNCTION_FAILED", COMMUNICATION),
        ("C_GetTokenInfo return CKR_GENERAL_ERROR", COMMUNICATION),
        ("C_OpenSession return CKR_SESSION_COUNT", COMMUNICATION),
        ("C_OpenSession return CKR_TOKEN_NOT_PRESENT", FAILED),
        ("C_GetMechanismList return CKR_GENERAL_ERROR", COMMUNICATION),
        ("C_FindObjectsInit return CKR_GENERAL_ERROR", COMMUNICATION),
        ("C_GetTokenInfo return CKR_TOKEN_NOT_PRESENT", FAILED),
        ("* return CKR_GENERAL_ERROR", COMMUNICATION),
    ],
)
def test_a_module_that_fails_at_first_is_tried_again_later(
    tokens: list[Token], shim: Shim, tmp_path: Path, rule: str, status: Status
) -> None:
    settings = settings_for(tokens[0], tmp_path, library_path=str(shim.library))
    shim.set(rule)
    with Child(settings) as child:
        assert (child.about["open"], child.about["retry"]) == (False, True)
        child.refuses(RANDOM, status)
    shim.clear()
    with Child(settings) as child:
        assert child.about["open"]
        child.do(RANDOM)


def test_a_wrong_pin_is_tried_once(tokens: list[Token], shim: Shim, tmp_path: Path) -> None:
    settings = settings_for(tokens[0], tmp_path, library_path=str(shim.library), pin=WRONG)
    for _ in range(3):
        with Child(settings) as child:
            assert (child.about["open"], child.about["retry"]) == (False, False)
            assert "PIN_INCORRECT" in child.about["refusal"]
            child.refuses(RANDOM, COMMUNICATION)
            child.refuses(GenerateKey("k", AES), COMMUNICATION)
        assert shim.count("C_Login") == 1
    # Another wrong one is another attempt, and so is the right one, which is then forgotten.
    with Child(settings._replace(pin=b"1111".hex())):
        assert shim.count("C_Login") == 2
    with Child(settings_for(tokens[0], tmp_path, library_path=str(shim.library))) as child:
        assert child.about["open"]
        child.do(RANDOM)
    assert shim.count("C_Login") == 3
    assert os.listdir(tmp_path / "state") == []


@pytest.mark.parametrize(
    "code", ["PIN_LOCKED", "PIN_EXPIRED", "PIN_INVALID", "PIN_LEN_RANGE", "USER_PIN_NOT_INITIALIZED"]
)
def test_whatever_a_token_says_of_a_pin_is_its_last_word(
    tokens: list[Token], shim: Shim, tmp_path: Path, code: str
) -> None:
    settings = settings_for(tokens[0], tmp_path, library_path=str(shim.library))
    shim.set(f"C_Login@1 return CKR_{code}")
    for _ in range(2):
        with Child(settings) as child:
            assert (child.about["open"], child.about["retry"]) == (False, False)
    assert shim.count("C_Login") == 1


@pytest.mark.parametrize("code", ["HOST_MEMORY", "TOKEN_NOT_PRESENT", "DEVICE_REMOVED", "SESSION_HANDLE_INVALID"])
def test_a_login_that_did_not_come_to_the_pin_is_tried_again(
    tokens: list[Token], shim: Shim, tmp_path: Path, code: str
) -> None:
    settings = settings_for(tokens[0], tmp_path, library_path=str(shim.library))
    shim.set(f"C_Login return CKR_{code}")
    for count in range(1, UNCERTAIN + 2):
        with Child(settings) as child:
            assert (child.about["open"], child.about["retry"]) == (False, True)
        assert shim.count("C_Login") == count
    shim.clear()
    with Child(settings) as child:
        assert child.about["open"]


@pytest.mark.parametrize("code", ["DEVICE_ERROR", "GENERAL_ERROR", "FUNCTION_FAILED"])
def test_a_login_after_which_nobody_knows_whether_it_counted_is_tried_once_more(
    tokens: list[Token], shim: Shim, tmp_path: Path, code: str
) -> None:
    settings = settings_for(tokens[0], tmp_path, library_path=str(shim.library))
    shim.set(f"C_Login return CKR_{code}")
    for _ in range(UNCERTAIN):
        with Child(settings) as child:
            assert (child.about["open"], child.about["retry"]) == (False, True)
    for _ in range(2):
        with Child(settings) as child:
            assert (child.about["open"], child.about["retry"]) == (False, False)
            assert "without an answer" in child.about["refusal"]
    assert shim.count("C_Login") == UNCERTAIN


def test_one_such_login_is_forgotten_after_one_that_succeeds(tokens: list[Token], shim: Shim, tmp_path: Path) -> None:
    settings = settings_for(tokens[0], tmp_path, library_path=str(shim.library))
    shim.set("C_Login return CKR_DEVICE_ERROR")
    Child(settings).end()
    shim.clear()
    with Child(settings) as child:
        child.do(RANDOM)
    assert os.listdir(tmp_path / "state") == []


def test_somebody_who_is_logged_in_already_need_not_log_in(tokens: list[Token], shim: Shim, tmp_path: Path) -> None:
    shim.set("C_Login return CKR_USER_ALREADY_LOGGED_IN")
    with Child(settings_for(tokens[0], tmp_path, library_path=str(shim.library))) as child:
        assert child.about["open"]
    assert os.listdir(tmp_path / "state") == []


def test_logins_that_nobody_learned_the_end_of_stop(tokens: list[Token], shim: Shim, tmp_path: Path) -> None:
    settings = settings_for(tokens[0], tmp_path, library_path=str(shim.library))
    shim.set("C_Login segv")
    for _ in range(UNCERTAIN):
        with pytest.raises(ChildEndedError):
            Child(settings)
    shim.clear()
    with Child(settings) as child:
        assert (child.about["open"], child.about["retry"]) == (False, False)
        assert "without an answer" in child.about["refusal"]
    assert shim.count("C_Login") == UNCERTAIN


def test_without_a_folder_to_remember_in_there_is_no_login(tokens: list[Token], shim: Shim, tmp_path: Path) -> None:
    (tmp_path / "state" / "login").mkdir(parents=True)
    with pytest.raises(SetupFailedError, match="PinError"):
        Child(settings_for(tokens[0], tmp_path, library_path=str(shim.library)))
    assert shim.count("C_Login") == 0


@pytest.mark.parametrize("pin", [b"\xff\xfe\x80\x01", b"\xc3\x28-not-utf-8", "schlüssel".encode()])
def test_a_pin_is_any_bytes(tmp_path: Path, pin: bytes) -> None:
    token = softhsm(tmp_path / "softhsm", pin=os.fsdecode(pin))
    with Child(settings_for(token, tmp_path, pin=pin.hex())) as child:
        assert child.about["open"]
        child.do(GenerateKey("k", AES))
    # The reference would have tried this one instead of the first.
    with Child(settings_for(token, tmp_path, pin=(pin + b"\xff").decode(errors="replace").encode().hex())) as child:
        assert "CKR_PIN_INCORRECT" in child.about["refusal"]


def test_a_pin_comes_from_a_file(tokens: list[Token], tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_bytes(os.fsencode(tokens[0].pin) + b"\n")
    path.chmod(0o400)
    with Child(settings_for(tokens[0], tmp_path, pin=None, pin_file=str(path))) as child:
        assert child.about["open"]
    path.chmod(0o444)
    with pytest.raises(SetupFailedError, match="PinError"):
        Child(settings_for(tokens[0], tmp_path, pin=None, pin_file=str(path)))


def test_without_a_pin_there_is_no_login(tokens: list[Token], shim: Shim, tmp_path: Path) -> None:
    with Child(settings_for(tokens[0], tmp_path, library_path=str(shim.library), pin=None)) as child:
        assert child.about["open"]
        child.do(RANDOM)
        # Private objects cannot be created, and no request makes the worker exit.
        assert "no PIN" in child.refuses(GenerateKey("k", AES), COMMUNICATION)
        assert "requires a login" in child.end()
    assert shim.count("C_Login") == 0


def test_a_quirk_that_there_is_not_is_a_mistake_in_the_configuration(tokens: list[Token], tmp_path: Path) -> None:
    with pytest.raises(SetupFailedError, match=r"QuirkError.*no-such-quirk"):
        Child(settings_for(tokens[0], tmp_path, quirks=("no-such-quirk",)))


@pytest.mark.parametrize("name", ["libykcs11.so.2", "other.so"])
def test_a_module_is_known_by_the_name_of_the_real_file(tokens: list[Token], tmp_path: Path, name: str) -> None:
    shim = Shim(tmp_path / "shim", tokens[0].library, tokens[0].environment, name=name)
    link = tmp_path / "module.so"
    link.symlink_to(shim.library)
    with Child(settings_for(tokens[0], tmp_path, library_path=str(link))) as child:
        child.do(GenerateKey("k", AES))
        assert len(child.ask("row", "k")["key_id"]) == (2 if name.startswith("libykcs11") else 32)
        child.do(DestroyKey("k"))
