"""Shared code of the generated pages that query a provider: all key types, sizes and algorithms, and tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from cofferdam_contracts.operations import CheckType
from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    HASHED_SIGNATURES,
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    EncryptionScheme,
    Hash,
    KeyAgreement,
    Mac,
    MacScheme,
    NoAlgorithm,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import (
    DH_KINDS,
    ECC_KINDS,
    DhFamily,
    EccFamily,
    KeyAttributes,
    KeyKind,
    KeyType,
    Usage,
)
from cofferdam_contracts.status import ServiceError
from cofferdam_providers.base.checks import can_do_crypto
from cofferdam_providers.base.provider import Provider

ALL_USES: Final = ~Usage.NONE
SMALL_SIZES: Final = range(1, 1025)
"""Sizes in bits that are tried with elliptic curves."""
LARGE_SIZES: Final = range(8, 0x10100, 8)
"""Sizes in bits that are tried with everything else."""
TAGS: Final = range(33)
"""Tag lengths in bytes that are tried."""


def succeeds(attempt: Callable[[], object]) -> bool:
    """Return whether the service supports it."""
    try:
        attempt()
    except ServiceError:
        return False
    return True


def row(*cells: str) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |\n"


def heading(*names: str) -> str:
    """Return the first two lines of a table."""
    return "\n" + row(*names) + "|" + "---|" * len(names) + "\n"


def all_types() -> Iterator[KeyType]:
    """Yield every key type of the protocol."""
    for kind in KeyKind:
        families: Iterable[EccFamily | DhFamily | None] = (None,)
        if kind in ECC_KINDS:
            families = EccFamily
        elif kind in DH_KINDS:
            families = DhFamily
        yield from (KeyType(kind, family) for family in families)


def type_name(key_type: KeyType) -> str:
    """Return the protocol's name of a key type."""
    return key_type.kind.name if key_type.family is None else f"{key_type.kind.name} {key_type.family.name}"


def attributes_of(key_type: KeyType, bits: int, algorithm: Algorithm) -> KeyAttributes:
    """Return the attributes of a key that may be used for everything."""
    return KeyAttributes(key_type, bits, ALL_USES, algorithm)


def sizes_of(
    key_type: KeyType, works: Callable[[KeyAttributes], None], policies: Iterable[Algorithm] = (NoAlgorithm(),)
) -> list[int]:
    """Return the sizes in bits that work with one of the policies."""
    candidates = SMALL_SIZES if key_type.kind in ECC_KINDS else LARGE_SIZES
    return [
        bits
        for bits in candidates
        if any(
            succeeds(lambda bits=bits, policy=policy: works(attributes_of(key_type, bits, policy)))  # type: ignore[misc]
            for policy in policies
        )
    ]


def show_sizes(sizes: list[int]) -> str:
    """Return sizes in words."""
    if not sizes:
        return "no"
    if len(sizes) > len(KeyKind) and sizes == list(range(sizes[0], sizes[-1] + 1, 8)):
        return f"multiples of 8 from {sizes[0]} to {sizes[-1]}"
    return ", ".join(map(str, sizes))


Named = Mapping[str, Algorithm]
"""Algorithms that differ in one parameter, by that parameter."""


def usable(asked: Provider[Any], key_type: KeyType, sizes: list[int], algorithms: Named) -> Iterator[tuple[str, str]]:
    """Yield the parameters that work with keys of a type, and the keys: the type, or sizes of it."""
    tried = sizes if len(sizes) <= len(KeyKind) else [0]

    def works(bits: int, algorithm: Algorithm) -> bool:
        return succeeds(lambda: can_do_crypto(asked, CheckType.USE, attributes_of(key_type, bits, algorithm)))

    by_size = {bits: tuple(name for name in algorithms if works(bits, algorithms[name])) for bits in tried}
    by_size = {bits: names for bits, names in by_size.items() if names}
    for names in dict.fromkeys(by_size.values()):
        group = [bits for bits, found in by_size.items() if found == names]
        shown_sizes = "" if len(group) == len(tried) else f" ({show_sizes(group)})"
        yield ", ".join(filter(None, names)), type_name(key_type) + shown_sizes


def _hashed(make: Callable[[Hash], Algorithm]) -> Named:
    return {hash_alg.name: make(hash_alg) for hash_alg in Hash}


def _signature(scheme: SignatureScheme) -> Named:
    if scheme not in HASHED_SIGNATURES:
        return {"": AsymmetricSignature(scheme)}
    hashed = _hashed(lambda hash_alg: AsymmetricSignature(scheme, hash_alg))
    return {**hashed, "any in a policy": AsymmetricSignature(scheme, ANY_HASH)}


def _encryption(scheme: EncryptionScheme) -> Named:
    if scheme is EncryptionScheme.RSA_PKCS1V15:
        return {"": AsymmetricEncryption(scheme)}
    return _hashed(lambda hash_alg: AsymmetricEncryption(scheme, hash_alg))


def _aead(scheme: AeadScheme) -> Named:
    return {**{str(tag): Aead(scheme, tag) for tag in TAGS}, "default (16)": Aead(scheme)}


def _mac(scheme: MacScheme) -> Named:
    return _hashed(lambda hash_alg: Mac(scheme, hash_alg)) if scheme is MacScheme.HMAC else {"": Mac(scheme)}


FAMILIES: Final[tuple[tuple[str, tuple[str, ...], list[tuple[str, Named]]], ...]] = (
    ("Signatures", ("Hashes",), [(scheme.name, _signature(scheme)) for scheme in SignatureScheme]),
    ("Asymmetric encryption", ("Hashes",), [(scheme.name, _encryption(scheme)) for scheme in EncryptionScheme]),
    ("Authenticated encryption", ("Tag lengths in bytes",), [(scheme.name, _aead(scheme)) for scheme in AeadScheme]),
    ("Unauthenticated encryption", (), [(mode.name, {"": Cipher(mode)}) for mode in CipherMode]),
    ("Raw key agreement", (), [(raw.name, {"": KeyAgreement(raw)}) for raw in RawAgreement]),
    ("Message authentication codes", ("Hashes",), [(scheme.name, _mac(scheme)) for scheme in MacScheme]),
)
"""Title, what the algorithms of one row differ in, and the rows."""


Types = list[tuple[KeyType, list[int]]]
"""Key types and the sizes of them that can be imported."""


def algorithm_rows(asked: Provider[Any], types: Types, families: list[tuple[str, Named]]) -> Iterator[tuple[str, ...]]:
    """Yield name, parameters and key types of the algorithms of a family; no key types when none works."""
    for name, algorithms in families:
        found: dict[str, list[str]] = {}
        for key_type, sizes in types:
            for shown, key_name in usable(asked, key_type, sizes, algorithms):
                found.setdefault(shown, []).append(key_name)
        for shown, names in (found or {"": []}).items():
            yield name, shown, ", ".join(names)
