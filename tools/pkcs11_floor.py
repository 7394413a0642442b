"""The same as pkcs11_floor.c through python-pkcs11: `pkcs11_floor.py MODULE SLOT PIN OPERATION SECONDS`.

It runs in a process of its own, because SoftHSM crashes at the end of processes that loaded it.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

_DIGEST: Final = bytes(32)
_DIGEST_INFO: Final = bytes(51)
_WARM_UP_S: Final = 0.1
# Any: what keys can do is in the classes behind those that python-pkcs11 declares.
Made = tuple[Callable[[], object], list[pkcs11.Object]]


def _curve(session: pkcs11.Session, *, verify: bool) -> Made:
    named: dict[Attribute, Any] = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    parameters = session.create_domain_parameters(KeyType.EC, named, local=True)
    pair: Any = parameters.generate_keypair(mechanism=Mechanism.EC_KEY_PAIR_GEN, store=True)
    public, private = pair
    signature = private.sign(_DIGEST, mechanism=Mechanism.ECDSA)
    if verify:
        return lambda: public.verify(_DIGEST, signature, mechanism=Mechanism.ECDSA), [public, private]
    return lambda: private.sign(_DIGEST, mechanism=Mechanism.ECDSA), [public, private]


def _rsa(session: pkcs11.Session) -> Made:
    pair: Any = session.generate_keypair(KeyType.RSA, 2048, store=True)
    public, private = pair
    return lambda: private.sign(_DIGEST_INFO, mechanism=Mechanism.RSA_PKCS), [public, private]


def _aes(session: pkcs11.Session) -> Made:
    key: Any = session.generate_key(KeyType.AES, 256, store=True)
    plaintext, parameters = bytes(1024), pkcs11.GCMParams(bytes(12))
    return lambda: key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=parameters), [key]


OPERATIONS: Final[dict[str, Callable[[pkcs11.Session], Made]]] = {
    "ecdsa-sign": lambda session: _curve(session, verify=False),
    "ecdsa-verify": lambda session: _curve(session, verify=True),
    "rsa-sign": _rsa,
    "gcm-encrypt": _aes,
    "random": lambda session: (lambda: session.generate_random(256), []),
}


def _repeat(call: Callable[[], object], seconds: float) -> tuple[float, list[float]]:
    """Return how long it took in all, and each time."""
    took = []
    begin = before = time.perf_counter()
    while before - begin < seconds:
        call()
        after = time.perf_counter()
        took.append(after - before)
        before = after
    return before - begin, took


def main() -> None:
    """Make the key, measure, destroy the key."""
    library, slot, pin, operation, seconds = sys.argv[1:]
    (found,) = [one for one in pkcs11.lib(library).get_slots(token_present=True) if one.slot_id == int(slot)]
    session = found.get_token().open(rw=True, user_pin=pin)
    call, made = OPERATIONS[operation](session)
    _repeat(call, _WARM_UP_S)
    span, took = _repeat(call, float(seconds))
    for item in made:
        item.destroy()
    json.dump({"calls": len(took), "rate": len(took) / span, "p50_us": statistics.median(took) * 1e6}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


main()
