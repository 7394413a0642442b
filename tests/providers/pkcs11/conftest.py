"""Tokens for the tests of this folder."""

import pytest
from tests.harness.pkcs11.token import Token, softhsm
from tests.providers.pkcs11.driver import Driver


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    """A SoftHSM token with a pair of EC keys and an AES key, which the driver knows; tests must not change them."""
    made = softhsm(tmp_path_factory.mktemp("softhsm"))
    with Driver(made) as driver:
        assert [driver.take(step) for step in ("ec", "aes")] == ["ok", "ok"]
    return made
