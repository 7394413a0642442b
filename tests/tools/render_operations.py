"""Renders docs/reference/operations.md by asking the software provider about every key and every algorithm there is.

python -m tests.tools.render_operations > docs/reference/operations.md
"""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from cofferdam_contracts.operations import CheckType, HashCompute
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
from cofferdam_contracts.psa.policy import is_deprecated
from cofferdam_contracts.registry import ADMIN_OPCODES, ANONYMOUS_OPCODES, CORE_OPCODES, PROVIDERS, Opcode, ProviderId
from cofferdam_contracts.status import ServiceError
from cofferdam_providers.base.checks import can_do_crypto
from cofferdam_providers.software.provider import SoftwareProvider
from cofferdam_providers.software.wrapping import KEK_LENGTH

_ALL_USES: Final = ~Usage.NONE
_SMALL_SIZES: Final = range(1, 1025)
"""Sizes in bits that are tried with elliptic curves."""
_LARGE_SIZES: Final = range(8, 0x10100, 8)
"""Sizes in bits that are tried with everything else."""
_TAGS: Final = range(33)
"""Tag lengths in bytes that are tried."""

_HEAD: Final = """\
# Operations, keys and algorithms

This page is made by `python -m tests.tools.render_operations`, which asks the software provider about every key type,
size and algorithm of the protocol. A test compares the two. Names are those of the protocol. How the operations are
called and encoded is written in Parsec's documentation; which statuses they end with is in [statuses.md](statuses.md).

The one provider so far is the software provider (`provider_type = "MbedCrypto"`, number 1).
"""

_ALGORITHMS: Final = """\

## Algorithms

Which keys each algorithm works with: those of the types named, in all sizes of the table above unless a size stands
in parentheses.
"""

_END: Final = """\

## Policies that permit nothing here

A key may be made and kept with a policy for which the protocol has no operation: key derivation, and key agreement
followed by a derivation. The same holds for no algorithm at all. Such keys can be listed, destroyed and, with the usage
flag, exported.

## Deprecated keys

Generating one of these ends with status 22 unless `core_settings.allow_deprecated` is set; importing one is allowed and
logged. This is so for every key whose policy names one of the hashes, too.

"""


def provider() -> SoftwareProvider:
    """Return a provider to ask; its key-encryption key does not matter."""
    return SoftwareProvider(bytes(KEK_LENGTH))


def render_operations() -> str:
    """Return the page."""
    asked = provider()
    sections = (_HEAD, *_operations(asked), *_keys(asked), _ALGORITHMS, *_algorithms(asked), _END, *_deprecated())
    return "".join(sections)


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except ServiceError:
        return False
    return True


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _heading(*names: str) -> str:
    return "\n" + _row(*names) + "|" + "---|" * len(names) + "\n"


def _operations(asked: SoftwareProvider) -> Iterator[str]:
    yield "\n## Operations\n\n"
    yield "*Needs* says what a client must be: anybody, authenticated, or an administrator. *Listed* says whether\n"
    yield "ListOpcodes shows the operation; the others shown as supported work all the same\n"
    yield "(`provider.list_all_opcodes` lists those of the provider, too, but never those for MACs).\n"
    yield _heading("Opcode", "Operation", "Provider", "Needs", "Supported", "Listed")
    for opcode in Opcode:
        is_core = opcode in CORE_OPCODES
        listed = PROVIDERS[ProviderId.CORE if is_core else ProviderId.MBED_CRYPTO].opcodes
        yield _row(
            f"{int(opcode):#04x}",
            _camel(opcode),
            "core" if is_core else "software",
            "an administrator" if opcode in ADMIN_OPCODES else "anybody" if opcode in ANONYMOUS_OPCODES else "identity",
            _yes(is_core or opcode in asked.opcodes),
            _yes(opcode in listed),
        )


def _camel(opcode: Opcode) -> str:
    return "".join(word.capitalize() for word in opcode.name.split("_"))


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _types() -> Iterator[KeyType]:
    for kind in KeyKind:
        families: Iterable[EccFamily | DhFamily | None] = (None,)
        if kind in ECC_KINDS:
            families = EccFamily
        elif kind in DH_KINDS:
            families = DhFamily
        yield from (KeyType(kind, family) for family in families)


def _type_name(key_type: KeyType) -> str:
    return key_type.kind.name if key_type.family is None else f"{key_type.kind.name} {key_type.family.name}"


def _attributes(key_type: KeyType, bits: int, algorithm: Algorithm) -> KeyAttributes:
    return KeyAttributes(key_type, bits, _ALL_USES, algorithm)


def _sizes(key_type: KeyType, works: Callable[[KeyAttributes], None]) -> list[int]:
    candidates = _SMALL_SIZES if key_type.kind in ECC_KINDS else _LARGE_SIZES
    return [
        bits
        for bits in candidates
        if _succeeds(lambda bits=bits: works(_attributes(key_type, bits, NoAlgorithm())))  # type: ignore[misc]
    ]


def _show_sizes(sizes: list[int]) -> str:
    if not sizes:
        return "no"
    if len(sizes) > len(KeyKind) and sizes == list(range(sizes[0], sizes[-1] + 1, 8)):
        return f"multiples of 8 from {sizes[0]} to {sizes[-1]}"
    return ", ".join(map(str, sizes))


def _keys(asked: SoftwareProvider) -> Iterator[str]:
    yield "\n## Keys\n\nSizes in bits that can be generated and imported. A key may be imported with size 0, too; it"
    yield " gets the size of its data.\n"
    yield _heading("Type", "Generate", "Import")
    refused = []
    for key_type in _types():
        imported = _sizes(key_type, asked.can_import)
        generated = _sizes(key_type, asked.can_generate)
        if imported or generated:
            yield _row(_type_name(key_type), _show_sizes(generated), _show_sizes(imported))
        else:
            refused.append(_type_name(key_type))
    yield f"\nNot supported in any size: {', '.join(refused)}.\n"


def _algorithms(asked: SoftwareProvider) -> Iterator[str]:
    types = [(key_type, sizes) for key_type in _types() if (sizes := _sizes(key_type, asked.can_import))]
    for title, parameter, families in _FAMILIES:
        yield f"\n### {title}\n"
        yield _heading("Algorithm", *parameter, "Key types")
        for name, algorithms in families:
            found: dict[str, list[str]] = {}
            for key_type, sizes in types:
                for shown, key_name in _usable(asked, key_type, sizes, algorithms):
                    found.setdefault(shown, []).append(key_name)
            for shown, names in (found or {"": ["none"]}).items():
                yield _row(name, *([shown or "-"] if parameter else []), ", ".join(names))
    lengths = [n for n in _TAGS if _succeeds(lambda n=n: asked.check_use(_truncated_cmac(n)))]  # type: ignore[misc]
    yield f"\nMACs may be truncated to their leading bytes, of which {lengths[0]} at least are left.\n"
    yield "\n### Hashes\n\n"
    working = [h.name for h in Hash if _succeeds(lambda h=h: asked.hash_compute(HashCompute(h, b"")))]  # type: ignore[misc]
    yield f"PsaHashCompute and PsaHashCompare: {', '.join(working)}.\n"
    yield "They come from the OpenSSL of the Python interpreter; one that is built without some of them has fewer.\n"


Named = Mapping[str, Algorithm]
"""Algorithms that differ in one parameter, by that parameter."""


def _usable(
    asked: SoftwareProvider, key_type: KeyType, sizes: list[int], algorithms: Named
) -> Iterator[tuple[str, str]]:
    """Yield the parameters that work with keys of a type, and the keys: the type, or sizes of it."""
    tried = sizes if len(sizes) <= len(KeyKind) else [0]

    def works(bits: int, algorithm: Algorithm) -> bool:
        return _succeeds(lambda: can_do_crypto(asked, CheckType.USE, _attributes(key_type, bits, algorithm)))

    by_size = {bits: tuple(name for name in algorithms if works(bits, algorithms[name])) for bits in tried}
    by_size = {bits: names for bits, names in by_size.items() if names}
    for names in dict.fromkeys(by_size.values()):
        group = [bits for bits, found in by_size.items() if found == names]
        shown_sizes = "" if len(group) == len(tried) else f" ({_show_sizes(group)})"
        yield ", ".join(filter(None, names)), _type_name(key_type) + shown_sizes


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
    return {**{str(tag): Aead(scheme, tag) for tag in _TAGS}, "default (16)": Aead(scheme)}


def _mac(scheme: MacScheme) -> Named:
    return _hashed(lambda hash_alg: Mac(scheme, hash_alg)) if scheme is MacScheme.HMAC else {"": Mac(scheme)}


def _truncated_cmac(length: int) -> KeyAttributes:
    return _attributes(KeyType(KeyKind.AES), 128, Mac(MacScheme.CMAC, None, length))


_FAMILIES: Final[tuple[tuple[str, tuple[str, ...], list[tuple[str, Named]]], ...]] = (
    ("Signatures", ("Hashes",), [(scheme.name, _signature(scheme)) for scheme in SignatureScheme]),
    ("Asymmetric encryption", ("Hashes",), [(scheme.name, _encryption(scheme)) for scheme in EncryptionScheme]),
    ("Authenticated encryption", ("Tag lengths in bytes",), [(scheme.name, _aead(scheme)) for scheme in AeadScheme]),
    ("Unauthenticated encryption", (), [(mode.name, {"": Cipher(mode)}) for mode in CipherMode]),
    ("Raw key agreement", (), [(raw.name, {"": KeyAgreement(raw)}) for raw in RawAgreement]),
    ("Message authentication codes", ("Hashes",), [(scheme.name, _mac(scheme)) for scheme in MacScheme]),
)
"""Title, what the algorithms of one row differ in, and the rows."""


def _deprecated() -> Iterator[str]:
    types: dict[str, list[int]] = {}
    for key_type, bits in itertools.product(_types(), _SMALL_SIZES):
        if is_deprecated(_attributes(key_type, bits, NoAlgorithm())):
            types.setdefault(_type_name(key_type), []).append(bits)
    hashes = [h.name for h in Hash if is_deprecated(_hash_policy(h))]
    yield f"- Hashes: {', '.join(hashes)}.\n"
    every = len(_SMALL_SIZES)
    shown = [name if len(bits) == every else f"{name} of {_show_sizes(bits)} bits" for name, bits in types.items()]
    yield f"- Types: {', '.join(shown)}.\n"


def _hash_policy(hash_alg: Hash) -> KeyAttributes:
    return _attributes(KeyType(KeyKind.RSA_KEY_PAIR), 2048, AsymmetricSignature(SignatureScheme.RSA_PSS, hash_alg))


if __name__ == "__main__":
    sys.stdout.write(render_operations())
