"""Keys generated, imported, exported and destroyed, and the objects on the token afterwards."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
)
from msgspec.structs import replace
from tests.harness.pkcs11.shim import Shim
from tests.harness.pkcs11.token import Token, softhsm
from tests.providers.pkcs11.child import Child, settings_for, shown
from tests.providers.pkcs11.samples import (
    BAD,
    CRYPT,
    DIGEST,
    ECDSA,
    NOT_PERMITTED,
    RSA_DER,
    RSA_NUMBERS,
    RSA_PUBLIC,
    SEALING,
    SIGNING,
    UNSUPPORTED,
    aes,
    ecc,
    ecc_public,
    hmac,
    point,
    rsa_pair,
    rsa_public,
    scalar,
)
from tests.providers.support import attributes, der_element, der_sequence

from cofferdam_contracts.operations import (
    CanDoCrypto,
    CheckType,
    DestroyKey,
    ExportKey,
    ExportPublicKey,
    GenerateKey,
    ImportKey,
    SignHash,
    VerifyHash,
)
from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
)
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, Usage
from cofferdam_contracts.status import Status
from cofferdam_providers.base.provider import OWN_FORM, REFERENCE_FORM
from cofferdam_providers.pkcs11.curves import OIDS, point_to


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Token, Shim]:
    token = softhsm(tmp_path_factory.mktemp("keys"))
    return token, Shim(tmp_path_factory.mktemp("shim"), token.library, token.environment)


@pytest.fixture(scope="module")
def running(base: tuple[Token, Shim], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    token, shim = base
    folder = tmp_path_factory.mktemp("state")
    with Child(settings_for(token, folder, library_path=str(shim.library), allow_export=True)) as child:
        yield child


@pytest.fixture
def child(running: Child, base: tuple[Token, Shim]) -> Iterator[Child]:
    """A provider whose keys are removed after the test; no rules of the shim, and an empty log."""
    base[1].clear()
    base[1].forget()
    yield running
    base[1].clear()
    running.try_(DestroyKey("k"))


@pytest.fixture
def shim(base: tuple[Token, Shim]) -> Shim:
    return base[1]


@pytest.fixture
def token(tmp_path: Path) -> Token:
    """A token whose objects only this test changes."""
    return softhsm(tmp_path / "softhsm")


def described(token: Token) -> dict[str, dict[str, str]]:
    """Return the objects by class, with their usage in one word each."""
    every = shown(token)
    found = {one["CLASS"]: one for one in every}
    assert len(found) == len(every)
    return found


def flags(shown_object: dict[str, str], *names: str) -> set[str]:
    return {name for name in names if shown_object.get(name) == "True"}


USES = ("SIGN", "VERIFY", "ENCRYPT", "DECRYPT", "DERIVE", "WRAP", "UNWRAP")
SECRECY = ("PRIVATE", "SENSITIVE", "EXTRACTABLE")


GENERATED = [
    (ecc(256), {"PRIVATE_KEY": {"SIGN"}, "PUBLIC_KEY": {"VERIFY"}}),
    (ecc(521, Usage.SIGN_MESSAGE), {"PRIVATE_KEY": {"SIGN"}, "PUBLIC_KEY": set()}),
    (rsa_pair(1024), {"PRIVATE_KEY": {"SIGN"}, "PUBLIC_KEY": {"VERIFY"}}),
    (
        attributes(KeyKind.RSA_KEY_PAIR, 1024, CRYPT, usage=SEALING),
        {"PRIVATE_KEY": {"DECRYPT"}, "PUBLIC_KEY": {"ENCRYPT"}},
    ),
    (aes(192), {"SECRET_KEY": {"ENCRYPT", "DECRYPT"}}),
    (hmac(256), {"SECRET_KEY": {"SIGN", "VERIFY"}}),
    (hmac(256, Usage.VERIFY_MESSAGE), {"SECRET_KEY": {"SIGN", "VERIFY"}}),
]


@pytest.mark.parametrize(("wanted", "uses"), GENERATED, ids=[str(wanted) for wanted, _ in GENERATED])
def test_a_new_key_can_do_what_its_policy_says_and_nothing_else(
    token: Token, tmp_path: Path, wanted: KeyAttributes, uses: dict[str, set[str]]
) -> None:
    with Child(settings_for(token, tmp_path)) as child:
        child.do(GenerateKey("k", wanted))
        row = child.ask("row", "k")
    assert row == {"key_id": row["key_id"], "version": OWN_FORM, "bits": wanted.bits}
    assert len(row["key_id"]) == 32
    found = described(token)
    assert {kind: flags(one, *USES) for kind, one in found.items()} == uses
    for kind, one in found.items():
        assert one["ID"] == row["key_id"]
        assert one["TOKEN"] == one["LOCAL"] == "True"
        assert one["COPYABLE"] == "False"
        secret = kind != "PUBLIC_KEY"
        assert flags(one, *SECRECY) == ({"PRIVATE", "SENSITIVE"} if secret else set())
        if secret:
            assert one.get("VALUE", one.get("PRIVATE_EXPONENT")) == "secret"


@pytest.mark.parametrize("wanted", [ecc(256), aes(128), hmac(256), rsa_pair(1024)], ids=str)
def test_a_key_that_may_be_exported_can_be_seen_by_whoever_has_the_pin(
    token: Token, tmp_path: Path, wanted: KeyAttributes
) -> None:
    usage = wanted.usage | Usage.EXPORT | Usage.COPY
    with Child(settings_for(token, tmp_path, allow_export=True)) as child:
        child.do(GenerateKey("k", replace(wanted, usage=usage)))
        exported = child.do(ExportKey("k"))
    found = described(token)
    for one in found.values():
        assert one["COPYABLE"] == "True"
    (secret,) = [one for kind, one in found.items() if kind != "PUBLIC_KEY"]
    assert flags(secret, *SECRECY) == {"PRIVATE", "EXTRACTABLE"}
    if wanted.type.kind is KeyKind.RSA_KEY_PAIR:
        private = load_der_private_key(exported, None)
        assert isinstance(private, rsa.RSAPrivateKey)
        assert private.private_numbers().d == int(secret["PRIVATE_EXPONENT"], 16)
    else:
        assert exported == bytes.fromhex(secret["VALUE"])


IMPORTED: list[tuple[KeyAttributes, bytes, dict[str, dict[str, bytes]]]] = [
    *(
        (
            ecc(bits),
            scalar(bits),
            {
                "PRIVATE_KEY": {"EC_PARAMS": OIDS[bits], "VALUE": scalar(bits)},
                "PUBLIC_KEY": {"EC_PARAMS": OIDS[bits], "EC_POINT": point_to(point(bits))},
            },
        )
        for bits in OIDS
    ),
    *(
        (ecc_public(bits), point(bits), {"PUBLIC_KEY": {"EC_PARAMS": OIDS[bits], "EC_POINT": point_to(point(bits))}})
        for bits in OIDS
    ),
    (
        rsa_pair(2048),
        RSA_DER,
        {
            "PRIVATE_KEY": {
                name: number.to_bytes((number.bit_length() + 7) // 8, "big")
                for name, number in zip(
                    (
                        *("MODULUS", "PUBLIC_EXPONENT", "PRIVATE_EXPONENT", "PRIME_1", "PRIME_2"),
                        *("EXPONENT_1", "EXPONENT_2", "COEFFICIENT"),
                    ),
                    RSA_NUMBERS[1:],
                    strict=True,
                )
            },
            "PUBLIC_KEY": {"MODULUS": RSA_NUMBERS[1].to_bytes(256, "big"), "PUBLIC_EXPONENT": b"\1\0\1"},
        },
    ),
    (
        rsa_public(2048),
        RSA_PUBLIC,
        {"PUBLIC_KEY": {"MODULUS": RSA_NUMBERS[1].to_bytes(256, "big"), "PUBLIC_EXPONENT": b"\1\0\1"}},
    ),
    *(
        (aes(bits), bytes(range(bits // 8)), {"SECRET_KEY": {"VALUE": bytes(range(bits // 8))}})
        for bits in (128, 192, 256)
    ),
    (hmac(520), b"\0" * 64 + b"k", {"SECRET_KEY": {"VALUE": b"\0" * 64 + b"k"}}),
]


@dataclasses.dataclass(frozen=True)
class Found:
    """The outcome of an import."""

    row: dict[str, object]
    exported: bytes
    public: bytes
    objects: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Found, Found]]:
    """Import all keys, with their size and with 0 bits, and look at the token afterwards."""
    folder = tmp_path_factory.mktemp("imported")
    token = softhsm(folder / "softhsm")
    found = []
    with Child(settings_for(token, folder, allow_export=True)) as child:
        for index, (wanted, data, parts) in enumerate(IMPORTED):
            for bits in (wanted.bits, 0):
                name = f"{index}/{bits}"
                sent = replace(wanted, usage=wanted.usage | Usage.EXPORT, bits=bits)
                child.do(ImportKey(name, sent, data))
                public = child.do(ExportPublicKey(name)) if "PUBLIC_KEY" in parts else b""
                found.append(Found(child.ask("row", name), child.do(ExportKey(name)), public, {}))
    by_id = {str(one.row["key_id"]): one for one in found}
    for one in shown(token):
        by_id[one["ID"]].objects[one["CLASS"]] = one
    return list(zip(found[::2], found[1::2], strict=True))


@pytest.mark.parametrize("index", range(len(IMPORTED)), ids=[str(row[0])[:90] for row in IMPORTED])
def test_an_imported_key_is_on_the_token_as_it_came(imported: list[tuple[Found, Found]], index: int) -> None:
    wanted, data, parts = IMPORTED[index]
    for found in imported[index]:
        assert (found.row["version"], found.row["bits"]) == (OWN_FORM, wanted.bits)
        assert found.exported == data
        if "PUBLIC_KEY" in parts:
            assert found.public == (RSA_PUBLIC if "MODULUS" in parts["PUBLIC_KEY"] else point(wanted.bits))
        assert found.objects.keys() == parts.keys()
        for kind, values in parts.items():
            there = found.objects[kind]
            assert {name: bytes.fromhex(there[name]) for name in values} == values
            assert there["LOCAL"] == "False"
            assert (
                flags(there, *USES)
                == {
                    "PRIVATE_KEY": {"SIGN"},
                    "PUBLIC_KEY": {"VERIFY"},
                    "SECRET_KEY": {"SIGN", "VERIFY"} if wanted.type.kind is KeyKind.HMAC else {"ENCRYPT", "DECRYPT"},
                }[kind]
            )


def with_number(index: int, value: int) -> bytes:
    numbers = [*RSA_NUMBERS]
    numbers[index] = value
    return der_sequence(*numbers)


CHACHA = Aead(AeadScheme.CHACHA20_POLY1305)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
REFUSED: list[tuple[str, KeyAttributes, bytes, Status]] = [
    ("empty", ecc(256), b"", BAD),
    ("scalar of 0", ecc(256), bytes(32), BAD),
    ("scalar of the group's order", ecc(256), P256_ORDER.to_bytes(32, "big"), BAD),
    ("short scalar", ecc(256), scalar(256)[:-1], BAD),
    ("scalar of another curve", ecc(256), scalar(384), BAD),
    ("point off the curve", ecc_public(256), point(256)[:-1] + bytes((point(256)[-1] ^ 1,)), BAD),
    ("compressed point", ecc_public(256), b"\2" + point(256)[1:33], BAD),
    ("wrapped point", ecc_public(256), point_to(point(256)), BAD),
    ("point at infinity", ecc_public(256), b"\0", BAD),
    ("point of another curve", ecc_public(256), point(384), BAD),
    ("another size than announced", ecc_public(384), point(256), BAD),
    ("another family", attributes(KeyKind.ECC_PUBLIC_KEY, 256, ECDSA, EccFamily.SECP_K1), point(256), UNSUPPORTED),
    ("p * q is not n", rsa_pair(2048), with_number(4, RSA_NUMBERS[4] + 2), BAD),
    ("d of nothing", rsa_pair(2048), with_number(3, RSA_NUMBERS[3] ^ 2), BAD),
    ("dp of nothing", rsa_pair(2048), with_number(6, RSA_NUMBERS[6] ^ 2), BAD),
    ("multi-prime", rsa_pair(2048), with_number(0, 1), BAD),
    ("even modulus", rsa_public(2048), der_sequence(RSA_NUMBERS[1] - 1, 65537), BAD),
    ("exponent of 1", rsa_public(2048), der_sequence(RSA_NUMBERS[1], 1), BAD),
    ("one byte too many", rsa_public(2048), RSA_PUBLIC + b"\0", BAD),
    ("public in place of a pair", rsa_pair(2048), RSA_PUBLIC, BAD),
    ("another RSA size than announced", rsa_public(1024), RSA_PUBLIC, BAD),
    ("RSA of an odd size", rsa_public(0), der_sequence((1 << 1100) + 1, 65537), BAD),
    ("AES of 15 bytes", aes(0), bytes(15), BAD),
    ("AES of another size", aes(128), bytes(32), BAD),
    ("HMAC of another size", hmac(256), bytes(31), BAD),
    ("SubjectPublicKeyInfo", rsa_public(0), der_element(0x30, RSA_PUBLIC), BAD),
    ("what no token has", attributes(KeyKind.CHACHA20, 256, CHACHA), bytes(32), UNSUPPORTED),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "data", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_key_never_reaches_the_token(
    child: Child, shim: Shim, wanted: KeyAttributes, data: bytes, status: Status
) -> None:
    child.refuses(ImportKey("k", wanted, data), status)
    assert shim.calls() == []
    assert child.ask("row", "k")["version"] == 0


def test_keys_are_refused_to_be_made_exportable_unless_that_is_allowed(token: Token, tmp_path: Path) -> None:
    exportable = ecc(256, SIGNING | Usage.EXPORT)
    with Child(settings_for(token, tmp_path)) as child:
        child.refuses(GenerateKey("k", exportable), NOT_PERMITTED)
        child.refuses(ImportKey("k", exportable, scalar(256)), NOT_PERMITTED)
        for check in (CheckType.GENERATE, CheckType.IMPORT):
            assert child.try_(CanDoCrypto(check, exportable)).status is not Status.SUCCESS
    assert shown(token) == []


def test_what_the_policy_or_the_token_forbids_is_not_exported(token: Token, tmp_path: Path) -> None:
    with Child(settings_for(token, tmp_path, allow_export=True)) as child:
        child.do(GenerateKey("k", ecc(256)))
        child.refuses(ExportKey("k"), NOT_PERMITTED)
        # As if somebody had changed the key store.
        key_id = bytes.fromhex(child.ask("row", "k")["key_id"])
        child.put_row("changed", key_id, OWN_FORM, ecc(256, SIGNING | Usage.EXPORT))
        child.refuses(ExportKey("changed"), NOT_PERMITTED)
        child.do(GenerateKey("r", rsa_pair(1024)))
        key_id = bytes.fromhex(child.ask("row", "r")["key_id"])
        child.put_row("changed", key_id, OWN_FORM, rsa_pair(1024, SIGNING | Usage.EXPORT))
        child.ask("cool")
        child.refuses(ExportKey("changed"), NOT_PERMITTED)


def test_public_keys_are_exported_whatever_the_token_says(child: Child) -> None:
    child.do(ImportKey("k", ecc_public(256, Usage.VERIFY_HASH | Usage.EXPORT), point(256)))
    assert child.do(ExportKey("k")) == child.do(ExportPublicKey("k")) == point(256)


def test_a_symmetric_key_has_no_public_part(child: Child) -> None:
    child.do(GenerateKey("k", aes(128)))
    child.refuses(ExportPublicKey("k"), BAD)


def test_a_name_is_taken_once(child: Child, shim: Shim) -> None:
    child.do(GenerateKey("k", aes(128)))
    shim.forget()
    for again in (GenerateKey("k", aes(128)), ImportKey("k", aes(128), bytes(16))):
        child.refuses(again, Status.PSA_ERROR_ALREADY_EXISTS)
    assert shim.calls() == []


@pytest.mark.parametrize("wanted", [ecc(256), aes(128)], ids=str)
def test_destroying_takes_the_private_object_first_and_all_of_them(
    base: tuple[Token, Shim], child: Child, wanted: KeyAttributes
) -> None:
    token, shim = base
    child.do(GenerateKey("k", wanted))
    key_id = child.ask("row", "k")["key_id"]
    shim.forget()
    # Fails at the second object, if there is one: the private one is already destroyed then.
    shim.set("C_DestroyObject@2 return CKR_DEVICE_MEMORY")
    first = child.try_(DestroyKey("k")).status
    pair = wanted.type.kind is KeyKind.ECC_KEY_PAIR
    assert first is (Status.PSA_ERROR_INSUFFICIENT_STORAGE if pair else Status.SUCCESS)
    left = {one["CLASS"] for one in shown(token) if one["ID"] == key_id}
    assert left == ({"PUBLIC_KEY"} if pair else set())
    shim.clear()
    assert child.ask("reconcile") == {"unresolved": False, "rows": 0}
    assert not [one for one in shown(token) if one["ID"] == key_id]


def test_what_is_destroyed_already_can_be_destroyed(child: Child) -> None:
    child.do(GenerateKey("k", ecc(256)))
    key_id = bytes.fromhex(child.ask("row", "k")["key_id"])
    for name in ("second", "third"):
        child.put_row(name, key_id, OWN_FORM, ecc(256))
    child.do(SignHash("second", ECDSA, DIGEST))
    child.do(DestroyKey("k"))
    child.do(DestroyKey("second"))
    child.refuses(SignHash("third", ECDSA, DIGEST), Status.PSA_ERROR_DOES_NOT_EXIST)
    child.do(DestroyKey("third"))
    child.refuses(DestroyKey("third"), Status.PSA_ERROR_DOES_NOT_EXIST)


def test_an_import_that_fails_half_way_leaves_nothing(base: tuple[Token, Shim], child: Child) -> None:
    token, shim = base
    before = len(shown(token))
    shim.set("C_CreateObject@2+ return CKR_DEVICE_MEMORY")
    child.refuses(ImportKey("k", ecc(256), scalar(256)), Status.PSA_ERROR_INSUFFICIENT_STORAGE)
    shim.clear()
    assert child.ask("row", "k")["version"] == 0
    assert len(shown(token)) == before


@pytest.mark.parametrize(
    "code",
    ["ACTION_PROHIBITED", "ATTRIBUTE_READ_ONLY", "TEMPLATE_INCOMPLETE", "TEMPLATE_INCONSISTENT", "KEY_SIZE_RANGE"],
)
def test_a_token_that_takes_no_keys_says_so_in_many_words(child: Child, shim: Shim, code: str) -> None:
    shim.set(f"C_CreateObject return CKR_{code}")
    child.refuses(ImportKey("k", aes(128), bytes(16)), UNSUPPORTED)


def test_raw_points_are_given_to_a_token_that_wants_them(token: Token, tmp_path: Path) -> None:
    with Child(settings_for(token, tmp_path, quirks=("raw-ec-points",))) as child:
        child.do(ImportKey("k", ecc_public(256), point(256)))
        assert child.do(ExportPublicKey("k")) == point(256)
    assert described(token)["PUBLIC_KEY"]["EC_POINT"] == point(256).hex()


@pytest.mark.parametrize("wanted", [ecc(384), aes(256), rsa_pair(1024)], ids=str)
def test_a_key_to_give_back_has_the_identifier_of_a_reference_key(
    token: Token, tmp_path: Path, wanted: KeyAttributes
) -> None:
    with Child(settings_for(token, tmp_path, give_back=True)) as child:
        child.do(GenerateKey("k", wanted))
        row = child.ask("row", "k")
        assert (len(row["key_id"]), row["version"]) == (8, REFERENCE_FORM)
    number = int.from_bytes(bytes.fromhex(row["key_id"]), "little")
    assert {one["ID"] for one in shown(token)} == {number.to_bytes(4, "big").hex()}
    # The next start finds it by the row.
    with Child(settings_for(token, tmp_path, give_back=False)) as child:
        child.put_row("k", bytes.fromhex(row["key_id"]), REFERENCE_FORM, wanted)
        child.do(DestroyKey("k"))
    assert shown(token) == []


def test_a_key_of_the_reference_is_used_and_destroyed(token: Token, tmp_path: Path) -> None:
    with Child(settings_for(token, tmp_path, give_back=True)) as child:
        child.do(ImportKey("k", ecc(256), scalar(256)))
        key_id = bytes.fromhex(child.ask("row", "k")["key_id"])
    with Child(settings_for(token, tmp_path)) as child:
        child.put_row("old", key_id, REFERENCE_FORM, ecc(256))
        # In our own form the same bytes are another identifier.
        child.put_row("wrong", key_id, OWN_FORM, ecc(256))
        child.put_row("short", key_id[:3], REFERENCE_FORM, ecc(256))
        # The reference stores 0 bits for keys that were imported without a size.
        child.put_row("sizeless", key_id, REFERENCE_FORM, ecc(0))
        signature = child.do(SignHash("old", ECDSA, DIGEST))
        child.do(VerifyHash("sizeless", ECDSA, DIGEST, signature))
        if key_id != key_id[::-1]:
            child.refuses(SignHash("wrong", ECDSA, DIGEST), Status.PSA_ERROR_DOES_NOT_EXIST)
        child.refuses(SignHash("short", ECDSA, DIGEST), Status.PSA_ERROR_DATA_CORRUPT)
        child.do(DestroyKey("old"))
    assert shown(token) == []


@pytest.mark.parametrize("other", [ecc(384), rsa_pair(1024), ecc_public(521)], ids=str)
def test_an_object_that_is_another_key_than_the_row_says_is_not_used(child: Child, other: KeyAttributes) -> None:
    child.do(GenerateKey("k", ecc(256)))
    child.put_row("other", bytes.fromhex(child.ask("row", "k")["key_id"]), OWN_FORM, other)
    child.refuses(ExportPublicKey("other"), Status.PSA_ERROR_DATA_CORRUPT)


def test_a_secret_key_of_another_type_is_not_used(child: Child) -> None:
    child.do(GenerateKey("k", aes(256)))
    child.put_row("other", bytes.fromhex(child.ask("row", "k")["key_id"]), OWN_FORM, hmac(256))
    child.refuses(ExportPublicKey("other"), Status.PSA_ERROR_DATA_CORRUPT)
