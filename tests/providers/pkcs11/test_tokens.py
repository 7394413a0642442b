"""The tokens that the provider is tested with: they work, and another process sees what is on them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness.pkcs11.second import second
from tests.harness.pkcs11.token import Object, Token, objects, softhsm
from tests.providers.pkcs11.driver import Driver

ID = bytes(range(16)).hex()
UID = 59002
"""Belongs to nobody."""


def nss(folder: Path) -> Token:
    return second(folder)[0]


@pytest.mark.parametrize("make", [softhsm, nss])
def test_keys_work_and_stay(make: Callable[[Path], Token], tmp_path: Path) -> None:
    token = make(tmp_path)
    with Driver(token) as driver:
        assert {step: driver.take(step) for step in ("ec", "verify", "rsa", "hmac", "aes")} == {
            "ec": "ok", "verify": "True", "rsa": "True", "hmac": "True", "aes": "ok",
        }  # fmt: skip
        assert len(driver.take("random")) == 32
    found = objects(token)
    assert found == sorted(found)
    assert set(found) >= {
        Object("PRIVATE_KEY", ID, "ec", "EC"),
        Object("PUBLIC_KEY", ID, "ec", "EC"),
        Object("SECRET_KEY", ID, "aes", "AES"),
    }
    with Driver(token) as driver:
        assert driver.take("verify") == "True"


def test_two_tokens_of_one_folder_differ_in_serial_number_and_slot(tmp_path: Path) -> None:
    one, other = softhsm(tmp_path), softhsm(tmp_path)
    assert one.label == other.label
    assert one.serial != other.serial
    assert one.slot != other.slot
    assert len(one.serial) == len(other.serial) == 16
    with Driver(one) as driver:
        driver.take("ec")
    assert len(objects(one)) == 2
    assert objects(other) == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("make", [softhsm, lambda folder, uid: second(folder, uid=uid)[0]])
def test_a_uid_can_own_what_the_module_writes(make: Callable[..., Token], tmp_path: Path) -> None:
    token = make(tmp_path, uid=UID)
    owners = {os.stat(path).st_uid for path in (token.folder, *token.folder.rglob("*"))}
    assert owners == {UID}
