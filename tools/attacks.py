"""The attacks of `./dev bench --fairness`, as a table, and the requests of their victims."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.harness import wire
from tests.harness.pkcs11.service import PROVIDER
from tools.measure import DIGEST

FIRST_SILENT: Final = 59200
MANY_KEYS: Final = 59012
"""A uid with 10,000 keys."""
ATTACKER_NICE: Final = 10
_IMPORT_KEY: Final = 0x06
_BODY: Final = 1 << 20
_TURN: Final = itertools.count()


def _rsa(bits: int) -> bytes:
    usage = wire.number(6, 1) + wire.number(7, 1) + wire.number(8, 1) + wire.number(9, 1)
    return wire.attributes(wire.blob(10, b""), bits, usage, wire.blob(6, wire.RSA_SIGN_SHA_256))


KEYS: Final = {
    "ecc": (wire.P256_SIGN, wire.ECDSA_SHA_256),
    "rsa-2048": (_rsa(2048), wire.RSA_SIGN_SHA_256),
    "rsa-4096": (_rsa(4096), wire.RSA_SIGN_SHA_256),
}
"""Attributes of keys by name, and what they sign with."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A load: requests of a uid, in cycles, and the keys that have to exist before."""

    requests: Callable[[wire.Caller, int], list[wire.Request]]
    """For one connection, by its number."""
    key: str = ""
    provider: int = wire.SOFTWARE
    mode: str = "ask"


def sign(key: str) -> Callable[[wire.Caller, int], list[wire.Request]]:
    return lambda caller, _: [caller.sign(key, KEYS[key][1], DIGEST)]


def _generate(bits: int) -> Callable[[wire.Caller, int], list[wire.Request]]:
    return lambda caller, n: [caller.generate(f"made {n}", _rsa(bits)), caller.destroy(f"made {n}")]


def _import(caller: wire.Caller, number: int) -> list[wire.Request]:
    name = f"imported {number}"
    body = wire.blob(1, name.encode()) + wire.blob(2, _rsa(4096)) + wire.blob(3, _private_key())
    return [caller.request(_IMPORT_KEY, body), caller.destroy(name)]


def _private_key(made: list[bytes] = []) -> bytes:  # noqa: B006  made once
    if not made:
        key = rsa.generate_private_key(public_exponent=65537, key_size=4096)
        form = serialization.PrivateFormat.TraditionalOpenSSL
        made.append(key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption()))
    return made[0]


def list_keys(caller: wire.Caller, _: int) -> list[wire.Request]:
    return [caller.request(wire.LIST_KEYS, provider=wire.CORE)]


def ping(caller: wire.Caller, _: int) -> list[wire.Request]:
    return [caller.request(wire.PING, provider=wire.CORE)]


def _make(caller: wire.Caller, _: int) -> list[wire.Request]:
    name = f"made {next(_TURN)}"  # the last turn may have ended before it was destroyed
    return [caller.generate(name, wire.P256_SIGN), caller.destroy(name)]


def large_request(caller: wire.Caller, _: int) -> list[wire.Request]:
    field_of_digest = wire.number(1, wire.SHA_256)
    body = field_of_digest + wire.blob(2, bytes(_BODY - len(field_of_digest) - 4))
    return [caller.request(wire.HASH_COMPUTE, body)]


SIGN: Final = Wish(sign("ecc"), "ecc")
TRY: Final = Wish(sign("ecc"), "ecc", mode="try")
VICTIMS: Final = {
    "sign": SIGN,
    "sign, connect does not wait": TRY,
    "generate and destroy P-256": Wish(_make),
    "list keys": Wish(list_keys, "ecc"),
    "sign on the token": Wish(sign("ecc"), "ecc", PROVIDER),
    "ping of a new uid": Wish(ping),
}
NEWCOMER: Final = "ping of a new uid"


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack of the clients of one uid on all others."""

    name: str
    text: str
    wish: Wish
    connections: int = 16
    processes: int = 1
    victims: Sequence[str] = ("sign",)
    uid: int = 0
    """Of the attacker, if it has to be a certain one."""
    first_uid: int = 0
    stretch: float = 1.0
    """How much longer than usual a measurement has to be to see it."""
    rounds: int | None = None
    nice: int = ATTACKER_NICE


BOTH_CONNECTS: Final = ("sign", "sign, connect does not wait")
ATTACKS: Final = (
    Attack("spin", "2 spinning processes, nothing asked", Wish(ping, mode="spin"), 2, nice=0),
    Attack("ping", "ping, 16 connections", Wish(ping)),
    Attack("ecdsa", "ECDSA, 16 connections", SIGN),
    Attack("rsa-2048", "RSA-2048, 16 connections", Wish(sign("rsa-2048"), "rsa-2048")),
    Attack("rsa-4096", "RSA-4096, 16 connections", Wish(sign("rsa-4096"), "rsa-4096")),
    Attack(
        "generate",
        "generate RSA-4096, 3 connections",
        Wish(_generate(4096)),
        3,
        victims=("sign", "generate and destroy P-256"),
        stretch=1.5,
    ),
    Attack(
        "generate-token",
        "generate RSA-4096 on SoftHSM, 1 connection",
        Wish(_generate(4096), provider=PROVIDER),
        1,
        victims=("sign on the token",),
        stretch=6.0,
    ),
    Attack("import", "import RSA-4096, 16 connections", Wish(_import)),
    Attack("list", "list 10,000 keys, 16 connections", Wish(list_keys), victims=("sign", "list keys"), uid=MANY_KEYS),
    Attack("slow", "1,000 slow senders", Wish(ping, mode="slow"), 1000),
    Attack("connect", "connect only, 1 process", Wish(ping, mode="connect"), 1, victims=BOTH_CONNECTS),
    Attack("connect-4", "connect only, 4 processes", Wish(ping, mode="connect"), 1, 4, victims=BOTH_CONNECTS),
    Attack("frontend", "a frontend that never rests (pipelined pings, 64 connections)", Wish(ping, mode="pipe"), 64),
    Attack(
        "silent",
        "100 uids with a silent connection each",
        Wish(ping, mode="silent"),
        100,
        victims=("sign", NEWCOMER),
        first_uid=FIRST_SILENT,
        stretch=6.0,
        rounds=1,
    ),
)
OTHERS: Final = ("listing", "share", "memory")
"""What else there is to choose."""
NAMES: Final = (*(attack.name for attack in ATTACKS), *OTHERS)
