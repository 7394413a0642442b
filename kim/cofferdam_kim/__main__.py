"""The process of the key store (kim): open the database, drop privileges, answer until the broker sends STOP."""

import os
import time
from collections.abc import Sequence

from cofferdam_contracts.ipc.control import DownstreamChannel, Failure
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import KimSettings, ProviderEntry
from cofferdam_contracts.status import ServiceError
from cofferdam_kim.counts import CountNotifier
from cofferdam_kim.errors import StoreError
from cofferdam_kim.location import Prepared, prepare, prepare_tree
from cofferdam_kim.look import look
from cofferdam_kim.mapping_mirror import DATABASE, FileMirror
from cofferdam_kim.notices import Notices
from cofferdam_kim.owners import OwnerNotifier
from cofferdam_kim.serve import Server
from cofferdam_kim.service import KimService
from cofferdam_kim.store import MappingStore
from cofferdam_runtime.entry import Child, Reporter, begin, confine, give_up
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.notices import ChildLog
from cofferdam_runtime.sandbox.policies import POLICIES, for_mapping_files
from cofferdam_runtime.sandbox.policy import Policy


def main() -> int:
    """Run the key store."""
    start = begin("kim")
    settings = start.settings(KimSettings)
    if start.is_rehearsal:
        return look(start, settings)
    log = ChildLog("kim", settings.log, start)
    loop = Loop()
    if not os.path.lexists(settings.path):
        log.warning("a new key store is made; keys in another one are not served", file=settings.path)
    try:
        prepared = _prepare(settings, start.uid)
        for warning in prepared.warnings:
            log.notice(warning)
        achieved = confine(start, log, _policy(settings, prepared))
        store = _open(settings, prepared)
    except StoreError as error:
        give_up(start.control, Failure.STORE, log.error("the key store cannot be opened", cause=error))
    if damaged := store.report.damaged():
        log.error(damaged)
    for line in store.report.warnings():
        log.notice(line)
    notices = Notices(store, log, start.control.send)
    owners = OwnerNotifier(store, start.control.send)
    counts = CountNotifier(store, settings.providers, start.control.send)

    def changed(authenticator: int, name: str) -> None:
        notices.succeeded()
        owners.changed(authenticator, name)
        counts.changed()

    service = KimService(
        store,
        settings.providers,
        settings.authenticators,
        on_failure=lambda error: notices.failed(error, time.monotonic()),
        on_change=changed,
    )
    reporter = Reporter(start.control)
    server = Server(service, loop, log, reporter)
    child = Child(start, log, loop, reporter, {DownstreamChannel: server.add_channel})
    checks, rows = _sealed(store, settings.providers)
    notices.look(time.monotonic())
    child.ready(achieved, checks=checks, rows=rows)

    def tick() -> float:
        more, idle = owners.tell(), min(server.tick(), notices.look(time.monotonic()))
        due = counts.tell()
        return 0.0 if more else idle if due is None else min(idle, due)

    loop.run(tick)
    store.close()
    return 0


def _prepare(settings: KimSettings, uid: int | None) -> Prepared:
    if settings.on_disk:
        return prepare_tree(settings.path, DATABASE, uid, uid)
    return prepare(settings.path, uid, uid, shared=settings.shared)


def _policy(settings: KimSettings, prepared: Prepared) -> Policy:
    policy = POLICIES[Role.KIM]
    return (for_mapping_files(policy) if settings.on_disk else policy).with_paths(writable=prepared.writable)


def _open(settings: KimSettings, prepared: Prepared) -> MappingStore:
    if not settings.on_disk:
        return MappingStore.open(prepared.path, settings.providers, settings.max_keys)
    # The reference has one authenticator, and nothing in a file says which.
    owner = settings.authenticators[0].auth_type
    (root,) = prepared.writable
    return MappingStore.open(
        prepared.path, settings.providers, settings.max_keys, FileMirror(root, owner, settings.providers)
    )


def _sealed(store: MappingStore, providers: Sequence[ProviderEntry]) -> tuple[int, int]:
    """Return which providers have a check value of their key, and which have rows in their own format, as bits."""
    checks = rows = 0
    for provider in providers:
        try:
            check, own = store.sealed(provider)
        except ServiceError:
            # It is unknown, so no new key may be made.
            check = own = True
        checks |= check << provider.id
        rows |= own << provider.id
    return checks, rows
