"""The supported curves, and the statuses of all others."""

import pytest
from tests.providers.support import refused

from cofferdam_contracts.psa.attributes import EccFamily
from cofferdam_contracts.status import Status
from cofferdam_providers.pyca.curves import CURVES, KNOWN_SIZES, find_curve, find_curve_by_size, has_curves

KNOWN = [(family, bits) for family, sizes in KNOWN_SIZES.items() for bits in sizes]


def test_every_family_is_in_the_table() -> None:
    assert set(KNOWN_SIZES) == set(EccFamily)
    assert set(CURVES) <= set(KNOWN)


def test_the_library_agrees_on_the_sizes() -> None:
    for curve in CURVES.values():
        assert curve.size == (curve.bits + 7) // 8
        if curve.group is not None:
            assert curve.group.key_size == curve.bits


@pytest.mark.parametrize(("family", "bits"), KNOWN, ids=str)
def test_known_curves_are_found_or_not_supported(family: EccFamily, bits: int) -> None:
    if (family, bits) in CURVES:
        assert find_curve(family, bits).bits == bits
        assert find_curve_by_size(family, (bits + 7) // 8).bits == bits
        assert has_curves(family)
        return
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        find_curve(family, bits)
    with refused(Status.PSA_ERROR_NOT_SUPPORTED):
        find_curve_by_size(family, (bits + 7) // 8)


@pytest.mark.parametrize("family", EccFamily)
def test_sizes_that_no_family_has_are_invalid(family: EccFamily) -> None:
    for bits in {0, 1, 8, 255, 257, 284, 520, 522, 1 << 40} - set(KNOWN_SIZES[family]):
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            find_curve(family, bits)


@pytest.mark.parametrize("family", EccFamily)
@pytest.mark.parametrize("size", [0, 1, 33, 67])
def test_lengths_that_no_family_has_are_invalid(family: EccFamily, size: int) -> None:
    if any((bits + 7) // 8 == size for bits in KNOWN_SIZES[family]):
        return
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        find_curve_by_size(family, size)
