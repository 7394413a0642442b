"""The service that is attacked in `./dev bench --fairness`, with the keys of its clients."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from tests.harness import wire
from tests.harness.configuration import Tables
from tests.harness.interpreter import cofferdam_of
from tests.harness.pkcs11.service import UID_BASE, TokenService
from tests.harness.service import Service, acting_as
from tools.attacks import KEYS, MANY_KEYS, Wish
from tools.crowd import Crowd
from tools.measure import UnavailableError

from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.psa.encoding import encode_attributes
from cofferdam_contracts.registry import PROVIDERS, AuthType, ProviderId

LISTERS: Final = {59011: 5000, MANY_KEYS: 10_000}
"""Uids that have many keys."""


class Side:
    """A service that is attacked, with the keys of its clients."""

    def __init__(self, checkout: Path | None, uid_base: int) -> None:
        """Prepare it; start nothing."""
        tables: Tables = {"core_settings": {"log_level": "warn"}, "isolation": {"uid_base": uid_base}}
        self._harness = TokenService(tables=tables)
        self._harness.uid = (self._harness.uid or 0) + uid_base - UID_BASE
        self._harness.give_token()
        self.service: Service = self._harness.service
        if checkout is not None:
            self.service.command = cofferdam_of(checkout)
        self._keys: set[tuple[int, int, str]] = set()

    @property
    def path(self) -> str:
        """Return the path of the socket."""
        return self.service.socket_path

    def close(self) -> None:
        """End it."""
        self._harness.close()

    def start(self, *, listers: bool) -> None:
        """Start it, with the uids that have many keys if somebody asks for them."""
        self.service.start()
        if listers:
            self.service.stop()
            _fill(self.service.folder / "kim" / "kim.sqlite3")
            self.service.start()

    def ready(self, uid: int, wish: Wish) -> wire.Caller:
        """Return the caller of a uid, with the key that a wish needs."""
        caller = wire.Caller(uid, provider=wish.provider)
        if wish.key and (uid, wish.provider, wish.key) not in self._keys:
            # Names of keys are one for all providers.
            self.call(caller.generate(wish.key, KEYS[wish.key][0]), uid)
            self._keys.add((uid, wish.provider, wish.key))
        return caller

    def call(self, request: wire.Request, uid: int) -> None:
        """Have one request answered.

        Raises:
            UnavailableError: It fails.
        """
        with acting_as(uid):
            status = wire.call(self.path, request).status
        if status:
            raise UnavailableError(f"operation {request.opcode} of uid {uid} fails with status {status}")

    def crowd(self, uid: int, wish: Wish, connections: int) -> Crowd:
        """Return clients that send such requests."""
        caller = self.ready(uid, wish)
        flags = wire.KEEP_ALIVE if wish.mode in {"keep", "pipe"} else 0
        cycles = [wish.requests(caller, number) for number in range(connections)]
        if wish.mode == "slow" or all(cycle == cycles[0] for cycle in cycles):
            cycles = cycles[:1]
        requests = [request.but(flags=flags) for cycle in cycles for request in cycle]
        return Crowd(uid, wish.mode, requests, connections, cycle=len(cycles[0]))


def _fill(path: Path) -> None:
    """Write rows of keys that the reference could have made into a stopped key store."""
    usage = Usage.SIGN_HASH | Usage.VERIFY_HASH
    kind = KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1)
    attributes = encode_attributes(
        KeyAttributes(kind, 256, usage.widened(), AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256))
    )
    provider = PROVIDERS[ProviderId.MBED_CRYPTO]
    rows = [
        (int(AuthType.UNIX_PEER_CREDENTIALS), str(uid), f"key {n:05}", provider.uuid, provider.name,
         (uid % 100 * 100_000 + n).to_bytes(4, "little"), 1, attributes, 1)
        for uid, count in LISTERS.items()
        for n in range(count)
    ]  # fmt: skip
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO key_mapping VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
