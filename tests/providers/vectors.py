"""Reads published test vectors out of the package cryptography_vectors."""

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography_vectors import open_vector_file

T = TypeVar("T")
Record = dict[str, str]

_HEADER = re.compile(r"\[(.*)\]")
_BLOCK_NAME = re.compile(r"# (?P<name>[^:]+?)(?: alg=\S+ mgf1=\S+)?:\s*")
_HEX = re.compile(r"[0-9a-f ]+\s*")


def read(path: str) -> list[str]:
    """Return the lines of a vector file."""
    with open_vector_file(path, "r") as file:
        return [line.rstrip("\n") for line in file]


def records(path: str, last: str) -> Iterator[Record]:
    """Yield the blocks of `name = value` lines that have a `last` value, names in lower case.

    Names in brackets and in other blocks hold for all records after them; `section` is the text in brackets.
    """
    common: Record = {}
    block: Record = {}
    for line in [*read(path), ""]:
        header = _HEADER.fullmatch(line.strip())
        if header:
            common["section"] = header[1]
            block |= dict(_pairs(header[1]))
        elif line.strip() and not line.startswith("#"):
            block |= dict(_pairs(line))
        elif last in block:
            yield common | block
            block = {}
        elif not line.startswith("#"):
            common |= block
            block = {}


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(", "):
        name, _, value = part.partition("=")
        yield name.strip().lower(), value.strip()


def blocks(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield the names and values of files that have `# name:` lines followed by lines of hexadecimal digits."""
    name, digits = "", ""
    for line in [*read(path), "# end:"]:
        if _HEX.fullmatch(line):
            digits += line
            continue
        found = _BLOCK_NAME.fullmatch(line)
        if found:
            if digits:
                yield name, number(digits.replace(" ", ""))
            name, digits = found["name"], ""


def number(digits: str) -> bytes:
    """Return the bytes of hexadecimal digits of which a leading one may be missing."""
    return bytes.fromhex(digits.rjust(len(digits) + len(digits) % 2, "0"))


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the items, from the whole range."""
    step = max(1, len(items) // count)
    return list(items[::step])[:count]


def rsa_public(modulus: str, exponent: str) -> bytes:
    """Return the PKCS#1 form of a public key given as hexadecimal digits."""
    public = rsa.RSAPublicNumbers(int(exponent, 16), int(modulus, 16)).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.PKCS1)


def rsa_private(modulus: int, exponent: int, secret: int, p: int, q: int) -> bytes:
    """Return the PKCS#1 form of a private key."""
    numbers = rsa.RSAPrivateNumbers(
        p,
        q,
        secret,
        rsa.rsa_crt_dmp1(secret, p),
        rsa.rsa_crt_dmq1(secret, q),
        rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(exponent, modulus),
    )
    private = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    return private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
