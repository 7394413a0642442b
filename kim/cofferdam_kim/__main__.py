"""The process of the key store: open the database, give up the rest, answer until the broker says stop."""

import os
from collections.abc import Sequence

from cofferdam_contracts.ipc.control import Failure, Role, ToChild
from cofferdam_contracts.settings import KimSettings, ProviderEntry
from cofferdam_contracts.status import ServiceError
from cofferdam_kim.errors import StoreError
from cofferdam_kim.owners import Owners
from cofferdam_kim.place import prepare, split
from cofferdam_kim.serve import Server
from cofferdam_kim.service import KimService
from cofferdam_kim.store import KeyStore
from cofferdam_runtime.entry import Child, begin, confine, give_up
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.sandbox.policies import POLICIES


def main() -> int:
    """Run the key store."""
    start = begin("kim")
    settings = start.settings(KimSettings)
    log = Log("kim", settings.log)
    loop = Loop()
    folder, _ = split(settings.path)
    if not os.path.lexists(settings.path):
        log.warning("a new key store is made; keys in another one are not served", file=settings.path)
    try:
        for warning in prepare(settings.path, start.uid, start.uid):
            log.warning(warning)
        achieved = confine(start, log, POLICIES[Role.KIM].with_paths(writable=(folder,)))
        store = KeyStore.open(settings.path, settings.providers)
    except StoreError as error:
        log.error("the key store cannot be opened", cause=error)
        give_up(start.control, Failure.STORE)
    store.max_keys = settings.max_keys
    for line in store.report.warnings():
        log.warning(line)
    service = KimService(
        store, settings.providers, settings.authenticators, lambda error: log.error("the key store failed", cause=error)
    )
    server = Server(service, loop, log)
    child = Child(start, log, loop, {ToChild.CHANNEL: server.add_channel})
    server.served, server.violated = child.count_one, child.violated
    owners = Owners(store, start.control.send)
    service.on_change = owners.changed
    child.ready(achieved, *_sealed(store, settings.providers))

    def tick() -> float:
        more, idle = owners.tell(), server.tick()
        return 0.0 if more else idle

    loop.run(tick)
    store.close()
    return 0


def _sealed(store: KeyStore, providers: Sequence[ProviderEntry]) -> tuple[int, int]:
    """Return which providers have a check value of their key, and which have rows of their own form, as bits."""
    checks = rows = 0
    for index, provider in enumerate(providers):
        try:
            check, own = store.sealed(provider)
        except ServiceError:
            # Nobody can tell, so no key may be made.
            check = own = True
        checks |= check << index
        rows |= own << index
    return checks, rows
