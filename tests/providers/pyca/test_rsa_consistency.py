"""RSA key pairs with any one number that does not fit the others."""

import functools
import math
import secrets
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.support import RSA_1024, der_sequence, refused, rsa_material

from cofferdam_contracts.psa.algorithm import AsymmetricEncryption, EncryptionScheme, Hash
from cofferdam_contracts.psa.attributes import KeyKind, KeyType
from cofferdam_contracts.status import Status
from cofferdam_providers.pyca.asym_encryption import decrypt, encrypt
from cofferdam_providers.pyca.der import read_integers
from cofferdam_providers.pyca.keys import RsaKey, read_key
from cofferdam_providers.pyca.rsa_consistency import InconsistentKeyError, check_numbers, check_pair

PAIR = KeyType(KeyKind.RSA_KEY_PAIR)
INVALID = Status.PSA_ERROR_INVALID_ARGUMENT
GOOD = read_integers(RSA_1024)
NAMES = ("version", "n", "e", "d", "p", "q", "dmp1", "dmq1", "iqmp")
D, P, Q = (NAMES.index(name) for name in "dpq")
E = 65537
SMALL = math.prod(n for n in range(3, 1000, 2) if all(n % m for m in range(3, 32, 2) if m < n))
"""Of all small primes."""


def numbers_of(integers: tuple[int, ...]) -> rsa.RSAPrivateNumbers:
    _, n, e, d, p, q, dmp1, dmq1, iqmp = integers
    return rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, rsa.RSAPublicNumbers(e, n))


def made_of(p: int, q: int) -> tuple[int, ...]:
    """Return the numbers of a key pair with these primes, whether they are prime or not."""
    d = pow(E, -1, math.lcm(p - 1, q - 1))
    return 0, p * q, E, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)


@functools.cache
def another() -> tuple[int, ...]:
    return read_integers(rsa_material(1024))


def prime(bits: int) -> int:
    """Return a prime of `bits` bits, the first two of which are set, that suits `E`."""
    while True:
        found = secrets.randbits(bits) | 3 << bits - 2 | 1
        if math.gcd(found, SMALL) == 1 and found % E != 1 and pow(2, found - 1, found) == 1:
            return found


def refuses(integers: tuple[int, ...]) -> None:
    with refused(INVALID):
        read_key(PAIR, 0, der_sequence(*integers), vouched=False)


@given(place=st.integers(0, 8), bit=st.integers(0, 1023), more=st.integers(0, 2**1024))
def test_a_change_of_one_number_is_refused(place: int, bit: int, more: int) -> None:
    size = max(GOOD[place].bit_length(), 1)
    for value in (GOOD[place] ^ 1 << bit % size, more % (1 << size)):
        if value == GOOD[place] or (place == D and not (value - GOOD[D]) % math.lcm(GOOD[P] - 1, GOOD[Q] - 1)):
            continue
        refuses((*GOOD[:place], value, *GOOD[place + 1 :]))


@pytest.mark.parametrize("place", range(1, 9), ids=NAMES[1:])
@pytest.mark.parametrize("extreme", [0, 1, 2, 1 << 1023, 1 << 9000])
def test_a_number_that_cannot_be_is_refused(place: int, extreme: int) -> None:
    refuses((*GOOD[:place], extreme, *GOOD[place + 1 :]))


@pytest.mark.parametrize("places", [range(1, 2), range(3, 4), range(4, 6), range(6, 8), range(8, 9), range(3, 9)])
def test_numbers_of_another_key_are_refused(places: range) -> None:
    mixed = list(GOOD)
    for place in places:
        mixed[place] = another()[place]
    refuses(tuple(mixed))


@pytest.mark.parametrize("place", range(1, 9), ids=NAMES[1:])
def test_vouched_numbers_are_compared_all_the_same(place: int) -> None:
    with refused(INVALID):
        read_key(PAIR, 0, der_sequence(*GOOD[:place], GOOD[place] ^ 4, *GOOD[place + 1 :]), vouched=True)


def test_exponents_that_do_the_same_are_accepted() -> None:
    period = math.lcm(GOOD[P] - 1, GOOD[Q] - 1)
    longer = next(d for d in (GOOD[D] % period, GOOD[D] % period + period) if d != GOOD[D])
    read_key(PAIR, 0, der_sequence(*GOOD[:D], longer, *GOOD[D + 1 :]), vouched=False)


COMPOSITES: dict[str, Callable[[], int]] = {
    "two primes": lambda: prime(256) * prime(256),
    "a small factor": lambda: 3 * prime(510),
    "a square": lambda: prime(256) ** 2,
    "whatever is odd": lambda: 1009 * (secrets.randbits(502) | 3 << 500 | 1),
}


@pytest.mark.parametrize("kind", COMPOSITES)
@pytest.mark.parametrize("first", [True, False])
def test_factors_that_are_not_prime_are_refused(kind: str, *, first: bool) -> None:
    good = another()[P]
    while True:
        bad = COMPOSITES[kind]()
        if math.gcd(E, bad - 1) == math.gcd(bad, good) == 1 and (bad * good).bit_length() == 1024:
            break
    integers = made_of(bad, good) if first else made_of(good, bad)
    numbers = numbers_of(integers)
    check_numbers(numbers)
    with pytest.raises(InconsistentKeyError):
        check_pair(numbers.private_key(unsafe_skip_rsa_key_validation=True))
    refuses(integers)


def test_a_factor_that_does_what_a_prime_does_is_its_importers_affair() -> None:
    # Proving primality is what takes long, and is not done.
    k = 0x91AE2A5598425990BB812B2A84E1D01476BEB5D5FF
    carmichael = (6 * k + 1) * (12 * k + 1) * (18 * k + 1)
    key = read_key(PAIR, 0, der_sequence(*made_of(carmichael, another()[P])), vouched=False)
    assert isinstance(key, RsaKey)
    algorithm = AsymmetricEncryption(EncryptionScheme.RSA_OAEP, Hash.SHA_256)
    assert decrypt(key, algorithm, encrypt(key, algorithm, b"text", b""), b"") == b"text"


def test_one_prime_twice_is_refused() -> None:
    same = GOOD[P]
    d = pow(E, -1, same - 1)
    refuses((0, same * same, E, d, same, same, d, d, 1))


def test_a_pair_of_primes_is_accepted() -> None:
    read_key(PAIR, 1024, der_sequence(*made_of(GOOD[P], another()[Q])), vouched=False)
