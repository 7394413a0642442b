"""Codes of rows: a different one for each value of each field, and sets that nobody else can change."""

from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.providers.base.device import ATTRIBUTES, KEK, Device

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.ipc.keystore import PendingState
from cofferdam_contracts.ipc.limits import MAX_CHECK, MAX_CODE
from cofferdam_contracts.psa.attributes import Usage
from cofferdam_contracts.registry import PROVIDERS, ProviderId
from cofferdam_providers.base.provider import StoredKey
from cofferdam_providers.base.row_codes import ACTIVE, RowCodes, key_name, split, tag_of

CODES = RowCodes(KEK, Device({}))
IDENTITY = KeyIdentity(3, "1000", "key")
STORED = StoredKey(key_id=b"object", version=1, attributes=ATTRIBUTES)


class Other(Device):
    description = PROVIDERS[ProviderId.PKCS11]


class Sealing(Device):
    sealed_forms = frozenset({2})


class Shared(Device):
    """Whose objects may be in several rows."""

    def object_of(self, stored: StoredKey) -> bytes:
        return b""


def test_each_field_counts() -> None:
    identities = [
        IDENTITY,
        replace(IDENTITY, application="another"),
        replace(IDENTITY, key_name="another"),
        replace(IDENTITY, authenticator=1),
        # The same characters, divided differently.
        replace(IDENTITY, application="1000k", key_name="ey"),
    ]
    rows = [
        STORED,
        replace(STORED, key_id=b"other"),
        replace(STORED, version=2),
        replace(STORED, attributes=replace(ATTRIBUTES, usage=ATTRIBUTES.usage | Usage.EXPORT)),
    ]
    codes = [RowCodes(KEK, Device({})), RowCodes(KEK, Other({})), RowCodes(bytes(32), Device({}))]
    made = {
        each.code(state, identity, stored)
        for each, state, identity, stored in product(codes, (ACTIVE, *PendingState), identities, rows)
    }
    assert len(made) == len(codes) * 3 * len(identities) * len(rows)
    assert len({each.check for each in codes}) == len(codes)
    assert CODES.is_right(CODES.code(ACTIVE, IDENTITY, STORED), ACTIVE, IDENTITY, STORED)


@given(at=st.integers(0, MAX_CODE * 8 - 1))
def test_each_bit_counts(at: int) -> None:
    code = bytearray(CODES.code(ACTIVE, IDENTITY, STORED))
    assert len(code) == MAX_CODE
    code[at // 8] ^= 1 << at % 8
    assert not CODES.is_right(bytes(code), ACTIVE, IDENTITY, STORED)


def test_sealed_rows_need_none() -> None:
    codes = RowCodes(KEK, Sealing({}))
    sealed = replace(STORED, version=2)
    assert (codes.needs_code(sealed), codes.code(ACTIVE, IDENTITY, sealed)) == (False, b"")
    assert codes.needs_code(STORED)
    assert codes.is_right(b"", PendingState.DELETING, IDENTITY, sealed)
    assert not codes.is_right(b"", PendingState.DELETING, IDENTITY, STORED)


def test_rows_with_one_object_have_one_tag_unless_they_may_share_it() -> None:
    rows = [(IDENTITY, STORED), (replace(IDENTITY, application="ben"), replace(STORED, version=2))]
    for device, tags in ((Device({}), 1), (Shared({}), 2)):
        codes = RowCodes(KEK, device)
        assert len({tag_of(codes.code(ACTIVE, *row)) for row in rows}) == tags


def test_a_key_is_told_by_its_check_value() -> None:
    assert len(CODES.check) == MAX_CHECK
    assert key_name(CODES.check) == CODES.check.hex()[:8]
    assert KEK not in CODES.check


@given(st.lists(st.binary(min_size=MAX_CODE, max_size=MAX_CODE), max_size=8), st.randoms(use_true_random=False))
def test_a_set_is_what_is_in_it_in_any_order(members: list[bytes], random: Random) -> None:
    held = CODES.held(members)
    shuffled = random.sample(members, len(members))
    assert CODES.held(split(b"".join(shuffled))) == held
    assert held.after(added=shuffled).after(removed=members) == held
    assert held.is_sealed_by(held.seal())
    assert not held.is_sealed_by(b"")
    for other in (
        *(CODES.held(members[:at] + members[at + 1 :]) for at in range(len(members))),
        held.after(added=[b"x"]),
    ):
        assert not other.is_sealed_by(held.seal())
    assert not RowCodes(bytes(32), Device({})).held(members).is_sealed_by(held.seal())


@pytest.mark.parametrize("joined", [b"x", bytes(MAX_CODE - 1), bytes(MAX_CODE + 1)])
def test_what_is_no_row_of_codes_is_in_no_sealed_set(joined: bytes) -> None:
    assert not CODES.held(split(joined)).is_sealed_by(CODES.held([]).seal())
