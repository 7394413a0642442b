"""The spy's output, as read by the tests of the provider."""

from pathlib import Path

from tests.harness.pkcs11.spy import Spy
from tests.harness.pkcs11.token import Token
from tests.providers.pkcs11.driver import Driver


def test_every_call_is_there_as_soon_as_it_returns(token: Token, tmp_path: Path) -> None:
    spy = Spy(tmp_path / "spy.txt", token.library, token.environment)
    with Driver(token, spy.library, spy.environment) as driver:
        driver.take("descriptors")
        mark = spy.mark()
        driver.take("random")
        assert spy.since(mark) == ["C_GenerateRandom"]
        mark = spy.mark()
        driver.take("sign")
        # python-pkcs11 asks for the length first.
        assert spy.since(mark)[-3:] == ["C_SignInit", "C_Sign", "C_Sign"]
    assert spy.calls()[:3] == ["C_GetFunctionList", "C_Initialize", "C_GetInfo"]
