"""Identifiers of new keys: never one that another key has, on the token or only in the key store."""

from pathlib import Path

import pytest
from pkcs11 import ObjectClass
from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.token import Token, softhsm
from tests.providers.pkcs11.child import Child, settings_for, shown
from tests.providers.pkcs11.samples import DIGEST, ECDSA, aes, ecc, scalar

from cofferdam_contracts.operations import DestroyKey, GenerateKey, ImportKey, SignHash, VerifyHash
from cofferdam_contracts.status import Status


@pytest.fixture
def token(tmp_path: Path) -> Token:
    return softhsm(tmp_path)


def test_identifiers_are_not_given_twice_and_run_out(token: Token, tmp_path: Path) -> None:
    with Child(settings_for(token, tmp_path, quirks=("id-bytes=1",))) as child:
        ids = set()
        for index in range(12):
            child.do(ImportKey(f"k{index}", aes(128), bytes(16)))
            ids.add(child.ask("row", f"k{index}")["key_id"])
        assert len(ids) == 12
        assert "00" not in ids


def test_keys_that_vanished_from_the_token_do_not_become_another_application_s(token: Token, tmp_path: Path) -> None:
    """A card that was reset has none of the objects, but the key store still has their names and identifiers."""
    with Child(settings_for(token, tmp_path, quirks=("id-bytes=1",))) as child:
        child.ask("use_key_store", str(tmp_path))
        old = [f"old{index}" for index in range(60)]
        for name in old:
            child.do(ImportKey(name, ecc(256), scalar(256)), "1000")
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
            assert child.ask("vanish", int(kind))["count"] == len(old)
        child.ask("forget", 10)
        child.ask("cool")
        new = [f"new{index}" for index in range(20)]
        for name in new:
            child.do(GenerateKey(name, ecc(256)), "1001")
        made = {one["ID"] for one in shown(token)}
        assert len(made) == len(new)
        signature = child.do(SignHash(new[0], ECDSA, DIGEST), "1001")
        for name in old:
            for operation in (SignHash(name, ECDSA, DIGEST), VerifyHash(name, ECDSA, DIGEST, signature)):
                assert child.try_(operation, "1000").status is Status.PSA_ERROR_DOES_NOT_EXIST
            child.do(DestroyKey(name), "1000")
        assert {one["ID"] for one in shown(token)} == made
        for name in new:
            child.do(VerifyHash(name, ECDSA, DIGEST, child.do(SignHash(name, ECDSA, DIGEST), "1001")), "1001")


def test_identifiers_run_out_when_the_key_store_has_them_all(token: Token, tmp_path: Path) -> None:
    with Child(settings_for(token, tmp_path, quirks=("id-bytes=1",))) as child:
        child.ask("use_key_store", str(tmp_path))
        statuses: list[Status] = []
        while not statuses or (statuses[-1] is Status.SUCCESS and len(statuses) < 256):
            statuses.append(child.try_(ImportKey(f"k{len(statuses)}", aes(128), bytes(16))).status)
            child.ask("vanish", int(ObjectClass.SECRET_KEY))
            child.ask("forget", 10)
        assert statuses[-1] is Status.PSA_ERROR_INSUFFICIENT_STORAGE


def test_a_short_identifier_is_looked_for_while_not_all_are_known(token: Token, tmp_path: Path) -> None:
    shim = Shim(tmp_path / "shim", token.library, token.environment)
    for size, searches in ((4, 1), (16, 0)):
        settings = settings_for(token, tmp_path, library_path=str(shim.library), quirks=(f"id-bytes={size}",))
        with Child(settings) as child:
            child.do(GenerateKey(f"j{size}", aes(128)))
            child.ask("forget", -1)
            shim.forget()
            child.do(GenerateKey(f"k{size}", aes(128)))
            assert shim.count("C_FindObjectsInit") == searches
            child.ask("forget", 10)
            shim.forget()
            child.do(GenerateKey(f"l{size}", aes(128)))
            assert shim.count("C_FindObjectsInit") == 0
