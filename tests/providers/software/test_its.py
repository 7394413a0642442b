"""Keys of the reference's software provider, from files made by hand.

Source: docs/reference/parsec-behaviour.md, "Key files of the software provider".
"""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.providers.support import P256, RSA_1024, attributes, refused

from cofferdam_contracts.psa.attributes import DhFamily, EccFamily, KeyKind, KeyType, Usage
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.software.its import ItsKey, find_its_key, parse_its_file

BOTH = Usage.SIGN_HASH | Usage.VERIFY_HASH
CORRUPT = Status.PSA_ERROR_DATA_CORRUPT
TYPES = [
    (0x1001, KeyType(KeyKind.RAW_DATA)),
    (0x1100, KeyType(KeyKind.HMAC)),
    (0x1200, KeyType(KeyKind.DERIVE)),
    (0x2400, KeyType(KeyKind.AES)),
    (0x2301, KeyType(KeyKind.DES)),
    (0x2403, KeyType(KeyKind.CAMELLIA)),
    (0x2002, KeyType(KeyKind.ARC4)),
    (0x2004, KeyType(KeyKind.CHACHA20)),
    (0x4001, KeyType(KeyKind.RSA_PUBLIC_KEY)),
    (0x7001, KeyType(KeyKind.RSA_KEY_PAIR)),
    (0x7112, KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1)),
    (0x4112, KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily.SECP_R1)),
    (0x7117, KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_K1)),
    (0x7130, KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.BRAINPOOL_P_R1)),
    (0x7141, KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.MONTGOMERY)),
    (0x7203, KeyType(KeyKind.DH_KEY_PAIR, DhFamily.RFC7919)),
    (0x4203, KeyType(KeyKind.DH_PUBLIC_KEY, DhFamily.RFC7919)),
]


def its_file(  # noqa: PLR0913  every field of the format
    type_number: int,
    bits: int,
    material: bytes,
    *,
    magic: bytes = b"PSA\0ITS\0",
    key_magic: bytes = b"PSA\0KEY\0",
    version: int = 0,
    lifetime: int = 1,
    size_off_by: int = 0,
    length_off_by: int = 0,
    usage: int = 0x3000,
) -> bytes:
    """Return a file of the format, or one with a single thing wrong."""
    algorithm, second = 0x06000609, 0
    key = struct.pack(
        "<8sIIHHIIII",
        key_magic,
        version,
        lifetime,
        type_number,
        bits,
        usage,
        algorithm,
        second,
        len(material) + length_off_by,
    )
    assert len(key) == 36
    return struct.pack("<8sII", magic, len(key) + len(material) + size_off_by, 0) + key + material


@pytest.mark.parametrize(("number", "key_type"), TYPES, ids=[hex(number) for number, _ in TYPES])
def test_every_type_is_read(number: int, key_type: KeyType) -> None:
    assert parse_its_file(its_file(number, 256, P256)) == ItsKey(
        key_type, 256, Usage.SIGN_HASH | Usage.VERIFY_HASH, P256
    )


def test_a_file_as_bytes() -> None:
    content = bytes.fromhex(
        "50534100495453004400000000000000"
        "505341004b45590000000000010000001271000100140000090600060000000020000000"
    )  # fmt: skip
    key = parse_its_file(content + P256)
    assert key == ItsKey(KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1), 256, Usage.SIGN_HASH, P256)


@pytest.mark.parametrize(
    "content",
    [
        its_file(0x7112, 256, P256, magic=b"PSA\0ITS\1"),
        its_file(0x7112, 256, P256, key_magic=b"PSA\0KEY\1"),
        its_file(0x7112, 256, P256, version=1),
        its_file(0x7112, 256, P256, lifetime=0),
        its_file(0x7112, 256, P256, size_off_by=1),
        its_file(0x7112, 256, P256, size_off_by=-1),
        its_file(0x7112, 256, P256, length_off_by=1),
        its_file(0x7112, 256, P256, length_off_by=-32),
        its_file(0x7112, 256, P256) + b"\0",
        its_file(0x7112, 256, P256)[:-1],
        its_file(0x7100, 256, P256),
        its_file(0x7142, 255, P256),
        its_file(0x7204, 2048, P256),
        its_file(0x0000, 256, P256),
        its_file(0x1001, 8, bytes(20000)),
    ],
)
def test_a_file_with_one_thing_wrong_is_refused(content: bytes) -> None:
    with refused(CORRUPT):
        parse_its_file(content)


@pytest.mark.parametrize("length", range(0, 84, 3))
def test_a_file_that_was_cut_off_is_refused(length: int) -> None:
    with refused(CORRUPT):
        parse_its_file(its_file(0x7112, 256, P256)[:length])


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_a_key_or_the_documented_error(data: bytes, header: bool) -> None:
    content = its_file(0x7112, 256, P256)[:16] + data if header else data
    try:
        key = parse_its_file(content)
    except ServiceError as error:
        assert error.status is CORRUPT
    else:
        assert content.endswith(key.material)


FILES = {2: its_file(0x7112, 256, P256), 3: its_file(0x7001, 1024, RSA_1024), 4: b"rubbish"}
P256_ATTRIBUTES = attributes(KeyKind.ECC_KEY_PAIR, 256, family=EccFamily.SECP_R1)


def test_a_row_leads_to_its_file() -> None:
    assert find_its_key(FILES, b"\2\0\0\0", P256_ATTRIBUTES).material == P256
    assert find_its_key(FILES, b"\3\0\0\0", attributes(KeyKind.RSA_KEY_PAIR, 1024)).material == RSA_1024


def test_a_row_that_was_imported_without_a_size_leads_to_its_file() -> None:
    assert find_its_key(FILES, b"\3\0\0\0", attributes(KeyKind.RSA_KEY_PAIR, 0)).bits == 1024


@pytest.mark.parametrize(
    ("key_id", "wanted", "status"),
    [
        (b"\5\0\0\0", P256_ATTRIBUTES, Status.PSA_ERROR_DOES_NOT_EXIST),
        (b"\0\0\0\2", P256_ATTRIBUTES, Status.PSA_ERROR_DOES_NOT_EXIST),
        (b"", P256_ATTRIBUTES, CORRUPT),
        (b"\2\0\0", P256_ATTRIBUTES, CORRUPT),
        (b"\2\0\0\0\0", P256_ATTRIBUTES, CORRUPT),
        (b"\4\0\0\0", P256_ATTRIBUTES, CORRUPT),
        (b"\3\0\0\0", P256_ATTRIBUTES, Status.PSA_ERROR_CORRUPTION_DETECTED),
        (b"\3\0\0\0", attributes(KeyKind.RSA_PUBLIC_KEY, 1024), Status.PSA_ERROR_CORRUPTION_DETECTED),
        (b"\3\0\0\0", attributes(KeyKind.RSA_KEY_PAIR, 2048), Status.PSA_ERROR_CORRUPTION_DETECTED),
    ],
)
def test_a_row_that_does_not_fit_its_file_is_refused(key_id: bytes, wanted: object, status: Status) -> None:
    assert isinstance(wanted, type(P256_ATTRIBUTES))
    with refused(status):
        find_its_key(FILES, key_id, wanted)


def test_a_row_that_allows_more_than_its_file_is_refused() -> None:
    row = replace(P256_ATTRIBUTES, usage=BOTH)
    files = {2: its_file(0x7112, 256, P256, usage=0x2000)}
    with refused(Status.PSA_ERROR_CORRUPTION_DETECTED):
        find_its_key(files, struct.pack("<I", 2), row)
    files = {2: its_file(0x7112, 256, P256, usage=0x3301)}
    assert find_its_key(files, struct.pack("<I", 2), row).material == P256
