"""The table of quirks, and their names in the configuration."""

import pytest
from pkcs11 import Attribute

from cofferdam_providers.pkcs11.quirks import (
    LEAST_ID_BYTES,
    MOST_ID_BYTES,
    ROWS,
    ModuleRow,
    QuirkError,
    Quirks,
    configuration_of,
    names,
    needs_of,
    quirks_for,
)
from cofferdam_runtime.sandbox.policies import MODULE_NEEDS

USUAL = Quirks()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_can_be_applied(row: ModuleRow) -> None:
    library = "/usr/lib/" + row.module.replace("*", ".2")
    assert quirks_for(library, "anybody", "any", ()) == quirks_for("/usr/lib/other.so", "anybody", "any", row.quirks)
    assert needs_of(library) == row.needs
    assert row.needs <= MODULE_NEEDS.keys()


@pytest.mark.parametrize(
    ("library", "needs", "configuration"),
    [
        ("/usr/lib/softhsm/libsofthsm2.so", set(), "SOFTHSM2_CONF"),
        ("/usr/lib/x86_64-linux-gnu/libykcs11.so.2", {"sockets"}, ""),
        ("/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so", {"sockets"}, ""),
        ("/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so", {"sockets"}, ""),
        ("/usr/lib/libnethsm_pkcs11.so", {"sockets", "threads"}, ""),
        ("/usr/lib/libsofthsm2.so.d/other.so", set(), ""),
        ("/opt/vendor/libLIBYKCS11.so", set(), ""),
    ],
)
def test_a_module_is_known_by_the_name_of_its_file(library: str, needs: set[str], configuration: str) -> None:
    assert needs_of(library) == needs
    assert configuration_of(library) == configuration


def test_the_usual_token_has_no_quirks() -> None:
    assert quirks_for("/usr/lib/softhsm/libsofthsm2.so", "SoftHSM project", "SoftHSM v2", ()) == USUAL
    assert USUAL.id_bytes == 16


def test_the_configuration_has_the_last_word() -> None:
    yubikey = "/usr/lib/libykcs11.so"
    assert quirks_for(yubikey, "Yubico", "YubiKey", ()).id_bytes == 1
    assert quirks_for(yubikey, "Yubico", "YubiKey", ("id-bytes=8",)).id_bytes == 8


WORDS: list[tuple[tuple[str, ...], Quirks]] = [
    (("raw-ec-points",), Quirks(raw_points=True)),
    (("raw-ec-points", "der-ec-points"), USUAL),
    (("public-in-software",), Quirks(public_in_software=True)),
    (("public-in-software", "public-in-token"), USUAL),
    (
        ("omit-allowed-mechanisms", "omit-copyable"),
        Quirks(omit=frozenset({Attribute.ALLOWED_MECHANISMS, Attribute.COPYABLE})),
    ),
    (("omit-derive",), Quirks(omit=frozenset({Attribute.DERIVE}))),
    (
        ("omit-sensitive", "omit-extractable", "omit-private"),
        Quirks(omit=frozenset({Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.PRIVATE})),
    ),
    ((f"id-bytes={LEAST_ID_BYTES}",), Quirks(id_bytes=1)),
    ((f"id-bytes={MOST_ID_BYTES}",), Quirks(id_bytes=64)),
    ((), USUAL),
]


@pytest.mark.parametrize(("words", "quirks"), WORDS, ids=str)
def test_words_of_the_configuration(words: tuple[str, ...], quirks: Quirks) -> None:
    assert quirks_for("/usr/lib/other.so", "", "", words) == quirks


@pytest.mark.parametrize(
    "word",
    [
        *("", "no-such", "RAW-EC-POINTS", "raw-ec-points=1", "omit-class", "omit-", "id-bytes", "id-bytes="),
        *("id-bytes=0", "id-bytes=65", "id-bytes=-1", "id-bytes=x", "id-bytes=N", "id-bytes=1=1"),
    ],
)
def test_other_words_are_refused_with_those_that_there_are(word: str) -> None:
    with pytest.raises(QuirkError) as caught:
        quirks_for("/usr/lib/other.so", "", "", ("raw-ec-points", word))
    assert repr(word) in str(caught.value)
    for name in names():
        assert name in str(caught.value)
