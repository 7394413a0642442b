"""Points in the two forms of CKA_EC_POINT."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.support import der_element, refused

from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pkcs11.curves import OIDS, bits_of, point_from, point_to

GROUPS: dict[int, ec.EllipticCurve] = {
    192: ec.SECP192R1(),
    224: ec.SECP224R1(),
    256: ec.SECP256R1(),
    384: ec.SECP384R1(),
    521: ec.SECP521R1(),
}
CORRUPT = Status.PSA_ERROR_DATA_CORRUPT
curve_sizes = st.sampled_from(sorted(OIDS))


def length_of(bits: int) -> int:
    return 1 + 2 * ((bits + 7) // 8)


@pytest.mark.parametrize("bits", OIDS)
def test_points_are_read_in_both_forms(bits: int) -> None:
    public = ec.generate_private_key(GROUPS[bits]).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    wrapped = der_element(4, point)
    assert point_to(point) == wrapped
    assert point_to(point, raw=True) == point
    assert point_from(wrapped, bits) == point_from(point, bits) == point


@pytest.mark.parametrize("bits", OIDS)
def test_the_parameters_are_the_name_that_others_give_the_curve(bits: int) -> None:
    der = (
        ec.generate_private_key(GROUPS[bits]).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    assert OIDS[bits] in der
    assert bits_of(OIDS[bits]) == bits


@pytest.mark.parametrize("parameters", [b"", OIDS[256][:-1], OIDS[256] + b"\0", bytes.fromhex("06052b8104000a")])
def test_other_parameters_are_no_curve_that_is_served(parameters: bytes) -> None:
    assert bits_of(parameters) == 0


@pytest.mark.parametrize("bits", OIDS)
def test_a_point_that_can_be_read_as_der_is_taken_by_its_length(bits: int) -> None:
    length = length_of(bits)
    header = der_element(4, bytes(length))[:-length]
    # The bare point begins as the DER of an OCTET STRING that fills it exactly, or of one as long as a point.
    inside = der_element(4, bytes(length - len(header)))
    for value in (inside[:length].ljust(length, b"\1"), (header + bytes(length))[:length]):
        assert point_from(value, bits) == value
    # So does the point within the DER of another.
    assert point_from(header + header.ljust(length, b"\1"), bits) == header.ljust(length, b"\1")


@given(curve_sizes, st.binary(max_size=140))
def test_any_bytes_are_a_point_of_the_right_length_or_refused(bits: int, value: bytes) -> None:
    try:
        point = point_from(value, bits)
    except ServiceError as error:
        assert error.status is CORRUPT
        return
    assert len(point) == length_of(bits)
    assert point[0] == 4
    assert value.endswith(point)


@given(curve_sizes, st.data())
def test_any_point_comes_back_from_either_form(bits: int, data: st.DataObject) -> None:
    size = length_of(bits) - 1
    point = b"\4" + data.draw(st.binary(min_size=size, max_size=size))
    assert point_from(point_to(point, raw=data.draw(st.booleans())), bits) == point


@pytest.mark.parametrize("bits", OIDS)
@pytest.mark.parametrize("change", ["empty", "compressed", "short", "long", "tag", "inner length", "twice wrapped"])
def test_what_holds_no_uncompressed_point_is_refused(bits: int, change: str) -> None:
    point = b"\4".ljust(length_of(bits), b"\1")
    wrapped = point_to(point)
    value = {
        "empty": b"",
        "compressed": point_to(b"\2" + point[1 : (len(point) + 1) // 2]),
        "short": wrapped[:-1],
        "long": wrapped + b"\0",
        "tag": b"\3" + wrapped[1:],
        "inner length": wrapped.replace(point, b"\2" + point[1:]),
        "twice wrapped": der_element(4, wrapped),
    }[change]
    with refused(CORRUPT):
        point_from(value, bits)
