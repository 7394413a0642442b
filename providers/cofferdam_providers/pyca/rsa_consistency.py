"""Consistency of the numbers of an imported RSA key pair.

The library's own check tests the primes for primality, which takes 0.3 s for 4096 bits on the thread that serves
everybody. Here the numbers are compared with each other, and the pair has to work once; see ADR 0023.
"""

import os
from typing import Final

from cryptography.exceptions import InternalError, InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

_PKCS1V15: Final = padding.PKCS1v15()
_PKCS1V15_OVERHEAD: Final = 11


class InconsistentKeyError(ValueError):
    """Raised when numbers are not a key pair."""


def check_numbers(numbers: rsa.RSAPrivateNumbers) -> None:
    """Reject inconsistent numbers (RFC 8017 section 3.2); everything is checked except the primality of the primes.

    Raises:
        InconsistentKeyError: They are inconsistent.
    """
    p, q, d = numbers.p, numbers.q, numbers.d
    e, n = numbers.public_numbers.e, numbers.public_numbers.n
    # First, because it bounds the size of the other numbers.
    if p * q != n or not 0 < d < n:
        raise InconsistentKeyError("a modulus that is not the primes' product, or an exponent that is not below it")
    if p == q or not all(prime > 1 and prime % 2 for prime in (p, q)):
        raise InconsistentKeyError("primes that are even, 1, or equal")
    for prime, exponent in ((p, numbers.dmp1), (q, numbers.dmq1)):
        if exponent != d % (prime - 1) or e * exponent % (prime - 1) != 1:
            raise InconsistentKeyError("an exponent that belongs to other primes")
    if not 0 < numbers.iqmp < p or numbers.iqmp * q % p != 1:
        raise InconsistentKeyError("a coefficient that belongs to other primes")


def check_pair(private: rsa.RSAPrivateKey) -> None:
    """Reject a pair whose public half does not undo its private half, tried with a random number.

    Raises:
        InconsistentKeyError: It does not. Factors that are not prime are detected here.
    """
    text = os.urandom(private.key_size // 8 - _PKCS1V15_OVERHEAD)
    try:
        made = private.sign(text, _PKCS1V15, NoDigestInfo())
        undone = private.public_key().recover_data_from_signature(made, _PKCS1V15, None)
    except (InvalidSignature, InternalError, ValueError) as error:
        raise InconsistentKeyError("a pair that does not work") from error
    if undone != text:
        raise InconsistentKeyError("a pair whose halves do not belong together")
