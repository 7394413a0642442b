"""Texts for people are complete, and cannot control a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.strategies import all_algorithms, attributes

from cofferdam_cli.text import ADVICE, describe, explain, opcode_name, printable, provider_name
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.registry import Opcode, ProviderId
from cofferdam_contracts.status import Status


@given(st.text())
def test_nothing_printable_controls_a_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


@given(attributes())
def test_any_key_can_be_described(key: KeyAttributes) -> None:
    assert describe(key).isprintable()


def test_different_algorithms_are_described_differently() -> None:
    """A hash and a MAC and a derivation of one name are told apart by what is said around it."""
    algorithms = all_algorithms()
    key_type = KeyType(KeyKind.RAW_DATA)
    shown = {describe(KeyAttributes(key_type, 8, Usage.NONE, algorithm)) for algorithm in algorithms}
    assert len(shown) == len(set(algorithms))


@pytest.mark.parametrize("status", Status)
def test_every_status_is_explained(status: Status) -> None:
    assert explain(status).startswith(f"{status.name} ({status.value}): ")


def test_there_is_no_advice_on_success() -> None:
    assert Status.SUCCESS not in ADVICE


def test_numbers_have_the_names_of_the_documentation() -> None:
    assert opcode_name(Opcode.PSA_AEAD_ENCRYPT) == "PsaAeadEncrypt"
    assert opcode_name(0x1D) == "unknown"
    assert [provider_name(number) for number in ProviderId] == [
        "Core provider",
        "Mbed Crypto provider",
        "PKCS #11 provider",
        "TPM provider",
        "Trusted Service provider",
        "CryptoAuthentication Library provider",
    ]
    assert provider_name(9) == "provider 9"
