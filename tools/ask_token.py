"""The process that asks a token: `ask_token.py CONFIGURATION` prints what the PKCS#11 provider can do with it, as JSON.

It opens the token as the worker does, without the confinement, and ends before the module takes itself apart, which
SoftHSM does not survive. The answers are those that CanDoCrypto gives.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pkcs11
from pkcs11 import MechanismFlag
from tools.asking import FAMILIES, algorithm_rows, all_types, show_sizes, sizes_of, type_name

from cofferdam_config.host_facts import HostFacts
from cofferdam_config.plan import read
from cofferdam_contracts.psa.algorithm import (
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    Hash,
    Mac,
    MacScheme,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import ECC_KINDS, RSA_KINDS, KeyKind
from cofferdam_contracts.settings import LogSettings, Pkcs11Settings
from cofferdam_providers.pkcs11.capability_discovery import GENERATORS, TokenCapabilities
from cofferdam_providers.pkcs11.mechanisms import mechanism_of
from cofferdam_providers.pkcs11.module_access import module_access, own
from cofferdam_providers.pkcs11.provider import Pkcs11Provider
from cofferdam_runtime.log import Log

_SIGNING: Final = (MechanismFlag.SIGN, MechanismFlag.VERIFY)
_SECRECY: Final = (MechanismFlag.ENCRYPT, MechanismFlag.DECRYPT)
_GCM: Final = Aead(AeadScheme.GCM)
_SIGNED: Final = AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash.SHA_256)
_POLICIES: Final[Mapping[KeyKind, tuple[Algorithm, ...]]] = {
    **dict.fromkeys(RSA_KINDS, (_SIGNED,)),
    **dict.fromkeys(ECC_KINDS, (AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256),)),
    KeyKind.HMAC: (Mac(MacScheme.HMAC, Hash.SHA_256),),
    KeyKind.CHACHA20: (Aead(AeadScheme.CHACHA20_POLY1305), Cipher(CipherMode.STREAM_CIPHER)),
}
"""A token rejects keys that it cannot use, so sizes are tried with the most common policy of a key type."""


def main() -> None:
    """Query the token, print the answers, and end."""
    path = Path(sys.argv[1])
    plan = read(path.read_bytes(), path=str(path), facts=HostFacts(credentials={}, groups={}, is_root=False))
    (settings,) = (value for _, _, value in plan.documents if isinstance(value, Pkcs11Settings))
    log = Log("tokens", LogSettings(level="error", details=True))
    own(settings.state_folder, None)
    provider = Pkcs11Provider(settings, module_access(settings), bytes.fromhex(settings.pin or ""), log)
    provider.open()
    module = pkcs11.lib(os.path.realpath(settings.library_path))
    # Raises for a token that could not be opened.
    capabilities = provider._device().capabilities
    answers = {
        "version": ".".join(map(str, module.library_version)),
        **_keys(provider),
        "mechanisms": list(_mechanisms(capabilities)),
        "in_software": sorted(_in_software(capabilities)),
        "labels": capabilities.labels,
    }
    json.dump(answers, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


def _keys(provider: Pkcs11Provider) -> dict[str, Any]:
    keys, refused, types = [], [], []
    for key_type in all_types():
        policies = _POLICIES.get(key_type.kind, (_GCM,))
        imported = sizes_of(key_type, provider.can_import, policies)
        generated = sizes_of(key_type, provider.can_generate, policies)
        if imported or generated:
            keys.append([type_name(key_type), show_sizes(generated), show_sizes(imported)])
            types.append((key_type, imported))
        else:
            refused.append(type_name(key_type))
    algorithms, absent = [], []
    for title, _, families in FAMILIES:
        for name, shown, names in algorithm_rows(provider, types, families):
            if names:
                algorithms.append([title, name, shown or "-", names])
            else:
                absent.append(f"{name} ({title.lower()})")
    return {"keys": keys, "refused": refused, "algorithms": algorithms, "absent": absent}


def _mechanisms(capabilities: TokenCapabilities) -> Iterator[list[str]]:
    for number, looked_at in sorted(_numbers().items()):
        offer = capabilities.offers.get(number)
        if offer is None:
            yield [_name(number), "not offered", ""]
            continue
        flags = ", ".join(str(flag.name).lower().replace("_", " ") for flag in looked_at if offer.flags & flag)
        yield [_name(number), f"{offer.least} to {offer.most or 'any'}", flags]


def _in_software(capabilities: TokenCapabilities) -> Iterator[str]:
    for number, looked_at in _numbers().items():
        for private, public in (_SIGNING, _SECRECY[::-1]):
            offer = capabilities.offers.get(number)
            by_token = offer is not None and private in looked_at and offer.flags & private
            if by_token and capabilities.in_software(number, public):
                yield f"{_name(number)} ({str(public.name).lower()})"


def _numbers() -> dict[pkcs11.Mechanism, tuple[MechanismFlag, ...]]:
    """Return the mechanisms that the provider can use, and the flags that it looks at; SoftHSM makes up others."""
    numbers: dict[pkcs11.Mechanism, tuple[MechanismFlag, ...]] = {
        number: (MechanismFlag.GENERATE_KEY_PAIR if kind in RSA_KINDS | ECC_KINDS else MechanismFlag.GENERATE,)
        for kind, number in GENERATORS.items()
    }
    for algorithm in (algorithm for _, _, rows in FAMILIES for _, named in rows for algorithm in named.values()):
        number = mechanism_of(algorithm)
        flags = _SIGNING if isinstance(algorithm, AsymmetricSignature | Mac) else _SECRECY
        if number is not None:
            numbers[number] = tuple(dict.fromkeys((*numbers.get(number, ()), *flags)))
    return numbers


def _name(number: pkcs11.Mechanism) -> str:
    return f"CKM_{number.name}"


if __name__ == "__main__":
    main()
