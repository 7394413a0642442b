"""The operations that a provider lists to clients, compared with its table of operations."""

import pytest

from cofferdam_contracts.registry import CORE_OPCODES, NEVER_LISTED, PROVIDERS, Opcode, ProviderId
from cofferdam_providers.base.checks import USAGE_NEEDED
from cofferdam_providers.base.handlers import ANONYMOUS, HANDLERS
from cofferdam_providers.base.provider import KEY_MANAGEMENT
from cofferdam_providers.pkcs11 import provider as pkcs11
from cofferdam_providers.software import provider as software
from cofferdam_providers.tpm import provider as tpm

TABLES = {
    ProviderId.MBED_CRYPTO: software.OPERATIONS,
    ProviderId.PKCS11: pkcs11.OPERATIONS,
    ProviderId.TPM: tpm.OPERATIONS,
}


@pytest.mark.parametrize("number", TABLES)
def test_a_provider_tells_what_its_table_has(number: ProviderId) -> None:
    """ListOpcodes is answered without any provider's code, from the descriptions."""
    told = PROVIDERS[number]
    does = KEY_MANAGEMENT | TABLES[number].keys()
    assert told.opcodes | told.more_opcodes == does - NEVER_LISTED
    assert not told.opcodes & told.more_opcodes


def test_every_provider_has_a_table() -> None:
    assert TABLES.keys() | {ProviderId.CORE} == PROVIDERS.keys()


def test_every_operation_of_the_protocol_reaches_some_provider() -> None:
    crypto = frozenset(Opcode) - CORE_OPCODES
    assert KEY_MANAGEMENT.union(*TABLES.values()) == crypto
    assert ANONYMOUS.keys() | HANDLERS.keys() == crypto | {Opcode.DELETE_CLIENT}
    assert not ANONYMOUS.keys() & HANDLERS.keys()
    assert not USAGE_NEEDED.keys() & KEY_MANAGEMENT
