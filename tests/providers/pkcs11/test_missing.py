"""Log lines about keys that are to be destroyed and are not on the token."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pkcs11 import ObjectClass
from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.token import softhsm
from tests.providers.pkcs11.child import Child, settings_for
from tests.providers.pkcs11.samples import aes

from cofferdam_contracts.operations import DestroyKey, ImportKey
from cofferdam_contracts.status import Status

WARNING = "the token has nothing of a key"
IMPORT = ImportKey("k", aes(128), bytes(16))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Child, Shim]]:
    token = softhsm(tmp_path / "softhsm")
    shim = Shim(tmp_path / "shim", token.library, token.environment)
    with Child(settings_for(token, tmp_path, library_path=str(shim.library))) as child:
        yield child, shim


@pytest.mark.parametrize("known", [True, False])
def test_a_key_that_is_missing_is_told(own: tuple[Child, Shim], known: bool) -> None:
    child, _ = own
    child.do(IMPORT)
    child.ask("vanish", int(ObjectClass.SECRET_KEY))
    if not known:
        child.ask("forget", 10)
    child.do(DestroyKey("k"))
    assert WARNING in child.end()


def test_a_key_that_is_there_is_not(own: tuple[Child, Shim]) -> None:
    child, _ = own
    child.do(IMPORT)
    child.do(DestroyKey("k"))
    assert WARNING not in child.end()


def test_an_import_that_was_refused_made_nothing_to_be_missed(own: tuple[Child, Shim]) -> None:
    child, shim = own
    shim.set("C_CreateObject return CKR_TEMPLATE_INCOMPLETE")
    child.refuses(IMPORT, Status.PSA_ERROR_NOT_SUPPORTED)
    assert WARNING not in child.end()
