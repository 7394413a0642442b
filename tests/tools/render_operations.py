"""Renders docs/reference/operations.md by asking the software provider about every key and every algorithm there is.

python -m tests.tools.render_operations > docs/reference/operations.md
"""

import itertools
import sys
from collections.abc import Iterator
from typing import Final

from tests.tools.asking import (
    FAMILIES,
    SMALL_SIZES,
    TAGS,
    algorithm_rows,
    all_types,
    attributes_of,
    heading,
    row,
    show_sizes,
    sizes_of,
    succeeds,
    type_name,
)

from cofferdam_contracts.operations import HashCompute
from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, Mac, MacScheme, NoAlgorithm, SignatureScheme
from cofferdam_contracts.psa.attributes import KeyAttributes, KeyKind, KeyType
from cofferdam_contracts.psa.policy import is_deprecated
from cofferdam_contracts.registry import ADMIN_OPCODES, ANONYMOUS_OPCODES, CORE_OPCODES, PROVIDERS, Opcode, ProviderId
from cofferdam_providers.base.key_encryption_key import KEK_LENGTH
from cofferdam_providers.software.provider import SoftwareProvider

_HEAD: Final = """\
# Operations, keys and algorithms

This page is made by `python -m tests.tools.render_operations`, which asks the software provider about every key type,
size and algorithm of the protocol. A test compares the two. Names are those of the protocol. How the operations are
called and encoded is written in Parsec's documentation; which statuses they end with is in [statuses.md](statuses.md).

This page is about the software provider (`provider_type = "MbedCrypto"`, number 1). What the PKCS#11 provider can do is
up to its token: [tokens.md](tokens.md).
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


def _operations(asked: SoftwareProvider) -> Iterator[str]:
    yield "\n## Operations\n\n"
    yield "*Needs* says what a client must be: anybody, authenticated, or an administrator. *Listed* says whether\n"
    yield "ListOpcodes shows the operation; the others shown as supported work all the same\n"
    yield "(`provider.list_all_opcodes` lists those of the provider, too, but never those for MACs).\n"
    yield heading("Opcode", "Operation", "Provider", "Needs", "Supported", "Listed")
    for opcode in Opcode:
        is_core = opcode in CORE_OPCODES
        listed = PROVIDERS[ProviderId.CORE if is_core else ProviderId.MBED_CRYPTO].opcodes
        yield row(
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


def _keys(asked: SoftwareProvider) -> Iterator[str]:
    yield "\n## Keys\n\nSizes in bits that can be generated and imported. A key may be imported with size 0, too; it"
    yield " gets the size of its data.\n"
    yield heading("Type", "Generate", "Import")
    refused = []
    for key_type in all_types():
        imported = sizes_of(key_type, asked.can_import)
        generated = sizes_of(key_type, asked.can_generate)
        if imported or generated:
            yield row(type_name(key_type), show_sizes(generated), show_sizes(imported))
        else:
            refused.append(type_name(key_type))
    yield f"\nNot supported in any size: {', '.join(refused)}.\n"


def _algorithms(asked: SoftwareProvider) -> Iterator[str]:
    types = [(key_type, sizes) for key_type in all_types() if (sizes := sizes_of(key_type, asked.can_import))]
    for title, parameter, families in FAMILIES:
        yield f"\n### {title}\n"
        yield heading("Algorithm", *parameter, "Key types")
        for name, shown, names in algorithm_rows(asked, types, families):
            yield row(name, *([shown or "-"] if parameter else []), names or "none")
    lengths = [n for n in TAGS if succeeds(lambda n=n: asked.check_use(_truncated_cmac(n)))]  # type: ignore[misc]
    yield f"\nMACs may be truncated to their leading bytes, of which {lengths[0]} at least are left.\n"
    yield "\n### Hashes\n\n"
    working = [h.name for h in Hash if succeeds(lambda h=h: asked.perform(None, HashCompute(h, b"")))]  # type: ignore[misc]
    yield f"PsaHashCompute and PsaHashCompare: {', '.join(working)}.\n"
    yield "They come from the OpenSSL of the Python interpreter; one that is built without some of them has fewer.\n"


def _truncated_cmac(length: int) -> KeyAttributes:
    return attributes_of(KeyType(KeyKind.AES), 128, Mac(MacScheme.CMAC, None, length))


def _deprecated() -> Iterator[str]:
    types: dict[str, list[int]] = {}
    for key_type, bits in itertools.product(all_types(), SMALL_SIZES):
        if is_deprecated(attributes_of(key_type, bits, NoAlgorithm())):
            types.setdefault(type_name(key_type), []).append(bits)
    hashes = [h.name for h in Hash if is_deprecated(_hash_policy(h))]
    yield f"- Hashes: {', '.join(hashes)}.\n"
    every = len(SMALL_SIZES)
    shown = [name if len(bits) == every else f"{name} of {show_sizes(bits)} bits" for name, bits in types.items()]
    yield f"- Types: {', '.join(shown)}.\n"


def _hash_policy(hash_alg: Hash) -> KeyAttributes:
    return attributes_of(KeyType(KeyKind.RSA_KEY_PAIR), 2048, AsymmetricSignature(SignatureScheme.RSA_PSS, hash_alg))


if __name__ == "__main__":
    sys.stdout.write(render_operations())
