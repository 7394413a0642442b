"""Whether the numbers of an RSA key pair that a client brings belong together.

The library's own check tests the primes for being prime, which takes 0.3 s for 4096 bits on the thread that serves
everybody. Here the numbers are compared with each other, and the pair has to do what pairs do, once; see ADR 0023.
"""

import os
from typing import Final

from cryptography.exceptions import InternalError, InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

_PKCS1V15: Final = padding.PKCS1v15()
_PKCS1V15_OVERHEAD: Final = 11


class InconsistentKeyError(ValueError):
    """Raised when numbers are no key pair."""


def check_numbers(numbers: rsa.RSAPrivateNumbers) -> None:
    """Refuse numbers that do not belong together (RFC 8017 section 3.2); of the primes, all but that they are prime.

    Raises:
        InconsistentKeyError: They do not.
    """
    p, q, d = numbers.p, numbers.q, numbers.d
    e, n = numbers.public_numbers.e, numbers.public_numbers.n
    # First, as it keeps what is of absurd size from the rest.
    if p * q != n or not 0 < d < n:
        raise InconsistentKeyError("the modulus is another one, or the exponent no number below it")
    if p == q or not all(prime > 1 and prime % 2 for prime in (p, q)):
        raise InconsistentKeyError("primes that are even, 1, or one number")
    for prime, exponent in ((p, numbers.dmp1), (q, numbers.dmq1)):
        if exponent != d % (prime - 1) or e * exponent % (prime - 1) != 1:
            raise InconsistentKeyError("an exponent that belongs to other primes")
    if not 0 < numbers.iqmp < p or numbers.iqmp * q % p != 1:
        raise InconsistentKeyError("a coefficient that belongs to other primes")


def check_pair(private: rsa.RSAPrivateKey) -> None:
    """Refuse a pair of which the public half does not undo what the private half does, tried with a random number.

    Raises:
        InconsistentKeyError: It does not. Factors that are not prime end here.
    """
    text = os.urandom(private.key_size // 8 - _PKCS1V15_OVERHEAD)
    try:
        made = private.sign(text, _PKCS1V15, NoDigestInfo())
        undone = private.public_key().recover_data_from_signature(made, _PKCS1V15, None)
    except (InvalidSignature, InternalError, ValueError) as error:
        raise InconsistentKeyError("a pair that does not work") from error
    if undone != text:
        raise InconsistentKeyError("a pair of which the halves are strangers")
