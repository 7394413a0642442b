"""The vector reader itself: a reader that skips records would make every test with vectors pass."""

from tests.providers.vectors import blocks, records, spread


def test_records_carry_what_stands_before_them() -> None:
    found = list(records("ciphers/AES/CCM/VNT128.rsp", last="ct"))
    assert len(found) == 70
    assert {record["nlen"] for record in found} == {"7", "8", "9", "10", "11", "12", "13"}
    assert found[0]["key"] == "c0425ed20cd28fda67a2bcc0ab342a49"
    assert found[0]["nonce"] == "37667f334dce90"


def test_sections_without_values_are_kept() -> None:
    found = list(records("asymmetric/ECDSA/FIPS_186-3/SigVer.rsp", last="result"))
    assert len(found) == 1125
    assert found[0]["section"] == "P-192,SHA-1"


def test_blocks_join_lines_of_digits() -> None:
    found = list(blocks("asymmetric/RSA/pkcs1v15crypt-vectors.txt"))
    assert sum(name == "Encryption" for name, _ in found) == 300
    assert found[0][0] == "Modulus"
    assert len(found[0][1]) == 128


def test_spread_takes_from_the_whole_range() -> None:
    assert spread(range(100), 4) == [0, 25, 50, 75]
    assert spread(range(3), 10) == [0, 1, 2]
