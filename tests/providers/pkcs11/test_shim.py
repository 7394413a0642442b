"""The shim treats its caller as its schedule says: everything that the tests of the provider rely on."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness.pkcs11.shim import Call, Shim
from tests.harness.pkcs11.token import Token
from tests.providers.pkcs11.driver import Driver

SIGNATURE_DIGITS = 128


@pytest.fixture
def shim(token: Token, tmp_path: Path) -> Shim:
    return Shim(tmp_path / "shim", token.library, token.environment)


@pytest.mark.parametrize("step", ["verify", "rsa", "ungcm", "hmac", "random", "label"])
def test_changes_nothing_without_rules(shim: Shim, token: Token, step: str) -> None:
    # One after the other: SoftHSM does not support two processes at one token.
    with Driver(token) as driver:
        wanted = driver.take(step)
    with Driver(token, shim.library) as driver:
        found = driver.take(step)
    assert len(found) == len(wanted) if step == "random" else found == wanted


def test_logs_every_call_with_what_it_returned(shim: Shim, token: Token) -> None:
    shim.set("C_SignInit@2 return CKR_KEY_HANDLE_INVALID")
    with Driver(token, shim.library) as driver:
        driver.take("sign")
        before = len(shim.calls())
        assert driver.take("sign") == "KeyHandleInvalid"
    assert shim.calls()[0] == Call("C_GetFunctionList", "0x0")
    assert shim.calls()[-1] == Call("C_SignInit", "0x60")
    assert shim.count("C_SignInit") == 2
    assert shim.count("C_SignInit", "C_Sign", since=before) == 1


RETURNS = [
    ("C_SignInit return CKR_DEVICE_REMOVED", ["DeviceRemoved", "DeviceRemoved", "DeviceRemoved"]),
    ("C_SignInit return 0xb3", ["SessionHandleInvalid", "SessionHandleInvalid", "SessionHandleInvalid"]),
    ("C_SignInit@2 return CKR_USER_NOT_LOGGED_IN", ["", "UserNotLoggedIn", ""]),
    ("C_SignInit@2+ return CKR_HOST_MEMORY", ["", "HostMemory", "HostMemory"]),
    ("* return CKR_GENERAL_ERROR", ["GeneralError", "GeneralError", "GeneralError"]),
]


@pytest.mark.parametrize(("rule", "errors"), RETURNS)
def test_returns(shim: Shim, token: Token, rule: str, errors: list[str]) -> None:
    with Driver(token, shim.library) as driver:
        driver.take("sign")
        shim.set(rule)
        found = [driver.take("sign") for _ in errors]
    assert [answer if len(answer) != SIGNATURE_DIGITS else "" for answer in found] == errors


def test_returns_without_asking_the_module_or_after(shim: Shim, token: Token) -> None:
    with Driver(token, shim.library) as driver:
        shim.set("C_SignInit@1 return CKR_FUNCTION_FAILED")
        assert driver.take("sign") == "FunctionFailed"
        shim.clear()
        assert len(driver.take("sign")) == SIGNATURE_DIGITS
        shim.set("C_SignInit@1 then-return CKR_FUNCTION_FAILED")
        assert driver.take("sign") == "FunctionFailed"
        assert driver.take("sign") == "OperationActive"


def test_a_rule_that_stays_goes_on_counting_and_one_that_comes_back_begins_anew(shim: Shim, token: Token) -> None:
    rule = "C_SignInit@2 return CKR_DEVICE_ERROR"
    with Driver(token, shim.library) as driver:
        shim.set(rule)
        driver.take("sign")
        shim.set("C_Login return CKR_PIN_LOCKED", rule)
        assert driver.take("sign") == "DeviceError"
        shim.clear()
        driver.take("sign")
        shim.set(rule)
        assert [len(driver.take("sign")) for _ in range(3)] == [SIGNATURE_DIGITS, len("DeviceError"), SIGNATURE_DIGITS]


@pytest.mark.parametrize(
    ("action", "status"), [("segv", -signal.SIGSEGV), ("abort", -signal.SIGABRT), ("exit 7", 7), ("exit 0", 0)]
)
def test_ends_the_process(shim: Shim, token: Token, action: str, status: int) -> None:
    shim.set(f"C_Sign {action}")
    with Driver(token, shim.library) as driver:
        assert driver.take("sign") == ""
        found, _ = driver.end()
    # SoftHSM may crash while a process exits.
    assert found in {status, -signal.SIGSEGV}
    assert shim.calls()[-1] == Call("C_Sign", action.split(maxsplit=1)[0])


def test_hangs(shim: Shim, token: Token) -> None:
    shim.set("C_GenerateRandom hang")
    with Driver(token, shim.library) as driver:
        driver.send("random")
        _wait(lambda: shim.count("C_GenerateRandom") == 1)
        shim.clear()
        time.sleep(0.1)
        assert shim.calls()[-1] == Call("C_GenerateRandom", "hang")


def test_is_slow(shim: Shim, token: Token) -> None:
    shim.set("C_GenerateRandom@1 slow 300")
    with Driver(token, shim.library) as driver:
        driver.take("descriptors")
        begin = time.monotonic()
        driver.take("random")
        assert 0.3 <= time.monotonic() - begin < 5


LIES = [
    ("C_Sign short 4", "sign", lambda answer: len(answer) == SIGNATURE_DIGITS - 8),
    ("C_Decrypt short 400", "ungcm", lambda answer: answer == ""),
    ("C_Decrypt flip", "ungcm", lambda answer: bytes.fromhex(answer) == b"qlain text"),
    ("C_GetAttributeValue flip", "label", lambda answer: answer != "ec"),
    ("C_Encrypt short 6", "claimed", lambda answer: answer == "10"),
    ("C_Encrypt long 6", "claimed", lambda answer: answer == "26"),
    ("C_Sign flip", "verify", lambda answer: answer == "False"),
]


@pytest.mark.parametrize(("rule", "step", "is_right"), LIES)
def test_lies_about_the_output(shim: Shim, token: Token, rule: str, step: str, is_right: Callable[[str], bool]) -> None:
    with Driver(token, shim.library) as driver:
        truth = driver.take(step)
        shim.set(rule)
        found = driver.take(step)
    assert is_right(found)
    assert not is_right(truth)


LEAKS = [
    ("leak-fd", "descriptors", range(8, 9)),
    # One of the sessions belongs to the step itself.
    ("leak-session", "handle", range(9, 10)),
    ("leak-memory 2048", "resident", range(8 * 2048 - 1024, 8 * 2048 + 4096)),
]


@pytest.mark.parametrize(("action", "measure", "growth"), LEAKS)
def test_leaks(shim: Shim, token: Token, action: str, measure: str, growth: range) -> None:
    with Driver(token, shim.library) as driver:
        driver.take("random")
        before = int(driver.take(measure))
        shim.set(f"C_GenerateRandom {action}")
        for _ in range(8):
            driver.take("random")
        assert int(driver.take(measure)) - before in growth


def test_writes_to_stdout_and_stderr(shim: Shim, token: Token) -> None:
    shim.set("C_GenerateRandom garbage-stdout")
    with Driver(token, shim.library) as driver:
        assert "module:" in driver.take("random")
        _, errors = driver.end()
    assert b"module:" in errors


def test_closes_the_descriptors_of_its_process(shim: Shim, token: Token) -> None:
    shim.set("C_GenerateRandom close-fds")
    with Driver(token, shim.library) as driver:
        assert driver.take("random") == ""
        status, _ = driver.end()
    assert status != 0
    assert Call("C_GenerateRandom", "0x0") in shim.calls()


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
